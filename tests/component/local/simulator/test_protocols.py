"""The wire formats of the simulated providers, over real sockets."""

import base64
import hashlib
import io
import json
import re
import time
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import urljoin

import boto3
import openai
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError
from google import genai
from google.genai import types
from PIL import Image, ImageFilter, ImageStat

from local.simulator import Simulator


@pytest.fixture(scope="module")
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=10) as pool:
        yield pool


def decoded(data: bytes | str) -> Image.Image:
    """An image from its bytes or its base64 text."""
    return Image.open(io.BytesIO(base64.b64decode(data) if isinstance(data, str) else data))


def shape(data: bytes | str) -> tuple[str | None, tuple[int, int]]:
    """Format and size."""
    image = decoded(data)
    image.load()
    return image.format, image.size


def sharpness(data: bytes) -> float:
    """How much there is of edges."""
    return ImageStat.Stat(decoded(data).convert("L").filter(ImageFilter.FIND_EDGES)).mean[0]


class Door:
    """One provider as its callers see it."""

    def __init__(self, http: urllib3.PoolManager, base: str, headers: dict[str, str]) -> None:
        self.http, self.base, self.headers = http, base, headers

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        headers = more.pop("headers", self.headers)
        if isinstance(body, bytes):
            return self.http.request("POST", self.base + path, body=body, headers=headers, **more)
        return self.http.request("POST", self.base + path, json=body, headers=headers, **more)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        url = path if path.startswith("http") else self.base + path
        return self.http.request("GET", url, headers=self.headers if headers is None else headers, redirect=False)


class TestOpenAI:
    MODEL = "gpt-image-2"

    @pytest.fixture
    def door(self, simulator: Simulator, http: urllib3.PoolManager) -> Door:
        headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
        return Door(http, f"{simulator.url}/openai/v1", headers)

    def draw(self, door: Door, **more: Any) -> Any:
        return door.post("/images/generations", {"model": self.MODEL, "prompt": "a red fox", **more})

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            ({}, ("PNG", (1024, 1024))),
            ({"size": "1536x1024", "output_format": "jpeg"}, ("JPEG", (1536, 1024))),
            ({"size": "1024x1536", "output_format": "webp", "output_compression": 40}, ("WEBP", (1024, 1536))),
            ({"size": "1280x720"}, ("PNG", (1280, 720))),
            ({"size": "1024x640"}, ("PNG", (1024, 640))),
        ],
    )
    def test_an_image_as_asked_for(self, door: Door, request_: Any, expected: Any) -> None:
        answer = self.draw(door, **request_)
        document = answer.json()
        assert answer.status == 200
        assert shape(document["data"][0]["b64_json"]) == expected
        assert document["size"] == "x".join(map(str, expected[1]))
        assert set(document["data"][0]) == {"b64_json"}
        assert document["quality"] == "high"
        assert answer.headers["x-request-id"].startswith("req_")

    def test_tokens_follow_quality_size_and_number(self, door: Door) -> None:
        one = self.draw(door, quality="low", size="816x816").json()["usage"]
        three = self.draw(door, quality="low", size="816x816", n=3).json()
        assert len({entry["b64_json"] for entry in three["data"]}) == 3
        assert three["usage"]["output_tokens"] == 3 * one["output_tokens"]
        assert one["total_tokens"] == one["input_tokens"] + one["output_tokens"]
        assert self.draw(door, quality="high", size="816x816").json()["usage"]["output_tokens"] > one["output_tokens"]

    def test_a_transparent_background(self, door: Door) -> None:
        document = self.draw(door, background="transparent").json()
        assert document["background"] == "transparent"
        assert decoded(document["data"][0]["b64_json"]).mode == "RGBA"

    @pytest.mark.parametrize(
        ("request_", "status", "kind", "code", "param"),
        [
            ({"response_format": "b64_json"}, 400, "invalid_request_error", "unknown_parameter", "response_format"),
            ({"seed": 1}, 400, "invalid_request_error", "unknown_parameter", "seed"),
            ({"size": "1000x1000"}, 400, "image_generation_user_error", "invalid_value", "size"),
            ({"size": "4096x1024"}, 400, "image_generation_user_error", "invalid_value", "size"),
            ({"size": "512x512"}, 400, "image_generation_user_error", "invalid_value", "size"),
            ({"size": "1024x624"}, 400, "image_generation_user_error", "invalid_value", "size"),
            ({"quality": "max"}, 400, "invalid_request_error", "invalid_value", "quality"),
            ({"complexity": "low"}, 400, "invalid_request_error", "unsupported_parameter", "complexity"),
            ({"n": 11}, 400, "invalid_request_error", "integer_above_max_value", "n"),
            ({"n": "1"}, 400, "invalid_request_error", "invalid_type", "n"),
            ({"n": True}, 400, "invalid_request_error", "invalid_type", "n"),
            ({"prompt": ""}, 400, "invalid_request_error", "empty_string", "prompt"),
            ({"prompt": None}, 400, "invalid_request_error", "missing_required_parameter", "prompt"),
            ({"prompt": "x" * 32_001}, 400, "invalid_request_error", "string_above_max_length", "prompt"),
            ({"model": "no-such"}, 404, "invalid_request_error", "model_not_found", None),
            ({"model": "dall-e-3"}, 404, "invalid_request_error", "model_not_found", None),
            ({"model": "gpt-image-1"}, 404, "invalid_request_error", "model_not_found", None),
            (
                {"background": "transparent", "output_format": "jpeg"},
                400,
                "invalid_request_error",
                "invalid_value",
                "background",
            ),
        ],
    )
    def test_what_it_refuses(
        self, door: Door, request_: Any, status: int, kind: str, code: str, param: str | None
    ) -> None:
        answer = self.draw(door, **request_)
        error = answer.json()["error"]
        assert (answer.status, error["type"], error["code"], error["param"]) == (status, kind, code, param)
        assert error["message"]

    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [
            ("quota_exhausted", 429, "insufficient_quota"),
            ("refused", 400, "moderation_blocked"),
            ("refused_output", 400, "moderation_blocked"),
            ("retired", 404, "model_not_found"),
            ("bad_key", 401, "invalid_api_key"),
            ("bad_parameter", 400, "invalid_value"),
            ("server_error", 500, "server_error"),
            ("unavailable", 503, None),
        ],
    )
    def test_faults(self, simulator: Simulator, door: Door, fault: str, status: int, code: str | None) -> None:
        simulator.set_fault(self.MODEL, fault)
        answer = self.draw(door)
        assert (answer.status, answer.json()["error"]["code"]) == (status, code)
        assert "Retry-After" not in answer.headers

    def test_a_refusal_says_at_which_stage(self, simulator: Simulator, door: Door) -> None:
        for fault, stage in (("refused", "input"), ("refused_output", "output")):
            simulator.set_fault(self.MODEL, fault)
            answer = self.draw(door)
            error = answer.json()["error"]
            assert error["moderation_details"]["moderation_stage"] == stage
            assert error["message"].startswith("Your request was rejected by the safety system")
            assert answer.headers["x-request-id"] in error["message"]

    def test_throttling_with_and_without_a_hint(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "throttled", retry_after=2)
        answer = self.draw(door)
        assert (answer.status, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert answer.headers["Retry-After"] == "2"
        simulator.set_fault(self.MODEL, "throttled")
        assert "Retry-After" not in self.draw(door).headers

    def test_no_image(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "no_image")
        assert self.draw(door).json()["data"] == []

    @pytest.mark.parametrize(
        ("headers", "code"), [({}, None), ({"Authorization": "Bearer bad-key"}, "invalid_api_key")]
    )
    def test_keys(self, door: Door, headers: dict[str, str], code: str | None) -> None:
        for answer in (door.get("/models", headers=headers), door.post("/images/generations", {}, headers=headers)):
            assert (answer.status, answer.json()["error"]["code"]) == (401, code)

    def test_the_content_type_and_the_body(self, door: Door) -> None:
        headers = {**door.headers, "Content-Type": "text/plain"}
        answer = door.post("/images/generations", b"{}", headers=headers)
        assert answer.json()["error"]["code"] == "unsupported_content_type"
        assert "JSON" in door.post("/images/generations", b"{").json()["error"]["message"]

    def test_models_come_and_go_by_their_dates(self, door: Door, http: urllib3.PoolManager) -> None:
        listed = {entry["id"]: entry for entry in door.get("/models").json()["data"]}
        assert listed["gpt-image-1.5"]["shutdown_date"] == "2026-12-01"
        assert listed["gpt-image-2"]["shutdown_date"] is None
        assert "dall-e-3" not in listed
        assert door.get("/models/gpt-image-2").json()["id"] == "gpt-image-2"
        assert door.get("/models/dall-e-3").status == 404
        with Simulator(latency=(0, 0), today=date(2026, 12, 1)) as december:
            later = Door(http, f"{december.url}/openai/v1", door.headers)
            assert later.get("/models/gpt-image-1.5").status == 404

    def test_streaming(self, door: Door) -> None:
        answer = self.draw(door, stream=True, partial_images=2, quality="low")
        lines = [line for line in answer.data.decode().split("\n") if line.startswith("data: ")]
        events = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert [event["type"].rpartition(".")[2] for event in events] == ["partial_image"] * 2 + ["completed"]
        assert shape(events[-1]["b64_json"]) == ("PNG", (1024, 1024))
        assert events[-1]["usage"]["output_tokens"]

    def test_the_official_client(self, simulator: Simulator) -> None:
        with openai.OpenAI(api_key="key", base_url=f"{simulator.url}/openai/v1", max_retries=0) as client:
            result = client.images.generate(model=self.MODEL, prompt="a fox", size="1024x1024", quality="low")
            assert result.data and result.usage and shape(result.data[0].b64_json or "")[1] == (1024, 1024)
            with pytest.raises(openai.NotFoundError):
                client.images.generate(model="dall-e-2", prompt="a fox")


def picture(kind: str, color: str = "blue", size: tuple[int, int] = (96, 64)) -> bytes:
    """An encoded image of one color, of a size in pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


FILE = ("a.png", picture("PNG"), "image/png")
PHOTO = in_base64(picture("JPEG"))
LARGE = bytes(50_000_000)


class TestOpenAIEdits:
    @pytest.fixture
    def door(self, simulator: Simulator, http: urllib3.PoolManager) -> Door:
        return Door(http, f"{simulator.url}/openai/v1", {"Authorization": "Bearer key"})

    def edit(self, door: Door, files: list[tuple[str, Any]], **more: str) -> Any:
        fields = [*{"model": "gpt-image-2", "prompt": "a red fox", "quality": "low", **more}.items(), *files]
        return door.http.request("POST", f"{door.base}/images/edits", fields=fields, headers=door.headers)

    @pytest.mark.parametrize(
        "files",
        [
            [("image", FILE)],
            [("image[]", FILE)],
            [("image[]", FILE), ("image[]", ("b", picture("JPEG"), "image/jpeg"))],
            [("image[]", ("c.webp", picture("WEBP"), "image/webp"))] * 16,
        ],
    )
    def test_it_edits(self, door: Door, files: Any) -> None:
        document = self.edit(door, files, n="2", size="1280x720", output_format="jpeg").json()
        assert [shape(entry["b64_json"]) for entry in document["data"]] == [("JPEG", (1280, 720))] * 2
        assert document["usage"]["input_tokens_details"]["image_tokens"] == 3 * 2 * len(files)
        usage = document["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]

    def test_every_reference_is_in_the_image(self, door: Door) -> None:
        colors = ("blue", "lime", "red")
        files = [("image[]", (color, picture("PNG", color), "image/png")) for color in colors]
        image = decoded(self.edit(door, files).json()["data"][0]["b64_json"]).convert("RGB")
        row = [image.getpixel((x, 110)) for x in range(0, image.width, 4)]
        places = [row.index(wanted) for wanted in ((0, 0, 255), (0, 255, 0), (255, 0, 0))]
        assert places == sorted(places)

    @pytest.mark.parametrize(
        ("files", "more", "code", "param"),
        [
            ([], {}, "missing_required_parameter", "image"),
            ([("picture", FILE)], {}, "unknown_parameter", "picture"),
            ([("images[]", FILE)], {}, "unknown_parameter", "images[]"),
            ([("image", FILE), ("image", FILE)], {}, "duplicate_parameter", "image"),
            ([("image", FILE), ("image[]", FILE)], {}, "duplicate_parameter", "image"),
            ([("image[]", FILE)] * 17, {}, "array_above_max_length", "image"),
            ([("image", ("a.gif", picture("GIF"), "image/gif"))], {}, "unsupported_file_mimetype", "image"),
            ([("image", ("a.png", picture("PNG"), "text/plain"))], {}, "unsupported_file_mimetype", "image"),
            ([("image", ("a.png", picture("JPEG"), "image/png"))], {}, "invalid_image_file", "image"),
            ([("image", ("a.png", picture("PNG")[:60], "image/png"))], {}, "invalid_image_file", "image"),
            ([("image", ("a.png", b"", "image/png"))], {}, "invalid_image_file", "image"),
            (
                [("image", ("a.png", picture("PNG") + bytes(50_000_000), "image/png"))],
                {},
                "invalid_image_file",
                "image",
            ),
            ([("image", FILE)], {"image": "x"}, "unknown_parameter", "image"),
            ([("image", FILE)], {"seed": "1"}, "unknown_parameter", "seed"),
            ([("image", FILE)], {"n": "11"}, "integer_above_max_value", "n"),
            ([("image", FILE)], {"model": "none"}, "model_not_found", None),
            ([("image", FILE)], {"model": "gpt-5.4-mini"}, "invalid_value", "model"),
        ],
        ids=lambda value: None if isinstance(value, list) else str(value),
    )
    def test_what_it_refuses(self, door: Door, files: Any, more: Any, code: str, param: str | None) -> None:
        answer = self.edit(door, files, **more)
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["param"]) == (
            404 if code == "model_not_found" else 400,
            code,
            param,
        )

    def test_what_is_not_a_form(self, door: Door) -> None:
        body = {"model": "gpt-image-2", "prompt": "a red fox"}
        assert door.post("/images/edits", body).json()["error"]["code"] == "unsupported_content_type"
        broken = {**door.headers, "Content-Type": "multipart/form-data; boundary=x"}
        assert door.post("/images/edits", b"--x\r\nnonsense", headers=broken).status == 400

    def test_the_log_has_the_digest_of_each_file(self, simulator: Simulator, door: Door) -> None:
        self.edit(door, [("image[]", FILE), ("image[]", FILE)])
        (record,) = simulator.requests
        entry = {"fileName": "a.png", "mimeType": "image/png", "bytes": len(FILE[1])}
        digest = hashlib.sha256(FILE[1]).hexdigest()
        assert record.body["image[]"] == [{**entry, "sha256": digest}] * 2 and record.body["prompt"] == "a red fox"


class TestGeminiEdits:
    MODEL = "gemini-3-pro-image"

    @pytest.fixture
    def door(self, simulator: Simulator, http: urllib3.PoolManager) -> Door:
        return Door(http, f"{simulator.url}/gemini/v1beta", {"x-goog-api-key": "key"})

    def edit(self, door: Door, *files: dict[str, Any]) -> Any:
        parts = [*({"inlineData": file} for file in files), {"text": "a red fox"}]
        return door.post(f"/models/{self.MODEL}:generateContent", {"contents": [{"parts": parts}]})

    @pytest.mark.parametrize("count", [1, 14])
    def test_it_edits(self, simulator: Simulator, door: Door, count: int) -> None:
        data = picture("WEBP")
        file = {"mimeType": "image/webp", "data": base64.b64encode(data).decode()}
        answer = self.edit(door, *[file] * count)
        usage = answer.json()["usageMetadata"]
        assert answer.status == 200
        assert {"modality": "IMAGE", "tokenCount": 560 * count} in usage["promptTokensDetails"]
        assert usage["promptTokenCount"] == sum(detail["tokenCount"] for detail in usage["promptTokensDetails"])
        (record,) = simulator.requests
        logged = record.body["contents"][0]["parts"][0]["inlineData"]
        digest = hashlib.sha256(data).hexdigest()
        assert logged == {"mimeType": "image/webp", "data": {"bytes": len(data), "sha256": digest}}

    @pytest.mark.parametrize(
        ("file", "count", "says"),
        [
            ({"mimeType": "image/png", "data": picture("PNG")}, 15, "The maximum number of images is 14."),
            ({"mimeType": "image/gif", "data": picture("GIF")}, 1, "Unsupported MIME type: image/gif"),
            ({"mimeType": "image/png", "data": picture("JPEG")}, 1, "Provided image is not valid."),
            ({"mimeType": "image/png", "data": picture("PNG")[:60]}, 1, "Provided image is not valid."),
            ({"mimeType": "image/png", "data": "*"}, 1, "Base64 decoding failed"),
            ({"mimeType": "image/png", "data": None}, 1, "Base64 decoding failed"),
            ({"data": picture("PNG")}, 1, "Unsupported MIME type"),
        ],
        ids=lambda value: None if isinstance(value, dict) else str(value),
    )
    def test_what_it_refuses(self, door: Door, file: dict[str, Any], count: int, says: str) -> None:
        data = file["data"]
        encoded = {**file, "data": base64.b64encode(data).decode() if isinstance(data, bytes) else data}
        answer = self.edit(door, *[encoded] * count)
        assert answer.status == 400 and says in answer.json()["error"]["message"]


class TestOpenAIText:
    @pytest.fixture
    def door(self, simulator: Simulator, http: urllib3.PoolManager) -> Door:
        headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
        return Door(http, f"{simulator.url}/openai/v1", headers)

    def chat(self, door: Door, *messages: str, **more: Any) -> Any:
        content = [{"role": "user", "content": message} for message in messages]
        return door.post("/chat/completions", {"model": "gpt-5.4-mini", "messages": content, **more})

    def test_a_description_contains_the_prompt(self, door: Door) -> None:
        documents = [self.chat(door, "a clockwork owl on a brass perch").json() for _ in range(2)]
        text = documents[0]["choices"][0]["message"]["content"]
        assert "clockwork owl on a brass perch" in text
        assert text == documents[1]["choices"][0]["message"]["content"]
        assert 90 <= documents[0]["usage"]["completion_tokens"] <= 100
        assert 60 <= len(text.split()) <= 110

    def test_the_limit_of_tokens_cuts(self, door: Door) -> None:
        document = self.chat(door, "a fox", max_completion_tokens=20).json()
        assert document["choices"][0]["finish_reason"] == "length"
        assert document["usage"]["completion_tokens"] <= 20

    @pytest.mark.parametrize(("text", "expected"), [("a kitten", "NO"), ("a forbidden-by-simulator scene", "YES")])
    def test_a_question_for_yes_or_no(self, door: Door, text: str, expected: str) -> None:
        question = f'Is this inappropriate? Answer only YES or NO.\n"{text}"'
        assert self.chat(door, question).json()["choices"][0]["message"]["content"] == expected

    @pytest.mark.parametrize(
        ("request_", "param"),
        [
            ({"max_tokens": 100}, "max_tokens"),
            ({"temperature": 0.5}, "temperature"),
            ({"nonsense": 1}, "nonsense"),
            ({"messages": []}, "messages"),
        ],
    )
    def test_what_it_refuses(self, door: Door, request_: Any, param: str) -> None:
        answer = self.chat(door, "a fox", **request_)
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)

    def test_image_models_do_not_chat(self, door: Door) -> None:
        assert self.chat(door, "a fox", model="gpt-image-2").status == 404


class TestGemini:
    MODEL = "gemini-nano-banana-2.1"

    @pytest.fixture
    def door(self, simulator: Simulator, http: urllib3.PoolManager) -> Door:
        headers = {"x-goog-api-key": "key", "Content-Type": "application/json"}
        return Door(http, f"{simulator.url}/gemini/v1beta", headers)

    def draw(self, door: Door, model: str | None = None, image: Any = None, **more: Any) -> Any:
        config = {"responseModalities": ["IMAGE"], **({"imageConfig": image} if image else {}), **more}
        body = {"contents": [{"role": "user", "parts": [{"text": "a red fox"}]}], "generationConfig": config}
        return door.post(f"/models/{model or self.MODEL}:generateContent", body)

    @pytest.mark.parametrize(
        ("image", "size"),
        [
            (None, (1024, 1024)),
            ({"aspectRatio": "16:9"}, (1376, 768)),
            ({"aspectRatio": "9:16", "imageSize": "2K"}, (1536, 2752)),
            ({"aspect_ratio": "1:8"}, (384, 3072)),
        ],
    )
    def test_an_image_as_asked_for(self, door: Door, image: Any, size: tuple[int, int]) -> None:
        answer = self.draw(door, image=image)
        document = answer.json()
        (part,) = document["candidates"][0]["content"]["parts"]
        assert answer.status == 200
        assert part["inlineData"]["mimeType"] == "image/jpeg"
        assert shape(part["inlineData"]["data"]) == ("JPEG", size)
        assert document["candidates"][0]["finishReason"] == "STOP"
        assert document["modelVersion"] == self.MODEL
        assert document["responseId"]
        usage = document["usageMetadata"]
        counted = usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
        assert usage["totalTokenCount"] == counted

    def test_words_and_a_draft_come_along_where_asked_for(self, door: Door) -> None:
        answer = self.draw(door, responseModalities=["TEXT", "IMAGE"], thinkingConfig={"includeThoughts": True})
        parts = answer.json()["candidates"][0]["content"]["parts"]
        assert [part.get("thought", False) for part in parts] == [True, False, False]
        assert parts[1]["text"]
        assert parts[0]["inlineData"]["data"] != parts[2]["inlineData"]["data"]

    @pytest.mark.parametrize(
        "request_",
        [
            {"image": {"aspectRatio": "7:3"}},
            {"image": {"imageSize": "1k"}},
            {"image": {"imageSize": "512"}},
            {"image": {"personGeneration": "ALLOW_ALL"}},
            {"image": {"outputMimeType": "image/png"}},
            {"seed": 1},
            {"responseModalities": ["PICTURE"]},
            {"nonsense": 1},
            {"candidateCount": 2},
            {"model": "gemini-3.1-flash-lite-image", "image": {"imageSize": "2K"}},
            {"model": "gemini-3-pro-image", "image": {"aspectRatio": "1:8"}},
            {"model": "gemini-3.5-flash"},
        ],
    )
    def test_invalid_arguments(self, door: Door, request_: Any) -> None:
        answer = self.draw(door, **request_)
        assert (answer.status, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")

    def test_a_content_is_needed(self, door: Door) -> None:
        bodies: list[Any] = [{}, {"contents": []}, {"contents": [{"parts": []}]}, {"contents": [{"parts": [{}]}]}]
        for body in bodies:
            assert door.post(f"/models/{self.MODEL}:generateContent", body).status == 400

    @pytest.mark.parametrize("model", ["no-such", "imagen-4.0-generate-001", "gemini-3-pro-image-preview"])
    def test_unknown_and_shut_down_models_look_the_same(self, door: Door, model: str) -> None:
        answer = self.draw(door, model=model)
        assert (answer.status, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
        assert f"models/{model} is not found for API version v1beta" in answer.json()["error"]["message"]
        listed = {entry["name"] for entry in door.get("/models").json()["models"]}
        assert f"models/{model}" not in listed
        assert f"models/{self.MODEL}" in listed

    def test_keys(self, door: Door) -> None:
        missing = door.get("/models", headers={})
        assert (missing.status, missing.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
        error = door.get("/models", headers={"x-goog-api-key": "bad-key"}).json()["error"]
        assert (error["code"], error["status"], error["details"][0]["reason"]) == (
            400,
            "INVALID_ARGUMENT",
            "API_KEY_INVALID",
        )

    @pytest.mark.parametrize(
        ("fault", "status", "name"),
        [
            ("retired", 404, "NOT_FOUND"),
            ("bad_key", 400, "INVALID_ARGUMENT"),
            ("bad_parameter", 400, "INVALID_ARGUMENT"),
            ("server_error", 500, "INTERNAL"),
            ("unavailable", 503, "UNAVAILABLE"),
        ],
    )
    def test_errors(self, simulator: Simulator, door: Door, fault: str, status: int, name: str) -> None:
        simulator.set_fault(self.MODEL, fault)
        answer = self.draw(door)
        assert (answer.status, answer.json()["error"]["status"]) == (status, name)

    def test_throttling_and_a_spent_day_differ_in_the_details(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "throttled", retry_after=37)
        details = self.draw(door).json()["error"]["details"]
        assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"} in details
        assert "PerMinute" in details[0]["violations"][0]["quotaId"]
        simulator.set_fault(self.MODEL, "throttled")
        assert len(self.draw(door).json()["error"]["details"]) == 1
        simulator.set_fault(self.MODEL, "quota_exhausted")
        answer = self.draw(door)
        assert answer.status == 429
        assert "PerDay" in answer.json()["error"]["details"][0]["violations"][0]["quotaId"]

    def test_refusals_come_with_http_200(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "refused")
        answer = self.draw(door)
        assert answer.status == 200
        assert answer.json()["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"
        assert "candidates" not in answer.json()
        for fault, reason in (("refused_output", "IMAGE_SAFETY"), ("no_image", "NO_IMAGE")):
            simulator.set_fault(self.MODEL, fault)
            (candidate,) = self.draw(door).json()["candidates"]
            assert candidate["finishReason"] == reason
            assert "content" not in candidate
        simulator.set_fault(self.MODEL, "text_only")
        (candidate,) = self.draw(door).json()["candidates"]
        assert [set(part) for part in candidate["content"]["parts"]] == [{"text"}]

    def test_an_image_among_the_thoughts_alone(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "thought_only")
        config: Any = {"responseModalities": ["TEXT", "IMAGE"], "thinkingConfig": {"includeThoughts": True}}
        parts = self.draw(door, **config).json()["candidates"][0]["content"]["parts"]
        assert [part["thought"] for part in parts if "inlineData" in part] == [True]

    def test_a_block_without_a_reason_beside_an_image(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "unspecified_block")
        document = self.draw(door).json()
        assert document["promptFeedback"] == {"blockReason": "BLOCK_REASON_UNSPECIFIED"}
        assert shape(document["candidates"][0]["content"]["parts"][0]["inlineData"]["data"])[0] == "JPEG"

    def test_a_free_tier_of_nothing(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "free_tier_zero")
        answer = self.draw(door)
        error = answer.json()["error"]
        failure, retry = error["details"]
        assert (answer.status, error["status"], retry["retryDelay"]) == (429, "RESOURCE_EXHAUSTED", "37s")
        metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
        assert failure["violations"][0]["quotaMetric"] == metric
        assert failure["violations"][0]["quotaId"] == "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
        words = f"* Quota exceeded for metric: {metric}, limit: 0, model: {self.MODEL}\nPlease retry in 37s."
        assert error["message"].endswith(words)

    @pytest.mark.parametrize(("seconds", "status"), [("5", 400), ("9.5", 400), ("10", 200), ("soon", 200)])
    def test_a_deadline_that_is_too_short(self, door: Door, seconds: str, status: int) -> None:
        door.headers["x-server-timeout"] = seconds
        answer = self.draw(door)
        assert answer.status == status
        if status == 400:
            message = f"Manually set deadline {seconds}s is too short. Minimum allowed deadline is 10s."
            assert answer.json()["error"] == {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}

    def test_text_models_write(self, door: Door) -> None:
        body = {
            "systemInstruction": {"parts": [{"text": "Expand this prompt."}]},
            "contents": [{"parts": [{"text": "a clockwork owl"}]}],
        }
        document = door.post("/models/gemini-3.5-flash:generateContent", body).json()
        assert "clockwork owl" in document["candidates"][0]["content"]["parts"][0]["text"]
        assert 90 <= document["usageMetadata"]["candidatesTokenCount"] <= 100

    def test_the_official_client(self, simulator: Simulator) -> None:
        options = types.HttpOptions(base_url=f"{simulator.url}/gemini", timeout=10_000)
        client = genai.Client(api_key="key", http_options=options)
        image = types.ImageConfig(aspect_ratio="16:9")
        config = types.GenerateContentConfig(response_modalities=["IMAGE"], image_config=image)
        result = client.models.generate_content(model=self.MODEL, contents="a fox", config=config)
        assert result.candidates and result.candidates[0].content and result.candidates[0].content.parts
        blob = result.candidates[0].content.parts[0].inline_data
        assert blob and blob.data and shape(blob.data) == ("JPEG", (1376, 768))


class TestBedrock:
    MODEL = "stability.sd3-5-large-v1:0"

    @pytest.fixture
    def client(self, simulator: Simulator) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        return boto3.client(
            "bedrock-runtime", region_name="us-west-2", endpoint_url=f"{simulator.url}/bedrock", config=config
        )

    def invoke(self, client: Any, model: str | None = None, **more: Any) -> Any:
        body = json.dumps({"prompt": "a red fox", **more})
        return json.loads(client.invoke_model(modelId=model or self.MODEL, body=body)["body"].read())

    def refusal(self, client: Any, *arguments: Any, **more: Any) -> tuple[int, str, str]:
        with pytest.raises(ClientError) as caught:
            self.invoke(client, *arguments, **more)
        response = caught.value.response
        return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]

    def test_an_image_as_asked_for(self, client: Any) -> None:
        document = self.invoke(client, aspect_ratio="16:9", output_format="jpeg", seed=42, mode="text-to-image")
        assert document["seeds"] == [42]
        assert document["finish_reasons"] == [None]
        assert shape(document["images"][0]) == ("JPEG", (1344, 768))

    def test_the_seed_decides_and_zero_leaves_it_open(self, client: Any) -> None:
        first, same, other = (self.invoke(client, seed=seed)["images"] for seed in (5, 5, 6))
        assert first == same != other
        assert self.invoke(client, seed=0)["seeds"][0] > 0

    @pytest.mark.parametrize(
        "request_",
        [
            {"prompt": ""},
            {"prompt": None},
            {"aspect_ratio": "7:3"},
            {"output_format": "webp"},
            {"seed": 4294967295},
            {"seed": "1"},
            {"steps": 30},
            {"width": 1024},
            {"mode": "image-to-image", "image": "bm8=", "strength": 0.5},
            {"mode": "text-to-image", "strength": 0.5},
            {"mode": "text-to-image", "image": PHOTO},
            {"mode": "image-to-image", "strength": 0.5},
            {"mode": "image-to-image", "image": PHOTO},
            {"mode": "image-to-image", "image": PHOTO, "strength": 1.1},
            {"mode": "image-to-image", "image": PHOTO, "strength": 0.5, "aspect_ratio": "1:1"},
            {"mode": "image-to-image", "image": [PHOTO], "strength": 0.5},
            {"mode": "image-to-image", "image": PHOTO[1:], "strength": 0.5},
            {"mode": "image-to-image", "image": PHOTO[:80], "strength": 0.5},
            {"mode": "image-to-image", "image": in_base64(picture("GIF")), "strength": 0.5},
            {"mode": "image-to-image", "image": in_base64(picture("PNG", size=(63, 64))), "strength": 0.5},
        ],
    )
    def test_malformed_requests(self, client: Any, request_: Any) -> None:
        status, code, _ = self.refusal(client, **request_)
        assert (status, code) == (400, "ValidationException")

    def test_only_stable_diffusion_takes_a_mode(self, client: Any) -> None:
        _, code, message = self.refusal(client, "stability.stable-image-core-v1:1", mode="text-to-image")
        assert code == "ValidationException"
        assert "extraneous key [mode]" in message

    def test_an_image_from_an_image_keeps_its_size(self, client: Any) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (320, 192)).save(buffer, "PNG")
        image = base64.b64encode(buffer.getvalue()).decode()
        document = self.invoke(client, mode="image-to-image", image=image, strength=0.7)
        assert shape(document["images"][0])[1] == (320, 192)

    @pytest.mark.parametrize(
        ("model", "status", "code", "words"),
        [
            ("amazon.nova-canvas-v1:0", 404, "ResourceNotFoundException", "end of its life"),
            ("stability.no-such-v1:0", 404, "ResourceNotFoundException", "resolve"),
            ("stability.stable-image-core-v1:0", 403, "AccessDeniedException", "Legacy"),
        ],
    )
    def test_models_that_are_not_there(self, client: Any, model: str, status: int, code: str, words: str) -> None:
        answer = self.refusal(client, model)
        assert answer[:2] == (status, code)
        assert words in answer[2]

    def test_the_models_live_in_one_region(self, simulator: Simulator) -> None:
        east = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=f"{simulator.url}/bedrock")
        assert self.refusal(east)[1] == "ValidationException"

    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [
            ("throttled", 429, "ThrottlingException"),
            ("quota_exhausted", 403, "AccessDeniedException"),
            ("no_subscription", 403, "AccessDeniedException"),
            ("retired", 404, "ResourceNotFoundException"),
            ("bad_key", 403, "UnrecognizedClientException"),
            ("bad_parameter", 400, "ValidationException"),
            ("server_error", 500, "InternalServerException"),
            ("unavailable", 503, "ServiceUnavailableException"),
        ],
    )
    def test_errors(self, simulator: Simulator, client: Any, fault: str, status: int, code: str) -> None:
        simulator.set_fault(self.MODEL, fault)
        assert self.refusal(client)[:2] == (status, code)

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ("refused", "Filter reason: prompt"),
            ("refused_output", "Filter reason: output image"),
            ("inference_error", "Inference error"),
            ("no_image", None),
        ],
    )
    def test_refusals_come_with_http_200(
        self, simulator: Simulator, client: Any, fault: str, reason: str | None
    ) -> None:
        simulator.set_fault(self.MODEL, fault)
        document = self.invoke(client)
        assert document["finish_reasons"] == [reason]
        assert not document.get("images")

    def test_signatures_and_keys(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        path = f"/model/{self.MODEL.replace(':', '%3A')}/invoke"
        headers = {"Content-Type": "application/json"}

        def answer(authorization: str | None) -> Any:
            more = {"Authorization": authorization} if authorization else {}
            door = Door(http, f"{simulator.url}/bedrock", {**headers, **more})
            return door.post(path, {"prompt": "a fox"})

        accepted = answer("Bearer key")
        assert accepted.status == 200
        assert {"x-amzn-requestid", "x-amzn-bedrock-invocation-latency"} <= {name.lower() for name in accepted.headers}
        assert [answer(value).status for value in (None, "AWS4-HMAC-SHA256 nonsense", "Bearer bad")] == [403] * 3
        assert answer(None).headers["x-amzn-ErrorType"].startswith("MissingAuthenticationTokenException")

    def test_the_list_of_models(self, simulator: Simulator) -> None:
        client = boto3.client("bedrock", region_name="us-west-2", endpoint_url=f"{simulator.url}/bedrock")
        summaries = client.list_foundation_models(byOutputModality="IMAGE")["modelSummaries"]
        states = {summary["modelId"]: summary["modelLifecycle"]["status"] for summary in summaries}
        assert states[self.MODEL] == "ACTIVE"
        assert states["stability.stable-image-core-v1:0"] == "LEGACY"
        assert "amazon.nova-canvas-v1:0" not in states
        assert client.get_foundation_model(modelIdentifier=self.MODEL)["modelDetails"]["modelId"] == self.MODEL


class TestStability:
    @pytest.fixture
    def door(self, simulator: Simulator, http: urllib3.PoolManager) -> Door:
        return Door(http, f"{simulator.url}/stability", {"Authorization": "Bearer key", "Accept": "application/json"})

    def draw(self, door: Door, kind: str = "ultra", accept: str = "application/json", **fields: Any) -> Any:
        url = f"{door.base}/v2beta/stable-image/generate/{kind}"
        fields = {"prompt": "a red fox", **fields}
        headers = {**door.headers, "Accept": accept}
        return door.http.request("POST", url, fields=fields, headers=headers, encode_multipart=True)

    @pytest.mark.parametrize(
        ("model", "fields", "expected"),
        [
            ("ultra", {}, ("PNG", (1024, 1024))),
            ("core", {"aspect_ratio": "9:21", "output_format": "webp", "style_preset": "anime"}, ("WEBP", (640, 1536))),
            ("sd3", {"aspect_ratio": "3:2", "output_format": "jpeg", "cfg_scale": "5"}, ("JPEG", (1216, 832))),
        ],
    )
    def test_an_image_as_json_and_as_bytes(self, door: Door, model: str, fields: Any, expected: Any) -> None:
        document = self.draw(door, model, seed="42", **fields).json()
        assert (document["finish_reason"], document["seed"]) == ("SUCCESS", 42)
        assert shape(document["image"]) == expected
        answer = self.draw(door, model, accept="image/*", seed="42", **fields)
        assert answer.data == base64.b64decode(document["image"])
        assert answer.headers["Content-Type"] == f"image/{expected[0].lower()}"
        assert (answer.headers["finish-reason"], answer.headers["seed"]) == ("SUCCESS", "42")
        assert answer.headers["x-request-id"]

    def test_sd3_names_its_model_in_a_field(self, simulator: Simulator, door: Door) -> None:
        assert self.draw(door, "sd3", model="sd3.5-flash").status == 200
        assert simulator.requests[-1].model == "sd3.5-flash"
        assert self.draw(door, "sd3", model="sd3-large").status == 400
        assert self.draw(door, "sd4").status == 404

    def test_only_multipart_is_read(self, door: Door) -> None:
        answer = door.post("/v2beta/stable-image/generate/core", {"prompt": "a fox"})
        assert (answer.status, answer.json()["name"]) == (400, "bad_request")
        assert self.draw(door, none=("", b"")).status == 200, "the empty file of the provider's own samples is welcome"

    @pytest.mark.parametrize(
        "fields",
        [
            {"prompt": ""},
            {"prompt": "x" * 10_001},
            {"aspect_ratio": "7:3"},
            {"seed": "-1"},
            {"seed": "many"},
            {"output_format": "gif"},
            {"style_preset": "baroque"},
            {"steps": "30"},
            {"image": ("a.png", b"no image"), "strength": "0.5"},
            {"image": FILE},
            {"image": FILE, "strength": "1.5"},
            {"image": "text", "strength": "0.5"},
            {"image": ("a.gif", picture("GIF"), "image/gif"), "strength": "0.5"},
            {"image": ("a.png", picture("JPEG"), "image/png"), "strength": "0.5"},
            {"image": ("a.png", picture("PNG", size=(64, 63)), "image/png"), "strength": "0.5"},
            {"picture": FILE, "strength": "0.5"},
            {"strength": "0.5"},
            {"kind": "core", "image": FILE},
            {"kind": "core", "image": FILE, "strength": "0.5"},
            {"kind": "sd3", "image": FILE, "strength": "0.5"},
            {"kind": "sd3", "mode": "image-to-image", "strength": "0.5"},
            {"kind": "sd3", "mode": "image-to-image", "image": FILE},
            {"kind": "sd3", "mode": "image-to-image", "image": FILE, "strength": "0.5", "aspect_ratio": "1:1"},
        ],
        ids=lambda fields: " ".join(fields),
    )
    def test_bad_requests(self, door: Door, fields: Any) -> None:
        answer = self.draw(door, **fields)
        assert (answer.status, answer.json()["name"]) == (400, "bad_request")
        assert answer.json()["errors"] and answer.json()["id"]

    def test_two_images_are_one_too_many(self, door: Door) -> None:
        fields: Any = [("prompt", "a red fox"), ("strength", "0.5"), ("image", FILE), ("image", FILE)]
        url = f"{door.base}/v2beta/stable-image/generate/ultra"
        answer = door.http.request("POST", url, fields=fields, headers=door.headers)
        assert (answer.status, answer.json()["errors"]) == (400, ["image: must be a single file"])

    @pytest.mark.parametrize(
        ("kind", "more"), [("ultra", {}), ("sd3", {"mode": "image-to-image", "model": "sd3.5-large-turbo"})]
    )
    def test_an_image_from_an_image_keeps_its_size(self, door: Door, kind: str, more: Any) -> None:
        document = self.draw(door, kind, image=FILE, strength="0", output_format="webp", **more).json()
        assert shape(document["image"]) == ("WEBP", (96, 64))

    def test_the_accept_header_and_the_size(self, door: Door) -> None:
        assert self.draw(door, accept="text/html").status == 400
        assert self.draw(door, image=("a.png", bytes(11_000_000))).json()["name"] == "payload_too_large"

    @pytest.mark.parametrize(
        ("fault", "status", "name"),
        [
            ("throttled", 429, "rate_limit_exceeded"),
            ("quota_exhausted", 402, "payment_required"),
            ("refused", 403, "content_moderation"),
            ("retired", 404, "not_found"),
            ("bad_key", 401, "unauthorized"),
            ("bad_parameter", 400, "bad_request"),
            ("server_error", 500, "internal_error"),
        ],
    )
    def test_errors(self, simulator: Simulator, door: Door, fault: str, status: int, name: str) -> None:
        simulator.set_fault("ultra", fault)
        answer = self.draw(door)
        assert (answer.status, answer.json()["name"]) == (status, name)

    def test_a_filtered_image_is_blurred(self, simulator: Simulator, door: Door) -> None:
        clear = self.draw(door, accept="image/*")
        simulator.set_fault("ultra", "refused_output")
        assert self.draw(door).json()["finish_reason"] == "CONTENT_FILTERED"
        answer = self.draw(door, accept="image/*")
        assert (answer.status, answer.headers["finish-reason"]) == (200, "CONTENT_FILTERED")
        assert sharpness(answer.data) < sharpness(clear.data) / 2

    def test_the_balance_checks_a_key(self, door: Door) -> None:
        assert door.get("/v1/user/balance").json()["credits"] > 0
        assert door.get("/v1/user/balance", headers={}).status == 401
        assert door.get("/v1/user/balance", headers={"Authorization": "Bearer bad"}).status == 401


class TestBFL:
    MODEL = "flux-2-pro"

    @pytest.fixture
    def door(self, simulator: Simulator, http: urllib3.PoolManager) -> Door:
        return Door(http, f"{simulator.url}/bfl", {"x-key": "key", "Content-Type": "application/json"})

    def submit(self, door: Door, model: str | None = None, **more: Any) -> Any:
        return door.post(f"/v1/{model or self.MODEL}", {"prompt": "a red fox", **more})

    def result(self, door: Door, model: str | None = None, **more: Any) -> Any:
        return door.get(self.submit(door, model, **more).json()["polling_url"]).json()

    @pytest.mark.parametrize(
        ("model", "request_", "expected"),
        [
            ("flux-2-pro", {}, ("JPEG", (1024, 1024))),
            ("flux-2-pro", {"width": 1280, "height": 720, "output_format": "png"}, ("PNG", (1280, 720))),
            ("flux-2-pro", {"width": 2048, "height": 2048}, ("JPEG", (2048, 2048))),
            ("flux-2-max", {"width": 512, "height": 512, "output_format": "webp"}, ("WEBP", (512, 512))),
            ("flux-pro-1.1", {"width": 1440, "height": 256}, ("JPEG", (1440, 256))),
            ("flux-pro-1.1-ultra", {"aspect_ratio": "21:9"}, ("JPEG", (3136, 1344))),
            ("flux-3-image", {"aspect_ratio": "16:9", "resolution": "768sq"}, ("JPEG", (1024, 576))),
        ],
    )
    def test_submit_poll_fetch(self, door: Door, model: str, request_: Any, expected: Any) -> None:
        submitted = self.submit(door, model, **request_).json()
        assert submitted["cost"] > 0
        done = door.get(submitted["polling_url"]).json()
        assert (done["id"], done["status"]) == (submitted["id"], "Ready")
        assert done["result"]["prompt"] == "a red fox"
        sample = door.get(done["result"]["sample"], headers={})
        assert sample.headers["Content-Type"] == f"image/{expected[0].lower()}"
        assert shape(sample.data) == expected
        assert door.get(submitted["polling_url"]).json()["result"]["sample"] == done["result"]["sample"]

    def test_the_seed_decides(self, door: Door) -> None:
        pictures = [
            door.get(self.result(door, seed=seed, width=256, height=256)["result"]["sample"], headers={}).data
            for seed in (42, 42, 43)
        ]
        assert pictures[0] == pictures[1] != pictures[2]

    def test_states_on_the_way(self, simulator: Simulator, door: Door) -> None:
        simulator.set_latency(2, 2)
        url = self.submit(door).json()["polling_url"]
        states: list[str] = []
        while "Ready" not in states:
            document = door.get(url).json()
            if document["status"] not in states:
                states.append(document["status"])
            if document["status"] == "Generating":
                assert 0 < document["progress"] < 1
            time.sleep(0.02)
        assert states == ["Pending", "Reasoning", "Generating", "Ready"]
        submits = [record for record in simulator.requests if record.method == "POST"]
        assert len(submits) == 1

    def test_the_sample_takes_its_signature_and_no_key(self, door: Door) -> None:
        sample = self.result(door)["result"]["sample"]
        assert door.get(sample, headers={"x-key": "key"}).status == 403
        assert door.get(re.sub("sig=.", "sig=_", sample), headers={}).status == 403
        assert door.get(sample, headers={}).status == 200

    def test_polling_takes_the_key_that_submitted(self, door: Door) -> None:
        url = self.submit(door).json()["polling_url"]
        assert door.get(url, headers={}).status == 403
        stranger = door.get(url, headers={"x-key": "another"})
        assert (stranger.status, stranger.json()["status"]) == (404, "Task not found")
        assert door.get("/v1/get_result?id=none").json()["status"] == "Task not found"

    @pytest.mark.parametrize(
        ("model", "request_", "field"),
        [
            ("flux-2-pro", {"width": 1000}, "width"),
            ("flux-2-pro", {"width": 32}, "width"),
            ("flux-2-pro", {"width": 4096, "height": 4096}, "width"),
            ("flux-2-pro", {"width": 2064, "height": 2048}, "width"),
            ("flux-2-pro", {"aspect_ratio": "16:9"}, "aspect_ratio"),
            ("flux-2-pro", {"safety_tolerance": 6}, "safety_tolerance"),
            ("flux-2-pro", {"output_format": "gif"}, "output_format"),
            ("flux-pro-1.1", {"output_format": "webp"}, "output_format"),
            ("flux-3-image-klein", {"resolution": "1.5k"}, "resolution"),
            ("flux-2-pro", {"prompt": 5}, "prompt"),
            ("flux-2-pro", {"steps": 20}, "steps"),
            ("flux-2-flex", {"steps": 51}, "steps"),
            ("flux-pro-1.1", {"width": 1456}, "width"),
            ("flux-3-image", {"seed": 1}, "seed"),
            ("flux-3-image", {"resolution": "8k"}, "resolution"),
            ("flux-pro-1.1-ultra", {"aspect_ratio": "3:1"}, "aspect_ratio"),
        ],
    )
    def test_unprocessable_fields(self, door: Door, model: str, request_: Any, field: str) -> None:
        answer = self.submit(door, model, **request_)
        assert answer.status == 422
        assert field in [problem["loc"][-1] for problem in answer.json()["detail"]]

    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            ("throttled", 429),
            ("quota_exhausted", 402),
            ("bad_key", 403),
            ("retired", 404),
            ("bad_parameter", 422),
            ("server_error", 500),
            ("unavailable", 503),
        ],
    )
    def test_errors_on_submit(self, simulator: Simulator, door: Door, fault: str, status: int) -> None:
        simulator.set_fault(self.MODEL, fault)
        answer = self.submit(door)
        assert answer.status == status
        assert answer.json()["detail"]

    @pytest.mark.parametrize(
        ("fault", "status"),
        [("refused", "Request Moderated"), ("refused_output", "Content Moderated"), ("task_failed", "Error")],
    )
    def test_outcomes_without_an_image(self, simulator: Simulator, door: Door, fault: str, status: str) -> None:
        simulator.set_fault(self.MODEL, fault)
        document = self.result(door)
        assert (document["status"], document["result"]) == (status, None)

    def test_ready_without_a_sample(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "no_image")
        document = self.result(door)
        assert (document["status"], document["result"]["sample"]) == ("Ready", None)

    def test_a_task_that_is_found_late(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "late_task", seconds=1, times=1)
        url = self.submit(door).json()["polling_url"]
        assert (door.get(url).status, door.get(url).json()["status"]) == (404, "Task not found")
        time.sleep(1)
        assert door.get(url).json()["status"] == "Ready"

    def test_throttled_polls_and_odd_states_pass(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "poll_throttled", retry_after=1)
        url = self.submit(door).json()["polling_url"]
        answers = [door.get(url) for _ in range(3)]
        assert [answer.status for answer in answers] == [429, 429, 200]
        assert answers[0].headers["Retry-After"] == "1"
        simulator.set_fault(self.MODEL, "odd_status")
        simulator.set_latency(2, 2)
        url = self.submit(door).json()["polling_url"]
        states = set()
        while "Ready" not in states:
            states.add(door.get(url).json()["status"])
            time.sleep(0.1)
        assert "Rearranging" in states

    def test_a_polling_url_without_the_id(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "polling_without_id")
        task = self.submit(door).json()
        assert task["polling_url"].endswith("/v1/get_result")
        assert door.get(f"{task['polling_url']}?id={task['id']}").json()["status"] == "Ready"

    def test_a_sample_that_leads_into_the_private_network(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault(self.MODEL, "redirect_private")
        answer = door.get(self.result(door)["result"]["sample"], headers={})
        assert answer.status == 302
        assert answer.headers["Location"].startswith("http://169.254.169.254/")

    def test_the_credits_check_a_key(self, door: Door) -> None:
        assert door.get("/v1/credits").json()["credits"] > 0
        assert door.get("/v1/credits", headers={"x-key": "bad-key"}).status == 403


IMAGE = ("image", ("a.png", picture("PNG", size=(300, 256)), "image/png"))


class TestRecraft:
    @pytest.fixture
    def door(self, simulator: Simulator, http: urllib3.PoolManager) -> Door:
        headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
        return Door(http, f"{simulator.url}/recraft/v1", headers)

    def draw(self, door: Door, path: str = "", **more: Any) -> Any:
        return door.post(f"/images/generations{path}", {"prompt": "a red fox", **more})

    def test_addresses_by_default(self, door: Door) -> None:
        answer = self.draw(door, n=2)
        document = answer.json()
        assert len({entry["image_id"] for entry in document["data"]}) == 2
        assert document["credits"] == 70
        assert answer.headers["x-recraft-requestid"]
        fetched = door.get(document["data"][0]["url"], headers={})
        assert fetched.headers["Content-Type"] == "image/webp"
        assert shape(fetched.data) == ("WEBP", (1024, 1024))

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            ({"image_format": "png", "size": "16:9"}, ("PNG", (1344, 768))),
            ({"model": "recraftv3", "size": "16:9"}, ("WEBP", (1820, 1024))),
            ({"model": "recraftv4_1_pro", "size": "1536x3072"}, ("WEBP", (1536, 3072))),
            (
                {"model": "recraftv2", "size": "1365x1024", "negative_prompt": "blurry", "random_seed": 4},
                ("WEBP", (1365, 1024)),
            ),
        ],
    )
    def test_base64_where_asked_for(self, door: Door, request_: Any, expected: Any) -> None:
        document = self.draw(door, response_format="b64_json", **request_).json()
        assert shape(document["data"][0]["b64_json"]) == expected

    def test_vectors_have_their_own_door(self, door: Door) -> None:
        document = self.draw(door, "/vector", model="recraftv4_vector", response_format="b64_json").json()
        drawing = base64.b64decode(document["data"][0]["b64_json"])
        assert drawing.startswith(b"<svg") and b"a red fox" in drawing
        for path, model in (("/raster", "recraftv4_vector"), ("/vector", "recraftv4")):
            answer = self.draw(door, path, model=model)
            assert (answer.status, answer.json()["code"]) == (400, "invalid_image_type")

    @pytest.mark.parametrize(
        "request_",
        [
            {"prompt": ""},
            {"prompt": "x" * 1001, "model": "recraftv3"},
            {"n": 7},
            {"n": 0},
            {"size": "1000x1000"},
            {"size": "1820x1024"},
            {"image_format": "jpeg"},
            {"response_format": "base64"},
            {"negative_prompt": "blurry"},
            {"controls": {"artistic_level": 3}},
            {"model": "recraftv4_styles"},
            {"model": "recraftv9"},
            {"seed": 1},
        ],
    )
    def test_bad_parameters(self, door: Door, request_: Any) -> None:
        answer = self.draw(door, **request_)
        assert answer.status == 400
        assert set(answer.json()) == {"code", "message"}

    @pytest.mark.parametrize(
        ("fault", "status"),
        [("quota_exhausted", 402), ("refused", 400), ("retired", 400), ("bad_key", 401), ("server_error", 500)],
    )
    def test_errors(self, simulator: Simulator, door: Door, fault: str, status: int) -> None:
        simulator.set_fault("recraftv4_1", fault)
        answer = self.draw(door)
        assert answer.status == status
        assert set(answer.json()) == {"code", "message"}

    def edit(self, door: Door, files: list[tuple[str, Any]], **more: str) -> Any:
        fields = [*{"prompt": "a red fox", "strength": "0.5", **more}.items(), *files]
        headers = {"Authorization": "Bearer key"}
        return door.http.request("POST", f"{door.base}/images/imageToImage", fields=fields, headers=headers)

    def test_images_from_an_image_keep_its_size(self, door: Door) -> None:
        answer = self.edit(door, [IMAGE], n="2", response_format="b64_json", controls='{"colors": []}').json()
        assert [shape(entry["b64_json"]) for entry in answer["data"]] == [("WEBP", (300, 256))] * 2
        assert answer["credits"] == 70

    @pytest.mark.parametrize(
        ("files", "more"),
        [
            ([], {}),
            ([IMAGE, IMAGE], {}),
            ([("picture", IMAGE[1])], {}),
            ([("image", ("a.gif", picture("GIF", size=(300, 256)), "image/gif"))], {}),
            ([("image", ("a.png", picture("JPEG", size=(300, 256)), "image/png"))], {}),
            ([("image", ("a.png", picture("PNG", size=(300, 255)), "image/png"))], {}),
            ([("image", ("a.png", picture("PNG", size=(4097, 256)), "image/png"))], {}),
            ([("image", ("a.png", picture("PNG", size=(4096, 4096)), "image/png"))], {}),
            ([("image", ("a.png", picture("PNG", size=(300, 256)) + bytes(10_000_000), "image/png"))], {}),
            ([IMAGE], {"strength": "1.1"}),
            ([IMAGE], {"strength": "much"}),
            ([IMAGE], {"size": "1:1"}),
            ([IMAGE], {"n": "7"}),
            ([IMAGE], {"controls": "{"}),
            ([IMAGE], {"model": "recraftv9"}),
            ([IMAGE], {"negative_prompt": "blurry"}),
        ],
        ids=lambda value: str(value) if isinstance(value, dict) else f"{len(value)}",
    )
    def test_what_no_edit_may_be(self, door: Door, files: Any, more: Any) -> None:
        answer = self.edit(door, files, **more)
        assert answer.status == 400
        assert set(answer.json()) == {"code", "message"}

    def test_an_edit_needs_a_strength_and_a_form(self, door: Door) -> None:
        headers = {"Authorization": "Bearer key"}
        url = f"{door.base}/images/imageToImage"
        answer = door.http.request("POST", url, fields=[("prompt", "a fox"), IMAGE], headers=headers)
        assert (answer.status, answer.json()["message"]) == (400, "strength: is required")
        assert door.post("/images/imageToImage", {"prompt": "a fox", "strength": 0.5}).status == 415

    def test_throttling_never_says_for_how_long(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault("recraftv4_1", "throttled", retry_after=3)
        answer = self.draw(door)
        assert (answer.status, answer.json()["code"]) == (429, "rate_limit_exceeded")
        assert "Retry-After" not in answer.headers

    def test_spoilt_answers(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault("recraftv4_1", "no_image")
        assert self.draw(door).json()["data"] == []
        simulator.set_fault("recraftv4_1", "wrong_mime")
        fetched = door.get(self.draw(door).json()["data"][0]["url"], headers={})
        assert (fetched.headers["Content-Type"], shape(fetched.data)[0]) == ("image/webp", "JPEG")

    def test_account_and_enhancement(self, door: Door) -> None:
        assert door.get("/users/me").json()["credits"] > 0
        assert door.get("/users/me", headers={}).status == 401
        assert "red fox" in door.post("/prompts/enhance", {"prompt": "a red fox"}).json()["enhanced_prompt"].lower()


class TestCompatible:
    @pytest.fixture
    def door(self, simulator: Simulator, http: urllib3.PoolManager) -> Door:
        headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
        return Door(http, f"{simulator.url}/compatible/v1", headers)

    def draw(self, door: Door, model: str, path: str = "/images/generations", **more: Any) -> Any:
        headers = more.pop("headers", door.headers)
        return door.post(path, {"model": model, "prompt": "a red fox", **more}, headers=headers)

    def test_plain(self, door: Door) -> None:
        document = self.draw(door, "plain-diffusion", size="640x384").json()
        assert shape(document["data"][0]["b64_json"]) == ("PNG", (640, 384))
        assert "usage" not in document

    def test_localai_gives_addresses_and_takes_no_key(self, door: Door) -> None:
        headers = {"Content-Type": "application/json"}
        document = self.draw(door, "localai-flux", headers=headers, step=20, size="512x512").json()
        assert shape(door.get(document["data"][0]["url"], headers={}).data) == ("PNG", (512, 512))

    def test_xai(self, simulator: Simulator, door: Door) -> None:
        document = self.draw(
            door, "grok-imagine-image-2.0", aspect_ratio="16:9", resolution="2k", response_format="b64_json"
        ).json()
        (entry,) = document["data"]
        assert shape(entry["b64_json"]) == ("JPEG", (2688, 1536))
        assert entry["respect_moderation"] is True
        assert document["usage"]["cost_in_usd_ticks"] > 0
        simulator.set_fault("grok-imagine-image-2.0", "refused")
        answer = self.draw(door, "grok-imagine-image-2.0")
        assert (answer.status, answer.json()["data"][0]["respect_moderation"]) == (200, False)
        simulator.set_fault("grok-imagine-image-2.0", "refused_output")
        answer = self.draw(door, "grok-imagine-image-2.0")
        usage = {"cost_in_usd_ticks": 400_000_000}
        assert (answer.status, answer.json()) == (200, {"data": [], "respect_moderation": False, "usage": usage})

    def test_openrouter(self, simulator: Simulator, door: Door) -> None:
        document = self.draw(
            door, "black-forest-labs/flux-3-image", "/images", aspect_ratio="3:2", output_format="webp"
        ).json()
        (entry,) = document["data"]
        assert entry["media_type"] == "image/webp"
        assert shape(entry["b64_json"]) == ("WEBP", (1216, 832))
        assert document["usage"]["cost"] > 0
        simulator.set_fault("black-forest-labs/flux-3-image", "refused")
        answer = self.draw(door, "black-forest-labs/flux-3-image", "/images")
        assert (answer.status, answer.json()["error"]["code"]) == (403, 403)

    def test_a_slug_that_openrouter_does_not_have(self, door: Door) -> None:
        answer = self.draw(door, "black-forest-labs/flux-9", "/images")
        error = {"code": 404, "message": "No endpoints found for black-forest-labs/flux-9.", "metadata": {}}
        assert (answer.status, answer.json()) == (404, {"error": error})

    def test_azure(self, simulator: Simulator, door: Door) -> None:
        headers = {"api-key": "key", "Content-Type": "application/json"}
        path = "/images/generations?api-version=v1"
        more: Any = {"size": "1024x640", "output_format": "jpeg", "quality": "low"}
        answer = self.draw(door, "my-deployment", path, headers=headers, **more)
        document = answer.json()
        assert shape(document["data"][0]["b64_json"]) == ("JPEG", (1024, 640))
        assert more.items() <= document.items()
        assert document["usage"]["input_tokens_details"]["image_tokens"] == 0 < document["usage"]["output_tokens"]
        assert answer.headers["apim-request-id"]
        simulator.set_fault("my-deployment", "refused")
        answer = self.draw(door, "my-deployment", path, headers=headers)
        assert (answer.status, answer.json()["error"]["code"]) == (400, "content_policy_violation")

    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer key"}, {"api-key": "bad"}])
    def test_azure_denies_access(self, door: Door, headers: dict[str, str]) -> None:
        sent = {"Content-Type": "application/json", **headers}
        answer = self.draw(door, "my-deployment", "/images/generations?api-version=v1", headers=sent)
        error = answer.json()["error"]
        assert (answer.status, error["code"]) == (401, "401")
        assert error["message"].startswith("Access denied due to invalid subscription key or wrong API endpoint. ")

    def test_azure_wants_a_version(self, door: Door) -> None:
        answer = self.draw(door, "my-deployment", headers={"api-key": "key", "Content-Type": "application/json"})
        error = {"code": "404", "message": "Resource not found"}
        assert (answer.status, answer.json()) == (404, {"error": error})

    @pytest.mark.parametrize(
        "more",
        [
            {"size": "1000x1000"},
            {"size": "512x512"},
            {"size": "3840x3840"},
            {"size": "3072x512"},
            {"quality": "best"},
            {"seed": 1},
            {"response_format": "url"},
            {"output_compression": 50},
            {"output_format": "jpeg", "background": "transparent"},
            {"moderation": "none"},
        ],
    )
    def test_azure_refuses_bad_parameters(self, door: Door, more: Any) -> None:
        headers = {"api-key": "key", "Content-Type": "application/json"}
        assert self.draw(door, "mine", "/images/generations?api-version=v1", headers=headers, **more).status == 400

    def test_minimax(self, door: Door) -> None:
        document = self.draw(door, "MiniMax-H3-Image", n=2, size="512x512").json()
        assert [shape(door.get(entry["url"], headers={}).data) for entry in document["data"]] == [
            ("PNG", (512, 512))
        ] * 2
        assert document["usage"]["output_tokens"] == 512
        answer = self.draw(door, "MiniMax-H9")
        assert (answer.status, answer.json()["error"]["http_code"]) == (404, "404")

    def test_siliconflow(self, simulator: Simulator, door: Door) -> None:
        model = "siliconflow-kolors"
        more: Any = {"guidance_scale": 7.5, "num_inference_steps": 20, "negative_prompt": "blurry"}
        document = self.draw(door, model, image_size="512x768", batch_size=2, seed=7, **more).json()
        assert (document["seed"], document["timings"]) == (7, {"inference": 1.0})
        images = [door.get(entry["url"], headers={}).data for entry in document["images"]]
        assert [shape(data) for data in images] == [("PNG", (512, 768))] * 2
        simulator.set_fault(model, "refused")
        answer = self.draw(door, model)
        assert (answer.status, answer.json()["code"], answer.json()["data"]) == (451, 20012, None)

    def test_together_says_base64(self, door: Door) -> None:
        assert self.draw(door, "together-flux-schnell", response_format="b64_json").status == 400
        document = self.draw(door, "together-flux-schnell", response_format="base64", width=512, height=512).json()
        assert shape(document["data"][0]["b64_json"]) == ("JPEG", (512, 512))

    @pytest.mark.parametrize(
        ("model", "request_"),
        [
            ("plain-diffusion", {"seed": 1}),
            ("plain-diffusion", {"size": "big"}),
            ("plain-diffusion", {"n": 0}),
            ("grok-imagine-image", {"size": "1024x1024"}),
            ("grok-imagine-image", {"seed": 1}),
            ("openrouter/any", {"size": "512x512", "resolution": "1K"}),
            ("together-flux-schnell", {"size": "1024x1024"}),
            ("siliconflow-kolors", {"n": 1}),
            ("siliconflow-kolors", {"size": "1024x1024"}),
            ("siliconflow-kolors", {"response_format": "url"}),
            ("siliconflow-kolors", {"image_size": "big"}),
            ("siliconflow-kolors", {"batch_size": 5}),
            ("siliconflow-kolors", {"guidance_scale": "7"}),
        ],
    )
    def test_bad_parameters(self, door: Door, model: str, request_: Any) -> None:
        assert self.draw(door, model, **request_).status == 400

    def test_models_that_are_not_there(self, door: Door) -> None:
        assert [self.draw(door, model).status for model in ("unknown-model", "grok-imagine-image-quality")] == [404] * 2
        assert door.get("/models").json()["data"]

    @pytest.mark.parametrize(
        "model", ["plain-diffusion", "grok-imagine-image", "openrouter/any", "together-flux-schnell"]
    )
    def test_keys(self, door: Door, model: str) -> None:
        for headers in ({}, {"Authorization": "Bearer bad"}):
            answer = self.draw(door, model, headers={"Content-Type": "application/json", **headers})
            assert answer.status == 401
            assert answer.json()["error"]

    def test_errors_in_other_shapes(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault("*", "unavailable")
        assert self.draw(door, "plain-diffusion").data.startswith(b"<html>")
        assert isinstance(self.draw(door, "grok-imagine-image").json()["error"], str)
        simulator.set_fault("*", "no_image")
        assert self.draw(door, "plain-diffusion").json()["data"] == []
        assert self.draw(door, "localai-flux").json()["data"] == [None]
        simulator.set_fault("*", "throttled", retry_after=4)
        answer = self.draw(door, "plain-diffusion")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "4")

    def test_an_address_that_leads_into_the_private_network(self, simulator: Simulator, door: Door) -> None:
        simulator.set_fault("localai-flux", "redirect_private")
        url = self.draw(door, "localai-flux").json()["data"][0]["url"]
        assert door.get(url, headers={}).headers["Location"].startswith("http://169.254.169.254/")


PROMPT = {"prompt": "a red fox"}
BEARER = {"Authorization": "Bearer key"}
# A request for an image of each protocol: the model, the path, the headers and the body.
CALLS: dict[str, tuple[str, str, dict[str, str], dict[str, Any]]] = {
    "openai": ("gpt-image-2", "/v1/images/generations", BEARER, {**PROMPT, "model": "gpt-image-2"}),
    "gemini": (
        "gemini-3-pro-image",
        "/v1beta/models/gemini-3-pro-image:generateContent",
        {"x-goog-api-key": "key"},
        {"contents": [{"parts": [{"text": "a red fox"}]}], "generationConfig": {"responseModalities": ["IMAGE"]}},
    ),
    "bedrock": ("stability.sd3-5-large-v1:0", "/model/stability.sd3-5-large-v1%3A0/invoke", BEARER, PROMPT),
    "stability": (
        "core",
        "/v2beta/stable-image/generate/core",
        {**BEARER, "Accept": "application/json"},
        PROMPT,
    ),
    "bfl": ("flux-2-pro", "/v1/flux-2-pro", {"x-key": "key"}, {**PROMPT, "width": 256, "height": 256}),
    "recraft": ("recraftv4_1", "/v1/images/generations", BEARER, {**PROMPT, "response_format": "b64_json"}),
    "compatible": ("plain-diffusion", "/v1/images/generations", BEARER, {**PROMPT, "model": "plain-diffusion"}),
}
FIVE = {"openai", "stability", "bfl", "recraft", "compatible"}
SIX = FIVE | {"gemini"}
SEVEN = SIX | {"bedrock"}
# The fields of each protocol's errors.
ENVELOPES = {
    "openai": {"error"},
    "gemini": {"error"},
    "bedrock": {"message"},
    "stability": {"id", "name", "errors"},
    "bfl": {"detail"},
    "recraft": {"code", "message"},
    "compatible": {"error"},
}


class TestInTheWild:
    """What several providers send though their documents do not say so."""

    @pytest.fixture
    def ask(self, simulator: Simulator, http: urllib3.PoolManager) -> Any:
        def send(provider: str, fault: str, **more: Any) -> Any:
            model, path, headers, body = CALLS[provider]
            simulator.set_fault(more.get("model", model), fault)
            url = f"{simulator.url}/{provider}{path}"
            if provider == "stability":
                return http.request("POST", url, fields=body, headers=headers, encode_multipart=True)
            return http.request("POST", url, json={**body, **more}, headers=headers)

        return send

    @staticmethod
    def base64_of(provider: str, document: Any) -> str:
        text: str
        match provider:
            case "gemini":
                text = document["candidates"][0]["content"]["parts"][0]["inlineData"]["data"]
            case "bedrock":
                text = document["images"][0]
            case "stability":
                text = document["image"]
            case _:
                text = document["data"][0]["b64_json"]
        return text

    def url_of(self, provider: str, answer: Any, http: urllib3.PoolManager) -> str:
        document = answer.json()
        if provider == "bfl":
            polled = http.request("GET", document["polling_url"], headers=CALLS["bfl"][2])
            assert polled.status == answer.status
            return str(polled.json()["result"]["sample"])
        return str(document["data"][0]["url"])

    @pytest.mark.parametrize("provider", sorted(SEVEN - {"bfl"}))
    def test_base64_in_other_forms(self, ask: Any, provider: str) -> None:
        def text(fault: str) -> str:
            return self.base64_of(provider, ask(provider, fault).json())

        start, _, rest = text("base64_data_url").partition(",")
        assert re.fullmatch(r"data:image/(png|jpeg|webp);base64", start)
        data = base64.b64decode(rest, validate=True)
        assert Image.open(io.BytesIO(data)).get_format_mimetype() == start[5:-7]
        assert text("base64_lines") == base64.encodebytes(data).decode()
        unpadded = text("base64_unpadded")
        assert len(unpadded) % 4
        assert base64.b64decode(unpadded + "=" * (-len(unpadded) % 4)).rstrip(b"\0") == data.rstrip(b"\0")
        assert set("-_") & set(text("base64_urlsafe"))
        assert base64.urlsafe_b64decode(text("base64_urlsafe")) == data

    @pytest.mark.parametrize("provider", ["bfl", "recraft", "compatible"])
    def test_urls_in_other_forms(
        self, simulator: Simulator, http: urllib3.PoolManager, ask: Any, provider: str
    ) -> None:
        def url(fault: str) -> str:
            answer = ask(provider, fault, **({} if provider == "bfl" else {"response_format": "url"}))
            return self.url_of(provider, answer, http)

        start, _, rest = url("data_url").partition(",")
        assert re.fullmatch(r"data:image/(png|jpeg|webp);base64", start)
        data = base64.b64decode(rest)
        relative = url("relative_url")
        assert relative.startswith(f"/{provider}/delivery/")
        assert http.request("GET", urljoin(simulator.url, relative)).data == data
        local = url("localhost_url")
        assert local.startswith(f"http://localhost:{simulator.port}/")
        assert http.request("GET", local).data == data
        others = [url("other_port_url") for _ in range(2)]
        assert others[0].startswith("http://127.0.0.1:") and not others[0].startswith(simulator.url)
        assert len({other.partition("/delivery/")[0] for other in others}) == 1
        assert http.request("GET", others[0]).data == data

    @pytest.mark.parametrize("provider", sorted(SEVEN))
    def test_created(self, simulator: Simulator, http: urllib3.PoolManager, ask: Any, provider: str) -> None:
        answer = ask(provider, "created")
        assert answer.status == 201
        if provider == "bfl":
            assert http.request("GET", self.url_of(provider, answer, http)).status == 201
        else:
            assert shape(self.base64_of(provider, answer.json()))

    def test_text_is_not_created(self, simulator: Simulator, http: urllib3.PoolManager) -> None:
        simulator.set_fault("*", "created")
        body = {"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "a fox"}]}
        url = f"{simulator.url}/openai/v1/chat/completions"
        assert http.request("POST", url, json=body, headers=BEARER).status == 200

    @pytest.mark.parametrize("provider", sorted(SEVEN))
    def test_svg(self, http: urllib3.PoolManager, ask: Any, provider: str) -> None:
        answer = ask(provider, "svg")
        if provider == "bfl":
            fetched = http.request("GET", self.url_of(provider, answer, http))
            assert fetched.headers["Content-Type"] == "image/jpeg"
            data = fetched.data
        else:
            data = base64.b64decode(self.base64_of(provider, answer.json()))
        assert data.startswith(b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"')
        assert data.endswith(b"</svg>")

    @pytest.mark.parametrize(
        ("fault", "status", "providers"),
        [
            ("no_credit_429", 429, SIX),
            ("no_credit_403", 403, SIX),
            ("no_credit_412", 412, SIX),
            ("region_unsupported", 403, SIX),
            ("account_blocked", 403, SIX),
            ("refused_legal", 451, SEVEN),
            ("refused_words", 400, FIVE),
            ("refused_after_work", 400, FIVE),
            ("cancelled", 499, SEVEN),
            ("timed_out", 400, SEVEN),
            ("wrong_path", 404, {"openai", "recraft", "compatible"}),
            ("data_policy", 404, {"compatible"}),
        ],
    )
    def test_errors_come_in_the_envelope_of_the_provider(
        self, ask: Any, fault: str, status: int, providers: set[str]
    ) -> None:
        for provider in CALLS:
            answer = ask(provider, fault)
            if provider not in providers:
                assert answer.status == 501
                continue
            assert answer.status == (400 if (provider, fault) == ("gemini", "region_unsupported") else status)
            assert set(answer.json()) == ENVELOPES[provider]

    @pytest.mark.parametrize(
        ("provider", "fault", "expected"),
        [
            ("openai", "no_credit_429", {"code": "billing_not_active"}),
            ("openai", "region_unsupported", {"code": "unsupported_country_region_territory"}),
            ("openai", "wrong_path", {"message": "Invalid URL (POST /v1/images/generations)"}),
            ("openai", "refused_words", {"code": "DataInspectionFailed"}),
            ("openai", "refused_after_work", {"code": "OutputImageSensitiveContentDetected"}),
            ("gemini", "no_credit_429", {"status": "RESOURCE_EXHAUSTED"}),
            ("gemini", "no_credit_412", {"status": "FAILED_PRECONDITION"}),
            ("gemini", "region_unsupported", {"status": "FAILED_PRECONDITION"}),
            ("gemini", "account_blocked", {"status": "PERMISSION_DENIED"}),
            ("gemini", "cancelled", {"status": "CANCELLED", "message": "The operation was cancelled."}),
            ("stability", "no_credit_429", {"errors": ["Your account balance is insufficient."]}),
            ("stability", "refused_words", {"name": "DataInspectionFailed"}),
            ("bfl", "no_credit_429", {"detail": "Your account balance is insufficient."}),
            ("recraft", "wrong_path", {"code": "not_found", "message": "Not found"}),
            ("recraft", "refused_words", {"code": "DataInspectionFailed"}),
            ("compatible", "no_credit_429", {"code": "rate_limit"}),
            ("compatible", "wrong_path", {"message": "Not Found"}),
        ],
    )
    def test_words_and_codes(self, ask: Any, provider: str, fault: str, expected: Any) -> None:
        document = ask(provider, fault).json()
        error = document.get("error", document)
        assert {name: error[name] for name in expected} == expected
        assert "details" not in error

    def test_bedrock_names_no_exception_that_it_does_not_have(self, ask: Any) -> None:
        kinds = [ask("bedrock", fault).headers.get("x-amzn-ErrorType", "") for fault in ("timed_out", "cancelled")]
        assert [kind.partition(":")[0] for kind in kinds] == ["ValidationException", ""]

    @pytest.mark.parametrize(
        ("fault", "status", "providers", "words"),
        [
            ("no_credit_untyped", 429, {"openai", "compatible"}, '"type": "insufficient_quota", "param": null'),
            ("not_found_page", 404, SEVEN, "<p>The requested URL was not found on this server. Try another model"),
            ("validation_list", 422, FIVE, '"loc": ["body", "width"]'),
            ("validation_issues", 400, FIVE, '"name": "ZodError", "issues": [{"code": "invalid_value"'),
        ],
    )
    def test_answers_that_are_the_same_everywhere(
        self, ask: Any, fault: str, status: int, providers: set[str], words: str
    ) -> None:
        for provider in CALLS:
            answer = ask(provider, fault)
            assert answer.status == (status if provider in providers else 501)
            if provider not in providers:
                continue
            assert words in answer.data.decode()
            if fault == "not_found_page":
                assert answer.headers["Content-Type"] == "text/html"
            else:
                assert answer.json()

    @pytest.mark.parametrize(
        "model", ["localai-flux", "grok-imagine-image", "openrouter/any", "together-flux", "siliconflow-kolors"]
    )
    def test_each_compatible_endpoint_has_its_own_envelope(self, ask: Any, model: str) -> None:
        usual, other = (ask("compatible", fault, model=model) for fault in ("server_error", "no_credit_412"))
        assert (other.status, set(other.json())) == (412, set(usual.json()))
        assert "your balance is insufficient" in other.data.decode()


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"\xff", b"[" * 100_000, b'{"prompt": "\\ud800"}', b'{"prompt": {}}'],
    ids=["empty", "null", "list", "no text", "deep", "half a surrogate pair", "object"],
)
@pytest.mark.parametrize(
    "path",
    [
        "/openai/v1/images/generations",
        "/openai/v1/chat/completions",
        "/gemini/v1beta/models/gemini-3-pro-image:generateContent",
        "/bedrock/model/stability.sd3-5-large-v1%3A0/invoke",
        "/stability/v2beta/stable-image/generate/core",
        "/bfl/v1/flux-2-pro",
        "/recraft/v1/images/generations",
        "/compatible/v1/images/generations",
    ],
)
def test_whatever_the_body_holds_the_answer_is_a_refusal(
    simulator: Simulator, http: urllib3.PoolManager, path: str, body: bytes
) -> None:
    keys = {"Authorization": "Bearer key", "x-goog-api-key": "key", "x-key": "key"}
    door = Door(http, simulator.url, {"Content-Type": "application/json", **keys})
    assert 400 <= door.post(path, body).status < 500
