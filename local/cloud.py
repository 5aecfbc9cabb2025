"""The cloud on a laptop: the emulator with the deployed stack, and the simulators of the image providers.

Everything lies in one folder and listens on 127.0.0.1 only, on ports that were free, so that several clouds run side by
side: a developer's in `.local`, and those of tests in folders of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import platform
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, TypedDict, cast

import psutil

from infra.context import SettingsError
from infra.settings import Settings
from local import access_key, cdk, lease, lock
from local.access_key import AccessKey
from local.lease import Lease
from local.options import Options
from local.paths import ROOT, SCRIPTS, SYSTEM_PATH
from local.permissions import make_private, private_files
from local.processes import Server, end, printed_last, running_from, started_with, with_children

# What a deployment is made from.
SOURCES = ("app.py", "cdk.json", "infra", "functions", "statemachine")
# What the emulator is made from: its own interpreter runs the Lambdas.
EMULATOR = tuple(
    f"local/{name}.py"
    for name in ("emulator", "authentication", "signatures", "emulator_request", "access_key", "peer")
)
# Beside the emulator's files: the origins whose pages may call it.
ORIGINS = "origins.json"
# Beside the emulator's log, where it enforces IAM: the calls of roles.
CALLS_LOG = "calls.jsonl"
# What the simulators are made from, with the rows of the providers.
SIMULATOR = (
    "local/simulator",
    "functions/pixelprompt/models/provider.py",
    "functions/pixelprompt/models/dialect.py",
)
PACKAGES = ("requirements.txt", "functions/requirements.txt", "functions/requirements-core.txt")
# The id of the API in the emulator, so that its address is known beforehand.
API_ID = "pixel-prompt"
_READY_SECONDS = 30.0
# The processes of a cloud, each with the path at which it says that it is well.
_SERVERS = {"emulator": "/_ministack/ready", "simulator": "/_simulator/health", "page": "/config.json"}


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


class CloudError(Exception):
    """The cloud cannot be started or used; the message says why and what to do."""


@dataclass(frozen=True)
class Response:
    """An answer of the cloud's HTTP API; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass
class _State:
    """What a cloud remembers between commands: fingerprints say what each part was made from; no key is in it."""

    emulator: Server | None = None
    simulator: Server | None = None
    page: Server | None = None
    emulator_made_from: str = ""
    # Fingerprint of the variables by which it reaches real providers.
    network: str = ""
    simulator_made_from: str = ""
    page_made_from: str = ""
    deployed_from: str = ""
    certificate: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> _State:
        """The state in a file; an empty one where it is missing, broken, or of another folder that was copied here."""
        values = _read(path) or {}
        if values.pop("directory", "") != str(path.parent):
            return cls()
        try:
            servers = {name: Server(**values.pop(name)) for name in _SERVERS if values.get(name)}
            return cls(**{**values, **servers})
        except TypeError:
            return cls()

    def is_well(self, name: str) -> bool:
        """Whether one of `_SERVERS` runs and answers."""
        return _answers(getattr(self, name), _SERVERS[name], self.certificate if name == "emulator" else "")

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        _write(path, {"directory": str(path.parent), **asdict(self)})

    def runs(self) -> bool:
        """Whether any of its servers does, well or not."""
        return any(server.process() for name in _SERVERS if (server := getattr(self, name)))


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
        # The folder may have been removed meanwhile.
        if not self.directory.is_dir():
            return False
        with lease.locked(self.directory, "is stopping this cloud"):
            return self._end_lease() and _stop(self.directory)

    def _end_lease(self) -> bool:
        used, self._lease = self._lease, None
        return used is not None and used.end()

    def access_key(self) -> AccessKey:
        """The key that requests to its AWS services are signed with.

        Raises
        ------
        CloudError : it does not run any more
        """
        try:
            return AccessKey.load(self.directory)
        except (OSError, ValueError):
            raise CloudError("The cloud does not run any more; `make up` starts it.") from None

    def client(self, service: str) -> Any:
        """A boto3 client of this cloud."""
        if self._make_client is None:
            self._make_client = _clients(self.endpoints["aws"], self.endpoints["certificate"], self.access_key())
        return self._make_client(service)

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Response:
        """Ask the HTTP API; `path` may be a whole URL; a body that is neither text nor bytes is sent as JSON.

        ``timeout`` is the longest wait for any part of the answer, in seconds.

        Raises
        ------
        CloudError : nothing answers
        """
        given = dict(headers or {})
        if body is not None and not isinstance(body, str | bytes):
            body = json.dumps(body)
            given.setdefault("Content-Type", "application/json")
        data = body.encode() if isinstance(body, str) else body
        url = path if path.startswith(("http://", "https://")) else self.endpoints["api"] + path
        request = urllib.request.Request(url, data=data, headers=given, method=method)
        return _send(request, timeout=timeout, certificate=self.endpoints["certificate"])


def _clients(endpoint: str, certificate: str, key: AccessKey) -> Callable[[str], Any]:
    """What makes boto3 clients of an emulator; the user's profile, configuration and proxies have no part in them."""
    # Imported here: it takes a third of a second, and most commands say something first.
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


def start(
    directory: Path,
    settings: Mapping[str, str] | None = None,
    *,
    faults: str = "",
    latency: str = "",
    enforce_iam: bool = False,
    options: Options | None = None,
    join: bool = False,
    keep: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Cloud:
    """The cloud of a folder, started or brought up to date where needed.

    Parameters
    ----------
    settings : by the names of environment variables, such as ``{"IP_LIMIT": "10"}``
    faults, latency, enforce_iam : as in `Options`
    options : all of these and real provider keys; instead of the four before
    join : where a cloud runs, take over what it was started with and these options do not say
    keep : have it outlive the commands that use it, until `stop`

    Raises
    ------
    CloudError : it could not be started; nothing that was started is left
    SettingsError : a setting is wrong; nothing was started
    """
    chosen = options or Options(settings or {}, faults=faults, latency=latency, enforce_iam=enforce_iam)
    directory = directory.resolve()
    make_private(directory)
    with private_files(), lease.locked(directory, "is starting this cloud"):
        used = Lease(directory)
        if join:
            chosen = chosen.over(_options_of(directory))
        Settings.from_context(chosen.context("http://127.0.0.1", "http://127.0.0.1"))
        cloud = _Start(directory, chosen, used, progress).run()
        if keep:
            lease.keep(directory)
        return cloud


@contextlib.contextmanager
def while_running() -> Iterator[None]:
    """A block whose AWS clients are those of a cloud that another command may stop meanwhile.

    Raises
    ------
    CloudError : it does not answer any more
    """
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except BotoCoreError as error:
        raise CloudError(f"The cloud does not answer any more; `make status` tells what runs. ({error})") from None


def find(directory: Path) -> Cloud | None:
    """The running, healthy cloud of a folder, or None."""
    directory = directory.resolve()
    state = _State.load(directory / "state.json")
    if not all(state.is_well(name) for name in _SERVERS):
        return None
    endpoints = cast(Endpoints | None, _read(directory / "endpoints.json"))
    is_whole = endpoints is not None and Endpoints.__required_keys__ <= endpoints.keys()
    return Cloud(directory, endpoints) if endpoints and is_whole and _has_access_key(directory) else None


def _has_access_key(directory: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(AccessKey.load(directory))
    return False


def describe(directory: Path) -> str:
    """What runs of the cloud of a folder that `find` does not find, and what to do about it."""
    directory = directory.resolve()
    if holder := lock.holder(str(directory / "lock")):
        return f"{holder}: wait for it."
    state = _State.load(directory / "state.json")
    running = {name: server.process() for name in _SERVERS if (server := getattr(state, name))}
    if not _processes(directory, state):
        return "Nothing is running; `make up` starts the cloud."
    conditions = {
        name: "runs" if state.is_well(name) else "does not answer" if running.get(name) else "has ended"
        for name in _SERVERS
    }
    if all(condition == "runs" for condition in conditions.values()):
        return (
            "The cloud of another version runs, or its access key is lost; `make up` replaces it, `make down` stops it."
        )
    parts = ", ".join(f"the {name} {condition}" for name, condition in conditions.items())
    return f"The cloud runs only in part: {parts}. `make up` starts what is missing; `make down` stops all of it."


def current_options(cloud: Cloud) -> Options:
    """What a running cloud was started with, without its keys: no value in its secret makes a provider a real one."""
    return _options_of(cloud.directory)


def _options_of(directory: Path) -> Options:
    """What the cloud of a folder was started with, if any of its servers runs."""
    state = _State.load(directory / "state.json")
    return Options.recalled(state.options) if state.runs() else Options()


def forget_deployment(cloud: Cloud) -> None:
    """Have the next `start` deploy again: somebody else changes what is deployed."""
    path = cloud.directory / "state.json"
    state = _State.load(path)
    state.deployed_from = ""
    state.save(path)


def stop(directory: Path) -> bool:
    """End the cloud of a folder, whatever state it is in; whether anything was running."""
    directory = directory.resolve()
    if not directory.is_dir():
        return False
    with lease.locked(directory, "is stopping this cloud"):
        return _stop(directory)


def _stop(directory: Path) -> bool:
    lease.forget(directory)
    processes = _processes(directory, _State.load(directory / "state.json"))
    end(processes)
    # The emulator may have started workers while it was being ended.
    end(running_from(directory / "run"))
    for name in ("state.json", "endpoints.json", "outputs.json", ORIGINS):
        (directory / name).unlink(missing_ok=True)
    access_key.remove(directory)
    shutil.rmtree(directory / "run", ignore_errors=True)
    return bool(processes)


def _processes(directory: Path, state: _State) -> list[psutil.Process]:
    """All that runs of the cloud of a folder, also what its state does not know."""
    servers = [server.process() for name in _SERVERS if (server := getattr(state, name))]
    servers += started_with("--cloud", str(directory))
    processes = [process for server in servers if server for process in with_children(server)]
    # Those of an emulator that was killed have no parent any more.
    return [*dict.fromkeys([*processes, *running_from(directory / "run")])]


class _Start:
    """One start: keeps what is healthy and current, replaces what is not."""

    def __init__(self, directory: Path, options: Options, used: Lease, progress: Callable[[str], None]) -> None:
        self._directory = directory
        self._options = options
        self._lease = used
        self._progress = progress
        self._logs = directory / "logs"
        self._run = directory / "run"
        # What the next cloud of this folder can use again.
        self._cache = directory / "cache"
        self._state_file = directory / "state.json"
        self._state = _State.load(self._state_file)
        self._emulator_made_from = _fingerprint((*PACKAGES, *EMULATOR), platform.python_version(), options.enforce_iam)
        self._network = _fingerprint((), options.network_environment())
        self._simulator_made_from = _fingerprint(SIMULATOR, options.simulator_arguments())

    def run(self) -> Cloud:
        """The running cloud."""
        self._say_what_is_simulated_again()
        if self._lease.others and (changed := self._changed()):
            cure = "Wait until it has ended, or choose the same."
            raise CloudError(f"{self._lease.others[0]} with another {', '.join(changed)}. {cure}")
        # A machine that was switched off has ended a cloud that was to be kept.
        kept = lease.is_kept(self._directory) and self._state.runs()
        cloud = self._run_servers()
        if kept:
            lease.keep(self._directory)
        return cloud

    def _say_what_is_simulated_again(self) -> None:
        was_real = set(self._state.options.get("key_names", ())) if self._state.is_well("emulator") else set()
        if missing := sorted(was_real - set(self._options.keys)):
            self._progress(f"{', '.join(missing)}: not set here, so the provider is simulated from now on")

    def _changed(self) -> list[str]:
        """What of the cloud that runs would have to be changed under those who use it."""
        state = self._state
        if not state.is_well("emulator"):
            return []
        if options := self._options.differences(state.options):
            return options
        same = self._is_current(state) and state.simulator_made_from == self._simulator_made_from
        return [] if same else ["state of the sources"]

    def _run_servers(self) -> Cloud:
        state = self._state
        if not self._is_current(state):
            if _stop(self._directory):
                self._progress("what was left of an earlier cloud is ended")
            self._state = state = _State()
        fresh = state.emulator is None
        try:
            return self._bring_up(fresh)
        except BaseException as error:
            # Ctrl-C included: what was started here must not stay.
            if fresh:
                _stop(self._directory)
            if isinstance(error, cdk.CdkError | SettingsError):
                outcome = "Everything that was started is ended." if fresh else "The cloud runs on as it was."
                raise CloudError(f"{error}\n  {outcome}") from None
            raise

    def _is_current(self, state: _State) -> bool:
        """Whether the emulator that runs serves these options too."""
        # Without real providers, it does not matter how they would be reached.
        reaches = not self._options.keys or state.network == self._network
        made = state.is_well("emulator") and state.emulator_made_from == self._emulator_made_from
        return made and reaches and _has_access_key(self._directory)

    def _bring_up(self, fresh: bool) -> Cloud:
        for folder in (self._logs, self._cache, self._run / "cdk"):
            folder.mkdir(parents=True, exist_ok=True)
        simulator_url = f"http://127.0.0.1:{self._ensure_simulator().port}"
        if fresh:
            emulator = self._start_emulator()
        else:
            assert self._state.emulator
            emulator = self._state.emulator
        certificate = self._state.certificate
        url = f"{'https' if certificate else 'http'}://127.0.0.1:{emulator.port}"
        api_url = f"{url}/_aws/execute-api/{API_ID}"
        context = self._options.context(simulator_url, api_url)
        page_port = self._ensure_page(api_url, Settings.from_context(context)).port
        page_url = f"http://127.0.0.1:{page_port}"
        own_pages = [page_url, f"http://localhost:{page_port}"]
        if (origins := context.get("corsOrigins", "*")) != "*":
            context["corsOrigins"] = ",".join([origins, *own_pages])
        # Without the setting, AWS lets every page call; here other pages of this machine's browsers have no business.
        _write(self._directory / ORIGINS, [*own_pages, *self._options.origins()])
        wanted = _fingerprint(SOURCES, context)
        outputs_file = self._directory / "outputs.json"
        outdated = self._state.deployed_from != wanted
        if outdated:
            self._deploy(url, context, outputs_file, bootstrap=fresh)
        (outputs,) = json.loads(outputs_file.read_text(encoding="utf-8")).values()
        endpoints = Endpoints(
            api=api_url,
            aws=url,
            bucket=outputs["BucketName"],
            stateMachineArn=outputs["StateMachineArn"],
            providerSecret=outputs["ProviderSecretArn"],
            simulator=simulator_url,
            simulated=self._options.simulated(),
            region=cdk.REGION,
            certificate=certificate,
            shellFile=str(self._directory / access_key.SHELL_FILE),
            page=f"{page_url}/",
        )
        cloud = Cloud(self._directory, endpoints, changed=fresh or outdated, _lease=self._lease)
        self._put_keys(cloud)
        AccessKey.load(self._directory).save_shell_file(self._directory, url, cdk.REGION, certificate)
        if outdated:
            _answer_preflights(cloud, context.get("corsOrigins", "*"))
        _write(self._directory / "endpoints.json", endpoints)
        self._remember(deployed_from=wanted, options=self._options.remembered())
        # On the same ports, where they are still free then, what was synthesised serves again.
        _write(self._cache / "ports.json", {name: getattr(self._state, name).port for name in _SERVERS})
        return cloud

    def _deploy(self, url: str, context: Mapping[str, Any], outputs: Path, *, bootstrap: bool) -> None:
        """Synthesise and deploy; a new emulator is bootstrapped meanwhile."""
        key = AccessKey.load(self._directory)
        online = cdk.offline_environment(self._run / "cdk", url, certificate=self._state.certificate, key=key)
        with contextlib.ExitStack() as commands:
            if bootstrap:
                self._progress("bootstrapping the emulator")
                bootstrapping = commands.enter_context(
                    cdk.bootstrap(environment=online, log=self._logs / "bootstrap.log")
                )
            assembly = self._synthesised(context)
            if bootstrap:
                bootstrapping.wait()
                self._progress("the emulator is bootstrapped")
        # Not deployed from anything known until it is done.
        self._remember(deployed_from="")
        with cdk.deploy(assembly, outputs, environment=online, log=self._logs / "deploy.log") as deployment:
            deployment.wait()
        self._progress("the stack is deployed")

    def _synthesised(self, context: Mapping[str, Any]) -> Path:
        """The folder with the stack's template and archives: the last one, unless what it is made from has changed."""
        assembly, stamp = self._cache / "assembly", self._cache / "assembly.json"
        made_from = _fingerprint((*SOURCES, *PACKAGES), context, platform.python_version())
        last = _read(stamp) or {}
        # A deployment adds files of its own.
        if last.get("madeFrom") == made_from and last["files"].items() <= _sizes(assembly).items():
            self._progress("the stack is the one that was synthesised last time")
            return assembly
        self._progress("synthesising the stack")
        stamp.unlink(missing_ok=True)
        shutil.rmtree(assembly, ignore_errors=True)
        environment = cdk.offline_environment(self._run / "cdk")
        with cdk.synthesise(assembly, context, environment=environment, log=self._logs / "synth.log") as command:
            command.wait()
        _write(stamp, {"madeFrom": made_from, "files": _sizes(assembly)})
        self._progress("the stack is synthesised")
        return assembly

    def _put_keys(self, cloud: Cloud) -> None:
        """Put the provider keys into the secret, as their owner would on AWS."""
        secrets, name = cloud.client("secretsmanager"), cloud.endpoints["providerSecret"]
        wanted = json.dumps(self._options.secret())
        if secrets.get_secret_value(SecretId=name)["SecretString"] != wanted:
            secrets.put_secret_value(SecretId=name, SecretString=wanted)

    def _ensure_simulator(self) -> Server:
        """The simulator, started anew where it has ended or its options are other ones; its port stays."""
        server = self._state.simulator
        if self._state.is_well("simulator") and self._state.simulator_made_from == self._simulator_made_from:
            assert server
            return server
        server = self._serve("simulator", self._options.simulator_arguments(), self._simulator_made_from)
        self._progress(f"the simulators listen on 127.0.0.1:{server.port}")
        return server

    def _ensure_page(self, api_url: str, settings: Settings) -> Server:
        """What serves the page, started anew where it has ended or is an older one; its port stays."""
        arguments = ["--api", api_url, "--status-wait", str(settings.status_wait)]
        if not settings.has_gallery:
            arguments.append("--no-gallery")
        made_from = _fingerprint(["local/page.py", "infra/web.py"], arguments)
        server = self._state.page
        if self._state.is_well("page") and self._state.page_made_from == made_from:
            assert server
            return server
        server = self._serve("page", arguments, made_from)
        self._progress(f"the page is at http://127.0.0.1:{server.port}/")
        return server

    def _serve(self, name: str, arguments: list[str], made_from: str) -> Server:
        """Start the module `local.NAME`, on the port of its predecessor where that is still free."""
        port = _freed_port(getattr(self._state, name)) or self._usual_port(name)
        try:
            return self._launch(name, arguments, made_from, port)
        except CloudError:
            # Another process, such as a cloud of a copy of this checkout, may have taken the port meanwhile.
            if not port or _is_free(port):
                raise
            return self._launch(name, arguments, made_from, 0)

    def _launch(self, name: str, arguments: list[str], made_from: str, port: int) -> Server:
        port_file = self._run / f"{name}.port"
        port_file.unlink(missing_ok=True)
        log = self._fresh_log(f"{name}.log")
        server = Server.launch(
            [
                sys.executable, "-m", f"local.{name}", "--port", str(port), "--port-file", str(port_file),
                "--cloud", str(self._directory), *arguments,
            ],
            port,
            environment={
                "PATH": f"{SCRIPTS}:{SYSTEM_PATH}",
                "PYTHONPATH": str(ROOT),
                "LANG": "C.UTF-8",
                "TMPDIR": str(self._run),
            },
            folder=self._run,
            log=log,
        )  # fmt: skip
        self._remember(**{name: server, f"{name}_made_from": made_from})
        _await(server, port_file.exists, f"The {name}", log)
        server = Server(server.pid, server.created, int(port_file.read_text(encoding="ascii")))
        self._remember(**{name: server})
        return server

    def _start_emulator(self) -> Server:
        log = self._fresh_log("emulator.log")
        self._fresh_log(CALLS_LOG)
        certificate = key = ""
        if self._options.enforce_iam:
            # Imported here: only tests, and who asks for it, need it.
            from local.certificate import write

            # The bucket's policy refuses what comes without TLS.
            certificate, key = map(str, write(self._run / "tls"))
        network = self._options.network_environment()
        access = AccessKey.random()
        access.save(self._directory)
        server = launch_emulator(
            self._run,
            log,
            cloud=self._directory,
            access_key=access,
            port=self._usual_port("emulator"),
            network=network,
            certificate=certificate,
            key=key,
        )
        made_from = {"emulator_made_from": self._emulator_made_from, "network": self._network}
        self._remember(emulator=server, certificate=certificate, **made_from)
        _await(server, lambda: self._state.is_well("emulator"), "The emulator", log)
        enforcing = ", and enforces IAM" if certificate else ""
        self._progress(f"the emulator listens on 127.0.0.1:{server.port}{enforcing}")
        return server

    def _usual_port(self, name: str) -> int:
        """The port of this server in the last cloud of the folder; 0 where it is not free, or there was none."""
        port = (_read(self._cache / "ports.json") or {}).get(name)
        return port if isinstance(port, int) and 0 < port < 65536 and _is_free(port) else 0

    def _fresh_log(self, name: str) -> Path:
        path = self._logs / name
        path.unlink(missing_ok=True)
        return path

    def _remember(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self._state, name, value)
        self._state.save(self._state_file)


def _answer_preflights(cloud: Cloud, origins: str) -> None:
    """Have the emulator answer preflights as the functions do: it never passes an OPTIONS request on, as AWS does."""
    from pixelprompt.api import cors

    cloud.client("apigatewayv2").update_api(
        ApiId=API_ID,
        CorsConfiguration={
            "AllowOrigins": [origin.strip() for origin in origins.split(",")],
            "AllowMethods": cors.ALLOWED_METHODS.split(", "),
            "AllowHeaders": cors.ALLOWED_HEADERS.split(", "),
            "ExposeHeaders": cors.EXPOSED.split(", "),
            "MaxAge": cors.MAX_AGE,
        },
    )


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

    Its port is the one that is given, which was free a moment ago, or any other free one.

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
                sys.executable, "-P", str(ROOT / EMULATOR[0]), "--cloud", str(cloud), "ministack.app:app",
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


def _answers(server: Server | None, path: str, certificate: str = "") -> bool:
    """Whether the server's own process runs and answers."""
    if not server or not server.port or not server.process():
        return False
    with contextlib.suppress(CloudError):
        request = urllib.request.Request(f"{'https' if certificate else 'http'}://127.0.0.1:{server.port}{path}")
        return _send(request, timeout=2, certificate=certificate).status == http.HTTPStatus.OK
    return False


def _send(request: urllib.request.Request, timeout: float, certificate: str) -> Response:
    try:
        # No proxy: everything asked here is on this machine.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if certificate:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificate)))
        opener = urllib.request.build_opener(*handlers)
        with contextlib.closing(opener.open(request, timeout=timeout)) as answer:
            return Response(answer.status, _lowered(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Response(error.code, _lowered(error.headers), error.read())
    except (OSError, http.client.HTTPException) as error:
        raise CloudError(f"Nothing answers at {request.full_url} ({error}); `make down up` starts anew.") from error


def _lowered(headers: Message[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _await(server: Server, ready: Callable[[], bool], name: str, log: Path) -> None:
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


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _freed_port(server: Server | None) -> int:
    """The port of a server, which is ended; 0 where another has taken the port, or there was no server."""
    if not server:
        return 0
    if process := server.process():
        end([process])
    return server.port if _is_free(server.port) else 0


def _fingerprint(sources: tuple[str, ...] | list[str], *values: Any) -> str:
    """SHA-256 over files, folders of files, and values."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for source in sources:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    """The files in a folder, with their sizes in bytes."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where it is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _write(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)
