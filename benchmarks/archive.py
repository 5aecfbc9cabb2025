"""Cold starts from an archive as Lambda unpacks it: the effect of bytecode, and the needs of each function."""

from __future__ import annotations

import base64
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.canned_cloud import BUCKET, canned_cloud
from benchmarks.cold_imports import BUDGETED, ENVIRONMENT, LIMIT, entry_point, with_adapter
from benchmarks.figures import Figure, Result, rounds
from benchmarks.images import KEYS, PROVIDERS, png
from benchmarks.references import photograph
from benchmarks.routes import event, item
from benchmarks.workbench import Part, Workbench
from pixelprompt.storage.keys import upload_key
from tests.canned import Answer, Canned

RUNS = 5
# Those for the table of memory.
READY_RUNS = 5
MEGABYTE = 1_000_000
PROGRAM = Path(__file__).with_name("in_archive.py")
# By name, the ways in which an archive is started.
WAYS = ("as shipped", "without bytecode", "written by the interpreter")
FLOOR = "bytecode written by the interpreter"
# Bedrock stands for the providers that need no SDK of their own.
STARTED = ("openai", "gemini", "bedrock")
# Whose packages are those of the providers, and those for reference images; of all others it is the core.
KINDS = {"generate": "providers", "enhance": "providers", "prepare_references": "references"}
# The uploads that are prepared: two photographs of a phone, and the largest image in memory.
UPLOADS = tuple(f"{number:032x}" for number in range(3))
# The provider whose SDK a request of these loads; the heavier one.
SDK = {"generate": "gemini", "enhance": "openai"}


def measure(bench: Workbench) -> Result:
    """Every way, by turns, and then two requests to each function."""
    with tempfile.TemporaryDirectory(prefix="pixel-prompt-bench-") as folder:
        codes = {name: entry_point(name) for name in ("submit", "status")}
        codes |= {f"generate with {provider}": with_adapter("generate", provider) for provider in STARTED}
        bench.progress("gathering the packages")
        archives = _archives(Path(folder))
        for name, code in codes.items():
            # The interpreter writes its bytecode while it imports.
            _run(archives["written by the interpreter", _kind(name)], code, write=True)
        times: dict[tuple[str, str], list[float]] = defaultdict(list)
        for _ in rounds(RUNS, bench.progress, "entry points from archives"):
            for name, code in codes.items():
                for way in WAYS:
                    found = _run(archives[way, _kind(name)], code)
                    times[name, way].append(found["ready"] * 1000)
        figures = []
        for name in codes:
            floor = times[name, "written by the interpreter"]
            budget = LIMIT if name in BUDGETED else None
            figures.append(Figure(f"{name}, ready, as shipped", "ms", times[name, "as shipped"], floor, FLOOR, budget))
            bare = times[name, "without bytecode"]
            figures.append(Figure(f"{name}, ready, without bytecode", "ms", bare, floor, FLOOR))
        bench.progress("two requests to each function")
        counts = _functions(archives)
    return Result(figures, counts=counts)


def _kind(name: str) -> str:
    return KINDS.get(name.split()[0], "core")


def _archives(folder: Path) -> dict[tuple[str, str], Path]:
    """By way and kind, an archive for this machine."""
    import infra.cdk_library  # noqa: F401
    from infra.functions import Bundle
    from infra.packages import CORE, PROVIDERS, REFERENCES

    archives: dict[tuple[str, str], Path] = {}
    for kind, requirements in (("core", CORE), ("providers", PROVIDERS), ("references", REFERENCES)):
        shipped, *bare = (folder / f"{kind} {way}" for way in WAYS)
        shipped.mkdir()
        Bundle.for_this_machine(requirements).fill(shipped)
        for copy in bare:
            shutil.copytree(shipped, copy, ignore=shutil.ignore_patterns("__pycache__"))
        archives |= {(way, kind): path for way, path in zip(WAYS, (shipped, *bare), strict=True)}
    return archives


def _run(
    archive: Path,
    code: str,
    module: str = "",
    events: Sequence[Mapping[str, Any]] = (),
    environment: Mapping[str, str] | None = None,
    *,
    write: bool = False,
) -> dict[str, Any]:
    """Output of ``in_archive``: an interpreter that can import nothing but the archive and the standard library."""
    process = subprocess.run(
        [sys.executable, "-S", "-P", *([] if write else ["-B"]), str(PROGRAM)],
        input=json.dumps({"code": code, "module": module, "events": events}),
        env={**ENVIRONMENT, **(environment or {}), "PYTHONPATH": str(archive)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert process.returncode == 0, process.stderr
    found: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return found


def _functions(archives: Mapping[tuple[str, str], Path]) -> dict[str, float]:
    """By function: ms of processor time until it is ready and of a warm request, requests to AWS, most memory in MB."""
    small, large = (png(size) for size in (1_500_000, 16 * MEGABYTE))
    model, _, contents = PROVIDERS["gemini"]
    images = [contents(base64.b64encode(image).decode()) for image in (small, small, large)]
    answers = iter([Answer(content=image) for image in images])
    counts: dict[str, float] = {}
    with canned_cloud(KEYS) as cloud, Canned(lambda asked: next(answers)) as provider:
        environment = {
            "AWS_ENDPOINT_URL": cloud.url,
            "BUCKET_NAME": BUCKET,
            "PROVIDER_ENDPOINTS": json.dumps({"gemini": provider.url}),
        }

        def run(name: str, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
            """The responses to the events, of which the first finds the function cold and the second warm."""
            code = with_adapter(name, SDK[name]) if name in SDK else entry_point(name)
            archive = archives["as shipped", _kind(name)]
            before = len(cloud.asked)
            found = _run(archive, code, name, events, environment)
            ready = [found["ready"], *(_run(archive, code)["ready"] for _ in range(READY_RUNS - 1))]
            counts[f"{name} ready"] = round(statistics.median(ready) * 1000, 1)
            counts[f"{name} warm"] = round(found["seconds"][1] * 1000, 1)
            # Those of a cold request are more.
            counts[f"{name} requests"] = round((len(cloud.asked) - before) / len(events), 1)
            counts[f"{name} peak"] = round(found["peak"] / MEGABYTE)
            answers: list[dict[str, Any]] = found["answers"]
            assert all(answer.get("statusCode", 200) == 200 for answer in answers), answers
            return answers

        def route(method: str, path: str, job_id: str = "") -> dict[str, Any]:
            return event(method, path, parameters={"jobId": job_id} if job_id else None)

        submitted = run("submit", [event("POST", "/generate", {"prompt": "a fox", "models": [model]})] * 3)
        jobs = [json.loads(answer["body"])["jobId"] for answer in submitted]
        documents = [
            json.loads(answer["body"])
            for answer in run("status", [route("GET", f"/status/{job}", job) for job in jobs])
        ]
        outcomes = run("generate", [item(document) for document in documents])
        assert all(outcome["state"] == "done" for outcome in outcomes), outcomes
        run("record_failure", [{**item(document), "error": {"Error": "Lambda.Unknown"}} for document in documents])
        run("finish", [{"jobId": job, "outcomes": []} for job in jobs])
        run("gallery", [event("GET", "/gallery/list")] * 3)
        run("models", [event("GET", "/models")] * 3)
        # Without a key for its text model it calls no provider; the SDK that it would call with is loaded.
        run("enhance", [event("POST", "/enhance", {"prompt": f"a fox, {number}"}) for number in range(3)])
        run("upload", [event("POST", "/uploads", {"contentType": "image/png"})] * 3)
        _upload(cloud.url)
        referring = [
            event("POST", "/generate", {"prompt": "a fox", "models": [model], "images": [{"uploadId": upload}]})
            for upload in UPLOADS
        ]
        jobs = [json.loads(answer["body"])["jobId"] for answer in run("submit", referring)]
        prepared = run("prepare_references", [{"jobId": job, "run": 1} for job in jobs])
        assert prepared == [{"state": "ready", "references": 1}] * len(jobs), prepared
        again = run("submit", [event("POST", "/generate", {"prompt": "a fox", "models": [model]})] * 3)
        jobs = [json.loads(answer["body"])["jobId"] for answer in again]
        run("cancel", [route("POST", f"/cancel/{job}", job) for job in jobs])
        run("retry", [route("POST", f"/retry/{job}", job) for job in jobs])
    return counts


def _upload(endpoint: str) -> None:
    photo = photograph((4000, 3000), "JPEG")
    gradient = Image.linear_gradient("L").resize((6000, 4000))
    file = io.BytesIO()
    Image.merge("RGBA", [gradient] * 4).save(file, "PNG")
    for upload, content in zip(UPLOADS, (photo, photo, file.getvalue()), strict=True):
        put = urllib.request.Request(f"{endpoint}/{BUCKET}/{upload_key(upload)}", content, method="PUT")
        urllib.request.urlopen(put).close()


PART = Part(
    "archive",
    "Cold imports from the archive",
    "Processor time until an entry point is imported and its clients are made, in a fresh interpreter that finds "
    "nothing but the archive's packages (for this machine) and writes no bytecode, as in Lambda. Floor: the same "
    "archive with the bytecode that the interpreter itself has written. [Costs](cost.md#memory) has the "
    "table of each function's memory, which this part also writes.",
    measure,
)
