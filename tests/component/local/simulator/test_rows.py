"""A simulated provider is one module, found through its row."""

import ast
import re
import subprocess
import sys

import pytest

from local.paths import ROOT
from local.simulator.errors import ERROR_FAULTS
from local.simulator.faults import FAULTS
from local.simulator.messages import KEY_HEADERS
from local.simulator.protocols import PREFIXES, protocol_of
from pixelprompt.models.dialect import DIALECTS
from pixelprompt.models.provider import PROVIDERS

SIMULATED = [name for name, row in PROVIDERS.items() if row.simulator_path]
# Nothing outside a protocol's module may have to change for another provider.
GENERAL = ("local/simulator/errors.py", "local/simulator/server.py", "local/options.py")


@pytest.mark.parametrize("provider", SIMULATED)
def test_a_row_leads_to_its_protocol(provider: str) -> None:
    protocol = protocol_of(provider)
    assert protocol.name == provider
    assert protocol.__module__ == f"local.simulator.protocols.{PROVIDERS[provider].module}"
    assert PROVIDERS[provider].simulator_path.startswith(f"/{PREFIXES[provider]}")


def test_every_protocol_has_a_row() -> None:
    modules = {path.stem for path in (ROOT / "local" / "simulator" / "protocols").glob("*.py")} - {"__init__"}
    assert modules == {PROVIDERS[name].module for name in SIMULATED}
    assert list(PREFIXES) == SIMULATED
    assert len(set(PREFIXES.values())) == len(PREFIXES)


@pytest.mark.parametrize("provider", SIMULATED)
def test_a_protocol_can_play_the_errors_that_it_words(provider: str) -> None:
    protocol = protocol_of(provider)
    assert set(protocol.errors) <= ERROR_FAULTS
    assert protocol.playable & ERROR_FAULTS == set(protocol.errors)
    assert protocol.playable <= FAULTS


def test_every_error_is_played_by_a_protocol() -> None:
    assert {fault for provider in SIMULATED for fault in protocol_of(provider).errors} == ERROR_FAULTS


@pytest.mark.parametrize("file", GENERAL)
def test_no_provider_is_named(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    names = {*PROVIDERS, *(row.module for row in PROVIDERS.values())}
    names |= {protocol_of(provider).__name__.casefold() for provider in SIMULATED}
    names |= {row.key_name.casefold() for row in PROVIDERS.values() if row.key_name}
    assert not names & {word.casefold() for word in re.findall(r"\w+", text)}
    constants = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    assert not constants & {row.simulator_path for row in PROVIDERS.values() if row.simulator_path}


def test_every_header_of_a_key_is_secret() -> None:
    headers = {row.key_header for row in PROVIDERS.values()} | {dialect.key_header for dialect in DIALECTS.values()}
    assert headers | {"authorization"} == KEY_HEADERS
    assert all(header == header.lower() for header in KEY_HEADERS)


def test_the_faults_are_known_without_a_protocol() -> None:
    code = (
        "import sys, types; package = types.ModuleType('local.simulator'); package.__path__ = ['local/simulator']; "
        "sys.modules['local.simulator'] = package; import local.simulator.faults; "
        "print(*(name for name in sys.modules if name.startswith(('PIL', 'local.simulator.protocols'))))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not run.stdout.strip()
