"""What breaks alone stays alone, and every job ends."""

import time

from tests.shipped import FIRST, ONE_IMAGE, SECOND

from .conftest import Service


def test_a_crash_of_the_lambda_is_a_row_with_an_error(service: Service) -> None:
    service.fault(FIRST.id, "crash")
    service.fault(ONE_IMAGE.id, "throttled", retryAfter=2, times=1)
    job = service.run()
    assert job["status"] == "partial"
    assert job["completedModels"] == job["totalModels"] - 1
    rows = {row["model"]: row for row in job["results"]}
    crashed = rows[FIRST.name]
    assert (crashed["status"], crashed["errorCode"], crashed["billable"]) == ("error", "unknown_outcome", "unknown")
    assert crashed["error"].endswith(".")
    throttled = rows[ONE_IMAGE.name]
    assert throttled["status"] == "completed"
    assert throttled["duration"] >= 2
    assert len(service.provider_requests(FIRST.id)) == 1


def test_a_throttled_provider_gets_the_seconds_it_asks_for(service: Service) -> None:
    service.fault(FIRST.id, "throttled", retryAfter=2, times=1)
    assert service.run(models=[FIRST.id])["status"] == "completed"
    first, second = service.provider_requests(FIRST.id)
    assert 2 <= second["received"] - first["received"] < 4


def test_a_long_wait_belongs_to_the_state_machine(service: Service) -> None:
    service.fault(FIRST.id, "throttled", retryAfter=11, times=1)
    assert service.run(models=[FIRST.id])["status"] == "completed"
    first, second = service.provider_requests(FIRST.id)
    assert 11 <= second["received"] - first["received"] < 15


def test_a_killed_worker_does_not_keep_the_job_from_ending(service: Service) -> None:
    service.run(models=[FIRST.id])
    service.fault(FIRST.id, "slow", seconds=20)
    known = {worker.pid for worker in service.workers("generate")}
    job_id = service.generate(models=[FIRST.id])
    service.wait(job_id, lambda job: job["results"][0]["status"] == "in_progress")
    limit = time.monotonic() + 10
    while not service.provider_requests(FIRST.id) and time.monotonic() < limit:
        time.sleep(0.05)
    assert known
    for worker in service.workers("generate"):
        worker.kill()
    job = service.wait(job_id, seconds=15)
    assert job["status"] == "failed"
    assert job["results"][0]["errorCode"] == "unknown_outcome"


def test_a_stopped_execution_is_a_finished_job(service: Service) -> None:
    service.fault(FIRST.id, "slow", seconds=8)
    job_id = service.generate(models=[FIRST.id, SECOND.id])
    service.wait(job_id, lambda job: {row["status"] for row in job["results"]} == {"completed", "in_progress"})
    arn = service.execution(job_id)["executionArn"]
    service.cloud.client("stepfunctions").stop_execution(executionArn=arn)
    job = service.wait(job_id, seconds=20)
    rows = {row["model"]: row["status"] for row in job["results"]}
    assert rows == {SECOND.name: "completed", FIRST.name: "error"}
    assert job["status"] == "partial"


def test_broken_storage_never_shows(service: Service) -> None:
    """A document that is no JSON is our failure: 500, and not a word about why."""
    job = service.run(models=[FIRST.id])
    service.s3.put_object(Bucket=service.bucket, Key=f"jobs/{job['jobId']}/status.json", Body=b"not json")
    answer = service.cloud.request("GET", f"/status/{job['jobId']}")
    assert answer.status == 500
    assert answer.json() == {"error": "INTERNAL_SERVER_ERROR", "message": "Internal error."}
