"""The CDK's command line, from `node_modules`; of the user's AWS configuration it sees only what it is passed."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from infra import caches
from infra.settings import former_names
from local.emulator.access_key import AccessKey
from local.paths import ROOT, SCRIPTS, SYSTEM_PATH
from local.processes import printed_last

REGION = "us-east-1"
ACCOUNT = "000000000000"
_END_WITH_COMMAND = ROOT / "local" / "end_with_command.cjs"
_TAIL = 20
# Seconds between two looks at the log of a command that is followed.
_FOLLOW = 0.2

_QUIET = {
    "CDK_DISABLE_CLI_TELEMETRY": "true",
    "CDK_DISABLE_VERSION_CHECK": "true",
    "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "true",
    "NO_COLOR": "1",
}
_ISOLATED = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    **_QUIET,
}


class CdkError(Exception):
    """A command of the CDK failed; the message has the end of its log."""


def offline_environment(
    folder: Path, endpoint: str | None = None, *, certificate: str = "", key: AccessKey | None = None
) -> dict[str, str]:
    """Environment of a command that reaches nothing but `endpoint`, and keeps its files in `folder`.

    `certificate` is the file to trust an endpoint with TLS by, `key` opens it.
    """
    return {
        "PATH": f"{SCRIPTS}:{SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        **caches.VARIABLES,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        **_ISOLATED,
        **({"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": REGION} if endpoint else {}),
        **(key.environment() if key else {}),
        **({"AWS_CA_BUNDLE": certificate} if certificate else {}),
    }


def online_environment() -> dict[str, str]:
    """The caller's environment without AWS credentials: bundling for AWS fetches packages."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**inherited, "PATH": f"{SCRIPTS}:{inherited.get('PATH', SYSTEM_PATH)}", **_ISOLATED}


def account_environment(region: str) -> dict[str, str]:
    """The caller's environment, AWS credentials included."""
    path = f"{SCRIPTS}:{os.environ.get('PATH', SYSTEM_PATH)}"
    return {**os.environ, "PATH": path, "AWS_REGION": region, **_QUIET}


def default_context() -> dict[str, Any]:
    """The context in ``cdk.json``.

    Raises
    ------
    CdkError : the file is missing, or no JSON object with a context
    """
    try:
        return dict(json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CdkError(f"cdk.json must be a JSON object with a context: {error!r}; correct it.") from None


def context_arguments(context: Mapping[str, Any]) -> list[str]:
    """Command line arguments for context values."""
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in context.items()}
    return [argument for name, value in values.items() for argument in ("-c", f"{name}={value}")]


class Command:
    """A command of the CDK under way; leaving the context ends it.

    Parameters
    ----------
    title : what fails, in an error message
    log : file for all that the command prints
    """

    def __init__(self, title: str, arguments: list[str], *, environment: Mapping[str, str], log: Path) -> None:
        self._title = title
        self._log = log
        executable = ROOT / "node_modules" / "aws-cdk" / "bin" / "cdk"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    str(SCRIPTS / "node"), "--require", str(_END_WITH_COMMAND), str(executable),
                    *arguments, "--no-notices", "--ci",
                ],
                cwd=ROOT,
                env=dict(environment),
                # Never written to; it closes with this process, however that ends.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        if self._process.poll() is None:
            # The CDK has children of its own: the app, and the app's Node.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def wait(self, echo: Callable[[str], object] | None = None) -> None:
        """Wait for the end; `echo` gets each line that the command prints until then.

        Raises
        ------
        CdkError : the command failed
        """
        if echo:
            self._follow(echo)
        if code := self._process.wait():
            end = printed_last(self._log, _TAIL)
            raise CdkError(f"{self._title} failed with exit code {code}:\n{end}\n  The whole log: {self._log}")

    def _follow(self, echo: Callable[[str], object]) -> None:
        with self._log.open(encoding="utf-8", errors="replace") as log:
            begun = ""
            while True:
                ended = self._process.poll() is not None
                while line := log.readline():
                    begun += line
                    if begun.endswith("\n"):
                        echo(begun.rstrip())
                        begun = ""
                if ended:
                    return
                time.sleep(_FOLLOW)


def _app() -> str:
    return f"{shlex.quote(sys.executable)} app.py"


def synthesize(
    output: Path,
    context: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    log: Path,
    progress: Callable[[str], object],
) -> None:
    """Write the templates and assets for `context` into the folder `output`; `progress` gets warnings.

    Raises
    ------
    CdkError : the command failed
    """
    # The app prints them too, but into the log, which is read only after a failure.
    for sentence in former_names({**default_context(), **context}):
        progress(sentence)
    arguments = ["synth", "--quiet", "--app", _app(), "--output", str(output), *context_arguments(context)]
    with Command("Synthesizing the stack", arguments, environment=environment, log=log) as command:
        command.wait()


def bootstrap(*, environment: Mapping[str, str], log: Path, account: str = ACCOUNT, region: str = REGION) -> Command:
    """Make what every deployment of the CDK needs, in the emulator or an account: a bucket for assets, roles."""
    # With the app of cdk.json, the CDK would synthesize the stack, only to look for more accounts.
    arguments = ["bootstrap", f"aws://{account}/{region}", "--app="]
    return Command("Bootstrapping", arguments, environment=environment, log=log)


def diff(assembly: Path, *, environment: Mapping[str, str], log: Path) -> Command:
    """Compare what was synthesized with what is deployed; the log has the result. A read-only role is enough."""
    arguments = ["diff", "--app", str(assembly), "--method", "template"]
    return Command("Comparing with what is deployed", arguments, environment=environment, log=log)


def destroy(output: Path, context: Mapping[str, Any], *, environment: Mapping[str, str], log: Path) -> Command:
    """Delete the stack of `context`; nothing is bundled for it."""
    arguments = ["destroy", "--app", _app(), "--output", str(output), "--all", "--force"]
    return Command("Deleting the stack", [*arguments, *context_arguments(context)], environment=environment, log=log)


def deploy(assembly: Path, outputs: Path, *, environment: Mapping[str, str], log: Path) -> Command:
    """Deploy what was synthesized into the folder `assembly`; the stack's outputs go to the file `outputs`."""
    arguments = ["deploy", "--app", str(assembly), "--all", "--require-approval", "never", "--progress", "events"]
    return Command("Deploying the stack", [*arguments, "-O", str(outputs)], environment=environment, log=log)
