"""The access key of a run of the emulator: it signs every request to the emulator's AWS services."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# In the folder of a cloud. The second one is for a shell: `. aws.sh` points AWS tools to the cloud.
_FILE = "access-key.json"
SHELL_FILE = "aws.sh"


@dataclass(frozen=True)
class AccessKey:
    """A random access key. It works only for the emulator that was started with it, until that ends."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def random(cls) -> AccessKey:
        """Return a new access key."""
        return cls(f"LOCAL{secrets.token_hex(8).upper()}", secrets.token_hex(20))

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> AccessKey:
        """Return the access key that environment variables hold; an empty one where they hold none."""
        return cls(environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", ""))

    @classmethod
    def load(cls, directory: Path) -> AccessKey:
        """Return the access key of the cloud in a folder.

        Raises
        ------
        OSError, ValueError : the cloud does not run, or its file is broken
        """
        values = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        if not isinstance(values, dict) or not all(isinstance(values.get(name), str) for name in ("id", "secret")):
            raise ValueError("no access key")
        return cls(values["id"], values["secret"])

    def save(self, directory: Path) -> None:
        """Write the access key into the folder of a cloud; only its user can read the file."""
        _write(directory / _FILE, json.dumps({"id": self.id, "secret": self.secret}))

    def save_shell_file(self, directory: Path, endpoint: str, region: str, certificate: str) -> None:
        """Write the file that has a shell's AWS tools use the cloud instead of an AWS account."""
        regions = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), region)
        variables = {"AWS_ENDPOINT_URL": endpoint, **regions, **self.environment()}
        if certificate:
            variables |= {"AWS_CA_BUNDLE": certificate, "CURL_CA_BUNDLE": certificate}
        exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        # They would take precedence, or be sent along.
        _write(directory / SHELL_FILE, "\n".join(["unset AWS_PROFILE AWS_SESSION_TOKEN", *exports, ""]))

    def environment(self) -> dict[str, str]:
        """Return the environment variables that AWS tools and SDKs read."""
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret}

    def client_options(self) -> dict[str, str]:
        """Return the arguments of `boto3.client`."""
        return {name.lower(): value for name, value in self.environment().items()}


def remove(directory: Path) -> None:
    """Remove the files of an access key, which is of no use any longer."""
    for name in (_FILE, SHELL_FILE):
        (directory / name).unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
