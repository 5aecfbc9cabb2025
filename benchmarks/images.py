"""One image, from the provider's response into S3: time and memory."""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from benchmarks.figures import Budget, Curve, Figure, Result
from benchmarks.routes import item
from benchmarks.workbench import Part, Workbench
from local import cdk
from local.paths import ROOT, SYSTEM_PATH
from pixelprompt.jobs.store import JobManager
from tests.canned import Answer, Asked, Canned
from tests.reliability.emulator import ACCESS_KEY, BUCKET, s3_client

MEGABYTE = 1_000_000
SIZES = (1, 4, 16)
ROUNDS = 5
# By provider: a model, the place of the image in its response, and the response around it.
PROVIDERS: dict[str, tuple[str, list[Any], Any]] = {
    "stability": ("Stable Diffusion 3.5 Large", ["image"], lambda text: {"image": text, "finish_reason": "SUCCESS"}),
    "bedrock": (
        "Stable Image Core (Bedrock)",
        ["images", 0],
        lambda text: {"images": [text], "seeds": [1], "finish_reasons": [None]},
    ),
    "openai": ("GPT Image 2.6 Flare", ["data", 0, "b64_json"], lambda text: {"data": [{"b64_json": text}]}),
    "gemini": (
        "Nano Banana 2.1",
        ["candidates", 0, "content", "parts", 0, "inlineData", "data"],
        lambda text: {
            "candidates": [
                {
                    "content": {"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": text}}]},
                    "finishReason": "STOP",
                }
            ]
        },
    ),
}
KEYS = {"STABILITY_API_KEY": "x", "OPENAI_API_KEY": "x", "GEMINI_API_KEY": "x"}


def measure(bench: Workbench) -> Result:
    """Every size by every form in which an image arrives as base64."""
    endpoint = f"http://127.0.0.1:{bench.s3_port}"
    s3 = s3_client(endpoint)
    secret = _secret(endpoint)
    jobs = JobManager(s3, BUCKET)
    figures: list[Figure] = []
    times: dict[str, list[tuple[float, list[float]]]] = {}
    peaks: dict[str, list[tuple[float, list[float]]]] = {}
    steps: dict[str, dict[str, float]] = {}
    small = png(60_000)
    for provider, (model, path, answer) in PROVIDERS.items():

        def event(model: str = model, provider: str = provider) -> dict[str, Any]:
            job_id = jobs.create_job("a red fox", {}, [{"name": model, "provider": provider}])
            document = jobs.get_job_status(job_id)
            assert document
            return item(document)

        for size in SIZES:
            bench.progress(f"{provider}, an image of {size} MB")
            data = png(size * MEGABYTE)
            contents = [json.dumps(answer(base64.b64encode(image).decode())).encode() for image in (small, data)]
            first = event()
            with Canned(_first_then(*contents)) as server:
                asked = {"provider_url": server.url, "path": path, "warm": first, "profiled": event(), "events": []}
                asked["events"] = [event() for _ in range(ROUNDS)]
                found = _run(asked, endpoint, secret, provider, server.url)
            own, floor = found["generate"], found["floor"]
            processor = [entry["processor"] * 1000 for entry in own]
            least = [entry["processor"] * 1000 for entry in floor]
            name = f"{provider}, {size} MB"
            figures.append(Figure(f"{name}: processor time", "ms", processor, least, "read, decode, store twice"))
            figures.append(Figure(f"{name}: until stored", "ms", [entry["seconds"] * 1000 for entry in own]))
            grown = [entry["peak"] / len(data) for entry in own]
            floor_grown = [entry["peak"] / len(data) for entry in floor]
            budget = Budget(3) if size > 1 else None
            figures.append(Figure(f"{name}: peak memory by image", "times", grown, floor_grown, "the same", budget))
            steps[name] = {step: peak / len(data) for step, peak in found["steps"].items()}
            times.setdefault(provider, []).append((size, processor))
            peaks.setdefault(provider, []).append((size, [entry["peak"] / MEGABYTE for entry in own]))
    peaks["budget: 3 times the image"] = [(size, [3.0 * size]) for size in SIZES]
    curves = [
        Curve("Generate: our own processor time", "MB of the image", "ms", times),
        Curve("Generate: peak memory", "MB of the image", "MB", peaks),
    ]
    return Result(figures, curves, [_profile(steps)])


def _profile(steps: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(steps.values())))
    lines = [
        "The peak of each step by the image, of one run; what a step leaves behind counts in the next:\n",
        f"| image | {' | '.join(names)} |",
        f"| --- |{' ---: |' * len(names)}",
    ]
    for name, peaks in steps.items():
        lines.append(f"| {name} | {' | '.join(f'{peak:.2f} ×' for peak in peaks.values())} |")
    return "\n".join(lines)


def _first_then(first: bytes, later: bytes) -> Callable[[Asked], Answer]:
    answers = itertools.chain([Answer(content=first)], itertools.repeat(Answer(content=later)))
    return lambda asked: next(answers)


def _secret(endpoint: str) -> str:
    import boto3

    client = boto3.client("secretsmanager", endpoint_url=endpoint, region_name=cdk.REGION, **_credentials())
    name: str = client.create_secret(Name="bench", SecretString=json.dumps(KEYS))["ARN"]
    return name


def _credentials() -> dict[str, str]:
    return ACCESS_KEY.client_options()


def png(size: int) -> bytes:
    """An image of noise of about so many bytes."""
    side = math.ceil(math.sqrt(size / 3))
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(file, "PNG", compress_level=0)
    return file.getvalue()


def _run(asked: dict[str, Any], endpoint: str, secret: str, provider: str, address: str) -> Any:
    environment = {
        **ACCESS_KEY.environment(),
        "AWS_DEFAULT_REGION": cdk.REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PATH": SYSTEM_PATH,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'functions'}",
        "BUCKET_NAME": BUCKET,
        "PROVIDER_SECRET": secret,
        "PROVIDER_ENDPOINTS": json.dumps({provider: address}),
    }
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.one_image"],
        input=json.dumps(asked),
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


PART = Part(
    "generate",
    "One image",
    "The generate Lambda's code in its own process, a provider and S3 over real sockets, a warm process. "
    "Processor time is that of this process alone, without the provider and S3. Peak memory is the growth of "
    "the process (VmHWM less VmRSS before, Linux). Floor: the response read and decoded in the plainest way, and "
    "stored twice.",
    measure,
)
