"""The whole stack, deployed into a cloud of its own: every job ends, nothing is lost, nothing is over the limit."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local import cloud as local_cloud
from local.cloud import Response
from tests.integration.conftest import Service

from .fault_proxy import Fault, FaultProxy

pytestmark = pytest.mark.slow

WRITERS = ("generate", "record-failure", "finish")
NINE = 9


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with limits that only the tests of limits reach."""
    settings = {"IP_LIMIT": "1000", "GLOBAL_LIMIT": "1000"}
    cloud = local_cloud.start(tmp_path_factory.mktemp("cloud"), settings, latency="0.5-2")
    yield Service(cloud)
    cloud.stop()


@pytest.fixture
def service(deployed: Service) -> Service:
    """The service with nothing counted yet."""
    deployed.s3.delete_object(Bucket=deployed.bucket, Key="rate-limit/ratelimit.json")
    return deployed


def configure(service: Service, function: str, **variables: str) -> None:
    """Set environment variables of a Lambda."""
    client, name = service.cloud.client("lambda"), service.function(function)
    present = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {**present, **variables}})


@pytest.fixture
def s3_of_writers(service: Service) -> Iterator[FaultProxy]:
    """A proxy between S3 and the Lambdas that write jobs; the others reach S3 directly."""
    proxy = FaultProxy(int(service.cloud.endpoints["aws"].rpartition(":")[2]))
    for function in WRITERS:
        configure(service, function, AWS_ENDPOINT_URL_S3=proxy.url)
    yield proxy
    for function in WRITERS:
        configure(service, function, AWS_ENDPOINT_URL_S3=service.cloud.endpoints["aws"])
    proxy.refuse()


@pytest.fixture(scope="module")
def models(deployed: Service) -> list[str]:
    """The names of nine models that this cloud offers; they have made an image each."""
    names = [row["model"] for row in deployed.run()["results"]]
    assert len(names) >= NINE
    return names[:NINE]


def test_5_rounds_of_4_jobs_of_9_models_are_all_completed(service: Service, models: list[str]) -> None:
    jobs: list[dict[str, Any]] = []
    for _ in range(5):
        with ThreadPoolExecutor(4) as pool:
            jobs += pool.map(lambda _: service.run(models=models), range(4))
    assert [job["status"] for job in jobs] == ["completed"] * 20
    rows = [row for job in jobs for row in job["results"]]
    assert len(rows) == 180
    for row in rows:
        service.s3.head_object(Bucket=service.bucket, Key=row["images"][0]["binaryKey"])


@pytest.mark.parametrize("scope", ["ip", "global"])
def test_of_90_requests_over_http_30_at_a_time_exactly_10_pass(service: Service, models: list[str], scope: str) -> None:
    unlimited = {"IP_LIMIT": "1000", "GLOBAL_LIMIT": "1000"}
    configure(service, "submit", **{**unlimited, f"{scope.upper()}_LIMIT": "10"})
    body = {"prompt": "a red fox", "models": models[:1]}
    try:
        with ThreadPoolExecutor(30) as pool:
            answers = [*pool.map(lambda _: service.cloud.request("POST", "/generate", body), range(90))]
    finally:
        configure(service, "submit", **unlimited)
    passed = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert (len(passed), len(refused)) == (10, 80)
    for answer in refused:
        assert answer.json()["error"] == "RATE_LIMIT_EXCEEDED"
        assert int(answer.headers["retry-after"]) == answer.json()["retryAfter"] > 0
    assert {service.wait(answer.json()["jobId"])["status"] for answer in passed} == {"completed"}


def generate_all(service: Service, models: list[str], requests: int, at_once: int) -> list[Response]:
    """The answers to so many requests for a job, and how many there were of each kind, printed."""
    body = {"prompt": "a red fox", "models": models}
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        answers = [*pool.map(lambda _: service.cloud.request("POST", "/generate", body), range(requests))]
    kinds = Counter((answer.status, json.loads(answer.body).get("scope", "")) for answer in answers)
    print(f"{requests} requests, {at_once} at a time, in {time.monotonic() - began:.0f} s: {dict(kinds)}")
    return answers


def test_of_200_requests_over_http_50_at_a_time_200_may_pass(service: Service, models: list[str]) -> None:
    """Some may be told to come again; none is lost, and none passes uncounted."""
    configure(service, "submit", GLOBAL_LIMIT="200")
    try:
        answers = generate_all(service, models[:1], 200, 50)
    finally:
        configure(service, "submit", GLOBAL_LIMIT="1000")
    passed = [answer.json()["jobId"] for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} <= {200, 429, 503}
    counted = service.s3.get_object(Bucket=service.bucket, Key="rate-limit/ratelimit.json")["Body"].read()
    # What is answered with 503 may have been counted.
    assert len(passed) <= len(json.loads(counted)["global_requests"]) <= 200
    assert {service.wait(job_id, seconds=300)["status"] for job_id in passed} == {"completed"}


def test_80_jobs_of_9_models_20_at_a_time_all_have_an_answer_and_nothing_runs_unknown(
    service: Service, models: list[str]
) -> None:
    states, machine = service.cloud.client("stepfunctions"), service.cloud.endpoints["stateMachineArn"]

    def executions() -> set[str]:
        pages = states.get_paginator("list_executions").paginate(stateMachineArn=machine)
        return {execution["name"] for page in pages for execution in page["executions"]}

    def documents() -> set[str]:
        return {key.split("/")[1] for key in service.keys("jobs/") if key.endswith("/status.json")}

    before = executions(), documents()
    answers = generate_all(service, models, 80, 20)
    assert {answer.status for answer in answers} <= {200, 429, 503}
    accepted = {answer.json()["jobId"] for answer in answers if answer.status == 200}
    assert executions() - before[0] == accepted
    assert documents() - before[1] == accepted
    assert {service.wait(job_id, seconds=600)["status"] for job_id in accepted} == {"completed"}


def images_in_s3(service: Service, job: dict[str, Any]) -> set[str]:
    """The pictures of a job that lie in the bucket."""
    return {key for key in service.keys("images/") if f"-{job['jobId'][:8]}/" in key}


def shown(job: dict[str, Any]) -> set[str]:
    """The pictures that a job's rows show."""
    return {image["binaryKey"] for row in job["results"] for image in row.get("images", [])}


def test_s3_that_refuses_job_documents_for_half_a_minute_costs_no_row(
    service: Service, models: list[str], s3_of_writers: FaultProxy
) -> None:
    job_id = service.generate(models=models)
    service.wait(job_id, lambda job: job["status"] == "in_progress")
    s3_of_writers.fault = Fault("status", code=503, part="/status.json")
    time.sleep(30)
    assert service.status(job_id)["status"] == "in_progress"
    s3_of_writers.fault = None
    job = service.wait(job_id, seconds=90)
    assert {row["model"]: row["status"] for row in job["results"]} == dict.fromkeys(models, "completed")
    assert shown(job) == images_in_s3(service, job)


def test_s3_that_is_away_for_a_minute_costs_no_image(
    service: Service, models: list[str], s3_of_writers: FaultProxy
) -> None:
    job_id = service.generate(models=models)
    service.wait(job_id, lambda job: job["status"] == "in_progress")
    s3_of_writers.refuse()
    time.sleep(60)
    s3_of_writers.accept()
    job = service.wait(job_id, seconds=180)
    assert {row["model"]: row["status"] for row in job["results"]} == dict.fromkeys(models, "completed")
    assert shown(job) == images_in_s3(service, job)
