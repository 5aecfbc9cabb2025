"""A job of a hostile model beside eight good ones, run by the code of the Lambdas."""

import base64
import io
import json
import time
from collections.abc import Callable
from typing import Any

from PIL import Image as Picture

from pixelprompt.generation.item import Item
from pixelprompt.generation.run import Generation
from pixelprompt.jobs.progress import ResumeTokens
from pixelprompt.jobs.store import JobManager
from pixelprompt.models.model import Model
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.storage.images import ImageStorage
from tests.canned import Answer, Asked, Canned
from tests.conftest import BUCKET
from tests.contract.table import MODELS, PATHS

KEY = "sk-proj-Abcd1234efgh5678WXYZ"
PROMPT = "a red fox in snow"
OUTCOME_BYTES = 6144


def png() -> bytes:
    """A small image."""
    buffer = io.BytesIO()
    Picture.new("RGB", (8, 4), "red").save(buffer, "PNG")
    return buffer.getvalue()


PNG = png()
ENCODED = base64.b64encode(PNG).decode()
GOOD = Answer(content={"data": [{"b64_json": ENCODED}]})


class _Secrets:
    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        names = ("OPENAI", "GEMINI", "STABILITY", "BFL", "RECRAFT", "COMPATIBLE")
        return {"SecretString": json.dumps({f"{name}_API_KEY": KEY for name in names})}


def no_constant(name: str) -> Any:
    """Reject what JSON lacks."""
    raise AssertionError(f"{name} is not JSON")


def strict(text: str | bytes) -> Any:
    """Parse JSON as browsers do."""
    return json.loads(text, parse_constant=no_constant)


class Clock:
    """Time that passes as fast as it is slept away."""

    def __init__(self) -> None:
        self.slept = 0.0

    def __call__(self) -> float:
        return time.time() + self.slept

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept += seconds


class Job:
    """A job of one hostile model, and of ``beside`` good ones."""

    def __init__(
        self, s3: Any, provider: str, hostile: str, good: str = "", *, beside: int = 8, n: int = 1, **model: Any
    ) -> None:
        known = MODELS[provider]
        url = hostile + PATHS[provider]
        supports = {"n": {"max": 4, "perCall": True}} if provider in ("openai", "compatible", "recraft") else {}
        # Servers of the compatible protocol have their URLs in the catalogue.
        endpoints, base_url = ({}, url) if provider == "compatible" else ({provider: url}, None)
        self.model = Model(
            known.name,
            provider,
            known.id,
            10,
            known.parameters,
            supports,
            region=known.region,
            base_url=base_url,
            **model,
        )
        models = [
            self.model,
            *(
                Model(f"Good {place}", "compatible", "good", 10, supports=supports, base_url=good)
                for place in range(beside)
            ),
        ]
        self.s3, self.n, self.clock = s3, n, Clock()
        self.jobs, self.images = JobManager(s3, BUCKET), ImageStorage(s3, BUCKET)
        self.generation = Generation(
            self.jobs,
            self.images,
            ResumeTokens(s3, BUCKET),
            lambda **_: ModelRegistry(models),
            ProviderKeys(_Secrets(), "keys", endpoints),
            lambda job_id, count: (),
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        self.names = [m.name for m in models]
        rows = [{"name": m.name, "provider": m.provider} for m in models]
        self.created_at = self.jobs.now()
        self.id = self.jobs.create_job(PROMPT, {"n": n}, rows, created_at=self.created_at)

    def run(self, place: int = 0) -> dict[str, Any]:
        """Run a model to its end; its row."""
        item = Item(self.id, place, self.names[place], 1, PROMPT, self.created_at, {"n": self.n})
        while True:
            outcome = self.generation.run(item, 200)
            text = json.dumps(outcome, allow_nan=False)
            assert len(text) < OUTCOME_BYTES, len(text)
            if outcome["state"] != "wait":
                assert outcome["recorded"]
                return self.document()["results"][place]  # type: ignore[no-any-return]
            self.clock.sleep(outcome["waitSeconds"])
            item = Item(
                self.id, place, self.names[place], outcome["attempt"], PROMPT, self.created_at, {"n": self.n},
                resume=outcome["resume"], deadline=outcome["deadline"],
            )  # fmt: skip

    def document(self) -> dict[str, Any]:
        """The job document, which must be strict JSON and small."""
        body = self.s3.get_object(Bucket=BUCKET, Key=f"jobs/{self.id}/status.json")["Body"].read()
        assert len(body) < 100_000
        document: dict[str, Any] = strict(body)
        return document


def row_of(s3: Any, provider: str, answer: Answer | Callable[[Asked], Answer], **options: Any) -> dict[str, Any]:
    """The row of a hostile model alone."""
    with Canned(answer) as server:
        return Job(s3, provider, server.url, beside=0, **options).run()
