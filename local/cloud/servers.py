"""The emulator's process, and the ports of the cloud's servers."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from local.cloud.http import CloudError
from local.emulator.access_key import AccessKey
from local.paths import ROOT, SCRIPTS, SYSTEM_PATH
from local.processes import Server, end, printed_last

# Beside the emulator's log, where it enforces IAM: the calls of roles.
CALLS_LOG = "calls.jsonl"
_READY_SECONDS = 30.0


def launch_emulator(
    run: Path,
    log: Path,
    *,
    cloud: Path,
    access_key: AccessKey,
    port: int = 0,
    network: Mapping[str, str] | None = None,
    certificate: str = "",
    key: str = "",
) -> Server:
    """Start an emulator; its data are below ``run``. It ends with the last lease on the folder `cloud`.

    Only requests that are signed with ``access_key`` reach its AWS services.

    Its port is the requested one, which was free a moment ago, or any other free one.

    With a certificate it speaks TLS, enforces IAM, and records the calls of roles in `CALLS_LOG`.

    All of its environment reaches the Lambdas, so nothing of the caller's own may be in it.
    """
    for name in ("home", "tmp"):
        (run / name).mkdir(parents=True, exist_ok=True)
    # The port is never free between its choice and its use: the emulator inherits the socket.
    with _listener(port) as listener:
        port = int(listener.getsockname()[1])
        environment = {**_emulator_environment(run, port), **access_key.environment(), **(network or {})}
        if certificate:
            environment |= {"AUTH": "true", "USE_SSL": "1", "CALLS_LOG": str(log.with_name(CALLS_LOG))}
            environment |= {"MINISTACK_SSL_CERT": certificate, "MINISTACK_SSL_KEY": key}
            # For the Lambdas; left to itself, the emulator would look at its certificate again for each worker.
            environment |= {"AWS_ENDPOINT_URL": f"https://127.0.0.1:{port}", "AWS_CA_BUNDLE": certificate}
        return Server.launch(
            [
                sys.executable, "-P", str(ROOT / "local/emulator/emulator.py"), "--cloud", str(cloud),
                "ministack.app:app",
                "--config", "python:ministack.core.hypercorn_conf", "--bind", f"fd://{listener.fileno()}",
                # Clients that stay connected do not hold up the end.
                "--workers", "0", "--keep-alive", "75", "--graceful-timeout", "1",
            ],
            port,
            environment=environment,
            folder=run,
            log=log,
            listener=listener,
        )  # fmt: skip


def _emulator_environment(run: Path, port: int) -> dict[str, str]:
    return {
        "PATH": f"{SCRIPTS}:{SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "HOME": str(run / "home"),
        "TMPDIR": str(run / "tmp"),
        "STATE_DIR": str(run / "state"),
        "S3_DATA_DIR": str(run / "s3"),
        "AWS_EC2_METADATA_DISABLED": "true",
        # Both would listen on ports of their own.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }


def wait_until_ready(server: Server, ready: Callable[[], bool], name: str, log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while not ready():
        if not server.process():
            raise CloudError(f"{name} ended at once:\n{printed_last(log, 20)}")
        if time.monotonic() > until:
            raise CloudError(f"{name} was not ready within {_READY_SECONDS:.0f} s; its log is {log}.")
        time.sleep(0.02)


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def freed_port(server: Server | None) -> int:
    """The port of a server, which is ended; 0 where another has taken the port, or there was no server."""
    if not server:
        return 0
    if process := server.process():
        end([process])
    return server.port if is_free(server.port) else 0
