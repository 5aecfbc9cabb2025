"""One exchange: its end, its limit, and what its failure means."""

import gzip
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from pixelprompt.providers.wire import transport
from pixelprompt.redaction import clean
from tests.canned import Answer, Canned


def soon(seconds: float = 5) -> float:
    return time.time() + seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 2.5 ", 2.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_a_delay_is_read(text: str, seconds: float | None) -> None:
    assert transport.retry_after({"retry-after": text}) == seconds


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    """It costs no image, and what is kept of the answer can be encoded."""
    assert transport.parse_json(b'{"text": "a fox \\ud83d", "\\udc00": "\\ud83e\\udd8a"}') == {
        "text": "a fox ?",
        "?": "\U0001f98a",
    }
    assert clean("a fox \ud83d") == "a fox ?"


def test_a_delay_may_be_a_moment() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=90)
    for text in (format_datetime(moment, usegmt=True), format_datetime(moment.replace(tzinfo=None))):
        assert transport.retry_after({"retry-after": text}) == pytest.approx(90, abs=2)


def test_no_header_is_no_delay() -> None:
    assert transport.retry_after({}) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain\n  text", "plain text"),
        ("<!DOCTYPE html><title>502</title><body>Bad  <b>Gateway</b></body>", "502 Bad Gateway"),
        ("<script>var a = '<b>';</script>Sorry", "Sorry"),
        ("your key secret-123 is wrong", "your key [hidden] is wrong"),
        ("", ""),
    ],
)
def test_a_body_becomes_a_line(text: str, said: str) -> None:
    assert transport.excerpt(text, "secret-123") == said


def test_a_long_body_becomes_a_short_line() -> None:
    assert len(transport.excerpt("<" * 10_000_000, None)) <= 4000


def test_an_answer_is_read_up_to_its_limit() -> None:
    with Canned(Answer(200, b"x" * 1000)) as server:
        with transport.client(soon(), limit=1000) as client:
            assert len(client.get(server.url).content) == 1000
        with transport.client(soon(), limit=999) as client, pytest.raises(transport.ResponseTooLarge):
            client.get(server.url)


def test_an_answer_shorter_than_its_content_length_gets_no_padding() -> None:
    packed = Answer(200, gzip.compress(b"x"), {"Content-Encoding": "gzip"})
    with Canned(packed) as server, transport.client(soon()) as client:
        assert client.get(server.url).content == b"x"


@pytest.mark.parametrize("status", [201, 400, 503])
def test_a_response_is_put_aside_where_that_is_asked(status: int) -> None:
    aside: list[httpx2.Response] = []
    with Canned(Answer(status, b"image")) as server, transport.client(soon(), responses=aside) as client:
        seen = client.get(server.url)
    assert (seen.status_code, seen.content) == (200, b"")
    assert [(response.status_code, response.content) for response in aside] == [(status, b"image")]


def test_an_answer_that_unfolds_is_stopped_too() -> None:
    packed = gzip.compress(b"\0" * 10_000_000)
    with Canned(Answer(200, packed, {"Content-Encoding": "gzip"})) as server:
        with transport.client(soon(), limit=1_000_000) as client, pytest.raises(transport.ResponseTooLarge):
            client.get(server.url)
        with transport.client(soon()) as client:
            answer = client.get(server.url)
            assert len(answer.content) == 10_000_000 and "content-encoding" not in answer.headers
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_a_redirect_is_not_followed() -> None:
    with Canned(Answer(307, b"", {"Location": "/again"})) as server:
        with transport.client(soon()) as client:
            assert client.post(server.url, headers={"authorization": "Bearer x"}).status_code == 307
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "first", [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"]
)
def test_an_answer_that_drips_ends_at_the_deadline(first: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(first)
                while True:
                    connection.sendall(b"x" if first else b"")
                    time.sleep(0.05)
            except OSError:
                pass

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    started = time.monotonic()
    with transport.client(soon(0.5)) as client, pytest.raises(httpx2.ReadTimeout):
        client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert 0.4 < time.monotonic() - started < 20
    listener.close()


def test_what_is_too_late_is_not_sent() -> None:
    with Canned(Answer(200)) as server:
        with transport.client(soon(-1)) as client, pytest.raises(httpx2.ConnectTimeout) as caught:
            client.post(server.url)
        assert server.asked == []
    assert transport.exchange_error(caught.value).safe_to_repeat


def test_an_order_that_a_proxy_does_not_pass_on_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with Canned(Answer(407)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:word@127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with transport.client(soon()) as client, pytest.raises(httpx2.ProxyError) as caught:
            client.post("https://api.example/v1/images")
        (asked,) = proxy.asked
    assert (asked.method, asked.path) == ("CONNECT", "api.example:443")
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    assert transport.exchange_error(caught.value).safe_to_repeat
