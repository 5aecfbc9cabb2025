"""The page in a real browser, against a cloud of its own."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from local import cloud as local_cloud
from local.cloud import Cloud
from tests.integration.conftest import Service, fresh

NAMES = ("chromium", "chromium-browser", "google-chrome")
# It must talk only to the page; a container has neither a sandbox nor a graphics card.
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE = {"width": 1200, "height": 800}
# Milliseconds for what happens at once on a machine at rest: nine Lambdas may start cold, beside other tests.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The machine's own Chromium; where there is none, the tests are skipped, or fail with ``BROWSER_REQUIRED``."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        reason = "Chromium not found; install it, on Debian and Ubuntu with: sudo apt-get install chromium"
        (pytest.fail if os.environ.get("BROWSER_REQUIRED") else pytest.skip)(reason)
    # Only as long as its tests: while it runs, no other test could start an event loop.
    with sync_playwright() as playwright:
        # It keeps files of its own in HOME.
        environment: dict[str, str | float | bool] = {**os.environ, "HOME": str(tmp_path_factory.mktemp("home"))}
        running = playwright.chromium.launch(executable_path=found, args=ARGUMENTS, env=environment)
        yield running
        running.close()


@pytest.fixture(scope="package")
def cloud(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud in a folder of its own, whose simulators take a moment."""
    running = local_cloud.start(tmp_path_factory.mktemp("cloud"), {}, latency="0.2-0.8")
    yield running
    running.stop()


@pytest.fixture
def service(cloud: Cloud) -> Iterator[Service]:
    """The service, as every test finds it."""
    yield from fresh(cloud)


class Visit:
    """A user of the page, and everything that the browser has seen.

    Attributes
    ----------
    requests : everything that was asked for
    complaints : what the console had to say, and uncaught errors
    tolerated : words of complaints that a test provokes
    """

    def __init__(self, context: BrowserContext, url: str, allowed: set[str]) -> None:
        self.context = context
        self.url = url
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self.tolerated: tuple[str, ...] = ()
        self._allowed = allowed
        context.set_default_timeout(PATIENCE)
        context.on("request", lambda request: self.requests.append(request))
        self.page: Page = context.new_page()
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self, fragment: str = "") -> Page:
        """Open a view of the page, and wait for the list of models."""
        self.page.goto(self.url + fragment)
        self.page.locator(".choice").first.wait_for(state="attached")
        return self.page

    def submit(self, prompt: str, *, tiles: int = 9) -> str:
        """Type a prompt and send it; the id of its job, once its document is there."""
        page = self.page
        page.get_by_role("textbox", name="Prompt").fill(prompt)
        before = page.url
        page.get_by_role("button", name="Generate").click()
        page.wait_for_url(lambda url: url != before)
        page.locator(".job[data-status]").wait_for()
        assert page.locator(".job .tile").count() == tiles
        return page.url.rpartition("/")[2]

    def follow(self, job_id: str) -> Page:
        """Open the URL of a job, and wait for its document."""
        page = self.open(f"#/job/{job_id}")
        page.locator(".job[data-status]").wait_for()
        return page

    def wait_for_the_end(self) -> None:
        """Wait until the job on the page has ended."""
        self.page.locator('.job[data-status][aria-busy="false"]').wait_for(timeout=40_000)

    def asked(self, part: str) -> list[Request]:
        """The requests, preflights aside, whose URL has this part."""
        return [request for request in self.requests if part in request.url and request.method != "OPTIONS"]

    def check(self) -> None:
        """Nothing went to a foreign host, and the console has nothing to say but what the test provoked."""
        strangers = {
            r.url for r in self.requests if r.url.startswith("http") and urlsplit(r.url).netloc not in self._allowed
        }
        assert not strangers
        assert not [text for text in self.complaints if not any(word in text for word in self.tolerated)]


Visitor = Callable[..., Visit]


@pytest.fixture
def visitor(browser: Browser, cloud: Cloud) -> Iterator[Visitor]:
    """Makes visits with the options of a browser's context; at the end each is checked."""
    allowed = {urlsplit(cloud.endpoints[name]).netloc for name in ("page", "aws")}
    visits: list[Visit] = []

    def visit(**options: object) -> Visit:
        context = browser.new_context(**{"viewport": WIDE, "color_scheme": "light", **options})  # type: ignore[arg-type]
        visits.append(Visit(context, cloud.endpoints["page"], allowed))
        return visits[-1]

    yield visit
    for each in visits:
        each.context.close()
    for each in visits:
        each.check()


@pytest.fixture
def visit(visitor: Visitor) -> Visit:
    """A visit with a window of a laptop."""
    return visitor()


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """Writes a screenshot into the folder that ``SCREENSHOTS`` names; without it, nothing."""
    folder = os.environ.get("SCREENSHOTS")

    def write(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.evaluate("scrollTo(0, 0)")
            page.locator(".toast").wait_for(state="hidden")
            # Images fade in.
            page.wait_for_timeout(600)
            image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            # A palette makes the file half as large.
            image.quantize(palette=image.quantize(256, kmeans=2)).save(Path(folder) / f"{name}.png", optimize=True)

    return write
