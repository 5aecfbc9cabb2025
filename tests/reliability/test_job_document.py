"""Rows that close in the same instant: none is lost."""

from typing import Any

import pytest

from benchmarks.job_document import measure, model_names
from pixelprompt.jobs.store import JobManager
from pixelprompt.storage.documents import DocumentStore

from .emulator import BUCKET, s3_client
from .fault_proxy import Fault, FaultProxy
from .fleet import Fleet
from .load import Closing, close, close_without_condition


def lost(jobs: JobManager, job_ids: list[str]) -> list[Closing]:
    """The rows that do not say what their own writer wrote."""
    found = []
    for job_id in job_ids:
        document = jobs.get_job_status(job_id)
        assert document is not None
        for row in document["results"]:
            if row.get("imageKey") != f"group-images/{job_id}/{row['model']}.json" or row["status"] != "completed":
                found.append(Closing(job_id, row["model"]))
        if not found:
            assert (document["status"], document["completedModels"]) == ("completed", len(document["results"]))
    return found


def test_20_documents_of_9_rows_closed_by_20_processes_in_the_same_10_ms(s3: Any, endpoint: str) -> None:
    jobs = JobManager(s3, BUCKET)
    models = model_names(9)
    job_ids = [jobs.create_job("a red fox", {}, models) for _ in range(20)]
    # No two rows of a document belong to the same process.
    tasks: list[list[Closing]] = [[] for _ in range(20)]
    for number, job_id in enumerate(job_ids):
        for index, model in enumerate(models):
            tasks[(number + index) % 20].append(Closing(job_id, model["name"]))
    Fleet(endpoint, tasks).run(close)
    assert lost(jobs, job_ids) == []


def test_1_document_of_40_rows_closed_by_40_processes_in_the_same_10_ms(s3: Any, endpoint: str) -> None:
    jobs = JobManager(s3, BUCKET)
    models = model_names(40)
    job_id = jobs.create_job("a red fox", {}, models)
    Fleet(endpoint, [[Closing(job_id, model["name"])] for model in models]).run(close)
    assert lost(jobs, [job_id]) == []


def test_a_lost_update_would_be_seen(s3: Any, endpoint: str) -> None:
    """The same load without conditions loses rows: what finds nothing above would find something."""
    jobs = JobManager(s3, BUCKET)
    models = model_names(9)
    job_id = jobs.create_job("a red fox", {}, models)
    Fleet(endpoint, [[Closing(job_id, model["name"]) for model in models]]).run(close_without_condition)
    assert lost(jobs, [job_id]) != []


@pytest.mark.parametrize(("rows", "most_requests", "longest"), [(1, 6, 0.5), (9, 150, 4.0)])
def test_what_a_job_costs_at_70_ms(proxy: FaultProxy, rows: int, most_requests: int, longest: float) -> None:
    cost = measure(proxy, rows, 0.07, 0.0)
    assert cost.lost == 0
    assert cost.requests <= most_requests
    assert cost.last_row <= longest


def test_a_write_without_rivals_is_one_read_and_one_write_without_a_pause(proxy: FaultProxy) -> None:
    jobs = JobManager(s3_client(proxy.url), BUCKET)
    job_id = jobs.create_job("a red fox", {}, model_names(40))
    assert dict(proxy.requests) == {("PUT", 200): 1}
    proxy.clear()
    jobs.mark_model_started(job_id, "Model 0")
    assert dict(proxy.requests) == {("GET", 200): 1, ("PUT", 200): 1}
    proxy.clear()
    jobs.mark_model_complete(job_id, "Model 0", {"imageKey": "group-images/g/m.json"})
    assert dict(proxy.requests) == {("GET", 200): 1, ("PUT", 200): 1}
    proxy.clear()
    jobs.mark_model_complete(job_id, "Model 0", {"imageKey": "another"})
    assert dict(proxy.requests) == {("GET", 200): 1}


def test_409_is_read_again_and_recomputed(proxy: FaultProxy) -> None:
    """The emulator never answers 409, so the proxy does."""
    jobs = JobManager(s3_client(proxy.url), BUCKET)
    job_id = jobs.create_job("a red fox", {}, model_names(2))
    proxy.clear()
    proxy.fault = Fault("status", code=409, times=3, methods=("PUT",))
    jobs.mark_model_complete(job_id, "Model 0", {"imageKey": "group-images/g/m.json"})
    assert dict(proxy.requests) == {("GET", 200): 4, ("PUT", 409): 3, ("PUT", 200): 1}


def test_a_document_that_vanishes_between_read_and_write_is_read_again(s3: Any) -> None:
    """S3 answers 404 to the replacement of a document that is not there any more."""
    documents = DocumentStore(s3, BUCKET)
    documents.create("vanishing.json", {"count": 1})
    seen = []

    def change(value: Any) -> Any:
        seen.append(value)
        if len(seen) == 1:
            s3.delete_object(Bucket=BUCKET, Key="vanishing.json")
        return {"count": (value or {"count": 0})["count"] + 1}

    assert documents.update("vanishing.json", change) == {"count": 1}
    assert seen == [{"count": 1}, None]
