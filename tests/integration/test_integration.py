"""The five end-to-end scenarios of the product."""

import base64
import io
import itertools
import json
import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from local.cloud import Response
from pixelprompt.storage.keys import OVERLAY_KEY as OVERLAY
from tests.shipped import FIRST

from .conftest import HELD, KNOW_THE_CATALOGUE, Service, restart


def run_at_once(service: Service, number: int, **body: Any) -> None:
    """Run a job of that many models; no provider answers before all have been asked."""
    service.simulator("DELETE", "/requests")
    with service.held():
        job_id = service.generate(**body)
        limit = time.monotonic() + HELD - 5
        asked = 0
        while asked < number:
            assert time.monotonic() < limit, f"only {asked} of {number} models were asked"
            time.sleep(0.1)
            asked = sum(request["method"] == "POST" for request in service.simulator("GET", "/requests"))
        assert all(row["status"] != "completed" for row in service.status(job_id)["results"])
    assert service.wait(job_id)["status"] == "completed"


class TestFullWorkflow:
    """Generate, poll, look at the images."""

    def test_every_model_makes_its_image(self, service: Service) -> None:
        job = service.run("a lighthouse in fog", steps=25, guidance=7)
        assert job["status"] == "completed"
        assert job["totalModels"] == job["completedModels"] == len(job["results"]) >= 9
        assert job["parameters"] == {"steps": 25, "guidance": 7, "control": 1.0}
        pictures = set()
        for row in job["results"]:
            record = json.loads(service.s3.get_object(Bucket=service.bucket, Key=row["imageKey"])["Body"].read())
            data = base64.b64decode(record["output"], validate=True)
            with Image.open(io.BytesIO(data)) as picture:
                picture.load()
                assert picture.size == (record["width"], record["height"])
            assert (record["model"], record["prompt"], record["NSFW"]) == (row["model"], "a lighthouse in fog", False)
            answer = service.download(row["imageUrl"])
            assert (answer.body, answer.headers["content-type"]) == (data, record["mimeType"])
            assert row["duration"] >= 0
            pictures.add(data)
        assert len(pictures) == len(job["results"])

    def test_rows_go_forward_one_by_one(self, service: Service) -> None:
        order = ["pending", "in_progress", "completed"]
        job_id = service.generate()
        seen: list[list[str]] = []
        while not seen or set(seen[-1]) != {"completed"}:
            seen.append([row["status"] for row in service.status(job_id)["results"]])
            assert len(seen) < 2000
        for earlier, later in itertools.pairwise(seen):
            assert all(order.index(a) <= order.index(b) for a, b in zip(earlier, later, strict=True))
        assert len({row.count("completed") for row in seen}) > 2

    def test_the_models_run_at_the_same_time(self, service: Service) -> None:
        run_at_once(service, 9)

    def test_twenty_models_run_at_the_same_time(self, service: Service) -> None:
        names = [f"Twin {number:02}" for number in range(1, 21)]
        service.offer(names)
        restart(service, *KNOW_THE_CATALOGUE)
        try:
            run_at_once(service, 20, models=names)
        finally:
            service.s3.delete_object(Bucket=service.bucket, Key=OVERLAY)
            restart(service, *KNOW_THE_CATALOGUE)

    def test_the_execution_tells_the_story(self, service: Service) -> None:
        job = service.run()
        execution = service.execution(job["jobId"])
        # The last model closes the job's document; the execution goes on to "Finish job".
        limit = time.monotonic() + 15
        while execution["status"] == "RUNNING" and time.monotonic() < limit:
            time.sleep(0.1)
            execution = service.execution(job["jobId"])
        assert (execution["name"], execution["status"]) == (job["jobId"], "SUCCEEDED")
        output = json.loads(execution["output"])
        assert output["job"]["status"] == "completed"
        assert [outcome["model"] for outcome in output["outcomes"]] == [row["model"] for row in job["results"]]
        assert len(execution["output"]) < 16_000 and len(execution["input"]) < 4_000


class TestRateLimiting:
    """Per address, in all, and the allow-list."""

    def count(self, service: Service, address: str, number: int) -> None:
        """Put as many requests of an address into the windows."""
        now = time.time()
        times = [now - 60 - index for index in range(number)]
        body = json.dumps({"global_requests": times, "ip_requests": {address: times}})
        service.s3.put_object(Bucket=service.bucket, Key="rate-limit/ratelimit.json", Body=body)

    def post(self, service: Service, ip: str) -> Any:
        body = {"prompt": "a red fox", "ip": ip, "models": [FIRST.id]}
        return service.cloud.request("POST", "/generate", body)

    def test_the_51st_request_of_an_address_is_refused(self, service: Service) -> None:
        self.count(service, "198.51.100.1", 49)
        assert self.post(service, "198.51.100.1").status == 200
        refused = self.post(service, "198.51.100.1")
        assert refused.status == 429
        assert refused.json()["error"] == "RATE_LIMIT_EXCEEDED"
        assert int(refused.headers["retry-after"]) == refused.json()["retryAfter"] > 80_000
        assert self.post(service, "198.51.100.2").status == 200

    def test_the_101st_request_of_all_is_refused(self, service: Service) -> None:
        self.count(service, "198.51.100.1", 99)
        assert self.post(service, "198.51.100.2").status == 200
        refused = self.post(service, "198.51.100.3")
        assert (refused.status, refused.json()["scope"]) == (429, "global")
        assert 3_000 < int(refused.headers["retry-after"]) <= 3_600

    def test_a_refused_request_leaves_no_job(self, service: Service) -> None:
        self.count(service, "198.51.100.1", 50)
        before = service.keys("jobs/")
        assert self.post(service, "198.51.100.1").status == 429
        assert service.keys("jobs/") == before

    def test_the_allow_list_passes(self, service: Service) -> None:
        functions = service.cloud.client("lambda")
        name = service.function("submit")
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        allowed = {"Variables": {**variables, "IP_INCLUDE": "198.51.100.1,203.0.113.0/24"}}
        functions.update_function_configuration(FunctionName=name, Environment=allowed)
        try:
            self.count(service, "198.51.100.1", 100)
            assert self.post(service, "198.51.100.1").status == 200
            assert self.post(service, "203.0.113.9").status == 200
            assert self.post(service, "198.51.100.9").status == 429
        finally:
            functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})

    def test_enhancement_is_exact_at_any_concurrency_and_leaves_the_limits_of_jobs(self, service: Service) -> None:
        functions = service.cloud.client("lambda")
        name = service.function("enhance")
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        # tests/reliability has many more at once, in processes that need not start as Lambdas.
        requests, allowed = 12, 4
        limits = {"ENHANCE_LIMIT": str(allowed), "ENHANCE_IP_LIMIT": str(requests)}
        limited = {"Variables": {**variables, **limits}}

        def enhance(number: int) -> Response:
            limit = time.monotonic() + 120
            while True:
                # All Lambdas start at once, on a machine that may be busy; who asked again would be counted again.
                answer = service.cloud.request("POST", "/enhance", {"prompt": "a heron"}, timeout=300)
                if answer.json().get("scope") != "busy":
                    return answer
                # Refused for the moment only, and not counted.
                assert time.monotonic() < limit, "the counter stays contended"
                time.sleep(answer.json()["retryAfter"] * random.uniform(0.5, 1.5))

        # Answers come from the cache: the Lambdas need not load a provider's SDK, and such answers count as well.
        assert enhance(0).status == 200
        service.s3.delete_object(Bucket=service.bucket, Key="rate-limit/enhance.json")
        functions.update_function_configuration(FunctionName=name, Environment=limited)
        try:
            with ThreadPoolExecutor(requests) as pool:
                answers = list(pool.map(enhance, range(requests)))
        finally:
            functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        statuses = [answer.status for answer in answers]
        # Of a machine that is too busy to answer in time (503), nothing says whether it has counted the request.
        late = statuses.count(503)
        refused_at_most = requests - allowed
        assert late <= requests // 2 and statuses.count(429) <= refused_at_most, statuses
        assert allowed - late <= statuses.count(200) <= allowed, statuses
        counted = json.loads(service.s3.get_object(Bucket=service.bucket, Key="rate-limit/enhance.json")["Body"].read())
        assert len(counted["global_requests"]) == allowed
        for refused in (answer for answer in answers if answer.status == 429):
            assert (refused.json()["error"], refused.json()["scope"]) == ("RATE_LIMIT_EXCEEDED", "global")
            assert 3_000 < int(refused.headers["retry-after"]) == refused.json()["retryAfter"] <= 3_600
        assert service.keys("rate-limit/") == ["rate-limit/enhance.json"]


class TestContentFiltering:
    """Blocked prompts."""

    @pytest.mark.parametrize("prompt", ["a naked woman on a beach", "a N.U.D.E portrait"])
    def test_a_blocked_prompt_gives_400_and_no_job(self, service: Service, prompt: str) -> None:
        before = service.keys("jobs/")
        answer = service.cloud.request("POST", "/generate", {"prompt": prompt})
        assert answer.status == 400
        assert answer.json()["error"] == "INAPPROPRIATE_CONTENT"
        assert answer.json()["category"] == "sexual"
        assert "naked" not in answer.json()["message"]
        assert service.keys("jobs/") == before

    @pytest.mark.parametrize("prompt", ["a blood orange on a plate", "a naked mole rat", "a chateau in Essex"])
    def test_a_harmless_prompt_passes(self, service: Service, prompt: str) -> None:
        assert service.run(prompt, models=[FIRST.id])["status"] == "completed"


class TestEnhancement:
    """POST /enhance."""

    def test_a_short_prompt_becomes_longer(self, service: Service) -> None:
        answer = service.cloud.request("POST", "/enhance", {"prompt": "cat"})
        assert answer.status == 200
        enhanced = answer.json()
        assert enhanced["original"] == "cat"
        assert len(enhanced["enhanced"]) > 200 and "cat" in enhanced["enhanced"].lower()
        assert "warning" not in enhanced

    def test_a_repeated_prompt_is_answered_from_the_cache(self, service: Service) -> None:
        prompt = f"a cat called {uuid.uuid4().hex[:6]}"
        first = service.cloud.request("POST", "/enhance", {"prompt": prompt}).json()
        service.simulator("DELETE", "/requests")
        assert service.cloud.request("POST", "/enhance", {"prompt": prompt}).json() == first
        assert service.provider_requests("gpt-5.4-mini") == []

    def test_a_failing_model_gives_the_original_and_a_warning(self, service: Service) -> None:
        service.fault("gpt-5.4-mini", "unavailable")
        answer = service.cloud.request("POST", "/enhance", {"prompt": "a very special dog"})
        assert answer.status == 200
        assert answer.json()["enhanced"] == "a very special dog"
        assert answer.json()["warning"]


class TestErrorHandling:
    """What goes wrong is said."""

    def test_an_unknown_job_is_404(self, service: Service) -> None:
        answer = service.cloud.request("GET", f"/status/{uuid.uuid4()}")
        assert (answer.status, answer.json()["error"]) == (404, "JOB_NOT_FOUND")

    def test_one_failing_model_leaves_the_others_whole(self, service: Service) -> None:
        service.fault(FIRST.id, "refused")
        job = service.run()
        assert job["status"] == "partial"
        assert job["completedModels"] == job["totalModels"] - 1
        (failed,) = [row for row in job["results"] if row["status"] != "completed"]
        assert (failed["model"], failed["status"], failed["errorCode"]) == (FIRST.name, "error", "refused")
        assert failed["retryable"] is False and failed["error"].endswith(".")
        assert all(row["imageUrl"] for row in job["results"] if row is not failed)

    def test_a_job_without_any_image_has_failed(self, service: Service) -> None:
        service.fault("*", "bad_key")
        job = service.run()
        assert (job["status"], job["completedModels"]) == ("failed", 0)
        assert {row["errorCode"] for row in job["results"]} == {"bad_credentials"}
