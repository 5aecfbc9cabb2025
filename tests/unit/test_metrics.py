"""Lines from which CloudWatch makes metrics."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from pixelprompt.errors import RateLimitExceeded
from pixelprompt.jobs.status import JobStatus
from pixelprompt.jobs.store import JobManager
from pixelprompt.limits.limiter import refuse_limited
from pixelprompt.limits.rate_limit import RateLimiter
from pixelprompt.observability import METRICS, begin, record
from pixelprompt.prompts.moderation.classifier import refusal
from pixelprompt.prompts.moderation.filter import Verdict
from pixelprompt.storage.documents import DocumentStore
from pixelprompt.storage.images import ImageStorage

BUCKET = "test-bucket"
Metrics = Callable[[], list[dict[str, Any]]]


def test_a_line_has_values_units_dimensions_and_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    begin(correlation_id="c-1", job_id="j-1", function="generate")
    record({"ModelsCompleted": 1, "ModelSeconds": 2.5}, model="GPT Image 2")
    line = json.loads(capsys.readouterr().out)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "PixelPrompt"
    assert [sorted(names) for names in directive["Dimensions"]] == [["model", "service"]]
    assert directive["Metrics"] == [
        {"Name": "ModelsCompleted", "Unit": "Count"},
        {"Name": "ModelSeconds", "Unit": "Seconds"},
    ]
    assert (line["ModelsCompleted"], line["ModelSeconds"], line["model"]) == ([1], [2.5], "GPT Image 2")
    assert (line["correlation_id"], line["job_id"], line["function"]) == ("c-1", "j-1", "generate")
    assert line["_aws"]["Timestamp"] > 1_700_000_000_000


def test_a_metric_keeps_to_its_dimension() -> None:
    with pytest.raises(AssertionError):
        record({"JobsEnded": 1})
    with pytest.raises(AssertionError):
        record({"JobsEnded": 1}, model="GPT Image 2")


def test_no_dimension_has_a_value_for_every_job_or_caller() -> None:
    assert {dimension for _, dimension in METRICS.values()} == {
        None, "status", "model", "errorCode", "category", "scope", "document"
    }  # fmt: skip


def test_what_is_turned_away_is_measured(s3: Any, metrics: Metrics) -> None:
    limits = RateLimiter(s3, BUCKET, 1, 1)
    refuse_limited(limits.check("192.0.2.1"))
    with pytest.raises(RateLimitExceeded):
        refuse_limited(limits.check("192.0.2.2"))
    assert metrics() == [{"RateLimited": 1, "scope": "global"}]
    refusal(Verdict(True, "violence"))
    assert metrics() == [{"PromptsRefused": 1, "category": "violence"}]


def test_a_lost_race_is_measured_by_its_kind_of_document(s3: Any, metrics: Metrics) -> None:
    documents = DocumentStore(s3, BUCKET)
    documents.create("jobs/1/status.json", {"n": 0})
    rivals = iter([1, 2])

    def change(value: dict[str, Any] | None) -> dict[str, Any]:
        rival = next(rivals, None)
        if rival:
            documents.write("jobs/1/status.json", {"n": rival})
        return {"n": 9}

    assert documents.update("jobs/1/status.json", change) == {"n": 9}
    assert metrics() == [{"WriteConflicts": 1, "document": "jobs"}] * 2


def test_an_abandoned_job_is_measured(s3: Any, metrics: Metrics) -> None:
    jobs = JobManager(s3, BUCKET)
    job = jobs.create_job("a fox", {}, [{"name": "A", "provider": "openai"}])
    images = ImageStorage(s3, BUCKET)
    JobStatus(jobs, images, lambda *_: None, lambda _: True, clock=lambda: time.time() + 5000).get(job)
    assert metrics() == [{"JobsAbandoned": 1}]
