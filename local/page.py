"""Serves the page on this laptop: the files of ``web/`` and a ``config.json``, with the headers that CloudFront sends.

Files are read at each request, so a change shows at the next reload; like CloudFront's they are compressed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import signal
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

from infra.web import CONTENT_TYPES, WEB, content_security_policy, page_config
from local import lease
from local.processes import write_port

CONFIG = "config.json"


class PageServer(ThreadingHTTPServer):
    """The page on a port of loopback, 0 for a free one.

    Parameters
    ----------
    api_url : where the page finds the API; the emulator serves the images, and takes uploads, at the same origin
    status_wait : seconds that the page may wait for a change
    gallery : whether the API has a gallery to show
    auth, usage : as for `page_config`
    """

    daemon_threads = True

    def __init__(
        self,
        port: int,
        api_url: str,
        status_wait: int,
        *,
        gallery: bool = True,
        auth: str = "none",
        usage: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        parts = urlsplit(api_url)
        origin = f"{parts.scheme}://{parts.netloc}"
        config = page_config(api_url=api_url, status_wait=status_wait, gallery=gallery, auth=auth, usage=usage)
        self.config = json.dumps(config).encode()
        self.headers = {
            "Cache-Control": "no-cache",
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": content_security_policy(api=origin, uploads=origin, images=origin),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
        }

    def file(self, name: str) -> tuple[bytes, str] | None:
        """Content and type of one of the page's files, or None; a name with a slash is none of theirs."""
        if name == CONFIG:
            return self.config, "application/json"
        for path in WEB.iterdir():
            if path.name == name and path.suffix in CONTENT_TYPES:
                return path.read_bytes(), CONTENT_TYPES[path.suffix]
        return None


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        found = self.server.file(path.removeprefix("/") or "index.html")
        content, content_type = found or (b"File not found.\n", "text/plain; charset=utf-8")
        self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            content = gzip.compress(content)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_request(self, *_: Any) -> None:
        """Files that were served say nothing."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.page", description="Serve the page on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--port-file", type=Path, help="file that receives the port once requests are accepted")
    parser.add_argument("--api", required=True, metavar="URL", help="URL of the HTTP API")
    parser.add_argument("--status-wait", type=int, default=0, help="seconds that the page may wait for a change")
    parser.add_argument("--no-gallery", action="store_true", help="the API has no gallery to show")
    parser.add_argument("--auth", default="none", help="what callers need: none, or an API key (keys)")
    parser.add_argument("--usage", action="store_true", help="the API tells what was used")
    parser.add_argument("--cloud", type=Path, help="folder of the cloud that it belongs to, and ends with")
    options = parser.parse_args(arguments)
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if options.cloud:
        lease.watch(options.cloud)
    try:
        server = PageServer(
            options.port,
            options.api,
            options.status_wait,
            gallery=not options.no_gallery,
            auth=options.auth,
            usage=options.usage,
        )
    except (OSError, OverflowError) as error:
        parser.exit(1, f"Cannot listen on port {options.port}: {error}.\n")
    with server:
        Thread(target=server.serve_forever, daemon=True).start()
        if options.port_file:
            write_port(options.port_file, server.server_port)
        print(f"The page is at http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
        ended.wait()
        server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
