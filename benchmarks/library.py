"""Parts of the library alone: the rate limit, moderation, the status of large jobs, the list of galleries."""

from __future__ import annotations

import http.client
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.figures import Budget, Curve, Figure, Result, grouped, rounds
from benchmarks.workbench import Part, Workbench, elapsed
from pixelprompt.jobs.status import JobStatus
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.limiter import DAY, HOUR
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.prompts.moderation.filter import ContentFilter
from pixelprompt.storage.galleries import Galleries, Page
from pixelprompt.storage.images import ImageStorage
from pixelprompt.storage.keys import RATE_LIMIT_KEY, index_key, status_key
from tests.reliability.emulator import BUCKET, s3_client
from tests.reliability.fault_proxy import FaultProxy

RUNS = 30
# What the document holds at most with 100 requests an hour.
DEFAULT_MOST = 2_400
STORED = (0, 1_000, DEFAULT_MOST, 10_000)
PROMPT = (
    "A lighthouse in fog on a rocky coast at dawn, long exposure, soft light over the water, seagulls in the distance, "
    "muted colors, fine grain, a lone figure in a yellow raincoat walks along the pier towards the open sea. "
)
ROWS = (1, 9, 20, 40)
GALLERIES = (10, 1_000, 10_000)
_LISTED = 7


def _client(bench: Workbench) -> Any:
    return s3_client(f"http://127.0.0.1:{bench.s3_port}")


def measure_rate_limit(bench: Workbench) -> Result:
    """A check with a growing number of stored requests of a day, from a hundred IP addresses."""
    s3 = _client(bench)
    limiter = RateLimiter(s3, BUCKET, 1_000_000, 1_000_000)
    figures: list[Figure] = []
    points, floors = [], []

    def floor() -> None:
        s3.get_object(Bucket=BUCKET, Key="floor.json")["Body"].read()
        s3.put_object(Bucket=BUCKET, Key="floor.json", Body=b"{}", ContentType="application/json")

    s3.put_object(Bucket=BUCKET, Key="floor.json", Body=b"{}")
    for stored in STORED:
        body = json.dumps(_requests(stored)).encode()
        samples, least = [], []
        bench.progress(f"rate limit, {stored} requests stored")
        for _ in range(RUNS):
            s3.put_object(Bucket=BUCKET, Key=RATE_LIMIT_KEY, Body=body)
            least.append(elapsed(floor) * 1000)
            samples.append(elapsed(lambda: limiter.check("192.0.2.1")) * 1000)
        name = f"check, {grouped(stored)} requests stored"
        figures.append(Figure(name, "ms", samples, least, "GET and PUT of an empty object", Budget(100)))
        points.append((float(stored), samples))
        floors.append((float(stored), least))
    none = sorted(points[0][1])
    for most, samples in points[2:]:
        growth = [many / few for few, many in zip(none, sorted(samples), strict=True)]
        name = f"check, {grouped(most)} stored by none{' (most at the default limits)' * (most == DEFAULT_MOST)}"
        figures.append(Figure(name, "times", growth, budget=Budget(2)))
    series = {"check": points, "floor: GET and PUT": floors}
    return Result(figures, [Curve("Rate-limit check", "requests stored", "ms", series)])


def _requests(count: int) -> dict[str, Any]:
    """A document of so many requests of the last day, from a hundred IP addresses."""
    now = time.time()
    moments = sorted(round(now - random.uniform(1, DAY - 60), 6) for _ in range(count))
    addresses: dict[str, list[float]] = {}
    for place, moment in enumerate(moments):
        addresses.setdefault(f"198.51.100.{place % 100}", []).append(moment)
    return {"global_requests": [moment for moment in moments if moment > now - HOUR], "ip_requests": addresses}


def measure_moderation(bench: Workbench) -> Result:
    """The keyword filter on harmless prompts."""
    content_filter = ContentFilter()
    figures = []
    points = []
    for length in (100, 1000):
        text = (PROMPT * 5)[:length]
        assert not content_filter.check_prompt(text)
        bench.progress(f"moderation, {length} characters")
        samples = [elapsed(partial(content_filter.check_prompt, text)) * 1000 for _ in range(50)]
        budget = Budget(1) if length == 1000 else None
        figures.append(Figure(f"keyword filter, {length} characters", "ms", samples, budget=budget))
        points.append((float(length), samples))
    return Result(figures)


def measure_status(bench: Workbench) -> Result:
    """The status of jobs whose rows have four images each, with presigned URLs."""
    s3 = _client(bench)
    jobs = JobManager(s3, BUCKET)
    figures: list[Figure] = []
    series: dict[str, list[tuple[float, list[float]]]] = {}

    def floor(job_id: str) -> None:
        answer = s3.get_object(Bucket=BUCKET, Key=status_key(job_id))
        json.dumps(json.loads(answer["Body"].read()))

    def full(status: JobStatus, job_id: str) -> None:
        json.dumps(status.get(job_id)[0])

    for rows in ROWS:
        job_id = jobs.create_job("a red fox", {}, [{"name": f"Model {n}", "provider": "openai"} for n in range(rows)])
        for row in range(rows):
            keys = [f"g/Model-{row}-1763900000000-{number}" for number in range(4)]
            images = [{"imageKey": f"group-images/{key}.json", "binaryKey": f"images/{key}.png"} for key in keys]
            result = {"imageKey": images[0]["imageKey"], "images": images}
            jobs.mark_model_complete(job_id, f"Model {row}", result)
        first, again, least = [], [], []
        bench.progress(f"status, {rows} rows of 4 images")
        for _ in range(RUNS):
            status = JobStatus(jobs, ImageStorage(s3, BUCKET), lambda *_: None, lambda _: True, clock=time.time)
            least.append(elapsed(partial(floor, job_id)) * 1000)
            first.append(elapsed(partial(full, status, job_id)) * 1000)
            again.append(elapsed(partial(full, status, job_id)) * 1000)
        name = f"{rows} row{'s' * (rows > 1)} of 4 images"
        figures.append(Figure(f"{name}, first asked", "ms", first, least, "GET, parse, print"))
        figures.append(Figure(f"{name}, asked again", "ms", again, least, "GET, parse, print"))
        for kind, samples in (("first asked", first), ("asked again", again), ("floor: GET", least)):
            series.setdefault(kind, []).append((rows, samples))
    return Result(figures, [Curve("Status", "rows of 4 images", "ms", series)])


def measure_galleries(bench: Workbench) -> Result:
    """A page of the newest 20, with more and more galleries in the bucket."""
    proxy = FaultProxy(bench.s3_port)
    s3 = s3_client(proxy.url)
    galleries = Galleries(s3, BUCKET, ImageStorage(s3, BUCKET), JobManager(s3, BUCKET).get_job_status)
    figures: list[Figure] = []
    points, floors = [], []
    present = 0
    for count in GALLERIES:
        bench.progress(f"writing the index of {count} galleries")
        _write_index(bench.s3_port, present, count)
        present = count
        samples, least, requests = [], [], []
        for _ in rounds(_LISTED, bench.progress, f"a page of {count} galleries"):
            least.append(elapsed(lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix="gallery-index/")) * 1000)
            proxy.clear()
            samples.append(elapsed(lambda: galleries.page(Page())) * 1000)
            requests.append(proxy.total())
        name = f"a page, {grouped(count)} galleries"
        figures.append(Figure(name, "ms", samples, least, "one LIST of 1000 keys"))
        figures.append(Figure(f"{name}: S3 requests", "requests", requests, budget=Budget(2)))
        points.append((float(count), samples))
        floors.append((float(count), least))
    proxy.refuse()
    series = {"a page": points, "floor: one LIST": floors}
    return Result(figures, [Curve("List of galleries", "galleries", "ms", series, logarithmic=True)])


def _write_index(port: int, first: int, last: int) -> None:
    """Index entries of one image each; plain requests, because boto3 would take a minute for them."""

    def write(numbers: range) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in numbers:
            key = index_key(1_763_900_000_000 + number * 1000, f"images/2026-11-23-12-00-00-{number:08x}/Model-1.png")
            connection.request("PUT", f"/{BUCKET}/{key}", b"")
            assert connection.getresponse().read() is not None
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [range(first + place, last, 4) for place in range(4)]))


RATE_LIMIT = Part(
    "rate-limit",
    "Rate limit",
    "One check against S3 of the emulator. At the default limits the document holds at most 100 moments of the last "
    "hour and 2400 of the last day.",
    measure_rate_limit,
)
MODERATION = Part("moderation", "Moderation", "The keyword filter on harmless text.", measure_moderation)
STATUS = Part(
    "status",
    "Status of large jobs",
    "Reading the document and signing a URL for each image, without Lambda and HTTP.",
    measure_status,
)
GALLERY = Part(
    "gallery",
    "List of galleries",
    "A page of the newest 20. The emulator's own time for a LIST grows with the bucket; that of S3 does not.",
    measure_galleries,
)
