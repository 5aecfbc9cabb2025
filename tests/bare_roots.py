"""The first minutes on a machine that has next to nothing; run by hand, as root, with debootstrap: `make test-bare`.

In a new root of each Debian release, with Python, make and git alone, a user clones the checkout's last commit into a
path with a space. HOME is open to the group, as the umask 0002 has it, then read-only; the network is missing, there,
and missing again. Nothing may be written outside the checkout, and no process may be left.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RELEASES = ("bookworm", "trixie")
PACKAGES = "ca-certificates,git,make,python3,python3-venv"
# What would hide that something of it is needed.
UNWANTED = ("aws", "cdk", "curl", "node", "npm", "uv")
HOME = "/home/dev"
CHECKOUT = f"{HOME}/pixel prompt"
# How this machine reaches its package indexes; a root may need the same.
NETWORK_FILES = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
NETWORK_VARIABLES = r"(?i)(https?|all|no)_proxy|ssl_cert_\w+|node_extra_ca_certs|(pip|uv|npm_config)_\w+"
# Seconds within which a first run without a network has to say so.
OFFLINE_SECONDS = 10.0


class Failure(Exception):
    """A command did not do what it should."""


class BareRoot:
    """A new Debian in a folder, with a user and a clone of the checkout.

    Parameters
    ----------
    log : file for all that the commands print
    """

    def __init__(self, folder: Path, release: str, log: Path) -> None:
        self._folder = folder
        self._release = release
        self._log = log

    def install(self) -> None:
        """Install the release, add the user, clone the checkout."""
        self._host("debootstrap", "--variant=minbase", f"--include={PACKAGES}", self._release, str(self._folder))
        for name in NETWORK_FILES:
            if Path(name).exists():
                shutil.copy(name, self._inside(name))
        for name in UNWANTED:
            if shutil.which(name, path=f"{self._inside('/usr/bin')}:{self._inside('/usr/local/bin')}"):
                raise Failure(f"{self._release} has {name}, and so does not show what happens without it.")
        self._host("chroot", str(self._folder), "useradd", "--create-home", "--shell", "/bin/sh", "dev")
        self._inside(HOME).chmod(0o775)
        self._host("git", "clone", "--quiet", str(ROOT), str(self._inside(CHECKOUT)))
        self._host("chroot", str(self._folder), "chown", "-R", "dev:dev", CHECKOUT)

    def lock_home(self) -> None:
        """Take from the user the right to write into HOME; the checkout stays theirs."""
        self._host("chroot", str(self._folder), "chown", "root:root", HOME)
        self._inside(HOME).chmod(0o755)

    def run(self, command: str, *, network: bool = True) -> str:
        """Run a shell command in the checkout, as the user; what it printed.

        Raises
        ------
        Failure : it failed, or left a process
        """
        root, left = shlex.quote(str(self._folder)), self._log.with_suffix(".left")
        uid = self._inside(CHECKOUT).stat().st_uid
        environment = [f"{name}={value}" for name, value in _environment(os.environ).items()]
        user = ["chroot", "--userspec=dev:dev", str(self._folder), "env", "-i", *environment, "sh", "-c"]
        script = f"""
            {"" if network else "ip link set lo up"}
            mount -t proc proc {root}/proc
            mount --rbind /dev {root}/dev
            {shlex.join([*user, f"umask 0002; cd {shlex.quote(CHECKOUT)} && {command}"])}
            code=$?
            find {root}/proc -maxdepth 1 -name '[0-9]*' -user {uid} \\
              -exec sh -c 'tr "\\0" " " < "$0/cmdline"; echo' {{}} \\; > {shlex.quote(str(left))}
            exit $code
        """
        # The namespace of processes ends with the shell, and all that is in it.
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        done = _output([*namespaces, "sh", "-c", script])
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"\n$ {command}{'' if network else '   # without a network'}\n{done.stdout}")
        if done.returncode:
            raise Failure(f"`{command}` ended with exit code {done.returncode}:\n{_end(done.stdout)}")
        if processes := left.read_text(encoding="utf-8").strip():
            raise Failure(f"`{command}` left processes:\n{processes}")
        return done.stdout

    def new_files(self, since: Path) -> list[str]:
        """What has changed after a file, outside the checkout."""
        command = [
            "find", str(self._folder), "-xdev", "-path", str(self._inside(CHECKOUT)), "-prune",
            "-o", "-cnewer", str(since), "-print",
        ]  # fmt: skip
        return [path.removeprefix(str(self._folder)) for path in _output(command).stdout.splitlines()]

    def _inside(self, path: str) -> Path:
        return self._folder / path.lstrip("/")

    @staticmethod
    def _host(*command: str) -> None:
        done = _output(command)
        if done.returncode:
            raise Failure(f"{shlex.join(command)} failed:\n{_end(done.stdout)}")


def try_out(root: BareRoot, scratch: Path) -> None:
    """All that has to work in a bare root.

    Raises
    ------
    Failure : something does not
    """
    _step("installing", root.install)
    began = time.monotonic()
    _step("make demo, the first run, without a network", lambda: _refused(root))
    if time.monotonic() - began > OFFLINE_SECONDS:
        raise Failure(f"A first run without a network took {time.monotonic() - began:.0f} s to say so.")
    marker = scratch / "marker"
    marker.touch()
    everything = ("make demo", "make check", "make synth", "make test-unit", "make test-component")
    for command in everything:
        _step(command, lambda command=command: root.run(command))  # type: ignore[misc]
        if found := root.new_files(marker):
            raise Failure(f"`{command}` wrote outside the checkout:\n" + "\n".join(found))
    root.lock_home()
    for command in ("make clean", "make demo"):
        _step(f"{command}, HOME read-only", lambda command=command: root.run(command))  # type: ignore[misc]
    for command in everything:
        _step(
            f"{command}, HOME read-only, without a network",
            lambda command=command: root.run(command, network=False),  # type: ignore[misc]
        )


def _refused(root: BareRoot) -> None:
    try:
        root.run("make demo", network=False)
    except Failure as failure:
        if "Traceback" in str(failure) or "network" not in str(failure):
            raise
    else:
        raise Failure("A first run without a network succeeded.")


def _step(title: str, action: Callable[[], object]) -> None:
    began = time.monotonic()
    action()
    print(f"{time.monotonic() - began:8.1f} s  {title}", flush=True)


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What the user's shell has: nothing of this machine's but the way to its package indexes."""
    network = {
        name: value
        for name, value in inherited.items()
        if re.fullmatch(NETWORK_VARIABLES, name) and not name.upper().endswith(("CACHE", "CACHE_DIR"))
    }
    return {**network, "HOME": HOME, "USER": "dev", "LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}


def _output(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _end(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-30:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Try out each release; the exit code is 0 only where all went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", nargs="*", default=RELEASES, help=f"Debian's names (default {' '.join(RELEASES)})")
    options = parser.parse_args(arguments)
    if os.geteuid() or not shutil.which("debootstrap"):
        parser.exit(1, "This needs root, and debootstrap (Debian and Ubuntu: `sudo apt install debootstrap`).\n")
    logs = ROOT / ".local" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for release in options.releases:
        log = logs / f"bare-{release}.log"
        log.unlink(missing_ok=True)
        print(f"{release}; what the commands print: {os.path.relpath(log)}", flush=True)
        with tempfile.TemporaryDirectory(prefix="pixel-prompt-bare-") as folder:
            try:
                try_out(BareRoot(Path(folder, "root"), release, log), Path(folder))
            except Failure as failure:
                print(failure, file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
