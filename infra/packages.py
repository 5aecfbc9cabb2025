"""The packages of the functions' archives, fetched for Lambda's platform with uv: no Docker, no such machine is needed.

Usage: python -m infra.packages, which leaves them in uv's cache, so that a later synthesis needs no network.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.hashes import refused
from infra.interpreters import uv
from infra.settings import INTERPRETER

SOURCES = Path(__file__).resolve().parent.parent / "functions"
# What the functions run on: without the providers' SDKs, with them, and with Pillow, which decodes reference images.
CORE = SOURCES / "requirements-core.txt"
PROVIDERS = SOURCES / "requirements.txt"
REFERENCES = SOURCES / "requirements-references.txt"
# Names packages that no archive has, with the reason.
EXCLUDED = SOURCES / "requirements-excluded.txt"
PLATFORM = "aarch64-manylinux2014"
# Pillow's wheels need glibc 2.27. Lambda has 2.34 (Amazon Linux 2023) from Python 3.12 on, and 2.26 (Amazon Linux 2)
# with 3.11 (docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html).
PLATFORMS = {REFERENCES: "aarch64-manylinux_2_28"}
# The first Python of Lambda with such a glibc.
PILLOW_PYTHON = "3.12"


class BundlingError(RuntimeError):
    """The packages of the functions could not be gathered."""


def install(requirements: Path, directory: Path, *, platform: str = "", python: str = INTERPRETER) -> None:
    """Install what a requirements file names into a folder, from uv's cache where it is there.

    Without a ``platform`` it is Lambda's.

    Raises
    ------
    BundlingError : uv is missing, or a package cannot be installed
    """
    installer = uv()
    if installer is None:
        raise BundlingError("uv is missing; install it into the virtual environment: pip install uv.")
    platform = platform or PLATFORMS.get(requirements, PLATFORM)
    command = [
        installer, "pip", "install", "--quiet", "--target", str(directory), "--python", sys.executable,
        "--python-platform", platform, "--python-version", python, "--only-binary", ":all:",
        "--no-compile-bytecode", "--link-mode", "copy", "--require-hashes", "--requirements", str(requirements),
        "--excludes", str(EXCLUDED),
    ]  # fmt: skip
    # Every version is pinned, so what is in the cache serves; the index is asked only for what is missing.
    if subprocess.run([*command, "--offline"], check=False, capture_output=True).returncode == 0:
        return
    result = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", errors="replace")
    if result.returncode:
        if other_bytes := refused(result.stderr, f"functions/{requirements.name}"):
            raise BundlingError(other_bytes)
        # uv explains over several lines; an error here is one.
        raise BundlingError(
            f"uv could not install {requirements.name} for {platform}, Python {python}; "
            f"check the network and the pins: {' '.join(result.stderr.split())}"
        )


def fetch() -> int:
    """Have uv keep the packages of all archives for this Python; the exit code of a command."""
    # Those of the core are among the others.
    for requirements in (PROVIDERS, REFERENCES):
        with TemporaryDirectory(prefix="pixel-prompt-packages-") as folder:
            try:
                install(requirements, Path(folder))
            except BundlingError as error:
                print(error, file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(fetch())
