"""Effect of each function's memory: an estimate from its processor time, for the table in docs/explanation/cost.md.

Lambda gives a function a share of a processor in proportion to its memory, one at 1,769 MB
(docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from benchmarks.cost import DOCUMENT, PRICES, PROVIDER_SECONDS
from infra.memory import MEMORY

BLOCK = re.compile(r"<!-- memory:begin (?P<counts>\{.*?\}) -->\n(?P<table>.*?)<!-- memory:end -->", re.DOTALL)

SIZES = (256, 512, 1024, 1769)
ONE_PROCESSOR = 1769
# What the table assumes of one request to AWS.
REQUEST_SECONDS = 0.02
# Seconds that a function waits for a provider in each request.
WAITING = {"generate": float(PROVIDER_SECONDS), "enhance": 2.0}
REQUESTS = 1000
# A cold status request must not take more than 0.5 s, others not more than 1 s; of that, Lambda itself, the network and
# S3 need some 0.15 s. And how much of its memory a function may need.
MAX_SECONDS = {"status": 0.35}
MAX_SECONDS_OF_OTHERS = 0.85
MAX_MEMORY = 0.5


def seconds(processor: float, memory: int) -> float:
    """Seconds that a function with this memory takes for so much processor time."""
    return processor * ONE_PROCESSOR / min(memory, ONE_PROCESSOR)


def dollars(counts: Mapping[str, float], name: str, memory: int) -> float:
    """Price of ``REQUESTS`` warm requests."""
    waits = counts[f"{name} requests"] * REQUEST_SECONDS + WAITING.get(name, 0.0)
    gigabyte_seconds = (waits + seconds(counts[f"{name} warm"] / 1000, memory)) * memory / 1024
    return REQUESTS * (gigabyte_seconds * PRICES["gigabyteSecond"] + PRICES["lambdaRequest"])


def smallest(counts: Mapping[str, float], name: str) -> int:
    """The smallest of the sizes at which a function is quick enough and has room; the largest where none is."""
    limit = MAX_SECONDS.get(name, MAX_SECONDS_OF_OTHERS)
    for size in SIZES:
        has_room = counts[f"{name} peak"] <= size * MAX_MEMORY
        if has_room and cold_seconds(counts, name, size) <= limit:
            return size
    return SIZES[-1]


def cold_seconds(counts: Mapping[str, float], name: str, memory: int) -> float:
    """The seconds of processor time of a cold start and one warm request."""
    return seconds((counts[f"{name} ready"] + counts[f"{name} warm"]) / 1000, memory)


def table(counts: Mapping[str, float]) -> str:
    """The table in Markdown: by function and size, the seconds of a cold request's processor time, and the price."""
    names = [name for name in MEMORY if f"{name} ready" in counts]
    heads = " | ".join(f"{size} MB" for size in SIZES)
    lines = [
        f"| function | ready, warm request, most memory | {heads} | chosen |",
        f"| --- | --- |{' --- |' * len(SIZES)} ---: |",
    ]
    for name in names:
        ready, warm, peak = (counts[f"{name} {what}"] for what in ("ready", "warm", "peak"))
        cells = [
            f"{cold_seconds(counts, name, size):.2f} s, ${dollars(counts, name, size):.4f}"
            if peak < size
            else "too small"
            for size in SIZES
        ]
        lines.append(
            f"| `{name}` | {ready:.0f} ms, {warm:.0f} ms, {peak:.0f} MB | {' | '.join(cells)} | {MEMORY[name]} MB |"
        )
    return "\n".join(lines) + "\n"


def write(counts: Mapping[str, float]) -> None:
    """Write the table into docs/explanation/cost.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    block = f"<!-- memory:begin {json.dumps(counts)} -->\n{table(counts)}<!-- memory:end -->"
    DOCUMENT.write_text(BLOCK.sub(lambda _: block, text), encoding="utf-8")
