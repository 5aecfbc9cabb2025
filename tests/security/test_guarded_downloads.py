"""An image URL is data from outside: whatever it looks like, nothing inside is connected to."""

import ipaddress
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pixelprompt.providers.wire import addresses as guard
from pixelprompt.providers.wire.addresses import is_public
from pixelprompt.providers.wire.download import DownloadFailed, download

FUNCTIONS = Path(__file__).parents[2] / "functions"
PUBLIC = "93.184.216.34"

# First and last address of each special range, and the public neighbors where there are some.
V4 = {
    "0.0.0.0": "0.255.255.255",
    "10.0.0.0": "10.255.255.255",
    "100.64.0.0": "100.127.255.255",
    "127.0.0.0": "127.255.255.255",
    "168.63.129.16": "168.63.129.16",
    "169.254.0.0": "169.254.255.255",
    "172.16.0.0": "172.31.255.255",
    "192.0.0.0": "192.0.0.255",
    "192.0.2.0": "192.0.2.255",
    "192.31.196.0": "192.31.196.255",
    "192.52.193.0": "192.52.193.255",
    "192.88.99.0": "192.88.99.255",
    "192.168.0.0": "192.168.255.255",
    "192.175.48.0": "192.175.48.255",
    "198.18.0.0": "198.19.255.255",
    "198.51.100.0": "198.51.100.255",
    "203.0.113.0": "203.0.113.255",
    "224.0.0.0": "255.255.255.255",
}
CLOUDS = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254",
          "fd20:ce::254", "fd00:c1::a9fe:a9fe")  # fmt: skip
REACHABLE_BY_REGISTRY = ("192.0.0.9", "192.0.0.10", "192.31.196.1", "192.52.193.1", "192.175.48.1", "2001:1::1",
                         "2001:1::2", "2001:1::3", "2001:3::1", "2001:4:112::1", "2001:20::1", "2001:30::1",
                         "2620:4f:8000::1")  # fmt: skip
V6 = ("::", "::1", "::8.8.8.8", "::127.0.0.1", "64:ff9b:1::808:808", "64:ff9b:1:ffff::1", "100::1", "100:0:0:1::1",
      "1fff:ffff::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:1ff:ffff::1",
      "2001:db8::1", "2002::1", "2002:808:808::1", "2002:a9fe:a9fe::1", "3fff::1", "3fff:fff:ffff::1", "4000::1",
      "5f00::1", "8000::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1", "feff::1", "ff02::1",
      "ff0e::1")  # fmt: skip
EMBEDDED = ("::ffff:{}", "64:ff9b::{}")
SPECIAL = [*V4, *V4.values(), *CLOUDS, *REACHABLE_BY_REGISTRY, *V6]
GOOD = ("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
        "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.31.195.255", "192.31.197.0", "192.52.192.255", "192.52.194.0",
        "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "192.175.47.255", "192.175.49.0",
        "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
        "223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2001:db7:ffff::1", "2001:db9::1", "2003::1",
        "2606:4700::1111", "2620:4f:7fff::1", "2620:4f:8001::1", "2a00:1450::1", "3ffe:ffff::1",
        "3fff:1000::1")  # fmt: skip


@pytest.fixture(autouse=True)
def no_interpreter_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's tables differ from version to version: no decision may rest on one."""

    def used(name: str) -> property:
        def fail(_: object) -> Any:
            raise AssertionError(f"{name} depends on the version of Python")

        return property(fail)

    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        for name in ("is_global", "is_private", "is_reserved", "is_multicast", "is_link_local", "is_site_local",
                     "sixtofour", "teredo"):  # fmt: skip
            if hasattr(kind, name):
                monkeypatch.setattr(kind, name, used(name))


class Network:
    """A resolver that reads numbers as the C library does, and names as here; connections are only counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ("images.example", "images.example.", "xn--bcher-kva.example", "cdn.xn--bcher-kva.example")
        self.names: dict[str, list[str]] = {name: [PUBLIC] for name in names}
        self.connected: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)
        monkeypatch.setattr(socket, "create_connection", self.connect)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)

    def resolve(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if ":" in host:
            addresses = [host]
        else:
            try:
                addresses = [socket.inet_ntoa(socket.inet_aton(host))]
            except OSError:
                addresses = self.names.get(host) or []
        if not addresses:
            raise socket.gaierror("unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    def connect(self, address: Any, *_: Any, **__: Any) -> socket.socket:
        self.connected.append(address[0])
        raise OSError("no connection is made")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


@pytest.mark.parametrize("address", SPECIAL)
def test_a_special_address_is_never_connected_to(address: str, network: Network) -> None:
    assert not is_public(address)
    network.names["images.example"] = [address]
    with pytest.raises(DownloadFailed, match="private network"):
        download("https://images.example/fox.png", time.time() + 5)
    assert network.connected == []


@pytest.mark.parametrize("form", EMBEDDED)
@pytest.mark.parametrize("address", [*V4, *V4.values()])
def test_a_special_address_inside_another_one_is_refused(address: str, form: str) -> None:
    assert not is_public(form.format(address))


@pytest.mark.parametrize("address", GOOD)
def test_the_rest_is_public(address: str) -> None:
    assert is_public(address)
    if ":" not in address:
        assert all(is_public(form.format(address)) for form in EMBEDDED)


@pytest.mark.parametrize(
    "address", ["2606:4700::1111%eth0", "fe80::1%eth0", "fe80::1%1", "::1%lo", "8.8.8.8%eth0", "", "fox", "0177.0.0.1",
                "127.1", "2130706433", "8.8.8.8/32", " 8.8.8.8", "8.8.8.8\n", "[::1]", "۸.8.8.8"]
)  # fmt: skip
def test_what_is_no_plain_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    ["0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "127.1", "127.0.1", "1", "0", "0x",
     "10.1", "0x0a.1", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "134744072", "8.8.2056",
     "010.8.8.8", "8.8.8.8.", "127.0.0.1.", "127.0.0.1..", "1.2.3.4.5", "256.0.0.1", "images.example.1",
     "images.example.0x7f", "127.0.0.01"],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["https://{}/fox.png", "HTTPS://{}:443/"])
def test_a_number_in_an_unusual_form_is_no_host(host: str, shape: str, network: Network) -> None:
    with pytest.raises(DownloadFailed, match=r"not allowed|not valid"):
        download(shape.format(host), time.time() + 5)
    assert network.connected == []


@pytest.mark.parametrize(
    "url",
    [
        "https://127。0。0。1/", "https://127．0．0．1/", "https://127｡0｡0｡1/", "https://１２７.0.0.1/",
        "https://①②⑦.0.0.1/", "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "https://localhost/", "https://LOCALHOST./", "https://localhost。/",
        "https://[::1]/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/", "https://[::FFFF:A9FE:A9FE]/", "https://[::127.0.0.1]/", "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]/", "https://[::1%25lo]/", "https://[v1.fe80::1]/", "https://[64:ff9b::7f00:1]/",
        "https://127.0.0.1%00.images.example/", "https://127.0.0.1%2f.images.example/",
        "https://images.example\\@10.0.0.1/", "https://10.0.0.1\\.images.example/", "https://images.example@10.0.0.1/",
        "https://images.example:443@10.0.0.1/", "https:///10.0.0.1/", "https:10.0.0.1/", "https://10.0.0.1:443/",
        "https://10.0.0.1:8443/", "https://10.0.0.1:0/", "https://10.0.0.1#@images.example/",
        "https://10.0.0.1?@images.example/", "https://metadata.google.internal/", "https://instance-data/",
        " https://10.0.0.1/", "\thttps://10.0.0.1/", "https://10.0.0.1\t/", "gopher://10.0.0.1/", "HTTP://10.0.0.1/",
        "http:images.example", "jar:https://images.example!/", "ws://10.0.0.1/", "unix:///run/docker.sock",
    ],
)  # fmt: skip
@pytest.mark.parametrize("base_url", [None, "https://api.example/v1"])
def test_a_hostile_url_leads_nowhere(url: str, base_url: str | None, network: Network) -> None:
    inside = {
        "localhost": "127.0.0.1",
        "metadata.google.internal": "169.254.169.254",
        "instance-data": "169.254.169.254",
    }
    for name, address in inside.items():
        network.names[name] = network.names[f"{name}."] = [address]
    with pytest.raises(DownloadFailed):
        download(url, time.time() + 5, base_url=base_url)
    # Without a host, a URL is relative to the server that the operator chose.
    assert set(network.connected) <= ({"api.example"} if base_url else set())


@pytest.mark.parametrize("user", ["user:password", "user", ":password", "images.example", "10.0.0.1%2f"])
def test_a_url_with_credentials_is_refused(user: str, network: Network) -> None:
    with pytest.raises(DownloadFailed, match="user name"):
        download(f"https://{user}@images.example/", time.time() + 5)
    assert network.connected == []


@pytest.mark.parametrize("url", ["https://images.example/", "https://IMAGES.EXAMPLE/", "https://images。example/",
                                 "https://images.example:8443/", "https://images.example./",
                                 "https://xn--bcher-kva.example/", "https://cdn.xn--bcher-kva.example/",
                                 "https://b\u00fccher.example/",
                                 f"https://{PUBLIC}/"])  # fmt: skip
def test_an_ordinary_url_is_connected_to(url: str, network: Network) -> None:
    with pytest.raises(DownloadFailed, match="could not be fetched"):
        download(url, time.time() + 5)
    assert network.connected == [PUBLIC]


def test_the_ranges_are_made_by_the_first_download() -> None:
    code = (
        "import sys; from pixelprompt.providers.wire import addresses as guard\n"
        "assert guard.address_ranges.cache_info().currsize == 0\n"
        "assert guard.is_public('8.8.8.8') and guard.address_ranges.cache_info().currsize == 1"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(FUNCTIONS)}, check=True)


def test_every_range_is_a_network_and_none_repeats_another() -> None:
    for version, networks in guard._SPECIAL.items():
        parsed = [ipaddress.ip_network(network) for network in networks]
        assert all(network.version == version for network in parsed)
        assert not [(a, b) for a in parsed for b in parsed if a is not b and a.overlaps(b)]
