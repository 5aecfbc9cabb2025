"""S3 that fails for a while: every row is there when it is back."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.job_document import model_names
from pixelprompt.errors import StorageError
from pixelprompt.jobs.store import JobManager

from .emulator import BUCKET, s3_client
from .fault_proxy import Fault, FaultProxy
from .fleet import Fleet
from .load import Closing, close
from .test_job_document import lost


@pytest.fixture
def jobs(s3: Any) -> JobManager:
    """Job documents, past the proxy."""
    return JobManager(s3, BUCKET)


def after(seconds: float, action: Callable[[], None]) -> threading.Timer:
    """Do something later."""
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer


@pytest.mark.parametrize("code", [500, 503])
def test_9_rows_close_while_s3_answers_5xx(jobs: JobManager, proxy: FaultProxy, code: int) -> None:
    job_id = jobs.create_job("a red fox", {}, model_names(9))
    proxy.fault = Fault("status", code=code, times=60, part="/status.json")
    Fleet(proxy.url, [[Closing(job_id, model["name"])] for model in model_names(9)]).run(close)
    assert proxy.total() > 60
    assert lost(jobs, [job_id]) == []


def test_9_rows_close_while_every_second_answer_of_s3_is_lost(jobs: JobManager, proxy: FaultProxy) -> None:
    """The write has happened, but its writer does not learn it and must neither repeat nor forget it."""
    job_id = jobs.create_job("a red fox", {}, model_names(9))
    proxy.fault = Fault("lost answer", times=12, methods=("PUT",))
    Fleet(proxy.url, [[Closing(job_id, model["name"])] for model in model_names(9)]).run(close)
    assert proxy.requests["PUT", 0] == 12
    assert lost(jobs, [job_id]) == []


def test_9_rows_close_while_s3_refuses_connections(jobs: JobManager, proxy: FaultProxy) -> None:
    job_id = jobs.create_job("a red fox", {}, model_names(9))
    timers: list[threading.Timer] = []

    def go_away() -> None:
        proxy.refuse()
        timers.append(after(4.0, proxy.accept))

    Fleet(proxy.url, [[Closing(job_id, model["name"])] for model in model_names(9)]).run(close, ready=go_away)
    for timer in timers:
        timer.join()
    assert lost(jobs, [job_id]) == []


def test_a_row_closes_when_s3_does_not_answer_in_time(jobs: JobManager, proxy: FaultProxy) -> None:
    job_id = jobs.create_job("a red fox", {}, model_names(1))
    client = s3_client(proxy.url, read_timeout=0.3)
    proxy.fault = Fault("hang", times=5)
    JobManager(client, BUCKET).mark_model_complete(
        job_id, "Model 0", {"imageKey": f"group-images/{job_id}/Model 0.json"}
    )
    assert lost(jobs, [job_id]) == []


def test_an_s3_that_stays_away_is_reported_when_patience_ends(jobs: JobManager, proxy: FaultProxy) -> None:
    job_id = jobs.create_job("a red fox", {}, model_names(1))
    manager = JobManager(s3_client(proxy.url), BUCKET, patience=2.0)
    proxy.refuse()
    began = time.monotonic()
    with pytest.raises(StorageError, match="Failed to connect to S3"):
        manager.mark_model_complete(job_id, "Model 0", {"imageKey": "x"})
    assert 0.5 < time.monotonic() - began < 30


def test_a_document_that_is_no_json_is_reported_at_once(s3: Any, proxy: FaultProxy) -> None:
    job_id = JobManager(s3, BUCKET).create_job("a red fox", {}, model_names(1))
    manager = JobManager(s3_client(proxy.url), BUCKET)
    s3.put_object(Bucket=BUCKET, Key=f"jobs/{job_id}/status.json", Body=b"not json")
    with pytest.raises(StorageError, match="not a JSON object"):
        manager.mark_model_complete(job_id, "Model 0", {"imageKey": "x"})
    assert dict(proxy.requests) == {("GET", 200): 1}
