"""The download guard: an address from outside reaches nothing inside."""

import base64
import ipaddress
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from threading import Event
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pixelprompt.providers.wire import transport
from pixelprompt.providers.wire.addresses import is_public
from pixelprompt.providers.wire.download import DownloadFailed, download, download_paid
from tests.canned import Answer, Asked, Canned

HOSTS = ["images.example", "other.example", "mixed.example", "inside.example"]
PUBLIC = "93.184.216.34"
CONTENT = b"the image"


class Network:
    """Names that lead to addresses, addresses that all lead to one TLS server on loopback."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, server: Canned) -> None:
        self.names: dict[str, list[list[str]]] = {"images.example": [[PUBLIC]]}
        self.resolved: list[str] = []
        self.connected: list[Any] = []
        self.port = server.port
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)
        monkeypatch.setattr(socket, "create_connection", self.connect)

    def resolve(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        """The next answer for this name; the last one stays."""
        self.resolved.append(host)
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            answers = self.names.get(host)
            if not answers:
                raise socket.gaierror("unknown") from None
            addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    def connect(self, address: Any, timeout: Any = None, **options: Any) -> socket.socket:
        """A connection to the server, whatever the address."""
        self.connected.append(address[0])
        plain = socket.socket()
        plain.settimeout(timeout)
        plain.connect(("127.0.0.1", self.port))
        return plain


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS contexts of a server with these hosts' certificate, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        # Valid on any day: OpenSSL has a clock of its own.
        .not_valid_before(datetime(2020, 1, 1))
        .not_valid_after(datetime(2120, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.create_default_context(cadata=pem.decode())
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(private + pem)
        file.flush()
        server.load_cert_chain(file.name)
    return server, client


@pytest.fixture
def web(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Canned, Network, dict[str, Answer]]]:
    """A TLS server, the network that leads to it, and what it answers by path."""
    answers: dict[str, Answer] = {}

    def answer(asked: Asked) -> Answer:
        return answers.get(asked.path, Answer(200, CONTENT))

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transport, "trusted_authorities", lambda: contexts[1])
    with Canned(answer, contexts[0]) as server:
        yield server, Network(monkeypatch, server), answers


def soon(seconds: float = 5) -> float:
    return time.time() + seconds


def test_an_image_is_fetched_from_the_address_that_was_checked(web: Any) -> None:
    server, network, _ = web
    # The second answer to the same question would lead inside.
    network.names["images.example"] = [[PUBLIC], ["127.0.0.1"], ["10.0.0.5"]]
    assert download("https://images.example/fox.png?sig=1", soon()) == CONTENT
    assert network.resolved == ["images.example"] and network.connected == [PUBLIC]
    (asked,) = server.asked
    assert (asked.path, asked.headers["host"]) == ("/fox.png?sig=1", "images.example")
    assert not {"authorization", "x-key", "cookie"} & set(asked.headers)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::1",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_no_name_leads_inside(web: Any, address: str) -> None:
    assert not is_public(address)
    _, network, _ = web
    network.names["inside.example"] = [[address]]
    with pytest.raises(DownloadFailed, match="private network"):
        download("https://inside.example/", soon())
    assert network.connected == []


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_one_private_address_among_others_is_one_too_many(web: Any) -> None:
    _, network, _ = web
    network.names["mixed.example"] = [[PUBLIC, "10.0.0.5"]]
    with pytest.raises(DownloadFailed, match="private network"):
        download("https://mixed.example/", soon())
    assert network.connected == []


@pytest.mark.parametrize("url", ["https://10.0.0.5/", "https://127.0.0.1/", "https://169.254.169.254/latest"])
def test_an_address_needs_no_name_to_be_refused(web: Any, url: str) -> None:
    with pytest.raises(DownloadFailed, match="private network"):
        download(url, soon())
    assert web[1].connected == []


@pytest.mark.parametrize(
    "url", ["http://images.example/", "ftp://images.example/", "file:///etc/passwd", "//images.example/", "fox.png", ""]
)
def test_only_https_is_followed(web: Any, url: str) -> None:
    with pytest.raises(DownloadFailed, match="only https"):
        download(url, soon())
    assert web[1].connected == []


@pytest.mark.parametrize("base_url", [None, "https://api.example/v1", "http://10.0.0.5/", "https://localhost.example/"])
def test_loopback_is_for_servers_on_loopback_only(base_url: str | None) -> None:
    with Canned(Answer(200, CONTENT)) as server:
        with pytest.raises(DownloadFailed, match="only https"):
            download(f"{server.url}/fox.png", soon(), base_url=base_url)
        assert server.asked == []


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("http://127.0.0.1:{port}/fox.png", "http://127.0.0.1:{port}/v1"),
        ("http://localhost:{port}/fox.png", "http://127.0.0.1:{port}/v1"),
        ("http://127.0.0.1:{port}/fox.png", "http://localhost:{port}/v1"),
        ("http://0.0.0.0:{port}/fox.png", "http://127.0.0.1:{port}/v1"),
        ("http://127.0.0.1:{port}/fox.png", "http://127.0.0.1:1/v1"),
        ("/fox.png", "http://127.0.0.1:{port}/v1"),
        ("../fox.png", "http://127.0.0.1:{port}/v1/"),
        ("//127.0.0.1:{port}/fox.png", "http://127.0.0.1:{port}/v1"),
    ],
)
def test_a_server_on_loopback_names_its_images_in_many_ways(url: str, base_url: str) -> None:
    with Canned(Answer(201, CONTENT)) as server:
        port = server.port
        assert download(url.format(port=port), soon(), base_url=base_url.format(port=port)) == CONTENT
    assert [asked.path for asked in server.asked] == ["/fox.png"]


def test_a_server_that_the_operator_chose_may_be_inside(web: Any) -> None:
    """It has just been asked for the image, so fetching it from there opens nothing."""
    server, network, answers = web
    network.names["inside.example"] = [["10.0.0.5"]]
    base = "https://inside.example/v1"
    assert download("https://inside.example/fox.png", soon(), base_url=base) == CONTENT
    assert download("/fox.png", soon(), base_url=base) == CONTENT
    answers["/start"] = Answer(302, b"", {"Location": "https://other.example/"})
    network.names["other.example"] = [["10.0.0.6"]]
    for url in ("/start", "https://other.example/", "http://inside.example/", "https://inside.example:8443/"):
        with pytest.raises(DownloadFailed, match=r"private network|only https"):
            download(url, soon(), base_url=base)
    assert {asked.path for asked in server.asked} == {"/fox.png", "/start"}


@pytest.mark.parametrize(
    ("location", "match"),
    [
        ("https://inside.example/", "private network"),
        ("https://169.254.169.254/latest/meta-data/", "private network"),
        ("http://images.example/fox", "only https"),
        ("http://169.254.169.254/", "only https"),
        ("file:///etc/passwd", "only https"),
        ("https://[::1/", "not valid"),
        ("https://user:password@images.example/", "user name"),
        ("//user@images.example/", "user name"),
        ("https://2130706433/", "unusual form"),
        ("https://0177.0.0.1/", "not valid"),
    ],
)
def test_a_redirect_is_checked_like_an_address(web: Any, location: str, match: str) -> None:
    server, network, answers = web
    network.names["inside.example"] = [["10.0.0.5"]]
    answers["/start"] = Answer(302, b"", {"Location": location})
    with pytest.raises(DownloadFailed, match=match):
        download("https://images.example/start", soon())
    assert network.connected == [PUBLIC] and len(server.asked) == 1


def test_a_name_is_checked_again_on_every_redirect(web: Any) -> None:
    _, network, answers = web
    network.names["images.example"] = [[PUBLIC], ["10.0.0.5"]]
    answers["/start"] = Answer(302, b"", {"Location": "/next"})
    with pytest.raises(DownloadFailed, match="private network"):
        download("https://images.example/start", soon())
    assert network.connected == [PUBLIC]


def test_three_redirects_are_followed_and_no_more(web: Any) -> None:
    server, _, answers = web
    for step in range(4):
        answers[f"/{step}"] = Answer(302, b"", {"Location": f"/{step + 1}"})
    assert download("https://images.example/1", soon()) == CONTENT
    server.asked.clear()
    with pytest.raises(DownloadFailed, match="3 redirects"):
        download("https://images.example/0", soon())
    assert [asked.path for asked in server.asked] == ["/0", "/1", "/2", "/3"]


def test_a_loopback_server_redirects_nowhere_else() -> None:
    with Canned(Answer(200, CONTENT)) as other:
        with Canned(Answer(302, b"", {"Location": other.url})) as server, pytest.raises(DownloadFailed, match="only"):
            download(server.url, soon(), base_url=server.url)
        assert other.asked == []


def test_a_large_image_is_left() -> None:
    with Canned(Answer(200, b"x" * 1001)) as server:
        assert len(download(server.url, soon(), base_url=server.url, limit=1001)) == 1001
        with pytest.raises(DownloadFailed, match="too large") as caught:
            download(server.url, soon(), base_url=server.url, limit=1000)
    assert not caught.value.passing


def test_the_deadline_ends_a_download() -> None:
    given_up = Event()

    def slowly(_: Asked) -> Answer:
        given_up.wait(60)
        return Answer(200, CONTENT)

    with Canned(slowly) as server:
        started = time.monotonic()
        with pytest.raises(DownloadFailed) as caught:
            download(server.url, soon(0.4), base_url=server.url)
        assert time.monotonic() - started < 20 and caught.value.passing
        assert str(caught.value) == "The image could not be fetched in time."
        given_up.set()


@pytest.mark.parametrize(("status", "passing"), [(404, True), (503, True), (429, True), (403, False), (400, False)])
def test_what_may_pass_is_told_apart(status: int, passing: bool) -> None:
    with Canned(Answer(status)) as server, pytest.raises(DownloadFailed, match=str(status)) as caught:
        download(server.url, soon(), base_url=server.url)
    assert caught.value.passing is passing


@pytest.mark.parametrize(("status", "times"), [(503, 3), (403, 1)])
def test_a_paid_image_is_fetched_up_to_three_times(status: int, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelprompt.providers.wire.download.time.sleep", lambda seconds: None)
    with Canned(Answer(status)) as server:
        with pytest.raises(DownloadFailed):
            download_paid(server.url, soon(), base_url=server.url)
        assert len(server.asked) == times


def test_an_image_inside_its_address() -> None:
    encoded = base64.b64encode(CONTENT).decode()
    assert download(f"data:image/png;base64,{encoded}", soon()) == CONTENT
    assert download("DATA:image/png;base64," + encoded.replace("=", "%3D"), soon()) == CONTENT
    assert download(" data:image/png;base64," + base64.encodebytes(CONTENT).decode().strip("=\n"), soon()) == CONTENT
    assert download("data:image/svg+xml,%3Csvg%2F%3E", soon()) == b"<svg/>"
    for broken in ("data:image/png;base64,", "data:image/png;base64,***", "data:"):
        with pytest.raises(DownloadFailed, match="base64"):
            download(broken, soon())
    with pytest.raises(DownloadFailed, match="too large"):
        download(f"data:;base64,{encoded}", soon(), limit=3)


def test_an_unknown_host_may_become_known(web: Any) -> None:
    with pytest.raises(DownloadFailed) as caught:
        download("https://nowhere.example/", soon())
    assert caught.value.passing
    # Waiting longer would not have helped.
    assert str(caught.value) == "The image could not be fetched: its server could not be reached."


def test_a_certificate_of_another_host_is_no_good(web: Any) -> None:
    server, network, _ = web
    network.names["wrong.example"] = [[PUBLIC]]
    with pytest.raises(DownloadFailed):
        download("https://wrong.example/", soon())
    assert server.asked == []


def test_through_a_proxy_the_checked_address_is_asked_for(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, network, _ = web
    network.names["inside.example"] = [["10.0.0.5"]]
    with Canned(Answer(403)) as proxy:
        network.port = proxy.port
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
        with pytest.raises(DownloadFailed):
            download("https://images.example/fox.png", soon())
        with pytest.raises(DownloadFailed, match="private network"):
            download("https://inside.example/fox.png", soon())
    assert [(asked.method, asked.path) for asked in proxy.asked] == [("CONNECT", f"{PUBLIC}:443")]
    assert network.connected == ["proxy.example"]


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    assert transport.proxy_for(httpx2.URL("http://127.0.0.1:8080/")) is None
    assert transport.proxy_for(httpx2.URL("http://api.example/")) == httpx2.URL("http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "api.example")
    assert transport.proxy_for(httpx2.URL("http://api.example/")) is None
