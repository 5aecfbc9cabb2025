"""What belongs to one caller is not there for another, whatever authenticates them."""

import importlib
import json
from typing import Any

import pytest

from local.simulator import Simulator
from pixelprompt.api.routes import ROUTES
from pixelprompt.identity import Identity
from pixelprompt.limits.api_keys import ApiKey
from tests import built
from tests.conftest import LEDGER
from tests.shipped import SECOND

from . import test_entry_points
from .test_entry_points import CONTEXT, MODEL, Service

# The fixture.
service = test_entry_points.service
MISSING = "JOB_NOT_FOUND"


def with_key(id: str, **limits: Any) -> dict[str, Any]:
    """What the authorizer says of a caller with an API key."""
    key = ApiKey(id=id, name=id, hash="", created_at=0, **limits)
    told = {name: getattr(key, name) for name in ("is_admin", "daily", "monthly", "rate", "models")}
    return {"lambda": {"keyId": id, "limits": json.dumps(told)}}


ADA, EVE, ADMIN = with_key("ada"), with_key("eve"), with_key("operator", is_admin=True)
PAIRS = [
    (ADA, EVE),
    ({"jwt": {"claims": {"sub": "ada"}}}, {"jwt": {"claims": {"sub": "eve"}}}),
    ({"iam": {"userId": "AROAADA:x"}}, {"iam": {"userId": "AROAEVE:x"}}),
    # One kind of caller is not another's, by whatever name.
    (ADA, {"jwt": {"claims": {"sub": "ada"}}}),
    (ADA, {"jwt": {"claims": {}}}),
]


class Calling:
    """Calls a deployment as one of its callers."""

    def __init__(self, service: Service, authorizer: dict[str, Any], ip: str = "192.0.2.1") -> None:
        self.service = service
        http = {"sourceIp": ip}
        self.context: dict[str, Any] = {"http": http, "domainName": "api.test", "authorizer": authorizer}

    def call(self, name: str, method: str, path: str, body: Any = None, **event: Any) -> dict[str, Any]:
        context = {**self.context, "http": {**self.context["http"], "method": method, "path": path}}
        return self.service.call(name, method, path, body, requestContext=context, **event)

    def about(self, name: str, job_id: str, body: Any = None) -> dict[str, Any]:
        method = "GET" if name == "status" else "POST"
        return self.call(name, method, f"/{name}/{job_id}", body, pathParameters={"jobId": job_id})

    def submit(self, key: str | None = None, **fields: Any) -> dict[str, Any]:
        headers = {"idempotency-key": key} if key else {}
        body = {"prompt": "a red fox", "models": [MODEL], **fields}
        return self.call("submit", "POST", "/generate", body, headers=headers)

    def made(self) -> str:
        """A job with its image."""
        job_id: str = self.submit()["body"]["jobId"]
        outcome = importlib.import_module("generate").handler(self.service.item(job_id), CONTEXT)
        importlib.import_module("finish").handler({"jobId": job_id, "outcomes": [outcome], "run": 1}, CONTEXT)
        return job_id

    def galleries(self) -> list[str]:
        page = self.call("gallery", "GET", "/gallery/list")["body"]
        assert page["total"] == len(page["galleries"])
        return [entry["galleryId"] for entry in page["galleries"]]

    def images(self, gallery_id: str) -> list[Any]:
        found = self.call("gallery", "GET", f"/gallery/{gallery_id}", pathParameters={"galleryId": gallery_id})
        images: list[Any] = found["body"]["images"]
        return images


def of_galleries(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    monkeypatch.setenv("GALLERY", who)
    monkeypatch.setenv("IP_LIMIT", "100")
    built.forget()


@pytest.mark.parametrize(("mine", "other"), PAIRS, ids=["keys", "jwt", "iam", "key_and_jwt", "key_and_nameless_jwt"])
def test_a_job_is_there_for_its_owner_only(service: Service, mine: Any, other: Any) -> None:
    ada, eve, admin, stranger = (Calling(service, who) for who in (mine, other, ADMIN, {}))
    job_id = ada.submit()["body"]["jobId"]
    for name in {route.function for route in ROUTES.values() if "{jobId}" in route.path}:
        for caller in (eve, stranger):
            response = caller.about(name, job_id)
            assert (response["statusCode"], response["body"]["error"]) == (404, MISSING), name
            # Nor does what is wrong with the request tell that it exists.
            broken = caller.about(name, job_id, {"x": 1})
            assert (broken["statusCode"], broken["body"]["error"]) == (404, MISSING), name
    assert service.document(job_id)["status"] == "pending"
    assert ada.about("status", job_id)["statusCode"] == admin.about("status", job_id)["statusCode"] == 200
    assert ada.about("cancel", job_id)["body"]["status"] == "cancelled"
    assert admin.about("retry", job_id)["statusCode"] == 200
    # A retry leaves a job whose it is.
    assert eve.about("status", job_id)["statusCode"] == 404
    assert ada.about("status", job_id)["body"]["run"] == 2


def test_a_job_without_an_owner_is_there_for_admins_and_where_the_api_is_open(service: Service) -> None:
    job_id = Calling(service, {}).submit()["body"]["jobId"]
    assert "owner" not in service.document(job_id) and "owner" not in service.execution(job_id)
    for who, status in (({}, 200), (ADMIN, 200), (ADA, 404), ({"jwt": {"claims": None}}, 404)):
        assert Calling(service, who).about("status", job_id)["statusCode"] == status


def test_the_owner_of_a_key_stays_when_it_is_rotated_and_tells_nothing_of_it(service: Service) -> None:
    job_id = Calling(service, ADA).submit()["body"]["jobId"]
    document = service.document(job_id)
    assert (document["owner"], document["apiKey"]) == (Identity("key ada").owner, "ada")
    assert len(document["owner"]) == 32 and "ada" not in document["owner"]
    assert service.execution(job_id)["owner"] == document["owner"]


def test_an_idempotency_key_belongs_to_its_caller(service: Service) -> None:
    ada, eve = Calling(service, ADA), Calling(service, EVE)
    first = ada.submit("k")
    assert ada.submit("k")["body"] == first["body"]
    assert eve.submit("k")["body"]["jobId"] != first["body"]["jobId"]


def test_each_owner_sees_the_own_galleries(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    of_galleries(monkeypatch, "owner")
    ada, eve, admin = (Calling(service, who) for who in (ADA, EVE, ADMIN))
    unowned = Calling(service, {}).made()
    first, second = ada.made(), eve.made()
    ((adas,), (eves,)) = ada.galleries(), eve.galleries()
    assert (adas[-8:], eves[-8:]) == (first[:8], second[:8])
    assert len(admin.galleries()) == 3
    assert len(ada.images(adas)) == len(admin.images(adas)) == 1
    missing = eve.images("2026-11-18-12-00-00-00000000")
    assert eve.images(adas) == ada.images(eves) == missing == []
    (others,) = {gallery_id for gallery_id in admin.galleries() if gallery_id[-8:] == unowned[:8]}
    assert eve.images(others) == [] and len(admin.images(others)) == 1


def test_public_galleries_are_there_for_every_caller(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    of_galleries(monkeypatch, "public")
    Calling(service, ADA).made()
    (found,) = Calling(service, EVE).galleries()
    assert len(Calling(service, EVE).images(found)) == 1


def test_a_gallery_whose_job_is_gone_is_there_for_admins_only(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_galleries(monkeypatch, "owner")
    ada = Calling(service, ADA)
    job_id = ada.made()
    (found,) = ada.galleries()
    service.s3.delete_object(Bucket=test_entry_points.BUCKET, Key=f"jobs/{job_id}/status.json")
    assert ada.images(found) == [] and len(Calling(service, ADMIN).images(found)) == 1


@pytest.mark.parametrize("who", ["owner", "off", "public"])
def test_an_image_is_edited_by_its_owner_and_admins_unless_everyone_sees_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    of_galleries(monkeypatch, who)
    ada, eve = Calling(service, ADA), Calling(service, EVE)
    image = service.document(ada.made())["results"][0]["imageKey"]

    def edited(caller: Calling) -> Any:
        job_id = caller.submit(images=[{"imageKey": image}])["body"]["jobId"]
        handler = importlib.import_module("prepare_references").handler
        return handler({"jobId": job_id, "run": 1}, CONTEXT)["state"], service.document(job_id)["results"][0]

    assert edited(ada)[0] == edited(Calling(service, ADMIN))[0] == "ready"
    state, row = edited(eve)
    assert state == ("ready" if who == "public" else "failed")
    if who != "public":
        assert row["status"] == "error" and "no longer exists" in row["error"]


def test_a_key_asks_only_the_models_that_it_allows(service: Service, simulator: Simulator) -> None:
    other = SECOND
    only = Calling(service, with_key("ada", models=(other.name,)))
    refused = only.submit()
    assert (refused["statusCode"], refused["body"]["error"]) == (403, "MODEL_NOT_ALLOWED")
    assert refused["body"]["message"] == f"Your API key does not allow {MODEL}. It allows: {other.name}."
    assert only.submit(models=[other.id])["statusCode"] == 200
    listed = only.call("models", "GET", "/models")["body"]["models"]
    assert [model["name"] for model in listed] == [other.name]
    # A browser that has another key now must not show the list of this one.
    for caller, kept in ((only, "no-cache"), (Calling(service, {}), "max-age=60")):
        assert caller.call("models", "GET", "/models")["headers"]["Cache-Control"] == kept
    job_id = only.call("submit", "POST", "/generate", {"prompt": "a fox"})["body"].get("jobId")
    assert job_id is None or [row["model"] for row in service.document(job_id)["results"]] == [other.name]
    # What the key allowed when the job was made does not count when it runs again.
    wider = Calling(service, with_key("ada"))
    job_id = wider.submit()["body"]["jobId"]
    wider.about("cancel", job_id)
    assert only.about("retry", job_id)["body"]["error"] == "MODEL_NOT_ALLOWED"
    assert wider.about("retry", job_id)["statusCode"] == 200


def test_a_rate_counts_the_key_and_not_the_address(
    service: Service, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER_TABLE", LEDGER)
    monkeypatch.setenv("IP_LIMIT", "1")
    built.forget()
    ada, elsewhere, eve = (
        Calling(service, with_key("ada", rate=2)),
        Calling(service, with_key("ada", rate=2), "192.0.2.9"),
        Calling(service, with_key("eve", rate=2)),
    )
    assert [caller.submit()["statusCode"] for caller in (ada, elsewhere, eve)] == [200] * 3
    refused = ada.submit()
    assert (refused["statusCode"], refused["body"]["scope"]) == (429, "key")
    assert "Your API key reached its hourly request limit." in refused["body"]["message"]
    # A key without a rate is counted by its address.
    assert [Calling(service, with_key("ida")).submit()["statusCode"] for _ in range(2)] == [200, 429]
