"""Reference images: the time until one is decoded, scaled, encoded, and stored."""

from __future__ import annotations

import io
import os
from functools import partial

from PIL import Image

from benchmarks.figures import Budget, Figure, Result
from benchmarks.workbench import Part, Workbench, elapsed
from pixelprompt.jobs.store import JobManager
from pixelprompt.observability import logger
from pixelprompt.preparation.prepare import Preparation, PrepareRequest
from pixelprompt.storage.keys import upload_key
from pixelprompt.storage.references import ReferenceStorage
from tests.reliability.emulator import BUCKET, s3_client

RUNS = 10
UPLOAD = "7b1e7f0c-93a1-4a8e-9b55-0d7c5be5c6a1"
# By name, the size in pixels, the type, and the most milliseconds.
GIVEN: dict[str, tuple[tuple[int, int], str, float | None]] = {
    "JPEG of 4 megapixels": ((2048, 2048), "JPEG", 1000),
    "JPEG of 12 megapixels": ((4000, 3000), "JPEG", None),
    "PNG of 4 megapixels, transparent": ((2048, 2048), "PNG", None),
}


def measure(bench: Workbench) -> Result:
    """A job with one upload, prepared anew each time."""
    # Each preparation logs a line.
    logger.setLevel("WARNING")
    s3 = s3_client(f"http://127.0.0.1:{bench.s3_port}")
    jobs, references = JobManager(s3, BUCKET), ReferenceStorage(s3, BUCKET)
    preparation = Preparation(jobs, references)
    key = upload_key(UPLOAD)

    def floor(data: bytes) -> None:
        s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        Image.open(io.BytesIO(data)).load()
        s3.put_object(Bucket=BUCKET, Key="floor.jpg", Body=data)

    def prepare(job_id: str) -> None:
        outcome = preparation.prepare(PrepareRequest(job_id, 1))
        assert outcome == {"state": "ready", "references": 1}, outcome

    figures = []
    for name, (size, kind, most) in GIVEN.items():
        data = photograph(size, kind)
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        samples, least = [], []
        bench.progress(name)
        for warm in range(RUNS + 1):
            job_id = jobs.create_job("a red fox", {"images": 1}, [{"name": "A", "provider": "openai"}])
            references.save_given(job_id, [{"uploadId": UPLOAD}])
            took = elapsed(partial(prepare, job_id)) * 1000
            if warm:
                samples.append(took)
                least.append(elapsed(partial(floor, data)) * 1000)
        budget = Budget(most) if most else None
        figures.append(Figure(name, "ms", samples, least, "GET, decode, PUT", budget))
    return Result(figures)


def photograph(size: tuple[int, int], kind: str) -> bytes:
    """An image with the detail of a photograph; a PNG is transparent at its top."""
    small = (size[0] // 8, size[1] // 8)
    picture = Image.frombytes("RGB", small, os.urandom(small[0] * small[1] * 3))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    if kind == "PNG":
        picture.putalpha(Image.linear_gradient("L").resize(size))
    picture.save(file, kind, **({"quality": 90} if kind == "JPEG" else {"compress_level": 1}))
    return file.getvalue()


PART = Part(
    "references",
    "Reference images",
    "One upload, read from S3 of the emulator, decoded, scaled to 4 megapixels, encoded, stored, and recorded in the "
    "job document, without Lambda. A larger JPEG is decoded at a part of its size.",
    measure,
)
