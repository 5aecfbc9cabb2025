"""The simulators' pictures, faults, request log and control API, over real sockets."""

import base64
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import urllib3
from PIL import Image, ImageChops, ImageStat

from local.paths import ROOT
from local.simulator import Fault, Simulator
from local.simulator.drawing import draw, encode, palette_of, seed_for
from local.simulator.faults import FaultError, parse_faults
from local.simulator.latency import Latency, LatencyError

MODELS = ("gpt-image-2.6-sunburst", "gpt-image-2", "gemini-nano-banana-2.1", "gemini-3-pro-image")
KEY = {"Authorization": "Bearer key", "Content-Type": "application/json"}


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(maxsize=40, retries=False, timeout=10) as pool:
        yield pool


def image_request(model: str = "gpt-image-2", **more: Any) -> bytes:
    return json.dumps({"model": model, "prompt": "a red fox in snow", "size": "816x816", **more}).encode()


def ask(http: urllib3.PoolManager, simulator: Simulator, model: str = "gpt-image-2", **more: Any) -> Any:
    url = f"{simulator.url}/openai/v1/images/generations"
    return http.request("POST", url, body=image_request(model, **more), headers=KEY)


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean difference of two pictures, 0 to 255 per channel."""
    pair = [image.convert("RGB").resize((64, 64)) for image in (first, second)]
    return sum(ImageStat.Stat(ImageChops.difference(*pair)).mean) / 3


class TestDrawing:
    def test_the_same_request_gives_the_same_bytes(self) -> None:
        pictures = {encode(draw("m", "a fox", 7, (320, 320)), "png") for _ in range(2)}
        assert len(pictures) == 1

    @pytest.mark.parametrize("other", [("m", "a fox", 8), ("m", "an owl", 7), ("n", "a fox", 7)])
    def test_model_prompt_and_seed_each_change_the_picture(self, other: tuple[str, str, int]) -> None:
        assert draw("m", "a fox", 7, (320, 320)).tobytes() != draw(*other, (320, 320)).tobytes()

    def test_models_differ_visibly(self) -> None:
        pictures = [draw(model, "a lighthouse in fog", 1, (256, 256)) for model in MODELS]
        assert min(difference(a, b) for a, b in combinations(pictures, 2)) > 20

    def test_the_colors_follow_from_the_words_of_the_prompt(self) -> None:
        assert palette_of("m", "A forest.") == palette_of("m", "frog between trees")
        assert palette_of("m", "A forest.") != palette_of("m", "a sunset")

    @pytest.mark.parametrize("size", [(64, 64), (3072, 384), (96, 1024), (1024, 1024)])
    @pytest.mark.parametrize("prompt", ["", "x" * 400, "Крепость на холме 城堡 🏰", "\ud800 \x00\n", "word " * 400])
    def test_any_text_fits_any_size(self, prompt: str, size: tuple[int, int]) -> None:
        assert draw("m", prompt, 1, size).size == size

    def test_the_prompt_is_set_with_contrast(self) -> None:
        blank, lettered = (draw("m", text, 1, (512, 512)).convert("L") for text in ("", "MMMM MMMM"))
        panel = lettered.crop((30, 400, 300, 490))
        low, high = panel.getextrema()
        assert isinstance(low, int) and isinstance(high, int)
        assert high > 240 and low < 110
        assert ImageChops.difference(blank, lettered).getbbox()

    def test_files_stay_small(self) -> None:
        sizes = [len(encode(draw(model, "a fox", 1, (1024, 1024)), "png")) for model in MODELS]
        assert max(sizes) < 1_500_000

    def test_transparency_leaves_the_corners_open(self) -> None:
        image = draw("m", "a fox", 1, (256, 256), transparent=True)
        alpha = image.getchannel("A")
        assert (alpha.getpixel((0, 0)), alpha.getpixel((128, 128))) == (0, 255)

    def test_a_seed_of_its_own_follows_from_model_and_prompt(self) -> None:
        seeds = {seed_for(model, prompt) for model in ("m", "n") for prompt in ("a", "b")}
        assert len(seeds) == 4
        assert all(0 < seed <= 4_294_967_294 for seed in seeds)


class TestFaultTable:
    def test_the_written_form(self) -> None:
        faults = parse_faults("gpt-image-2=throttled:2, stability.sd3-5-large-v1:0=slow:10:1,*=refused")
        assert faults == {
            "gpt-image-2": Fault("throttled", retry_after=2),
            "stability.sd3-5-large-v1:0": Fault("slow", seconds=10, times=1),
            "*": Fault("refused"),
        }

    @pytest.mark.parametrize(
        "text", ["gpt-image-2", "m=nonsense", "m=slow:soon", "m=slow:1:0", "m=slow:1:1:1", "m=slow:-1"]
    )
    def test_what_cannot_be_read_is_named(self, text: str) -> None:
        with pytest.raises(FaultError):
            parse_faults(text)

    def test_a_fault_for_a_number_of_times_ends_exactly_then(
        self, simulator: Simulator, http: urllib3.PoolManager
    ) -> None:
        simulator.set_fault("gpt-image-2", "server_error", times=3)
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: ask(http, simulator).status, range(8)))
        assert sorted(statuses) == [200] * 5 + [500] * 3

    def test_a_fault_for_all_models_yields_to_one_of_a_single_model(
        self, simulator: Simulator, http: urllib3.PoolManager
    ) -> None:
        simulator.set_fault("*", "server_error")
        simulator.set_fault("gpt-image-2", "unavailable")
        assert ask(http, simulator).status == 503
        assert ask(http, simulator, "gpt-image-2.6-flare").status == 500

    def test_a_fault_the_protocol_does_not_have_is_no_silent_success(
        self, simulator: Simulator, http: urllib3.PoolManager
    ) -> None:
        simulator.set_fault("gpt-image-2", "late_task")
        assert ask(http, simulator).status == 501
        simulator.clear_faults()
        simulator.set_fault("*", "late_task")
        assert ask(http, simulator).status == 200


class TestLatency:
    def test_each_model_has_its_steady_place_in_the_range(self) -> None:
        latency = Latency(1, 3)
        places = [latency.seconds(model) for model in MODELS]
        assert places == [latency.seconds(model) for model in MODELS]
        assert len(set(places)) == len(MODELS)
        assert all(1 <= seconds <= 3 for seconds in places)

    @pytest.mark.parametrize("limits", [(2, 1), (-1, 1), (0, float("nan")), (0, float("inf"))])
    def test_what_is_no_range_is_refused(self, limits: tuple[float, float]) -> None:
        with pytest.raises(LatencyError):
            Latency(*limits)

    def test_images_wait_and_text_does_not(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        simulator.set_latency(0.4, 0.4)
        started = time.monotonic()
        assert ask(http, simulator).status == 200
        assert time.monotonic() - started >= 0.4
        simulator.set_latency(60, 60)
        body = json.dumps({"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "a fox"}]}).encode()
        started = time.monotonic()
        http.request("POST", f"{simulator.url}/openai/v1/chat/completions", body=body, headers=KEY)
        assert time.monotonic() - started < 20

    def test_a_change_applies_to_a_request_that_waits(self, simulator: Simulator) -> None:
        simulator.set_latency(60, 60)
        with urllib3.PoolManager(retries=False, timeout=30) as http, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, http, simulator)
            time.sleep(0.5)
            assert not waiting.done()
            simulator.set_latency(0, 0)
            assert waiting.result().status == 200

    def test_a_change_applies_to_a_task_that_is_polled(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        simulator.set_latency(60, 60)
        headers = {"x-key": "key", "Content-Type": "application/json"}
        body = json.dumps({"prompt": "a fox"}).encode()
        task = http.request("POST", f"{simulator.url}/bfl/v1/flux-pro-1.1", body=body, headers=headers).json()

        def state() -> Any:
            return http.request("GET", task["polling_url"], headers=headers).json()["status"]

        assert state() == "Pending"
        simulator.set_latency(0, 0)
        assert state() == "Ready"
        simulator.set_latency(60, 60)
        assert state() == "Ready", "what was ready is not any more"


class TestConnection:
    def test_more_than_twenty_at_once(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        simulator.set_latency(3, 3)
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: ask(http, simulator, quality="low"), range(24)))
        assert [answer.status for answer in answers] == [200] * 24
        first_answered = min(record.answered or 0.0 for record in simulator.requests)
        assert sum(record.received < first_answered for record in simulator.requests) > 20

    def test_a_connection_serves_request_after_request(self, simulator: Simulator) -> None:
        with urllib3.HTTPConnectionPool("127.0.0.1", simulator.port, maxsize=1) as pool:
            for _ in range(3):
                refused = pool.request("POST", "/openai/v1/images/generations", body=b"{}", headers=KEY)
                assert refused.status == 400
            assert pool.num_connections == 1

    def test_a_chunked_body_is_read(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        body = image_request(quality="low")
        url = f"{simulator.url}/openai/v1/images/generations"
        answer = http.request("POST", url, body=iter([body[:10], body[10:]]), headers=KEY, chunked=True)
        assert answer.status == 200

    def test_dropped_closes_without_an_answer(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        simulator.set_fault("gpt-image-2", "dropped")
        with pytest.raises(urllib3.exceptions.ProtocolError, match="without response"):
            ask(http, simulator)
        (record,) = simulator.requests
        assert (record.status, record.fault, record.model) == (None, "dropped", "gpt-image-2")

    def test_dropped_before_resets(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        simulator.set_fault("*", "dropped_before", times=2)
        with pytest.raises(urllib3.exceptions.ProtocolError, match="reset"):
            ask(http, simulator)
        with pytest.raises(urllib3.exceptions.ProtocolError):
            url = f"{simulator.url}/gemini/v1beta/models/gemini-3-pro-image:generateContent"
            http.request("POST", url, body=b" " * 3_000_000, headers={**KEY, "x-goog-api-key": "key"})
        assert [record.body is None for record in simulator.requests] == [False, True]

    def test_crash_spares_a_caller_that_is_no_lambda_worker(
        self, simulator: Simulator, http: urllib3.PoolManager
    ) -> None:
        simulator.set_fault("gpt-image-2", "crash")
        with pytest.raises(urllib3.exceptions.ProtocolError):
            ask(http, simulator)

    def test_crash_kills_a_lambda_worker(self, simulator: Simulator, tmp_path: Path) -> None:
        simulator.set_fault("gpt-image-2", "crash")
        worker = tmp_path / "ministack-lambda-generate" / "worker.py"
        worker.parent.mkdir()
        worker.write_text(
            "import sys, urllib.request\n"
            "request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), {'Authorization': 'Bearer key', "
            "'Content-Type': 'application/json'})\n"
            "urllib.request.urlopen(request, timeout=10)\n"
        )
        command = [
            sys.executable,
            str(worker),
            f"{simulator.url}/openai/v1/images/generations",
            image_request().decode(),
        ]
        assert subprocess.run(command, capture_output=True, timeout=60).returncode == -signal.SIGKILL

    def test_the_second_port_closes_at_the_end(self, http: urllib3.PoolManager) -> None:
        with Simulator(latency=(0, 0), faults={"*": Fault("other_port_url")}) as simulator:
            url = f"{simulator.url}/recraft/v1/images/generations"
            answer = http.request("POST", url, json={"prompt": "a fox"}, headers=KEY)
            image = answer.json()["data"][0]["url"]
            assert http.request("GET", image).status == 200
            assert [record.path.split("/")[2] for record in simulator.requests] == ["v1", "delivery"]
        with urllib3.PoolManager(retries=False) as fresh, pytest.raises(urllib3.exceptions.NewConnectionError):
            fresh.request("GET", image)

    def test_slow_does_not_hold_up_the_end(self, http: urllib3.PoolManager) -> None:
        with Simulator(latency=(0, 0), faults={"*": Fault("slow")}) as simulator:
            outcome: list[Exception] = []

            def wait() -> None:
                try:
                    ask(http, simulator)
                except Exception as error:
                    outcome.append(error)

            caller = threading.Thread(target=wait)
            caller.start()
            while not (simulator.requests and simulator.requests[0].model == "gpt-image-2"):
                time.sleep(0.01)
            started = time.monotonic()
        caller.join(20)
        assert time.monotonic() - started < 20
        assert isinstance(outcome[0], urllib3.exceptions.ProtocolError)


class TestSpoiltImages:
    @pytest.fixture
    def image(self, simulator: Simulator, http: urllib3.PoolManager) -> Any:
        def fetch(fault: str, **more: Any) -> bytes:
            simulator.set_fault("gpt-image-2", fault)
            answer = ask(http, simulator, **more).json()
            return base64.b64decode(answer["data"][0]["b64_json"])

        return fetch

    def test_wrong_mime_is_another_format_than_the_label(self, image: Any) -> None:
        assert Image.open(io.BytesIO(image("wrong_mime"))).format == "JPEG"
        assert Image.open(io.BytesIO(image("wrong_mime", output_format="jpeg"))).format == "PNG"

    def test_not_an_image_is_html(self, image: Any) -> None:
        assert image("not_an_image").startswith(b"<!DOCTYPE html>")

    def test_oversized_exceeds_forty_megabytes(self, image: Any) -> None:
        assert len(image("oversized")) > 40 * 1024 * 1024

    def test_bad_json_cannot_be_read(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        simulator.set_fault("gpt-image-2", "bad_json")
        answer = ask(http, simulator)
        assert answer.status == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.data)


class TestRequestLog:
    def test_it_shows_the_request_but_no_key(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        before = time.time()
        ask(http, simulator, quality="low")
        (record,) = simulator.requests
        assert (record.provider, record.model, record.method, record.status) == ("openai", "gpt-image-2", "POST", 200)
        assert record.path == "/openai/v1/images/generations"
        assert record.body["prompt"] == "a red fox in snow"
        assert record.headers["authorization"] == hashlib.sha256(b"Bearer key").hexdigest()
        assert record.answered is not None
        assert before <= record.received <= record.answered <= time.time()

    def test_the_control_api_lists_and_forgets(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        ask(http, simulator, quality="low")
        url = f"{simulator.url}/_simulator/requests"
        assert [entry["model"] for entry in http.request("GET", url).json()] == ["gpt-image-2"]
        assert http.request("GET", f"{url}?provider=gemini").json() == []
        assert http.request("DELETE", url).json() == []


class TestControl:
    def test_faults(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        url = f"{simulator.url}/_simulator/faults"
        fault = {"fault": "throttled", "retryAfter": 2, "times": 1}
        assert http.request("PUT", url, json={"gpt-image-2": fault}).json() == {"gpt-image-2": fault}
        assert http.request("PUT", url, json={"m": {"fault": "refused"}}).json() == {
            "gpt-image-2": fault,
            "m": {"fault": "refused"},
        }
        assert ask(http, simulator).headers["Retry-After"] == "2"
        assert http.request("GET", url).json() == {"m": {"fault": "refused"}}
        assert http.request("PUT", url, json={"m": None}).json() == {}

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"[]",
            b'{"m": {"fault": "no"}}',
            b'{"m": {"fault": "slow", "x": 1}}',
            b'{"m": {"fault": "slow", "times": 0.5}}',
        ],
    )
    def test_a_malformed_fault_changes_nothing(
        self, simulator: Simulator, http: urllib3.PoolManager, body: bytes
    ) -> None:
        answer = http.request("PUT", f"{simulator.url}/_simulator/faults", body=body)
        assert answer.status == 400
        assert answer.json()["error"]
        assert http.request("GET", f"{simulator.url}/_simulator/faults").json() == {}

    def test_latency(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        url = f"{simulator.url}/_simulator/latency"
        changed = {"min": 0.0, "max": 2.0, "models": {"gpt-image-2": [1.0, 1.5]}}
        assert http.request("PUT", url, json={"max": 2, "models": {"gpt-image-2": [1, 1.5]}}).json() == changed
        assert http.request("PUT", url, json={"min": 3}).status == 400
        assert http.request("GET", url).json() == changed

    def test_health_and_what_is_not_there(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        assert http.request("GET", f"{simulator.url}/_simulator/health").json()["status"] == "ok"
        assert http.request("GET", f"{simulator.url}/_simulator/nothing").status == 404
        assert "openai" in http.request("GET", f"{simulator.url}/nowhere").json()["error"]


class TestCommand:
    def test_it_serves_until_told_to_end(self, tmp_path: Path, http: urllib3.PoolManager) -> None:
        port_file = tmp_path / "port"
        command = [sys.executable, "-m", "local.simulator", "--port-file", str(port_file), "--latency-max", "0.5"]
        root = ROOT
        environment = {**os.environ, "SIMULATOR_FAULTS": "gpt-image-2=unavailable"}
        process = subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + 60
            while not port_file.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            url = f"http://127.0.0.1:{int(port_file.read_text())}/openai/v1/images/generations"
            assert http.request("POST", url, body=image_request(), headers=KEY).status == 503
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "openai POST /openai/v1/images/generations gpt-image-2 503" in log
        assert "fault=unavailable" in log

    def test_a_wrong_fault_is_explained(self) -> None:
        command = [sys.executable, "-m", "local.simulator", "--faults", "m=nonsense"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert result.returncode == 2
        assert "Unknown fault 'nonsense'" in result.stderr
