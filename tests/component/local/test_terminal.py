"""The commands on terminals of any width and ability, and in locales of any encoding."""

import ast
import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from local import demo, doctor, terminal
from local.cloud import Response
from local.options import OptionError
from local.paths import ROOT
from pixelprompt.models.model import ERROR_CODES
from pixelprompt.models.registry import ModelRegistry
from tests.today import TODAY

MODELS = [model for model in ModelRegistry.load(day=lambda: TODAY).get_all_models() if model.default]
PROVIDERS = sorted({model.provider for model in MODELS})
STATES = ("pending", "in progress", "completed", "cancelled", *sorted(ERROR_CODES))
# As Python has it in a locale of plain ASCII: it would choose UTF-8 by itself.
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
UNSET = ("TERM", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "LINES", "LC_ALL", "PYTHONIOENCODING", "PYTHONUTF8")


def row(model: str, provider: str, state: str) -> dict[str, Any]:
    """A row of a job document in this state."""
    begun = {"model": model, "provider": provider, "startedAt": datetime.now(UTC).isoformat()}
    if state in ERROR_CODES:
        return {**begun, "status": "error", "duration": 12.3, "errorCode": state, "error": "The provider says → no."}
    return {**begun, "status": state.replace(" ", "_"), **({"duration": 2.5} if state == "completed" else {})}


def job(*states: str, status: str = "running") -> dict[str, Any]:
    """A job of the default models, in these states one after the other."""
    rows = [row(model.name, model.provider, states[i % len(states)]) for i, model in enumerate(MODELS)]
    return {"results": rows, "totalModels": len(rows), "status": status}


def table(document: dict[str, Any], width: int, encoding: str = "utf-8") -> list[str]:
    """The lines of the live table on a terminal of this width."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    console = Console(width=width, height=40, file=stream, force_terminal=True, color_system=None)
    console.print(demo.progress_table(console, document, PROVIDERS, {}))
    stream.flush()
    return [line.rstrip() for line in written.getvalue().decode(encoding).splitlines()]


@pytest.mark.parametrize("width", [80, 60, 40, 24])
@pytest.mark.parametrize("state", STATES)
def test_the_state_of_each_row_is_readable_in_full(width: int, state: str) -> None:
    lines = table(job(state), width)
    assert len(lines) == 1 + len(MODELS) + 1, "a row takes one line"
    assert all(len(line) <= width for line in lines)
    assert all(state in line for line in lines[1:-1])


def test_what_is_less_important_goes_first() -> None:
    shown = {width: table(job("in progress", "completed", "pending"), width) for width in (80, 60, 40)}
    assert shown[80][0].split() == ["model", "provider", "state", "seconds"]
    assert shown[60][0].split() == ["model", "state", "seconds"]
    assert shown[40][0].split() == ["model", "state"]
    whole = [model.name for model in MODELS]
    for width in (80, 60):
        assert all(line.startswith(name) for line, name in zip(shown[width][1:], whole, strict=False))
    assert "Stable Diffusion 3.5 Lar…  " in "\n".join(shown[40])
    # A long code takes the place of the seconds before that of a name.
    assert table(job("provider_unavailable"), 60)[0].split() == ["model", "state"]
    assert "Stable Diffusion 3.5 Large Turbo  provider_unavailable" in table(job("provider_unavailable"), 60)


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_a_row_is_as_wide_as_it_looks_in_every_encoding(encoding: str) -> None:
    document = job("in progress", "completed")
    document["results"][1]["model"] = "模型模型模型模型模型模型"
    lines = table(document, 40, encoding)
    assert all(len(line) <= 40 for line in lines)
    assert lines[2].startswith("\\u6a21\\u578b") and "...  completed" in lines[2]
    assert re.search(r"Stable Diffusion 3\.5 L\.\.\.  [-\\|/] in progress", "\n".join(lines))


class Job:
    """Stands for a cloud in which a job passes through these documents."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        self.endpoints = {"simulated": PROVIDERS}
        self._answers = iter(documents)

    def request(self, *_: Any, **__: Any) -> Response:
        return Response(200, {}, json.dumps(next(self._answers)).encode())


def watch() -> None:
    """Watch a job of nine models that ends; started in a process of its own, at a terminal."""
    documents = (job("pending"), job("in progress", "completed"), job("completed", "quota_exhausted", status="partial"))
    terminal.prepare()
    demo.watch_job(terminal.console(highlight=False), Job(*documents), "id")  # type: ignore[arg-type]
    print("\nA → B · “蓝” …")


def at_terminal(
    command: list[str], environment: Mapping[str, str], columns: int = 80, lines: int = 24
) -> tuple[int, bytes]:
    """The exit code and the output of a Python command at a terminal of its own; of UNSET it has what is given here."""
    inherited = {name: value for name, value in os.environ.items() if name not in UNSET}
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "functions")])}
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (lines, columns))
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**inherited, **path, **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    # At its end, Linux tells an error, macOS an empty read.
    with contextlib.suppress(OSError):
        while read := os.read(ours, 65536):
            output += read
    os.close(ours)
    return process.wait(30), output


def on_screen(output: str, columns: int, height: int) -> list[str]:
    """What a terminal of this size shows of the output at its end, below what has scrolled out of it."""
    lines, top, y, x = [""] * height, 0, 0, 0
    for escape, character in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|(.)", output, re.DOTALL):
        if escape == "2K":
            lines[y] = ""
        elif escape.endswith("A"):
            y = max(y - int(escape[:-1] or 1), top)
        elif escape:
            assert escape[-1] in "mhl", escape
        elif character == "\r":
            x = 0
        else:
            if character == "\n" or x == columns:
                y, x = y + 1, x if character == "\n" else 0
            if y - top == height:
                top += 1
                lines.append("")
            if character != "\n":
                lines[y] = lines[y].ljust(x)[:x] + character + lines[y][x + 1 :]
                x += 1
    return [line.rstrip() for line in lines]


WATCH = ["-c", "from tests.component.local.test_terminal import watch; watch()"]


@pytest.mark.parametrize(("columns", "height"), [(80, 24), (40, 24), (80, 10), (40, 5), (40, 11)])
def test_the_live_table_leaves_each_row_once(columns: int, height: int) -> None:
    code, output = at_terminal(WATCH, {"TERM": "xterm-256color", "PYTHONUTF8": "1"}, columns, height)
    assert code == 0
    lines = on_screen(output.decode(), columns, height)
    first = next(i for i, line in enumerate(lines) if "9 of 9 models are done" in line) - len(MODELS)
    for model, line in zip(MODELS, lines[first:], strict=False):
        assert line.startswith(model.name[:15]) and ("completed" in line or "quota_exhausted" in line)
    # Nothing of the earlier states stays but what a table higher than its terminal has scrolled away.
    assert sum("in progress" in line for line in lines) == 0
    assert sum(line.startswith("model ") for line in lines) == 1


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "unknown"}, {}], ids=str)
def test_a_dumb_terminal_gets_lines(environment: dict[str, str]) -> None:
    code, output = at_terminal(WATCH, {**environment, "PYTHONUTF8": "1"}, 40)
    assert code == 0 and b"\x1b" not in output
    lines = output.decode().splitlines()
    assert "  Stable Diffusion 3.5 Large Turbo: completed in 2.5 s" in lines
    assert "  Nano Banana 2.1: quota_exhausted: The provider says → no." in lines
    assert not any("of 9 models" in line for line in lines)


def test_a_width_of_nothing_counts_as_unknown() -> None:
    terminal_of = {"TERM": "xterm", "LC_ALL": "C.UTF-8"}
    _, output = at_terminal(WATCH, {**terminal_of, "COLUMNS": "0", "LINES": "0"}, 80)
    assert "provider" in output.decode() and "Recraft V4.1: quota_exhausted: The provider says" in output.decode()


def test_a_folder_that_cannot_hold_the_pictures_is_told_beforehand(tmp_path: Path) -> None:
    demo.require_folder(tmp_path / "new" / "out")
    assert (tmp_path / "new" / "out").is_dir()
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "out", Path("/dev/null/out")):
        with pytest.raises(
            OptionError, match=r"^Cannot write images into \S+; choose a folder that is writable for you\.$"
        ):
            demo.require_folder(out)


def test_without_color_there_is_no_style() -> None:
    _, styled = at_terminal(WATCH, {"TERM": "xterm", "NO_COLOR": "", "PYTHONUTF8": "1"})
    _, plain = at_terminal(WATCH, {"TERM": "xterm", "NO_COLOR": "1", "PYTHONUTF8": "1"})
    assert re.search(rb"\x1b\[[0-9;]*m", styled)
    assert not re.search(rb"\x1b\[[0-9;]*m", plain) and b"of 9 models are done" in plain


@pytest.mark.parametrize(
    ("environment", "encoding"),
    [
        ({**ASCII, "TERM": "xterm"}, "ascii"),
        ({**ASCII, "TERM": "dumb"}, "ascii"),
        ({"PYTHONIOENCODING": "iso-8859-1", "TERM": "xterm"}, "iso-8859-1"),
    ],
    ids=str,
)
def test_a_job_is_watched_in_every_encoding(environment: dict[str, str], encoding: str) -> None:
    code, output = at_terminal(WATCH, environment, 40)
    assert code == 0
    text = output.decode(encoding)
    assert "The provider says -> no." in text
    assert r"\u84dd" in text and "A -> B" in text


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["local", "--help"], "exit code 1 on any x"),
        (["local", "smoke"], "make smoke API_URL=https://..., or STAGE=dev"),
        (["local.simulator", "--help"], "Plays image providers"),
        (["benchmarks", "--help"], "Measure how fast"),
        (["local.prepare"], ""),
    ],
    ids=str,
)
@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "ascii"}], ids=str)
def test_every_entry_point_prints_in_plain_ascii(
    command: list[str], expected: str, environment: dict[str, str], tmp_path: Path
) -> None:
    module, *arguments = command
    if arguments == ["smoke"]:
        arguments = ["--directory", str(tmp_path), *arguments]
    _, output = at_terminal(["-m", module, *arguments], {**environment, "TERM": "dumb"}, 200)
    text = output.decode("ascii")
    assert "Traceback" not in text and expected in text


def test_nothing_that_is_printed_fails() -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="iso-8859-1", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        terminal.prepare()
        print("✓ café → “蓝” 🦊 …", "\udce8\udc93\udc9d", "\ud83e")
        stream.flush()
    assert written.getvalue() == b'ok caf\xe9 -> "\\u84dd" \\U0001f98a ... \xe8\x93\x9d \\ud83e\n'


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_marks_of_the_doctor_keep_their_columns(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "dumb")
    terminal.prepare()
    bad = doctor.Row("FLUX 3", "bfl", "missing", findings=[doctor.Finding(doctor.BAD, "Set → it.")])
    doctor.report(SimpleNamespace(name="here"), [doctor.Row("Recraft V4.1", "recraft", "accepted"), bad])  # type: ignore[arg-type]
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    good, other = (next(line for line in text.splitlines() if name in line) for name in ("Recraft V4.1", "FLUX 3"))
    assert good.index("Recraft") == other.index("FLUX")
    assert ("ok" if encoding == "ascii" else "✓") in good
    assert text.splitlines()[-1] == ("1 ok, 0 !, 1 x" if encoding == "ascii" else "1 ✓, 0 !, 1 ✗")


# The file system's encoding, and with it that of arguments, is Python's own for as long as it runs.
PROMPT_OF = """
import os, sys
from local.demo import prompt_of
print(ascii(prompt_of(sys.argv[1:], os.environ, "default")))
"""


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONUTF8": "1"}, {"LC_ALL": "C.UTF-8"}], ids=str)
def test_a_prompt_is_utf_8_in_every_locale(environment: dict[str, str]) -> None:
    _, argument = at_terminal(["-c", PROMPT_OF, "蓝", "à"], environment)
    _, variable = at_terminal(["-c", PROMPT_OF], {**environment, "PROMPT": " 🦊 à "})
    assert argument.decode().strip() == ascii("蓝 à")
    assert variable.decode().strip() == ascii("🦊 à")


def test_a_prompt_in_the_encoding_of_the_locale_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("iso-8859-1", "surrogateescape"))
    assert demo.prompt_of(["caf\xe9"], {}, "") == "café"
    assert demo.prompt_of([], {"PROMPT": "voil\xc3\xa0"}, "") == "voilà"


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONUTF8": "1"}], ids=str)
def test_a_prompt_that_is_no_text_ends_in_a_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    command = ["-m", "local", "--directory", str(tmp_path), "demo", os.fsdecode(b"caf\xe9")]
    code, output = at_terminal(command, {**environment, "TERM": "dumb"}, 200)
    assert code == 1
    assert output.decode().splitlines()[1:] == [
        "The prompt is not valid UTF-8; write it in a terminal that is set to UTF-8."
    ]


@pytest.mark.parametrize("name", ["prepare", "progress", "terminal"])
def test_what_runs_before_the_environment_exists_is_old_fashioned(name: str) -> None:
    source = (ROOT / "local" / f"{name}.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert "from __future__" not in source, "Python 3.6 does not know annotations there"
