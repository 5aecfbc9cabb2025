"""The demo: one prompt to all models, watched live, with the images in a folder at the end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from infra.settings import Settings
from local import reference, terminal
from local.cloud import Cloud, CloudError
from local.cloud.http import Response
from local.options import OptionError
from local.paths import ROOT
from local.reference import ReferenceImage
from local.report import contact_sheet, execution_trace, images
from local.report.usage import execution_arn
from pixelprompt.errors import PixelPromptError
from pixelprompt.prompts.prompt import read_prompt

POLL_SECONDS = 0.25
# What comes after the state machine has ended the job will never come.
_PATIENCE = Settings().execution_seconds + 60.0
_FINAL = ("completed", "partial", "failed", "cancelled")
# Cells between two columns of the table.
_GAP = 2
_ROW_STYLES = {"pending": "dim", "in_progress": "cyan", "completed": "green", "error": "red", "cancelled": "yellow"}

Document = dict[str, Any]
_Cells = dict[str, Text | Spinner]


def run(
    cloud: Cloud,
    prompt: str,
    out: Path,
    progress: Callable[[str], None],
    faulted: Collection[str] = (),
    image: ReferenceImage | None = None,
) -> int:
    """Run a job to its end, save what it made, report the outcome; 0 only where every model made its image.

    `faulted` has the models with faults; `image` is what the models edit.
    """
    console = terminal.console(highlight=False)
    references = [reference.upload(cloud, image)] if image else []
    job_id = submit(cloud, prompt, references)
    progress(f"job {job_id} is submitted: {prompt!r}" + (f", with {image.path.name}" if image else ""))
    if references and (unable := reference.left_out(cloud)):
        progress(f"left out, without support for reference images: {unable}")
    if absent := without_effect(cloud, job_id, faulted):
        progress(f"no effect on this job, which uses the default models: the fault of {absent}")
    document = watch_job(console, cloud, job_id)
    folder = out / job_id
    sheet = save(cloud, document, folder, image)
    execution = _ended_execution(cloud, job_id)
    console.print()
    _print_trace(console, cloud, document)
    console.print()
    console.print(f"Execution {execution['status']}; the job {_ended(document)}.", markup=False, soft_wrap=True)
    console.print(f"Images: {_shown(folder)}/", markup=False, soft_wrap=True)
    console.print(f"Contact sheet: {_shown(sheet)}", markup=False, soft_wrap=True)
    return 0 if document["status"] == "completed" else 1


def prompt_of(arguments: Sequence[str], environment: Mapping[str, str], default: str) -> str:
    """The prompt that the command line or PROMPT gives, or the default one where neither does.

    Raises
    ------
    OptionError : it is not text, or the API would refuse it
    """
    text = " ".join(arguments) if arguments else environment.get("PROMPT", default)
    try:
        # Decoded before it is stripped: a byte of a letter may look like a space in the locale's encoding.
        return read_prompt(terminal.typed(text))
    except PixelPromptError as error:
        raise OptionError(str(error)) from None
    except ValueError:
        raise OptionError("The prompt is not valid UTF-8; write it in a terminal that is set to UTF-8.") from None


def require_folder(out: Path) -> None:
    """Make the folder for the images where it is missing, before the job starts.

    Raises
    ------
    OptionError : making it failed, or it is not writable
    """
    with contextlib.suppress(OSError):
        out.mkdir(parents=True, exist_ok=True)
    if not out.is_dir() or not os.access(out, os.W_OK | os.X_OK):
        raise OptionError(f"Cannot write images into {_shown(out)}; choose a folder that is writable for you.")


def submit(cloud: Cloud, prompt: str, references: Sequence[Mapping[str, str]] = ()) -> str:
    """Start a job, with these reference images; its id.

    Raises
    ------
    CloudError : the API turned it away
    """
    body = {"prompt": prompt, **({"images": [*references]} if references else {})}
    response = cloud.request("POST", "/generate", body)
    if response.status != 200:
        raise CloudError(f"The API rejected the prompt ({response.status}): {_sentence(response)}")
    return str(response.json()["jobId"])


def without_effect(cloud: Cloud, job_id: str, faulted: Collection[str]) -> str:
    """Those of the faulted models that the job does not ask."""
    if not faulted:
        return ""
    rows = cloud.request("GET", f"/status/{job_id}").json()["results"]
    return ", ".join(sorted(set(faulted) - {row["model"] for row in rows}))


def poll(cloud: Cloud, job_id: str, seconds: float = POLL_SECONDS) -> Iterator[Document | None]:
    """The job document each time it has changed, None each time it has not; ends with the job.

    Raises
    ------
    CloudError : the API fails, or the job does not end
    """
    etag = ""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        response = cloud.request("GET", f"/status/{job_id}", headers={"If-None-Match": etag} if etag else None)
        if response.status == 304:
            yield None
        elif response.status == 200:
            etag = response.headers.get("etag", "")
            document: Document = terminal.safe(response.json())
            yield document
            if document["status"] in _FINAL:
                return
        else:
            raise CloudError(f"The API returned {response.status} for job {job_id}: {_sentence(response)}")
        time.sleep(seconds)
    raise CloudError(f"Job {job_id} has not ended after {_PATIENCE:.0f} s; see `make logs JOB={job_id}`.")


def _sentence(response: Response) -> str:
    return str(terminal.safe(response.message))[:300]


def watch_job(console: Console, cloud: Cloud, job_id: str) -> Document:
    """Show the job until it ends; its last document."""
    document: Document = {}
    if not console.is_interactive:
        shown: dict[str, str] = {}
        for change in poll(cloud, job_id):
            document = change or document
            for row in document["results"] if change else ():
                if shown.get(row["model"]) != row["status"]:
                    shown[row["model"]] = row["status"]
                    if row["status"] != "pending":
                        console.print(f"  {row['model']}: {_state(row)}", markup=False, soft_wrap=True)
        return document
    spinners: dict[str, Spinner] = {}

    def table() -> Group | str:
        return progress_table(console, document, cloud.endpoints["simulated"], spinners) if document else ""

    # The table is laid out again at every refresh: the terminal may have another width by then.
    with Live(console=console, refresh_per_second=12, get_renderable=table):
        for change in poll(cloud, job_id):
            document = change or document
    for row in document["results"]:
        if row["status"] == "error":
            console.print(f"  {row['model']}: {_state(row)}", markup=False, soft_wrap=True)
    return document


def progress_table(console: Console, document: Document, simulated: list[str], spinners: dict[str, Spinner]) -> Group:
    """The job's rows, as much of each as the terminal is wide enough for: its state always."""
    names = [terminal.shown(row["model"], console.encoding) for row in document["results"]]
    rows = [_cells(console, row, simulated, spinners) for row in document["results"]]
    headings: _Cells = {heading: Text(heading) for heading in rows[0]}
    widths = {
        heading: _GAP + max(console.measure(cells[heading]).maximum for cells in (headings, *rows))
        for heading in headings
    }
    longest = max(map(cell_len, names))
    for spared in ("provider", "seconds"):
        if longest + sum(widths.values()) > console.width:
            del widths[spared]
    room = max(console.width - sum(widths.values()), 1)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("model", max_width=room, no_wrap=True, overflow="crop")
    for heading in widths:
        table.add_column(heading, justify="right" if heading == "seconds" else "left", no_wrap=True, overflow="crop")
    for name, cells in zip(names, rows, strict=True):
        ellipsis = terminal.shown("…", console.encoding)
        table.add_row(Text(_shortened(name, room, ellipsis)), *(cells[heading] for heading in widths))
    done = sum(row["status"] in ("completed", "error", "cancelled") for row in document["results"])
    return Group(table, Text(f"{done} of {document['totalModels']} models are done", style="dim"))


def _cells(console: Console, row: Document, simulated: list[str], spinners: dict[str, Spinner]) -> _Cells:
    """The cells beside a model's name, by the headings of the columns."""
    style = _ROW_STYLES.get(row["status"], "")
    running = row["status"] == "in_progress"
    state: Text | Spinner = Text(row.get("errorCode") or row["status"].replace("_", " "), style=style)
    if running:
        frames = "line" if console.options.ascii_only else "dots"
        state = spinners.setdefault(row["model"], Spinner(frames, Text("in progress", style=style), style=style))
    seconds = time.time() - _epoch(row["startedAt"]) if running else row.get("duration")
    return {
        "provider": Text(provider_label(row["provider"], simulated)),
        "state": state,
        "seconds": Text(f"{seconds:.1f}" if seconds is not None else "", style="dim" if running else ""),
    }


def _shortened(text: str, room: int, ellipsis: str) -> str:
    """The text in at most as many cells as there is room."""
    if cell_len(text) <= room:
        return text
    return set_cell_size(text, max(room - len(ellipsis), 0)).rstrip() + ellipsis[:room]


def provider_label(provider: str, simulated: list[str]) -> str:
    """The provider's name, and whether it is the real one."""
    return f"{provider} ({'simulated' if provider in simulated else 'real'})"


def _state(row: Document) -> str:
    if row["status"] == "completed":
        return f"completed in {row['duration']:.1f} s" if row.get("duration") is not None else "completed"
    if row["status"] == "error":
        return f"{row.get('errorCode')}: {row.get('error')}"
    return str(row["status"]).replace("_", " ")


def save(cloud: Cloud, document: Document, folder: Path, image: ReferenceImage | None = None) -> Path:
    """Save every image, the job document and the contact sheet into a folder; the path of the sheet.

    `image`, what the models have edited, comes first on the sheet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    tiles = [reference.tile(image)] if image else []
    for row in document["results"]:
        thumbnail, error = None, row.get("error") or ""
        for number, made in enumerate(row.get("images") or ()):
            data = _fetch(cloud, made)
            name = re.sub(r"[^A-Za-z0-9.]+", "-", row["model"]).strip("-.")
            copy = f"-{number + 1}" if number else ""
            path = folder / f"{row['index'] + 1:02d}-{name}{copy}{Path(made['binaryKey']).suffix}"
            path.write_bytes(data)
            if thumbnail is None:
                try:
                    thumbnail = contact_sheet.reduce(images.load(data))
                except images.ImageError as failure:
                    # The other images are worth their sheet, and the file is there to be looked at.
                    error = str(failure)
        detail = provider_label(row["provider"], cloud.endpoints["simulated"])
        tiles.append(contact_sheet.Tile(row["model"], detail, row.get("duration"), thumbnail, error))
    sheet = folder / "contact-sheet.png"
    contact_sheet.draw(document["prompt"], tiles, _summary(document)).save(sheet)
    return sheet


def _fetch(cloud: Cloud, image: Document) -> bytes:
    if url := image.get("imageUrl"):
        response = cloud.request("GET", url)
        if response.status != 200:
            raise CloudError(f"The image at {url} returned {response.status}; see `make logs`.")
        return response.body
    body = cloud.client("s3").get_object(Bucket=cloud.endpoints["bucket"], Key=image["binaryKey"])["Body"]
    return bytes(body.read())


def _job_seconds(document: Document) -> float:
    ends = [_epoch(row["completedAt"]) for row in document["results"] if row.get("completedAt")]
    return max(ends, default=_epoch(document["updatedAt"])) - _epoch(document["createdAt"])


def _slowest(document: Document) -> Document | None:
    rows = [row for row in document["results"] if row.get("duration") is not None]
    return max(rows, key=lambda row: float(row["duration"]), default=None)


def _summary(document: Document) -> str:
    made, total, slowest = document["completedModels"], document["totalModels"], _slowest(document)
    models = "1 model" if total == 1 else f"{total} models"
    parts = [models if made == total else f"{made} of {models}", f"all in {_job_seconds(document):.1f} s"]
    if slowest:
        parts.append(f"the slowest took {slowest['duration']:.1f} s")
    return "   ·   ".join(parts)


def _ended(document: Document) -> str:
    text = f"{document['status']} in {_job_seconds(document):.1f} s"
    if slowest := _slowest(document):
        text += f", its slowest model ({slowest['model']}) took {slowest['duration']:.1f} s"
    return text


def _ended_execution(cloud: Cloud, job_id: str) -> Document:
    """The job's execution; it ends a moment after the job's last row."""
    states, arn = cloud.client("stepfunctions"), execution_arn(cloud.endpoints, job_id)
    until = time.monotonic() + 15
    while True:
        execution: Document = states.describe_execution(executionArn=arn)
        if execution["status"] != "RUNNING" or time.monotonic() > until:
            return execution
        time.sleep(0.1)


def _print_trace(console: Console, cloud: Cloud, document: Document) -> None:
    lines = execution_trace.job_lines(cloud, document["jobId"])
    console.print("Execution trace", style="bold")
    width = max(len(row["model"]) for row in document["results"])
    turns = execution_trace.turns(lines)
    logged = {turn.model for turn in turns}
    if seconds := execution_trace.preparation(lines):
        console.print(f"  Prepare references {seconds:.1f} s")
    for row in document["results"]:
        passed = execution_trace.steps(line for line in lines if line.get("model") == row["model"])
        if not passed and row.get("duration") is not None:
            # The emulator hands some lines on only with the worker's next invocation.
            passed = [f"Generate image {row['duration']:.1f} s"]
        if row["model"] not in logged and row.get("duration") is not None:
            turns.append(execution_trace.Turn(row["model"], _epoch(row["startedAt"]), _epoch(row["completedAt"])))
        end = "done" if row["status"] == "completed" else row.get("errorCode") or row["status"]
        total = f", {row['duration']:.1f} s" if row.get("duration") is not None else ""
        way = " → ".join([*passed, f"{end}{total}"])
        console.print(f"  {row['model']:<{width}}  {way}", markup=False, soft_wrap=True)
    work = sum(turn.ended - turn.began for turn in turns)
    console.print(
        f"{execution_trace.most_at_once(turns)} of {len(turns)} invocations of generate ran at the same moment; "
        f"together they took {work:.1f} s, the job {_job_seconds(document):.1f} s.",
        markup=False,
        soft_wrap=True,
    )


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
