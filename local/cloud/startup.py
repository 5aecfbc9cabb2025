"""The start of a cloud: keeps what is healthy and current, replaces what is not."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra.context import SettingsError
from infra.settings import Settings
from local import cdk, lease
from local.cloud import own_key
from local.cloud.fingerprint import EMULATOR, PACKAGES, SIMULATOR, SOURCES, fingerprint, sizes
from local.cloud.http import CloudError
from local.cloud.running import ORIGINS, Cloud, Endpoints, has_access_key, options_of, stop_locked
from local.cloud.servers import CALLS_LOG, freed_port, is_free, launch_emulator, wait_until_ready
from local.cloud.state import SERVERS, State, read, write
from local.emulator import access_key
from local.emulator.access_key import AccessKey
from local.lease import Lease
from local.options import Options
from local.paths import ROOT, SCRIPTS, SYSTEM_PATH
from local.permissions import make_private, private_files
from local.processes import Server

# The id of the API in the emulator, so that its URL is known before the deployment.
API_ID = "pixel-prompt"


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
            chosen = chosen.over(options_of(directory))
        Settings.from_context(chosen.context("http://127.0.0.1", "http://127.0.0.1"))
        cloud = Start(directory, chosen, used, progress).run()
        if keep:
            lease.keep(directory)
        return cloud


class Start:
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
        self._state = State.load(self._state_file)
        self.emulator_made_from = fingerprint((*PACKAGES, *EMULATOR), platform.python_version(), options.enforce_iam)
        self.network = fingerprint((), options.network_environment())
        self._simulator_made_from = fingerprint(SIMULATOR, options.simulator_arguments())

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
        """The parts of the running cloud that would have to change while others use it."""
        state = self._state
        if not state.is_well("emulator"):
            return []
        if options := self._options.differences(state.options):
            return options
        same = self.is_current(state) and state.simulator_made_from == self._simulator_made_from
        return [] if same else ["state of the sources"]

    def _run_servers(self) -> Cloud:
        state = self._state
        if not self.is_current(state):
            if stop_locked(self._directory):
                self._progress("what was left of an earlier cloud is ended")
            self._state = state = State()
        fresh = state.emulator is None
        try:
            return self._bring_up(fresh)
        except BaseException as error:
            # Ctrl-C included: what was started here must not stay.
            if fresh:
                stop_locked(self._directory)
            if isinstance(error, cdk.CdkError | SettingsError):
                outcome = "Everything that was started is ended." if fresh else "The cloud runs on as it was."
                raise CloudError(f"{error}\n  {outcome}") from None
            raise

    def is_current(self, state: State) -> bool:
        """Whether the emulator that runs serves these options too."""
        # Without real providers, it does not matter how they would be reached.
        reaches = not self._options.keys or state.network == self.network
        made = state.is_well("emulator") and state.emulator_made_from == self.emulator_made_from
        return made and reaches and has_access_key(self._directory)

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
        settings = Settings.from_context(context)
        page_port = self._ensure_page(api_url, settings).port
        page_url = f"http://127.0.0.1:{page_port}"
        own_pages = [page_url, f"http://localhost:{page_port}"]
        if (origins := context.get("corsOrigins", "*")) != "*":
            context["corsOrigins"] = ",".join([origins, *own_pages])
        # Without the setting, AWS lets every page call; here other pages of this machine's browsers have no business.
        write(self._directory / ORIGINS, [*own_pages, *self._options.origins()])
        wanted = fingerprint(SOURCES, context)
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
            apiAuth=settings.api_auth,
            ledgerTable=outputs.get("LedgerTable", ""),
        )
        cloud = Cloud(self._directory, endpoints, changed=fresh or outdated, _lease=self._lease)
        self._put_keys(cloud)
        if endpoints["apiAuth"] == "keys":
            own_key.ensure(self._directory, cloud.client, endpoints["ledgerTable"])
        else:
            own_key.remove(self._directory)
        AccessKey.load(self._directory).save_shell_file(self._directory, url, cdk.REGION, certificate)
        if outdated:
            _answer_preflights(cloud, context.get("corsOrigins", "*"))
        write(self._directory / "endpoints.json", endpoints)
        self._remember(deployed_from=wanted, options=self._options.remembered())
        # On the same ports, where they are still free then, what was synthesized serves again.
        write(self._cache / "ports.json", {name: getattr(self._state, name).port for name in SERVERS})
        return cloud

    def _deploy(self, url: str, context: Mapping[str, Any], outputs: Path, *, bootstrap: bool) -> None:
        """Synthesize and deploy; a new emulator is bootstrapped in parallel."""
        key = AccessKey.load(self._directory)
        online = cdk.offline_environment(self._run / "cdk", url, certificate=self._state.certificate, key=key)
        with contextlib.ExitStack() as commands:
            if bootstrap:
                self._progress("bootstrapping the emulator")
                bootstrapping = commands.enter_context(
                    cdk.bootstrap(environment=online, log=self._logs / "bootstrap.log")
                )
            assembly = self.synthesized(context)
            if bootstrap:
                bootstrapping.wait()
                self._progress("the emulator is bootstrapped")
        # Not deployed from anything known until it is done.
        self._remember(deployed_from="")
        with cdk.deploy(assembly, outputs, environment=online, log=self._logs / "deploy.log") as deployment:
            deployment.wait()
        self._progress("the stack is deployed")

    def synthesized(self, context: Mapping[str, Any]) -> Path:
        """The folder with the stack's template and archives: the last one, unless what it is made from has changed."""
        assembly, stamp = self._cache / "assembly", self._cache / "assembly.json"
        made_from = fingerprint((*SOURCES, *PACKAGES), context, platform.python_version())
        last = read(stamp) or {}
        # A deployment adds files of its own.
        if last.get("madeFrom") == made_from and last["files"].items() <= sizes(assembly).items():
            self._progress("the stack is the one that was synthesized last time")
            return assembly
        self._progress("synthesizing the stack")
        stamp.unlink(missing_ok=True)
        shutil.rmtree(assembly, ignore_errors=True)
        environment = cdk.offline_environment(self._run / "cdk")
        log = self._logs / "synth.log"
        cdk.synthesize(assembly, context, environment=environment, log=log, progress=self._progress)
        write(stamp, {"madeFrom": made_from, "files": sizes(assembly)})
        self._progress("the stack is synthesized")
        return assembly

    def _put_keys(self, cloud: Cloud) -> None:
        """Put the provider keys into the secret, as their owner would on AWS."""
        secrets, name = cloud.client("secretsmanager"), cloud.endpoints["providerSecret"]
        wanted = json.dumps(self._options.secret())
        if secrets.get_secret_value(SecretId=name)["SecretString"] != wanted:
            secrets.put_secret_value(SecretId=name, SecretString=wanted)

    def _ensure_simulator(self) -> Server:
        """The simulator, restarted where it has ended or its options are other ones; its port stays."""
        server = self._state.simulator
        if self._state.is_well("simulator") and self._state.simulator_made_from == self._simulator_made_from:
            assert server
            return server
        server = self.serve("simulator", self._options.simulator_arguments(), self._simulator_made_from)
        self._progress(f"the simulators listen on 127.0.0.1:{server.port}")
        return server

    def _ensure_page(self, api_url: str, settings: Settings) -> Server:
        """The page's server, restarted where it has ended or is an older one; its port stays."""
        arguments = ["--api", api_url, "--status-wait", str(settings.status_wait), "--auth", settings.api_auth]
        if not settings.has_gallery:
            arguments.append("--no-gallery")
        if settings.has_charges:
            arguments.append("--usage")
        made_from = fingerprint(["local/page.py", "infra/web.py"], arguments)
        server = self._state.page
        if self._state.is_well("page") and self._state.page_made_from == made_from:
            assert server
            return server
        server = self.serve("page", arguments, made_from)
        self._progress(f"the page is at http://127.0.0.1:{server.port}/")
        return server

    def serve(self, name: str, arguments: list[str], made_from: str) -> Server:
        """Start the module `local.NAME`, on the port of its predecessor where that is still free."""
        port = freed_port(getattr(self._state, name)) or self.usual_port(name)
        try:
            return self._launch(name, arguments, made_from, port)
        except CloudError:
            # Another process, such as a cloud of a copy of this checkout, may have taken the port in the meantime.
            if not port or is_free(port):
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
        wait_until_ready(server, port_file.exists, f"The {name}", log)
        server = Server(server.pid, server.created, int(port_file.read_text(encoding="ascii")))
        self._remember(**{name: server})
        return server

    def _start_emulator(self) -> Server:
        log = self._fresh_log("emulator.log")
        self._fresh_log(CALLS_LOG)
        certificate = key = ""
        if self._options.enforce_iam:
            # Imported here: only tests, and who asks for it, need it.
            from local.cloud.certificate import write

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
            port=self.usual_port("emulator"),
            network=network,
            certificate=certificate,
            key=key,
        )
        made_from = {"emulator_made_from": self.emulator_made_from, "network": self.network}
        self._remember(emulator=server, certificate=certificate, **made_from)
        wait_until_ready(server, lambda: self._state.is_well("emulator"), "The emulator", log)
        enforcing = ", and enforces IAM" if certificate else ""
        self._progress(f"the emulator listens on 127.0.0.1:{server.port}{enforcing}")
        return server

    def usual_port(self, name: str) -> int:
        """The port of this server in the last cloud of the folder; 0 where it is not free, or there was none."""
        port = (read(self._cache / "ports.json") or {}).get(name)
        return port if isinstance(port, int) and 0 < port < 65536 and is_free(port) else 0

    def _fresh_log(self, name: str) -> Path:
        path = self._logs / name
        path.unlink(missing_ok=True)
        return path

    def _remember(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self._state, name, value)
        self._state.save(self._state_file)


def _answer_preflights(cloud: Cloud, origins: str) -> None:
    """Have the emulator respond to preflights as the functions do: unlike AWS, it passes no OPTIONS request on."""
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
