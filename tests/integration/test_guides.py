"""The commands and programs of the guides, run against the deployed cloud as a reader would run them.

A comment on the line before a block says why it isn't run here: ``<!-- by hand -->``, ``<!-- needs AWS -->``,
``<!-- needs keys -->``, or ``<!-- fragment -->``. The blocks of a page make one script for each language, in their
order, so variables stay.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pixelprompt.storage.keys import OVERLAY_KEY

from .conftest import KNOW_THE_CATALOGUE, Service, restart

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?:<!-- (?P<unless>.+?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
REASONS = {None, "by hand", "needs AWS", "needs keys", "fragment"}
API = "http://127.0.0.1:PORT/_aws/execute-api/pixel-prompt"
SIMULATOR = "http://127.0.0.1:PORT"
# What `make` would run, with the cloud of these tests. It must not prepare the checkout again.
MAKE = """
make() {
  case "$*" in
    models-check\\ FILE=*\\ PUT=1) set -- models-check --put --local "${2#FILE=}" ;;
    models-check\\ FILE=*) set -- models-check "${2#FILE=}" ;;
    logs\\ JOB=*) set -- logs --no-follow --job "${2#JOB=}" ;;
    *) echo "make $*: unknown here" >&2; return 1 ;;
  esac
  PYTHONPATH=%(root)s %(python)s -m local --directory %(directory)s "$@"
}
"""


def script(page: str, language: str) -> str:
    """The program that the blocks of a page make in a language."""
    blocks = list(BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")))
    assert {block["unless"] for block in blocks} <= REASONS
    return "\n".join(b["code"] for b in blocks if b["language"] == language and not b["unless"])


def run(service: Service, folder: Path, page: str, language: str = "sh") -> str:
    """Run a page's program in a folder; its output."""
    endpoints = service.cloud.endpoints
    code = script(page, language).replace(API, endpoints["api"]).replace(SIMULATOR, endpoints["simulator"])
    assert endpoints["api"] in code
    node = str(Path(sys.executable).with_name("node"))
    names = {"root": str(ROOT), "python": sys.executable, "directory": str(service.cloud.directory)}
    make = MAKE % {name: shlex.quote(value) for name, value in names.items()}
    command = {
        "sh": ["sh", "-euc", make + code],
        "python": [sys.executable, "-c", code],
        "js": [node, "--input-type=module", "-e", code],
    }[language]
    certificate = endpoints["certificate"]
    variables = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE") if certificate else ()
    environment = {**os.environ, **dict.fromkeys(variables, certificate), "no_proxy": "*", "PYTHONUTF8": "1"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=180)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, f"{output}\n{errors}"
    return output


def pictures(folder: Path) -> list[str]:
    """The names of the images in a folder, each of which can be read."""
    names = sorted(path.name for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".webp"))
    for path in (path for path in folder.rglob("*") if path.name in names):
        with Image.open(path) as image:
            assert image.format in ("PNG", "JPEG", "WEBP")
            image.load()
    return names


@pytest.fixture
def settled(service: Service) -> Iterator[Service]:
    """The service; the jobs that the test has started are over at its end, and the simulators as they were."""
    latency = service.simulator("GET", "/latency")
    earlier = set(service.keys("jobs/"))
    yield service
    service.simulator("DELETE", "/faults")
    now = service.simulator("GET", "/latency")["models"]
    service.simulator("PUT", "/latency", {**latency, "models": {**dict.fromkeys(now), **latency["models"]}})
    for key in set(service.keys("jobs/")) - earlier:
        service.wait(key.split("/")[1])


def test_the_tutorial_saves_an_image_and_retries_a_failed_model(settled: Service, tmp_path: Path) -> None:
    output = run(settled, tmp_path, "docs/tutorial.md")
    assert pictures(tmp_path) == ["lighthouse.png"]
    first, failed, retried = re.findall(r"^\w+: \d of \d models have an image$", output, re.MULTILINE)[-3:]
    assert first == "completed: 9 of 9 models have an image"
    assert retried == "completed: 3 of 3 models have an image"
    assert failed == "partial: 2 of 3 models have an image"
    assert re.search(r"Recraft V4.1 +error +provider_unavailable", output)
    assert "A job was started." in output


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_programs_of_the_readme_show_nine_images(settled: Service, tmp_path: Path, language: str) -> None:
    lines = run(settled, tmp_path, "README.md", language).splitlines()
    assert len(lines) == 9 and all(re.search(r" completed https?://\S+/images/\S+$", line) for line in lines), lines


def test_the_commands_of_the_readme_start_a_job(settled: Service, tmp_path: Path) -> None:
    assert '"totalModels":9' in run(settled, tmp_path, "README.md")


@pytest.mark.parametrize(("page", "language"), [("python", "python"), ("javascript", "js")])
def test_a_program_saves_images_retries_and_cancels(settled: Service, tmp_path: Path, page: str, language: str) -> None:
    settled.fault("recraftv4_1", "server_error", times=1)
    settled.fault("flux-3-image", "refused")
    output = run(settled, tmp_path, f"docs/how-to/call-from-{page}.md", language)
    assert len(pictures(tmp_path / "images")) == 2
    assert "The job is partial: 1 of 3 models have an image." in output
    assert "Recraft V4.1 failed, provider_unavailable: " in output and "FLUX 3 failed, refused: " in output
    assert "After the retry, the job is partial." in output
    assert re.search(r"^Cancelled: \d models\.$", output, re.MULTILINE)
    assert output.splitlines()[-1] == "INVALID_PARAMETER aspectRatio"


def test_faults_of_a_running_cloud_show_in_the_results(settled: Service, tmp_path: Path) -> None:
    lines = run(settled, tmp_path, "docs/how-to/simulate-faults.md").splitlines()
    assert "GPT Image 2.6 Flare: completed " in lines
    assert "FLUX 3: error no_image" in lines
    assert "Recraft V4.1: error refused" in lines
    assert '        "fault": "refused"' in lines
    assert settled.simulator("GET", "/faults") == {}


def test_a_model_of_an_overlay_makes_an_image(settled: Service, tmp_path: Path) -> None:
    # New processes, which know no catalogue yet: nothing asks them before the overlay is there.
    restart(settled, *KNOW_THE_CATALOGUE)
    try:
        output = run(settled, tmp_path, "docs/how-to/add-a-model.md")
    finally:
        settled.s3.delete_object(Bucket=settled.bucket, Key=OVERLAY_KEY)
        restart(settled, *KNOW_THE_CATALOGUE)
    assert "added     My Model (compatible, my-model)" in output
    assert '"model": "My Model"' in output and '"status": "completed"' in output
