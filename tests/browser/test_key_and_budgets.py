"""The page where the API asks for a key and tells what budgets have left, against an API of the test's own."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from infra.web import WEB, content_security_policy
from local.page import PageServer
from tests.browser.conftest import PATIENCE, WIDE
from tests.browser.test_page import axe

Shoot = Callable[[Page, str], None]

KEY, OTHER_KEY = f"pp_{'A1b2C3d' * 7}", f"pp_{'Z9y8X7w' * 7}"
JOB_ID = "11111111-2222-4333-8444-555555555555"
SIGNED = "X-Amz-Expires=3600&X-Amz-Signature=0123"
REFUSED = "The API did not accept this key, or could not be reached."
PHONE = {"width": 320, "height": 640}


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(content, "PNG")
    return content.getvalue()


def budget(left: float, *, scope: str = "key", window: str = "day", limit: float = 5.0) -> dict[str, Any]:
    """What `GET /usage` says of a budget."""
    renews = "2026-12-01T00:00:00Z"
    return {"scope": scope, "window": window, "limit": limit, "left": left, "renewsAt": renews}


def model(name: str, price: float) -> dict[str, Any]:
    return {
        "id": name.lower(),
        "name": name,
        "provider": "openai",
        "price": {"amount": price},
        "parameters": {"n": {"min": 1, "max": 4}, "quality": ["low", "high"]},
        "timeLimit": 60,
        "default": True,
        "configured": True,
    }


@dataclass
class Api:
    """An API and a bucket on ports of their own; without its key, the API answers as API Gateway does.

    Attributes
    ----------
    key : the key that it accepts; empty: it asks for none
    sent : the bodies of `POST /generate` that started a job
    """

    key: str = ""
    budgets: list[dict[str, Any]] = field(default_factory=list)
    after_job: list[dict[str, Any]] | None = None
    confirm_above: float = 0.25
    estimate: float = 1.2
    usage_fails: bool = False
    status: str = "completed"
    url: str = ""
    bucket: str = ""
    paths: list[str] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/models":
            return 200, {"models": [model("Alpha", 0.4), model("Beta", 0.8)]}
        if path == "/usage":
            told = {"budgets": self.budgets, "confirmAbove": self.confirm_above}
            return (503, {}) if self.usage_fails else (200, told)
        if path == "/generate" and body.get("dryRun"):
            return 200, {"dryRun": True, "cost": {"amount": self.estimate, "unknown": 0}}
        if path == "/generate":
            self.sent.append(body)
            self.budgets = self.after_job or self.budgets
            return 200, {"jobId": JOB_ID, "totalModels": 1}
        if path == f"/status/{JOB_ID}":
            return 200, self.job()
        return 404, {"error": "NOT_FOUND", "message": "Not found."}

    def job(self) -> dict[str, Any]:
        """The document of its one job."""
        moment = "2026-11-29T12:00:00Z"
        image = {"imageKey": "group-images/a.json", "binaryKey": "images/a.png", "width": 16, "height": 16}
        image["imageUrl"] = f"{self.bucket}/images/a.png?{SIGNED}"
        is_done = self.status == "completed"
        row = {"index": 0, "model": "Alpha", "provider": "openai", "status": self.status, "startedAt": moment}
        if is_done:
            row |= {"completedAt": moment, "duration": 1.0, "images": [image, {**image, "binaryKey": "images/b.png"}]}
        return {
            "jobId": JOB_ID, "status": self.status, "run": 1, "createdAt": moment, "updatedAt": moment,
            "prompt": "a red fox", "parameters": {}, "totalModels": 1, "completedModels": int(is_done),
            "results": [row],
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api
    is_bucket = False

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "{}")
        path = urlsplit(self.path).path
        cors = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "ETag, Date"}
        if self.command == "OPTIONS":
            headers = {"Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match"}
            self._send(204, b"", {**cors, **headers})
        elif self.is_bucket:
            is_signed = SIGNED in self.path and "Authorization" not in self.headers
            self._send(200 if is_signed else 403, png(), {**cors, "Content-Type": "image/png"})
        elif self.api.key and self.headers.get("Authorization") != f"Bearer {self.api.key}":
            # No CORS headers: the page cannot read it.
            self._send(401, b'{"message":"Unauthorized"}', {"Content-Type": "application/json"})
        else:
            self.api.paths.append(path)
            status, answer = self.api.answer(self.command, path, body)
            self._send(
                status,
                json.dumps(answer).encode(),
                {**cors, "Content-Type": "application/json", "ETag": f'"{self.api.status}"'},
            )

    do_GET = do_POST = do_OPTIONS = _answer

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Client:
    """A user, and everything that the browser asked for and said."""

    def __init__(self, browser: Browser, api: Api, url: str, **options: Any) -> None:
        self.api, self.url = api, url
        self.requests: list[Request] = []
        self.said: list[str] = []
        self.context: BrowserContext = browser.new_context(**{"viewport": WIDE, "color_scheme": "light", **options})
        self.context.set_default_timeout(PATIENCE)
        self.context.on("request", lambda request: self.requests.append(request))
        self.page = self.tab()

    def tab(self) -> Page:
        page = self.context.new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        return page

    def open(self, fragment: str = "") -> Page:
        self.page.goto(self.url + fragment)
        return self.page

    def enter(self, key: str, *, on_device: bool = False) -> None:
        """Enter a key and press the button beside it."""
        self.page.get_by_role("textbox", name="API key").fill(key)
        self.page.get_by_label("Keep it on this device").set_checked(on_device)
        self.page.get_by_role("button", name="Use this key").click()

    def send(self, prompt: str = "a red fox") -> None:
        self.page.get_by_role("textbox", name="Prompt").fill(prompt)
        self.page.get_by_role("button", name="Generate").click()

    def check_where_the_key_went(self) -> None:
        """The key is in no URL, no console, and no element; only the API got it, in the header."""
        for request in self.requests:
            given = request.headers.get("authorization")
            assert "pp_" not in request.url
            assert "pp_" not in (request.post_data or "")
            assert given is None or request.url.startswith(self.api.url), request.url
        assert not [text for text in self.said if "pp_" in text or "uncaught" in text or "Security Policy" in text]
        assert "pp_" not in self.page.content()
        values = "[...document.querySelectorAll('input, textarea')].map(field => field.value).join()"
        assert "pp_" not in self.page.evaluate(values)


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    servers = []
    for is_bucket in (False, True):
        handler = type("Handler", (_Handler,), {"api": api, "is_bucket": is_bucket})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
    api.url, api.bucket = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    yield api
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def client(browser: Browser, api: Api) -> Iterator[Callable[..., Client]]:
    """Makes a user of the page."""
    clients: list[Client] = []
    with PageServer(0, api.url, 0, auth="none", usage=True) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def make(**options: Any) -> Client:
            config = {**json.loads(server.config), "auth": "keys" if api.key else "none"}
            server.config = json.dumps(config).encode()
            server.headers["Content-Security-Policy"] = content_security_policy(
                api=api.url, uploads=api.bucket, images=api.bucket
            )
            clients.append(Client(browser, api, f"http://127.0.0.1:{server.server_port}/", **options))
            return clients[-1]

        yield make
        for each in clients:
            each.context.close()
        server.shutdown()


def test_the_page_asks_for_a_key_and_sends_it_to_the_api_only(
    client: Callable[..., Client], api: Api, shoot: Shoot
) -> None:
    api.key = KEY
    user = client()
    page = user.open()
    key, alert = page.get_by_role("textbox", name="API key"), page.get_by_role("alert")
    expect(key).to_be_visible()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_count(0)
    shoot(page, "key")
    user.enter("")
    expect(alert).to_have_text("Enter your API key first.")
    user.enter("pp_short")
    expect(alert).to_contain_text("pp_ and 49 letters and digits")
    expect(key).to_be_focused()
    expect(key).to_have_attribute("aria-invalid", "true")
    assert not [request for request in user.requests if request.url.startswith(api.url)]
    key.fill(OTHER_KEY)
    key.press("Enter")
    expect(alert).to_have_text(REFUSED)
    expect(key).to_be_focused()
    shoot(page, "key-refused")
    user.enter(f" {KEY} ")
    expect(key).to_have_count(0)
    expect(page.get_by_role("textbox", name="Prompt")).to_be_visible()
    user.send()
    expect(page.locator(".tile img.there")).to_have_count(2)
    # Signed URLs are fetched without the key.
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download all").click()
    assert saved.value.suggested_filename.endswith(".zip")
    page.locator(".cell").first.click()
    with page.expect_download() as one:
        page.get_by_role("dialog").get_by_role("button", name="Download").click()
    assert one.value.path().read_bytes() == png()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("dialog").locator("img.there")).to_have_count(2)
    page.keyboard.press("Escape")
    user.check_where_the_key_went()
    asked = [request for request in user.requests if request.url.startswith(api.url) and request.method != "OPTIONS"]
    assert {request.headers["authorization"] for request in asked} == {f"Bearer {OTHER_KEY}", f"Bearer {KEY}"}


def test_a_key_is_kept_for_the_tab_or_the_device_and_forgotten(client: Callable[..., Client], api: Api) -> None:
    api.key = KEY
    user = client()
    page = user.open()
    user.enter(KEY)
    prompt, key = page.get_by_role("textbox", name="Prompt"), page.get_by_role("textbox", name="API key")
    forget = page.get_by_role("banner").get_by_role("button", name="Forget key")
    prompt.fill("a secret fox")
    page.reload()
    expect(prompt).to_be_visible()
    assert page.evaluate("localStorage.length") == 0
    other = user.tab()
    other.goto(user.url)
    expect(other.get_by_role("textbox", name="API key")).to_be_visible()

    forget.click()
    # It opens when its module is loaded.
    expect(page.get_by_role("alertdialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(forget).to_be_focused()
    forget.click()
    page.get_by_role("alertdialog").get_by_role("button", name="Forget key").click()
    expect(key).to_be_visible()
    assert page.evaluate("[...Object.values(sessionStorage), ...Object.values(localStorage)].join('')") == ""

    user.enter(KEY, on_device=True)
    expect(prompt).to_have_value("")
    other.reload()
    expect(other.get_by_role("textbox", name="Prompt")).to_be_visible()
    forget.click()
    page.get_by_role("alertdialog").get_by_role("button", name="Forget key").click()
    for tab in (page, other):
        expect(tab.get_by_role("textbox", name="API key")).to_be_visible()
    user.check_where_the_key_went()


def test_a_key_that_is_no_longer_accepted_is_asked_for_beside_the_view(
    client: Callable[..., Client], api: Api, shoot: Shoot
) -> None:
    api.key, api.status = KEY, "in_progress"
    user = client()
    page = user.open(f"#/job/{JOB_ID}")
    user.enter(KEY)
    page.locator(".job[data-status]").wait_for()
    page.locator(".choice").first.wait_for(state="attached")
    # Polling goes on: the network may be to blame.
    api.key = OTHER_KEY
    expect(page.locator(".banner")).to_contain_text("no longer accepts the key")
    expect(page.get_by_role("textbox", name="API key")).to_have_count(0)
    user.send("another fox")
    expect(page.get_by_role("alert").first).to_have_text(REFUSED)
    expect(page.get_by_role("textbox", name="API key")).to_be_visible()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value("another fox")
    shoot(page, "key-beside-a-job")
    # It was not the key.
    api.key = KEY
    expect(page.get_by_role("textbox", name="API key")).to_have_count(0)
    expect(page.locator(".banner")).to_have_text("")
    api.key = OTHER_KEY
    # No response of before is under way now.
    expect(page.locator(".banner")).to_contain_text("no longer accepts the key")
    user.send("another fox")
    expect(page.get_by_role("textbox", name="API key")).to_be_visible()
    api.status = "completed"
    user.enter(OTHER_KEY)
    expect(page.locator(".tile img.there")).to_have_count(2)
    expect(page.get_by_role("textbox", name="API key")).to_have_count(0)
    expect(page.locator(".banner")).to_have_text("")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value("another fox")
    user.check_where_the_key_went()


def test_a_kept_key_that_is_refused_opens_the_field(client: Callable[..., Client], api: Api) -> None:
    api.key = KEY
    user = client()
    page = user.open()
    user.enter(KEY)
    page.get_by_role("textbox", name="Prompt").wait_for()
    api.key = OTHER_KEY
    page.reload()
    expect(page.get_by_role("alert").filter(has_text=REFUSED).first).to_be_visible()
    expect(page.get_by_role("textbox", name="API key")).to_be_visible()
    user.enter(OTHER_KEY)
    expect(page.get_by_role("textbox", name="API key")).to_have_count(0)
    page.locator(".choice").first.wait_for(state="attached")
    expect(page.get_by_text(REFUSED)).to_have_count(0)


def test_what_is_left_is_shown_and_follows_a_job(client: Callable[..., Client], api: Api, shoot: Shoot) -> None:
    api.budgets = [budget(90, scope="deployment", window="month", limit=100), budget(4.5)]
    api.after_job = [budget(88, scope="deployment", window="month", limit=100), budget(0.309)]
    api.confirm_above, api.status = 1, "in_progress"
    user = client()
    page = user.open()
    left = page.locator(".left")
    expect(left).to_have_text("$4.50 left today")
    expect(left).not_to_have_attribute("data-little", "")
    title = left.get_attribute("title") or ""
    assert title.startswith("Everybody: $90.00 of $100.00 left this month, renews 1 Dec 2026")
    assert "\nYour key: $4.50 of $5.00 left today" in title
    shoot(page, "left")
    user.send()
    page.locator('.job[data-status="in_progress"]').wait_for()
    assert api.paths.count("/usage") == 1
    api.status = "completed"
    expect(left).to_have_text("$0.30 left today")
    expect(left).to_have_attribute("data-little", "")
    page.wait_for_timeout(500)
    assert api.paths.count("/usage") == 2
    # A job that had ended before changes nothing.
    page.reload()
    page.locator(".job[data-status]").wait_for()
    page.wait_for_timeout(2500)
    assert api.paths.count("/usage") == 3


def test_a_refusal_asks_what_is_left(client: Callable[..., Client], api: Api) -> None:
    api.budgets = [budget(4.5)]
    user = client()
    page = user.open()
    expect(page.locator(".left")).to_have_text("$4.50 left today")
    refusal = {"error": "BUDGET_EXCEEDED", "message": "Your key has $0.10 left today.", "models": []}
    headers = {"Access-Control-Allow-Origin": "*"}
    page.route("**/generate", lambda route: route.fulfill(status=402, json=refusal, headers=headers))
    api.confirm_above, api.budgets = 1, [budget(0.1)]
    page.reload()
    expect(page.locator(".left")).to_have_text("$0.10 left today")
    api.budgets = [budget(0, window="month")]
    user.send()
    expect(page.get_by_role("alert")).to_contain_text("Your key has $0.10 left today.")
    expect(page.locator(".left")).to_have_text("$0.00 left this month")


@pytest.mark.parametrize("has_usage", [True, False], ids=["no budget", "no response"])
def test_without_a_budget_or_a_response_nothing_is_shown_and_asked(
    client: Callable[..., Client], api: Api, *, has_usage: bool
) -> None:
    api.usage_fails = not has_usage
    user = client()
    page = user.open()
    user.send()
    expect(page.locator(".tile img.there")).to_have_count(2)
    expect(page.locator(".left")).to_be_hidden()
    expect(page.get_by_role("alertdialog")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_expensive_job_is_sent_only_after_a_question(client: Callable[..., Client], api: Api, shoot: Shoot) -> None:
    api.budgets = [budget(3.2), budget(80, scope="deployment", window="month", limit=100)]
    user = client()
    page = user.open()
    expect(page.locator(".left")).to_be_visible()
    question, send = page.get_by_role("alertdialog"), page.get_by_role("button", name="Generate")
    user.send()
    expect(question).to_contain_text("This job may cost about $1.20, 38 % of the $3.20 that are left today.")
    expect(question.get_by_role("button", name="Don't send")).to_be_focused()
    shoot(page, "question")
    page.keyboard.press("Enter")
    expect(question).to_have_count(0)
    expect(send).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).to_be_visible()
    page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    expect(send).to_be_focused()
    assert not api.sent
    send.click()
    question.get_by_role("button", name="Send", exact=True).click()
    page.locator(".job[data-status]").wait_for()
    assert len(api.sent) == 1


def test_only_the_api_knows_what_quality_costs(client: Callable[..., Client], api: Api) -> None:
    api.budgets, api.estimate = [budget(20)], 30
    user = client()
    page = user.open()
    expect(page.locator(".left")).to_be_visible()
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Quality").select_option("high")
    user.send()
    question = page.get_by_role("alertdialog")
    expect(question).to_contain_text("about $30.00, more than the $20.00 that are left today.")
    page.keyboard.press("Escape")
    assert not api.sent
    page.get_by_label("Quality").select_option("")
    page.get_by_role("button", name="Generate").click()
    page.locator(".job[data-status]").wait_for()
    assert api.sent == [{"prompt": "a red fox"}], "a cheap one is sent at once"


@pytest.mark.parametrize("color", ["light", "dark"])
def test_axe_finds_nothing_serious_in_these_either(
    client: Callable[..., Client], api: Api, color: str, shoot: Shoot
) -> None:
    api.key, api.budgets = KEY, [budget(0.3)]
    user = client(color_scheme=color, viewport=PHONE, bypass_csp=True, reduced_motion="reduce")
    page = user.open()
    user.enter("pp_short")
    expect(page.get_by_role("alert")).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"key-{color}")
    user.enter(KEY)
    expect(page.locator(".left")).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"left-{color}")
    user.send()
    expect(page.get_by_role("alertdialog")).to_be_visible()
    axe(page)
    fits(page)
    shoot(page, f"question-{color}")


def fits(page: Page) -> None:
    """Nothing is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_what_only_these_deployments_need_is_light() -> None:
    assert sum((WEB / name).stat().st_size for name in ("ask.js", "key.js", "usage.js")) < 9_000
