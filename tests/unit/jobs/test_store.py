"""The job document's rules, and its life in S3."""

import json
import uuid
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from pixelprompt.errors import ConfigurationError, JobNotFound
from pixelprompt.jobs.document import complete_row, fail_row, finish_rows, is_job_id, job_status, start_row
from pixelprompt.jobs.runs import NextRun
from pixelprompt.jobs.schema import Job, ModelResult, ResultFields, RowStatus
from pixelprompt.jobs.store import JobManager
from pixelprompt.models.model import Failure
from pixelprompt.storage.keys import StoredImage, gallery

BUCKET = "test-bucket"
NOW = "2026-11-23T12:00:00.000Z"
LATER = "2026-11-23T12:00:12.500Z"
MODELS = [{"name": f"Model {letter}", "provider": "openai"} for letter in "ABC"]
FAILURE: Failure = {"error": "No.", "errorCode": "refused", "retryable": False, "billable": "no"}
RESULT: ResultFields = {
    "imageKey": "group-images/g/Model-A-1.json",
    "images": [{"imageKey": "group-images/g/Model-A-1.json", "binaryKey": "images/g/Model-A-1.png"}],
}


def rows(*states: RowStatus) -> list[ModelResult]:
    return [
        {"index": i, "model": f"Model {i}", "provider": "openai", "status": state} for i, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["pending", "pending"], "pending"),
        (["pending", "in_progress"], "in_progress"),
        (["pending", "completed"], "in_progress"),
        (["in_progress", "error"], "in_progress"),
        (["completed", "completed"], "completed"),
        (["completed", "error"], "partial"),
        (["error", "error"], "failed"),
        (["completed", "cancelled"], "cancelled"),
        (["error", "cancelled"], "cancelled"),
        ([], "failed"),
    ],
)
def test_a_jobs_status_follows_from_its_rows(states: list[RowStatus], status: str) -> None:
    assert job_status(rows(*states)) == status


@pytest.mark.parametrize("closed", ["completed", "error", "cancelled"])
def test_a_closed_row_does_not_start_again(closed: RowStatus) -> None:
    (row,) = rows(closed)
    before = row.copy()
    assert not start_row(row, NOW)
    assert row == before


@pytest.mark.parametrize("closed", ["completed", "error", "cancelled"])
def test_a_late_error_changes_nothing(closed: RowStatus) -> None:
    (row,) = rows(closed)
    before = row.copy()
    assert not fail_row(row, FAILURE, LATER)
    assert row == before


@pytest.mark.parametrize("closed", ["error", "cancelled"])
def test_an_image_that_was_paid_for_turns_a_closed_row_into_completed(closed: RowStatus) -> None:
    row: ModelResult = {**rows(closed)[0], **FAILURE}
    assert complete_row(row, RESULT, LATER)
    assert row["status"] == "completed"
    assert row["imageKey"] == RESULT["imageKey"]
    assert row["billable"] == "yes"
    assert "error" not in row and "errorCode" not in row


def test_a_repeated_completion_changes_nothing() -> None:
    (row,) = rows("in_progress")
    assert complete_row(row, RESULT, NOW)
    before = row.copy()
    assert not complete_row(row, {"imageKey": "another"}, LATER)
    assert row == before


def test_a_result_cannot_change_what_names_the_row() -> None:
    (row,) = rows("in_progress")
    fixed: Any = {"model": "Other", "provider": "other", "index": 9, "status": "error", "completedAt": LATER}
    complete_row(row, {**RESULT, **fixed}, NOW)
    assert (row["model"], row["provider"], row["index"]) == ("Model 0", "openai", 0)
    assert (row["status"], row["completedAt"]) == ("completed", NOW)


def test_the_end_of_an_execution_closes_every_row() -> None:
    document = rows("completed", "in_progress", "in_progress", "pending", "in_progress")
    outcomes = {1: {"state": "done", "row": RESULT}, 2: {"state": "failed", "row": FAILURE}}
    stored: dict[str, list[StoredImage]] = {
        "Model 4": [{"imageKey": "group-images/g/Model-4-1.json", "binaryKey": "images/g/Model-4-1.png"}]
    }
    assert finish_rows(document, outcomes, stored, LATER)
    assert [row["status"] for row in document] == ["completed", "completed", "error", "error", "completed"]
    assert [row.get("errorCode") for row in document] == [None, None, "refused", "internal", None]
    assert document[3]["billable"] == "no"
    assert not finish_rows(document, outcomes, stored, LATER)


def test_a_started_row_without_outcome_may_have_been_billed() -> None:
    document = rows("in_progress")
    finish_rows(document, {}, {}, LATER)
    assert (document[0]["errorCode"], document[0]["billable"]) == ("unknown_outcome", "unknown")


def test_two_jobs_of_one_second_have_galleries_of_their_own() -> None:
    assert gallery("aaaaaaaa-0000-4000-8000-000000000000", NOW) == "2026-11-23-12-00-00-aaaaaaaa"
    assert gallery("bbbbbbbb-0000-4000-8000-000000000000", NOW) == "2026-11-23-12-00-00-bbbbbbbb"


@pytest.mark.parametrize(
    "text",
    ["", "x", "../../etc", "A" * 36, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "0F2E4D6C-1111-4222-8333-444455556666"],
)
def test_what_is_no_uuid_4_is_no_job_id(text: str) -> None:
    assert not is_job_id(text)


class TestJobManager:
    def test_a_new_job_lies_in_s3_with_all_its_rows(self, s3: Any) -> None:
        job_id = JobManager(s3, BUCKET).create_job("a red fox", {"steps": 28}, MODELS)
        assert is_job_id(job_id)
        stored = json.loads(s3.get_object(Bucket=BUCKET, Key=f"jobs/{job_id}/status.json")["Body"].read())
        assert stored["prompt"] == "a red fox"
        assert stored["status"] == "pending"
        assert (stored["run"], stored["schemaVersion"]) == (1, 1)
        assert (stored["totalModels"], stored["completedModels"]) == (3, 0)
        assert [row["model"] for row in stored["results"]] == ["Model A", "Model B", "Model C"]
        assert {row["status"] for row in stored["results"]} == {"pending"}

    def test_a_job_goes_from_pending_to_completed(self, s3: Any) -> None:
        jobs = JobManager(s3, BUCKET)
        job_id = jobs.create_job("a red fox", {}, MODELS[:2])
        statuses = []
        for name in ("Model A", "Model B"):
            jobs.mark_model_started(job_id, name)
            statuses.append(jobs.get_job_status(job_id)["status"])  # type: ignore[index]
            jobs.mark_model_complete(job_id, name, RESULT)
            statuses.append(jobs.get_job_status(job_id)["status"])  # type: ignore[index]
        assert statuses == ["in_progress", "in_progress", "in_progress", "completed"]
        document = jobs.get_job_status(job_id)
        assert document is not None
        assert document["completedModels"] == 2
        assert all(row["duration"] >= 0 for row in document["results"])

    def test_an_error_leaves_the_other_rows_whole(self, s3: Any) -> None:
        jobs = JobManager(s3, BUCKET)
        job_id = jobs.create_job("a red fox", {}, MODELS[:2])
        jobs.mark_model_complete(job_id, "Model A", RESULT)
        jobs.mark_model_error(job_id, "Model B", "API timeout after 60 seconds")
        document = jobs.get_job_status(job_id)
        assert document is not None
        assert document["status"] == "partial"
        assert document["results"][1]["error"] == "API timeout after 60 seconds"

    def test_a_missing_job_is_none_and_cannot_be_marked(self, s3: Any) -> None:
        jobs = JobManager(s3, BUCKET)
        assert jobs.get_job_status(str(uuid.uuid4())) is None
        assert jobs.get_job_status("../../secrets") is None
        with pytest.raises(JobNotFound):
            jobs.mark_model_started(str(uuid.uuid4()), "Model A")

    def test_update_job_status_sets_fields_but_not_what_is_fixed(self, s3: Any) -> None:
        jobs = JobManager(s3, BUCKET)
        job_id = jobs.create_job("a red fox", {}, MODELS)
        jobs.update_job_status(job_id, {"status": "failed", "note": "x"})
        document = jobs.get_job_status(job_id)
        assert document is not None and (document["status"], document.get("note")) == ("failed", "x")
        wrongs: list[dict[str, Any]] = [{"jobId": "x"}, {"results": []}, {"status": "sleeping"}]
        for wrong in wrongs:
            with pytest.raises(ValueError, match=r"job status|cannot set"):
                jobs.update_job_status(job_id, wrong)

    def test_a_write_between_read_and_write_is_not_lost(self, s3: Any) -> None:
        jobs = JobManager(s3, BUCKET)
        job_id = jobs.create_job("a red fox", {}, MODELS)
        other = JobManager(s3, BUCKET)
        interfered: list[bool] = []

        def interfere(params: Any, **_: Any) -> None:
            if "If-Match" in params["headers"] and not interfered:
                interfered.append(True)
                other.mark_model_complete(job_id, "Model B", RESULT)

        s3.meta.events.register("before-call.s3.PutObject", interfere)
        jobs.mark_model_complete(job_id, "Model A", RESULT)
        document = jobs.get_job_status(job_id)
        assert document is not None
        assert [row["status"] for row in document["results"]] == ["completed", "completed", "pending"]

    def test_a_write_whose_answer_was_lost_counts_as_ours(self, s3: Any) -> None:
        jobs = JobManager(s3, BUCKET)
        job_id = jobs.create_job("a red fox", {}, MODELS)
        writes = []

        def lose_the_answer(parsed: Any, **_: Any) -> None:
            writes.append(parsed)
            if len(writes) == 1:
                raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")

        s3.meta.events.register("after-call.s3.PutObject", lose_the_answer)
        jobs.mark_model_started(job_id, "Model A")
        assert len(writes) == 1

    def test_finish_asks_for_images_only_when_a_row_is_open_and_untold(self, s3: Any) -> None:
        jobs = JobManager(s3, BUCKET)
        job_id = jobs.create_job("a red fox", {}, MODELS[:1])
        asked = []
        jobs.finish(job_id, {0: {"state": "done", "row": RESULT}}, lambda document: asked.append(1) or {})  # type: ignore[func-returns-value]
        assert not asked
        document = jobs.get_job_status(job_id)
        assert document is not None and document["status"] == "completed"


def test_what_a_later_release_has_written_survives_every_write(s3: Any) -> None:
    jobs = JobManager(s3, BUCKET)
    job_id = jobs.create_job("a fox", {}, MODELS)
    key = f"jobs/{job_id}/status.json"
    document = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    document["later"] = {"a": 1}
    for row in document["results"]:
        row["later"] = "b"
    s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document))
    jobs.mark_model_started(job_id, "Model A")
    jobs.mark_model_complete(job_id, "Model A", RESULT)
    jobs.mark_model_error(job_id, "Model B", FAILURE)
    jobs.finish(job_id, {}, lambda document: {})
    found = jobs.get_job_status(job_id)
    assert found is not None and found.get("later") == {"a": 1}
    assert [row.get("later") for row in found["results"]] == ["b", "b", "b"]
    assert found["status"] == "partial"


def test_what_only_later_code_can_read_is_shown_and_not_changed(s3: Any) -> None:
    jobs = JobManager(s3, BUCKET)
    job_id = jobs.create_job("a fox", {}, MODELS)
    key = f"jobs/{job_id}/status.json"
    document = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    document["schemaVersion"] += 1
    s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document))
    for write in (
        lambda: jobs.mark_model_started(job_id, "Model A"),
        lambda: jobs.mark_model_complete(job_id, "Model A", RESULT),
        lambda: jobs.finish(job_id, {}, lambda document: {}),
    ):
        with pytest.raises(ConfigurationError, match="later release"):
            write()
    assert jobs.get_job_status(job_id) == document


def with_unknown_members(value: Any) -> Any:
    """A JSON value as a later release might write it: each object has a member that this one doesn't know."""
    if isinstance(value, dict):
        return {name: with_unknown_members(inner) for name, inner in value.items()} | {"later": {"note": 1}}
    return [with_unknown_members(entry) for entry in value] if isinstance(value, list) else value


def unknown_members(value: Any) -> int:
    """How many objects of a JSON value have that member."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = isinstance(value, dict) and value.get("later") == {"note": 1}
    return own + sum(unknown_members(entry) for entry in inner)


def test_a_document_of_a_later_release_keeps_what_this_one_does_not_know(s3: Any) -> None:
    jobs = JobManager(s3, BUCKET)
    receipt = {"applied": {}, "adjusted": {"n": {"requested": 9, "used": 4}}, "ignored": {}}
    job_id = jobs.create_job("a fox", {"n": 9}, [{**model, **receipt} for model in MODELS])
    jobs.mark_model_images(job_id, "Model A", RESULT)
    found = jobs.read(job_id)
    assert found
    later = with_unknown_members(found.value)
    assert jobs.documents.replace(f"jobs/{job_id}/status.json", later, found.etag)

    jobs.mark_model_started(job_id, "Model A")
    jobs.mark_model_started(job_id, "Model B")
    jobs.mark_model_error(job_id, "Model B", FAILURE)
    jobs.update_job_status(job_id, {"note": 1})
    jobs.cancel(job_id)
    document, again = jobs.begin_run(job_id, NextRun(earlier=1, stored={}, images_wanted=1))
    assert [row["model"] for row in again] == ["Model A", "Model B", "Model C"]
    document = jobs.finish(job_id, {}, lambda document: {}, run=2)

    assert document["status"] == "failed" and document.get("note") == 1
    assert unknown_members(document) == unknown_members(later) > 10


def test_a_jobs_document_has_the_declared_types(s3: Any) -> None:
    jobs = JobManager(s3, BUCKET)
    job_id = jobs.create_job("a fox", {"n": 1}, MODELS)
    jobs.mark_model_complete(
        job_id, "Model A", {**RESULT, "cost": {"amount": 0.1, "currency": "USD", "basis": "computed"}}
    )
    document = jobs.mark_model_error(job_id, "Model B", FAILURE)
    assert msgspec.convert(document, Job) == document
