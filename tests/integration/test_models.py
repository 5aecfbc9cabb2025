"""Seven protocols, one set of parameters, and a catalogue that an operator can change while the service runs."""

import io
import json
from typing import Any

import pytest
from PIL import Image

from pixelprompt.models.sizes import ratio
from pixelprompt.storage.keys import OVERLAY_KEY
from tests.shipped import ASYNCHRONOUS

from .conftest import KNOW_THE_CATALOGUE, Service, restart


def picture(service: Service, url: str) -> Image.Image:
    """The picture at an address."""
    found = Image.open(io.BytesIO(service.download(url).body))
    found.load()
    return found


class TestReceipts:
    """What became of each parameter, and whether it is true."""

    def test_the_receipt_of_an_aspect_ratio_is_true_for_every_model(self, service: Service) -> None:
        names = [model["id"] for model in service.cloud.request("GET", "/models").json()["models"]]
        for part in (names[:10], names[10:20], names[20:]):
            job = service.run(aspectRatio="21:9", models=part)
            assert job["status"] == "completed", [row for row in job["results"] if row["status"] != "completed"]
            for row in job["results"]:
                size = picture(service, row["imageUrl"]).size
                assert (row["images"][0]["width"], row["images"][0]["height"]) == size
                fate = {**row["applied"], **{k: v["used"] for k, v in row["adjusted"].items()}}
                if "aspectRatio" in fate:
                    assert size[0] / size[1] == pytest.approx(ratio(fate["aspectRatio"]), rel=0.05), row["model"]
                else:
                    assert row["ignored"]["aspectRatio"]

    def test_four_images_of_every_protocol_come_in_one_row(self, service: Service) -> None:
        job = service.run(n=4, seed=7)
        for row in job["results"]:
            assert row["status"] == "completed", row
            assert len({image["binaryKey"] for image in row["images"]}) == 4
            pictures = {picture(service, image["imageUrl"]).tobytes() for image in row["images"]}
            # Without a seed the simulator draws the same picture again.
            assert len(pictures) == 4 or "seed" in row["ignored"], row["model"]

    def test_strict_lists_every_unsupported_parameter_and_starts_nothing(self, service: Service) -> None:
        jobs = service.keys("jobs/")
        body = {"prompt": "a fox", "steps": 30, "aspectRatio": "21:9", "strict": True}
        answer = service.cloud.request("POST", "/generate", body)
        assert answer.status == 400
        unsupported = answer.json()["unsupported"]
        assert answer.json()["misfits"] == unsupported
        assert {entry["parameter"] for entry in unsupported} == {"steps", "aspectRatio"}
        assert all(entry["model"] and entry["reason"].endswith(".") for entry in unsupported)
        assert service.keys("jobs/") == jobs


class TestCost:
    """What images cost, as far as it is known."""

    def test_a_job_says_what_it_cost(self, service: Service) -> None:
        job = service.run()
        bases = {row["model"]: row["cost"]["basis"] for row in job["results"]}
        assert {"reported", "computed"} <= set(bases.values())
        known = [row["cost"]["amount"] for row in job["results"] if row["cost"]["amount"] is not None]
        assert all(amount > 0 for amount in known)
        assert job["cost"]["amount"] == pytest.approx(sum(known))
        assert (job["cost"]["known"], job["cost"]["unknown"]) == (len(known), len(job["results"]) - len(known))
        # What the providers count and charge is near what was estimated; thoughts and the prompt are not in it.
        estimate = service.cloud.request("POST", "/generate", {"prompt": "a fox", "dryRun": True}).json()
        assert job["cost"]["amount"] == pytest.approx(estimate["cost"]["amount"], rel=0.05)

    def test_an_estimate_charges_nothing(self, service: Service) -> None:
        jobs = service.keys("jobs/")
        answer = service.cloud.request("POST", "/generate", {"prompt": "a fox", "n": 2, "dryRun": True})
        assert answer.status == 200
        estimate = answer.json()
        assert estimate["dryRun"] is True and "jobId" not in estimate
        assert len(estimate["models"]) == estimate["totalModels"] == 9
        assert estimate["cost"]["amount"] > 0 and estimate["cost"]["unknown"] == 0
        assert service.keys("jobs/") == jobs and service.keys("rate-limit/") == []


class TestCatalogue:
    """Which models there are."""

    def test_a_retired_model_is_refused_and_its_replacement_named(self, service: Service) -> None:
        answer = service.cloud.request("POST", "/generate", {"prompt": "a fox", "models": ["dall-e-3"]})
        assert (answer.status, answer.json()["error"]) == (400, "INVALID_PARAMETER")
        assert "2026-05-12" in answer.json()["message"]
        assert answer.json()["replacement"] in answer.json()["message"]

    def test_models_are_listed(self, service: Service) -> None:
        answer = service.cloud.request("GET", "/models")
        assert answer.status == 200
        listed = answer.json()
        assert listed["total"] == len(listed["models"]) > 9
        assert sum(model["default"] for model in listed["models"]) == 9
        assert all(model["configured"] for model in listed["models"])

    def test_a_model_of_the_overlay_makes_an_image_without_a_deployment(self, service: Service) -> None:
        entry: dict[str, Any] = {
            "name": "My Own Server",
            "provider": "compatible",
            "id": "localai-sdxl",
            "baseUrl": f"{service.cloud.endpoints['simulator']}/compatible/v1",
            "default": False,
        }
        service.s3.put_object(Bucket=service.bucket, Key=OVERLAY_KEY, Body=json.dumps({"models": [entry]}))
        restart(service, *KNOW_THE_CATALOGUE)
        try:
            job = service.run(models=["My Own Server"])
            assert job["status"] == "completed"
            assert picture(service, job["results"][0]["imageUrl"]).size[0] > 0
        finally:
            service.s3.delete_object(Bucket=service.bucket, Key=OVERLAY_KEY)
            restart(service, *KNOW_THE_CATALOGUE)


class TestPolling:
    """A provider that works asynchronously: submit, then poll."""

    def submits(self, service: Service) -> int:
        return len(service.provider_requests(ASYNCHRONOUS.id))

    def test_a_slow_one_is_polled_through_the_state_machine(self, service: Service) -> None:
        service.simulator("PUT", "/latency", {"models": {ASYNCHRONOUS.id: [14, 14]}})
        try:
            job = service.run(models=[ASYNCHRONOUS.id])
        finally:
            service.simulator("PUT", "/latency", {"models": {ASYNCHRONOUS.id: [0, 0.2]}})
        assert job["status"] == "completed"
        assert job["results"][0]["duration"] >= 14
        assert self.submits(service) == 1

    def test_a_lambda_that_dies_after_the_submit_loses_nothing(self, service: Service) -> None:
        """The worker is killed between submit and ready: the image comes, and it is paid for once."""
        service.run(models=[ASYNCHRONOUS.id])
        service.simulator("DELETE", "/requests")
        service.simulator("PUT", "/latency", {"models": {ASYNCHRONOUS.id: [6, 6]}})
        try:
            job_id = service.generate(models=[ASYNCHRONOUS.id])
            service.wait(job_id, lambda job: bool(service.keys(f"jobs/{job_id}/resume/")))
            for worker in service.workers("generate"):
                worker.kill()
            job = service.wait(job_id)
        finally:
            service.simulator("PUT", "/latency", {"models": {ASYNCHRONOUS.id: [0, 0.2]}})
        assert job["status"] == "completed"
        assert job["results"][0]["cost"]["basis"] in ("reported", "computed")
        assert self.submits(service) == 1
