"""The programs of README.md, run against the deployed cloud as a reader would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from .conftest import Service

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLACEHOLDER = "http://127.0.0.1:PORT/_aws/execute-api/pixel-prompt"


def program(language: str) -> str:
    """The only program of README.md in a language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert PLACEHOLDER in code
    return str(code)


def test_the_programs_of_the_readme_show_nine_images(service: Service) -> None:
    endpoints = service.cloud.endpoints
    trusting = {"SSL_CERT_FILE": endpoints["certificate"], "NODE_EXTRA_CA_CERTS": endpoints["certificate"]}
    environment = {**os.environ, **(trusting if endpoints["certificate"] else {}), "no_proxy": "*"}
    commands = (
        [sys.executable, "-c", program("python")],
        [str(Path(sys.executable).with_name("node")), "--input-type=module", "-e", program("js")],
    )
    running = [
        subprocess.Popen(
            [part.replace(PLACEHOLDER, endpoints["api"]) for part in command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    for process in running:
        output, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
        lines = output.splitlines()
        assert len(lines) == 9 and all(re.search(r" completed https?://\S+/images/\S+$", line) for line in lines), (
            output
        )
