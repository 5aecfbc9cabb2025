"""A running cloud: where it is reached, and what it is asked."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, cast

import psutil

from local import cdk, lease, lock
from local.cloud import own_key
from local.cloud.http import CloudError, Response, send
from local.cloud.state import SERVERS, State, read
from local.emulator import access_key
from local.emulator.access_key import AccessKey
from local.lease import Lease
from local.options import Options
from local.processes import end, running_from, started_with, with_children

# Beside the emulator's files: the origins whose pages may call it.
ORIGINS = "origins.json"


class Endpoints(TypedDict):
    """Where a running cloud is reached; `endpoints.json` in its folder."""

    api: str
    aws: str
    bucket: str
    stateMachineArn: str
    providerSecret: str
    simulator: str
    simulated: list[str]
    region: str
    # File to trust the emulator by; empty where it speaks plain HTTP.
    certificate: str
    # File for a shell whose AWS tools are to use the cloud; it holds the access key.
    shellFile: str
    page: str
    # The setting, and the table that has its keys; empty where there is none.
    apiAuth: str
    ledgerTable: str


@dataclass
class Cloud:
    """A running cloud.

    Attributes
    ----------
    changed : whether `start` had to do anything at all
    """

    directory: Path
    endpoints: Endpoints
    changed: bool = False
    _lease: Lease | None = field(default=None, repr=False)
    _make_client: Callable[[str], Any] | None = field(default=None, repr=False)

    def stop(self) -> None:
        """End all processes of the cloud and remove its data."""
        self._end_lease()
        stop(self.directory)

    def is_kept(self) -> bool:
        """Whether it goes on running after the last command that uses it."""
        return lease.is_kept(self.directory)

    def leave(self) -> bool:
        """Use it no longer: the last to do so stops it, where it is not kept; whether it is stopped."""
        # The folder may have been removed in the meantime.
        if not self.directory.is_dir():
            return False
        with lease.locked(self.directory, "is stopping this cloud"):
            return self._end_lease() and stop_locked(self.directory)

    def _end_lease(self) -> bool:
        used, self._lease = self._lease, None
        return used is not None and used.end()

    def access_key(self) -> AccessKey:
        """The key that requests to its AWS services are signed with.

        Raises
        ------
        CloudError : it no longer runs
        """
        try:
            return AccessKey.load(self.directory)
        except (OSError, ValueError):
            raise CloudError("The cloud no longer runs; `make up` starts it.") from None

    def api_key(self) -> str:
        """The API key of this cloud's own requests; empty where its API is open.

        Raises
        ------
        CloudError : it is gone
        """
        return own_key.load(self.directory) if self.endpoints["apiAuth"] == "keys" else ""

    def client(self, service: str) -> Any:
        """A boto3 client of this cloud."""
        if self._make_client is None:
            self._make_client = clients(self.endpoints["aws"], self.endpoints["certificate"], self.access_key())
        return self._make_client(service)

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Response:
        """Ask the HTTP API; `path` may be a whole URL; a body that is neither text nor bytes is sent as JSON.

        The cloud's own API key goes along to the API, unless ``headers`` have an authorization; never to a whole URL.

        ``timeout`` is the longest wait for any part of the response, in seconds.

        Raises
        ------
        CloudError : nothing responds, or the API key is gone
        """
        sent_headers = dict(headers or {})
        is_whole = path.startswith(("http://", "https://"))
        if not is_whole and "Authorization" not in sent_headers and (key := self.api_key()):
            sent_headers["Authorization"] = f"Bearer {key}"
        if body is not None and not isinstance(body, str | bytes):
            body = json.dumps(body)
            sent_headers.setdefault("Content-Type", "application/json")
        data = body.encode() if isinstance(body, str) else body
        url = path if is_whole else self.endpoints["api"] + path
        request = urllib.request.Request(url, data=data, headers=sent_headers, method=method)
        return send(request, timeout=timeout, certificate=self.endpoints["certificate"])


def clients(endpoint: str, certificate: str, key: AccessKey) -> Callable[[str], Any]:
    """A factory of boto3 clients of an emulator, without the user's profile, configuration and proxies."""
    # Imported here: that takes a third of a second, and most commands print something first.
    import boto3
    import botocore.session
    from botocore.config import Config

    # Only the defaults: no variable of the environment, no key of a file.
    variables = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in botocore.session.Session.SESSION_VARIABLES.items()
    }
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    core = botocore.session.Session(session_vars=variables | files)
    session = boto3.Session(botocore_session=core, region_name=cdk.REGION, **key.client_options())
    config = Config(
        proxies={},
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 3},
        s3={"addressing_style": "path"},
        max_pool_connections=50,
    )
    trusted = certificate or None
    return lambda service: session.client(service, endpoint_url=endpoint, config=config, verify=trusted)


@contextlib.contextmanager
def while_running() -> Iterator[None]:
    """A block whose AWS clients are those of a cloud that another command may stop in the meantime.

    Raises
    ------
    CloudError : it no longer responds
    """
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except BotoCoreError as error:
        raise CloudError(f"The cloud no longer responds; `make status` shows what runs. ({error})") from None


def find(directory: Path) -> Cloud | None:
    """The running, healthy cloud of a folder, or None."""
    directory = directory.resolve()
    state = State.load(directory / "state.json")
    if not all(state.is_well(name) for name in SERVERS):
        return None
    endpoints = cast(Endpoints | None, read(directory / "endpoints.json"))
    is_whole = endpoints is not None and Endpoints.__required_keys__ <= endpoints.keys()
    return Cloud(directory, endpoints) if endpoints and is_whole and has_access_key(directory) else None


def has_access_key(directory: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(AccessKey.load(directory))
    return False


def describe(directory: Path) -> str:
    """Describe the parts that run of a cloud that `find` does not find, and what to do about them."""
    directory = directory.resolve()
    if holder := lock.holder(str(directory / "lock")):
        return f"{holder[:1].upper()}{holder[1:]}: wait for it."
    state = State.load(directory / "state.json")
    running = {name: server.process() for name in SERVERS if (server := getattr(state, name))}
    if not _processes(directory, state):
        return "Nothing is running; `make up` starts the cloud."
    conditions = {
        name: "runs" if state.is_well(name) else "does not respond" if running.get(name) else "has ended"
        for name in SERVERS
    }
    if all(condition == "runs" for condition in conditions.values()):
        return (
            "The cloud of another version runs, or its access key is lost; `make up` replaces it, `make down` stops it."
        )
    parts = ", ".join(f"the {name} {condition}" for name, condition in conditions.items())
    return f"The cloud runs only in part: {parts}. `make up` starts what is missing; `make down` stops all of it."


def current_options(cloud: Cloud) -> Options:
    """The options of a running cloud, without its keys: no value in its secret makes a provider a real one."""
    return options_of(cloud.directory)


def options_of(directory: Path) -> Options:
    """The options of a folder's cloud, if any of its servers runs."""
    state = State.load(directory / "state.json")
    return Options.recalled(state.options) if state.runs() else Options()


def forget_deployment(cloud: Cloud) -> None:
    """Have the next `start` deploy again: another command changes what is deployed."""
    path = cloud.directory / "state.json"
    state = State.load(path)
    state.deployed_from = ""
    state.save(path)


def stop(directory: Path) -> bool:
    """End the cloud of a folder, whatever state it is in; whether anything was running."""
    directory = directory.resolve()
    if not directory.is_dir():
        return False
    with lease.locked(directory, "is stopping this cloud"):
        return stop_locked(directory)


def stop_locked(directory: Path) -> bool:
    lease.forget(directory)
    processes = _processes(directory, State.load(directory / "state.json"))
    end(processes)
    # The emulator may have started workers while it was being ended.
    end(running_from(directory / "run"))
    for name in ("state.json", "endpoints.json", "outputs.json", ORIGINS):
        (directory / name).unlink(missing_ok=True)
    access_key.remove(directory)
    own_key.remove(directory)
    shutil.rmtree(directory / "run", ignore_errors=True)
    return bool(processes)


def _processes(directory: Path, state: State) -> list[psutil.Process]:
    """All that runs of the cloud of a folder, also what its state does not know."""
    servers = [server.process() for name in SERVERS if (server := getattr(state, name))]
    servers += started_with("--cloud", str(directory))
    processes = [process for server in servers if server for process in with_children(server)]
    # Those of an emulator that was killed no longer have a parent.
    return [*dict.fromkeys([*processes, *running_from(directory / "run")])]
