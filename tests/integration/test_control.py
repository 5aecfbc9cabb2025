"""Idempotent submit, cancel and retry, against the deployed API."""

import json
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pixelprompt.deadline import REQUEST_SECONDS
from pixelprompt.jobs.document import FINAL_ROW
from pixelprompt.jobs.idempotency import body_hash
from pixelprompt.jobs.store import JobManager
from pixelprompt.storage.documents import iso
from pixelprompt.storage.keys import idempotency_key
from tests.shipped import FIRST

from .conftest import Service

UNKNOWN = "00000000-0000-4000-8000-000000000000"
MODEL = FIRST.id
NAME = FIRST.name
IP = "198.51.100.7"
# More than two cores run at an instant: some meet the claim of the first, others what it has recorded.
AT_ONCE = 10
# Seconds: longer than five models need on a busy machine.
RETRY_AFTER = 20
BODY = {"prompt": "a fox", "models": [MODEL], "ip": IP}


def post(service: Service, path: str, body: Any = None, **headers: str) -> Any:
    # Many come at once, on a machine that may be busy.
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return service.cloud.request("POST", path, body, given, timeout=300)


def submit(service: Service, key: str, body: Any = None) -> Any:
    return post(service, "/generate", body or BODY, Idempotency_Key=key)


def submit_until_answered(service: Service, key: str) -> Any:
    """The answer to a client that repeats its request while the service is busy."""
    limit = time.monotonic() + 120
    while (answer := submit(service, key)).status >= 500 and time.monotonic() < limit:
        time.sleep(1)
    return answer


def start_lambdas(service: Service) -> None:
    """Have as many Lambdas of submit as requests come at once: those that have to start first would hardly meet."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: post(service, "/generate", {}), range(AT_ONCE)))


def default_models(service: Service) -> dict[str, str]:
    """The IDs of the models of a job that names none, by name and in its order."""
    listed = service.cloud.request("GET", "/models").json()["models"]
    return {model["name"]: model["id"] for model in listed if model["default"]}


def image_requests(service: Service) -> Counter[str]:
    """How many requests for an image each model's provider has got."""
    found = service.simulator("GET", "/requests")
    requests = found["requests"] if isinstance(found, dict) else found
    return Counter(request["model"] for request in requests if request["method"] == "POST" and request["model"])


def charged(service: Service) -> int:
    """How many requests the rate limit has counted."""
    document = service.s3.get_object(Bucket=service.bucket, Key="rate-limit/ratelimit.json")["Body"].read()
    return len(json.loads(document)["global_requests"])


def executions(service: Service, job_id: str) -> list[str]:
    """The names of a job's executions."""
    states = service.cloud.client("stepfunctions")
    pages = states.get_paginator("list_executions").paginate(stateMachineArn=service.cloud.endpoints["stateMachineArn"])
    return sorted(e["name"] for page in pages for e in page["executions"] if e["name"].startswith(job_id))


class TestCancel:
    def test_in_the_middle_of_nine_models(self, service: Service) -> None:
        """Five are finished, three are with their providers, one waits for its provider's Retry-After."""
        models = {model["name"]: model["id"] for model in service.cloud.request("GET", "/models").json()["models"]}
        names = [row["model"] for row in service.run()["results"]]
        # The one whose simulator gives the seconds of its fault as Retry-After.
        waiting, slow = names[0], names[1:4]
        service.simulator("DELETE", "/requests")
        service.fault(models[waiting], "throttled", retryAfter=RETRY_AFTER, times=1)
        asked = {models[name] for name in (*slow, waiting)}
        with service.held(*(models[name] for name in slow)):
            job_id = service.generate()
            before = service.wait(
                job_id,
                lambda job: (
                    Counter(row["status"] for row in job["results"]) == {"completed": 5, "in_progress": 4}
                    and asked <= set(image_requests(service))
                ),
            )
            cancelled_at = time.monotonic()
            answer = post(service, f"/cancel/{job_id}")
            again = post(service, f"/cancel/{job_id}").json()
        assert answer.status == 200
        job = answer.json()
        rows = {row["model"]: row for row in job["results"]}
        assert {name for name, row in rows.items() if row["status"] == "cancelled"} == {*slow, waiting}
        assert {row["billable"] for row in rows.values() if row["status"] == "cancelled"} == {"unknown"}
        assert (job["status"], job["completedModels"]) == ("cancelled", 5)
        assert datetime.fromisoformat(job["cancelRequested"]) <= datetime.now(UTC)
        for old, new in zip(before["results"], job["results"], strict=True):
            if old["status"] == "completed":
                assert new["images"][0]["binaryKey"] == old["images"][0]["binaryKey"] and new["imageUrl"]
        assert service.execution(job_id)["status"] == "ABORTED"

        assert (again["updatedAt"], again["cancelRequested"]) == (job["updatedAt"], job["cancelRequested"])

        # A stopped execution does not stop a running Lambda: what was asked for arrives and is kept.
        late = service.wait(job_id, lambda job: job["completedModels"] == 8, seconds=30)
        assert [row["model"] for row in late["results"] if row["status"] == "cancelled"] == [waiting]
        time.sleep(max(0.0, cancelled_at + RETRY_AFTER + 2 - time.monotonic()))
        assert image_requests(service)[models[waiting]] == 1
        assert service.status(job_id)["status"] == "cancelled"

    def test_a_finished_job_stays_as_it_is(self, service: Service) -> None:
        job = service.run(models=[MODEL])
        answer = post(service, f"/cancel/{job['jobId']}")
        assert answer.status == 200
        assert (answer.json()["updatedAt"], answer.json()["status"]) == (job["updatedAt"], "completed")
        assert "cancelRequested" not in answer.json()

    def test_right_after_the_submit_the_job_does_not_run_on(self, service: Service) -> None:
        service.fault(MODEL, "slow", seconds=3)
        job_id = service.generate(models=[MODEL])
        assert post(service, f"/cancel/{job_id}").json()["status"] == "cancelled"
        assert service.execution(job_id)["status"] == "ABORTED"

    @pytest.mark.parametrize("job_id", [UNKNOWN, "nonsense", "..%2F..%2Frate-limit"])
    @pytest.mark.parametrize("route", ["cancel", "retry"])
    def test_an_unknown_job_is_not_found(self, service: Service, route: str, job_id: str) -> None:
        answer = post(service, f"/{route}/{job_id}")
        assert answer.status == 404 and answer.json()["error"] in ("JOB_NOT_FOUND", "NOT_FOUND")


def test_cancel_and_retry_are_posts(service: Service) -> None:
    for route in ("cancel", "retry"):
        answer = service.cloud.request("GET", f"/{route}/{UNKNOWN}")
        assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")


class TestRetry:
    def test_after_three_failures_three_models_run_again(self, service: Service) -> None:
        models = default_models(service)
        names = list(models)
        failing = [names[1], names[4], names[8]]
        for name, fault in zip(failing, ("refused", "crash", "no_image"), strict=True):
            service.fault(models[name], fault)
        first = service.run("a lighthouse", seed=7)
        assert {row["model"] for row in first["results"] if row["status"] == "error"} == {*failing}
        service.simulator("DELETE", "/faults")
        service.simulator("DELETE", "/requests")
        service.s3.delete_object(Bucket=service.bucket, Key="rate-limit/ratelimit.json")

        answer = post(service, f"/retry/{first['jobId']}")
        assert answer.status == 200, answer.body
        told = answer.json()
        assert (told["jobId"], told["run"], told["totalModels"]) == (first["jobId"], 2, 3)
        assert told["statusUrl"].endswith(f"/status/{first['jobId']}")
        job = service.wait(first["jobId"])
        assert (job["status"], job["completedModels"], job["run"]) == ("completed", 9, 2)
        assert image_requests(service) == Counter({models[name]: 1 for name in failing})
        assert charged(service) == 1
        assert executions(service, job["jobId"]) == [job["jobId"], f"{job['jobId']}-r2"]
        for old, new in zip(first["results"], job["results"], strict=True):
            assert (old["index"], old["model"]) == (new["index"], new["model"])
            assert not any(name in new for name in ("error", "errorCode", "retryable"))
            if old["status"] == "completed":
                assert (old["imageKey"], old["completedAt"]) == (new["imageKey"], new["completedAt"])
        record = service.s3.get_object(Bucket=service.bucket, Key=job["results"][1]["imageKey"])["Body"].read()
        assert json.loads(record)["prompt"] == "a lighthouse"

        refused = post(service, f"/retry/{job['jobId']}")
        assert (refused.status, refused.json()["error"]) == (400, "NOTHING_TO_RETRY")
        assert charged(service) == 1

    def test_named_models_run_again_and_the_others_are_left_for_a_later_run(self, service: Service) -> None:
        models = default_models(service)
        completed, named, left = list(models)[:3]
        for name in (named, left):
            service.fault(models[name], "refused")
        first = service.run("a lighthouse", models=[completed, named, left])
        job_id = first["jobId"]
        states = {row["model"]: row["status"] for row in first["results"]}
        assert states == {completed: "completed", named: "error", left: "error"}
        service.simulator("DELETE", "/faults")
        service.simulator("DELETE", "/requests")

        wrong = {"INVALID_PARAMETER": ["nonsense"], "NOTHING_TO_RETRY": [completed]}
        for code, asked in wrong.items():
            refused = post(service, f"/retry/{job_id}", {"models": asked})
            assert (refused.status, refused.json()["error"]) == (400, code)

        told = post(service, f"/retry/{job_id}", {"models": [named]}).json()
        assert (told["run"], told["totalModels"]) == (2, 1)
        second = service.wait(job_id)
        assert (second["status"], second["completedModels"], second["run"]) == ("partial", 2, 2)
        assert image_requests(service) == {models[named]: 1}
        before = {row["model"]: row for row in first["results"]}[left]
        after = {row["model"]: row for row in second["results"]}[left]
        assert after == {**before, "run": 1}

        assert post(service, f"/retry/{job_id}").json()["totalModels"] == 1
        third = service.wait(job_id)
        assert (third["status"], third["completedModels"], third["run"]) == ("completed", 3, 3)
        assert image_requests(service) == {models[named]: 1, models[left]: 1}
        assert executions(service, job_id) == [job_id, f"{job_id}-r2", f"{job_id}-r3"]

    def test_two_at_the_same_instant_are_one_run(self, service: Service) -> None:
        service.fault(MODEL, "refused", times=1)
        job_id = service.run(models=[MODEL])["jobId"]
        # However long four Lambdas take to start, the run that one of them starts is not over.
        with service.held(MODEL), ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: post(service, f"/retry/{job_id}"), range(4)))
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
        assert {answer.json()["error"] for answer in answers if answer.status == 409} == {"JOB_NOT_FINISHED"}
        job = service.wait(job_id)
        assert (job["status"], job["run"]) == ("completed", 2)
        assert executions(service, job_id) == [job_id, f"{job_id}-r2"]

    def test_a_cancelled_job_runs_again(self, service: Service) -> None:
        service.fault(MODEL, "throttled", retryAfter=60)
        job_id = service.generate(models=[MODEL])
        service.wait(job_id, lambda job: bool(image_requests(service)[MODEL]))
        assert post(service, f"/cancel/{job_id}").json()["status"] == "cancelled"
        service.simulator("DELETE", "/faults")
        assert post(service, f"/retry/{job_id}").json()["run"] == 2
        job = service.wait(job_id)
        assert (job["status"], "cancelRequested" in job) == ("completed", False)
        time.sleep(1)
        assert {row["status"] for row in service.status(job_id)["results"]} <= FINAL_ROW


class TestIdempotentSubmit:
    def test_one_key_sent_by_many_at_once_is_one_job(self, service: Service) -> None:
        start_lambdas(service)
        service.run(models=[MODEL])
        service.simulator("DELETE", "/requests")
        service.s3.delete_object(Bucket=service.bucket, Key="rate-limit/ratelimit.json")
        before = set(service.keys("jobs/"))
        key = str(uuid.uuid4())
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda _: submit_until_answered(service, key), range(AT_ONCE)))
        assert Counter(answer.status for answer in answers) == {200: AT_ONCE}
        assert len({answer.body for answer in answers}) == 1
        replayed = Counter(answer.headers.get("idempotent-replayed") for answer in answers)
        # Who has made the job may have been answered too late, and have asked again.
        assert replayed["true"] in (AT_ONCE - 1, AT_ONCE)
        job_id = answers[0].json()["jobId"]
        assert service.wait(job_id)["status"] == "completed"
        assert {key.split("/")[1] for key in set(service.keys("jobs/")) - before} == {job_id}
        assert executions(service, job_id) == [job_id]
        assert image_requests(service) == {MODEL: 1}
        assert charged(service) == 1

    def test_another_body_is_a_conflict_and_another_key_another_job(self, service: Service) -> None:
        key = str(uuid.uuid4())
        first = submit(service, key)
        assert first.status == 200 and "idempotent-replayed" not in first.headers
        again = submit(service, key, {"ip": IP, "models": [MODEL], "prompt": "a fox"})
        assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
        other = submit(service, key, {**BODY, "prompt": "a wolf"})
        assert (other.status, other.json()["error"]) == (409, "IDEMPOTENCY_CONFLICT")
        others = [submit(service, str(uuid.uuid4())), submit(service, key, {**BODY, "ip": "198.51.100.8"})]
        jobs = {answer.json()["jobId"] for answer in (first, *others)}
        assert len(jobs) == 3
        # Their requests, and what a fault makes of them, must not be those of the next test.
        for job_id in jobs:
            service.wait(job_id)

    @pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9"])
    def test_a_key_that_is_none_is_refused(self, service: Service, key: str) -> None:
        answer = submit(service, key)
        assert (answer.status, answer.json()["error"]) == (400, "INVALID_PARAMETER")

    def record(self, service: Service, key: str, job_id: str, age: int) -> None:
        """What a submit that died has left."""
        created_at = iso(datetime.now(UTC) - timedelta(seconds=age))
        record = {"bodyHash": body_hash(BODY), "jobId": job_id, "createdAt": created_at, "holder": "dead"}
        service.s3.put_object(Bucket=service.bucket, Key=idempotency_key(IP, key), Body=json.dumps(record))

    def test_a_submit_that_died_before_its_document_is_completed_by_the_repeat(self, service: Service) -> None:
        key, job_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.record(service, key, job_id, age=REQUEST_SECONDS + 1)
        answer = submit(service, key)
        assert (answer.status, answer.json()["jobId"]) == (200, job_id)
        assert service.wait(job_id)["status"] == "completed"

    def test_a_submit_that_died_before_its_execution_is_completed_by_the_repeat(self, service: Service) -> None:
        key, job_id = str(uuid.uuid4()), str(uuid.uuid4())
        self.record(service, key, job_id, age=1)
        rows = [{"name": NAME, "provider": "openai", "applied": {}, "adjusted": {}, "ignored": {}}]
        JobManager(service.s3, service.bucket).create_job("a fox", {"steps": 28}, rows, job_id=job_id)
        answer = submit(service, key)
        assert (answer.json()["jobId"], answer.headers["idempotent-replayed"]) == (job_id, "true")
        assert service.wait(job_id)["status"] == "completed"
        assert service.keys("rate-limit/") == []
