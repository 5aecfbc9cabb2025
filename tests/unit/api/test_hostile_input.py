"""What an attacker sends reaches no key, no header and no log line as it is, and breaks nothing."""

import io
import ipaddress
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pixelprompt.api import http
from pixelprompt.api.body import DEPTH_LIMIT
from pixelprompt.api.routes import no_such_route
from pixelprompt.errors import InvalidJson, InvalidParameter, RequestError
from pixelprompt.jobs import idempotency
from pixelprompt.jobs.document import is_job_id
from pixelprompt.jobs.request import read_models
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.caller import caller
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.observability import logger
from pixelprompt.prompts.prompt import read_prompt
from pixelprompt.storage.galleries import Page
from pixelprompt.storage.keys import file_name, idempotency_key, stem
from tests.unit.api.test_http import Context, event

# Half surrogate pairs, which `text` leaves out, as JSON can bring them in.
TEXT = st.text(st.characters(codec=None), max_size=60) | st.sampled_from(
    [
        "../../rate-limit/ratelimit.json",
        "..\\..\\x",
        "a\r\nSet-Cookie: x=1",
        "\x00",
        "\ud800",
        "\x1b[31m",
        "<script>",
        "٣",
        "9" * 5000,
    ]
)
SAFE = re.compile(r"[A-Za-z0-9.-]*")
REGISTRY = ModelRegistry.load()


def parse(body: str) -> dict[str, Any]:
    return http.Request.from_event(event(body)).json()


@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=3), st.dictionaries(TEXT, TEXT, max_size=3))
def test_whatever_a_request_quotes_the_answer_and_the_log_are_well_formed(
    path: str, method: str, headers: dict[str, str], more: dict[str, str]
) -> None:
    def respond(request: http.Request) -> http.Response:
        raise no_such_route(request.method, request.path)

    given_headers = {**headers, "X-Correlation-ID": path, "Origin": method, **more}
    lines = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logger.handlers[0], "stream", lines)
        answer = http.endpoint(respond)({**event(method=method, path=path), "headers": given_headers}, Context())
    for name, value in answer["headers"].items():
        assert re.fullmatch(r"[A-Za-z-]+", name) and re.fullmatch(r"[ -~]*", value)
    body = json.loads(answer["body"].encode())
    if method == "OPTIONS":
        return
    assert (answer["statusCode"], body["error"]) in ((404, "NOT_FOUND"), (405, "METHOD_NOT_ALLOWED"))
    lines.seek(0)
    assert [json.loads(line)["message"] for line in lines.read().splitlines()] == ["Answered."]


@given(TEXT)
def test_only_a_uuid_is_looked_up_as_a_job(job_id: str) -> None:
    class Keys:
        def get_object(self, *, Key: str, **options: Any) -> Any:
            raise AssertionError(f"{Key!r} was asked for")

    assert not is_job_id(job_id)
    assert JobManager(Keys(), "bucket").read(job_id) is None


@given(st.uuids(version=4), st.sampled_from(["{}\n", "{}/..", "{}\x00", " {}", "{}٣", "../{}", "{}{}"]))
def test_a_uuid_with_something_about_it_is_none(job_id: Any, frame: str) -> None:
    assert is_job_id(str(job_id))
    assert not is_job_id(frame.format(job_id, job_id))
    assert not is_job_id(str(job_id).upper()) or str(job_id) == str(job_id).upper()


@given(TEXT, TEXT, st.integers(0, 2**53))
def test_names_in_keys_are_plain_and_cannot_climb(target: str, model: str, timestamp: int) -> None:
    for text in (target, model):
        assert SAFE.fullmatch(file_name(text)) and not file_name(text).startswith((".", "-"))
        assert file_name(file_name(text)) == file_name(text)
    assert stem(target, model, timestamp).count("/") == 1


# Hypothesis also tries strings that it finds in the source, and names of models are among them.
UNKNOWN = TEXT.filter(lambda name: REGISTRY.find(name) is None and REGISTRY.find_retired(name) is None)


@given(st.lists(UNKNOWN, min_size=1, max_size=5))
def test_a_model_that_does_not_exist_is_refused_in_one_printable_line(names: list[str]) -> None:
    with pytest.raises(InvalidParameter) as refused:
        read_models(names, REGISTRY)
    assert refused.value.message.isprintable() and len(refused.value.message) < 5000


@given(TEXT)
def test_a_prompt_that_passes_has_no_control_character(prompt: str) -> None:
    try:
        found = read_prompt(prompt)
    except RequestError:
        return
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", found)


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x1b", "\x7f", "\x85", "\x9b"])
def test_control_characters_of_both_sets_are_refused(character: str) -> None:
    with pytest.raises(InvalidParameter):
        read_prompt(f"a{character}b")


@given(TEXT)
@example("fe80::1%<script>\n")
def test_the_name_an_address_is_counted_under_is_an_address_or_unknown(address: str) -> None:
    name = caller(address)
    assert name == "unknown" or "%" not in str(ipaddress.ip_network(name))


@given(TEXT)
def test_an_idempotency_key_is_hashed_or_refused(key: str) -> None:
    try:
        idempotency.read_key({"idempotency-key": key})
    except InvalidParameter:
        assert not (key.isascii() and key.isprintable() and 1 <= len(key) <= 255)
        return
    assert re.fullmatch(r"idempotency/[0-9a-f]{64}\.json", idempotency_key("192.0.2.1", key))


@given(st.dictionaries(st.sampled_from(["limit", "cursor"]), TEXT))
def test_a_page_is_refused_or_within_its_limits(query: dict[str, str]) -> None:
    try:
        page = Page.from_query(query)
    except InvalidParameter:
        return
    assert 1 <= page.limit <= 100
    assert page.cursor is None or (SAFE.fullmatch(page.cursor) and len(page.cursor) <= 200)


@given(st.integers(0, 1100), st.booleans())
@example(984, False)
@example(990, False)
@example(32, True)
def test_what_is_read_can_be_written_and_compared_at_any_depth_of_the_stack(depth: int, of_objects: bool) -> None:
    opening, closing = ('{"a":', "}") if of_objects else ("[", "]")
    try:
        body = parse('{"prompt": "a fox", "x": ' + opening * depth + "1" + closing * depth + "}")
    except InvalidJson as error:
        assert depth >= DEPTH_LIMIT and error.message == "The body is nested too deeply."
        return
    assert depth < DEPTH_LIMIT

    def deeper(frames: int) -> str:
        return deeper(frames - 1) if frames else idempotency.body_hash(body)

    assert re.fullmatch("[0-9a-f]{64}", deeper(50))


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1e400", "1e-400", "9" * 4299, "0.1" + "0" * 5000])
def test_a_huge_number_is_refused_or_read(number: str) -> None:
    body = parse(f'{{"prompt": "a fox", "seed": {number}}}')
    assert set(body) == {"prompt", "seed"}
