"""Galleries through the deployed API."""

import json
from datetime import datetime
from typing import Any

from local.paths import ROOT
from pixelprompt.storage.keys import gallery
from tests.shipped import FIRST, ONE_IMAGE

from .conftest import Service


def page(service: Service, query: str = "") -> dict[str, Any]:
    answer = service.cloud.request("GET", f"/gallery/list{query}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def test_jobs_become_galleries_newest_first(service: Service) -> None:
    models = [[model["name"] for model in service.cloud.request("GET", "/models").json()["models"]][:1]]
    models += [[FIRST.id, ONE_IMAGE.id]]
    jobs = [service.run(models=names) for names in models]
    ids = [gallery(job["jobId"], job["createdAt"]) for job in jobs]

    newest = page(service, "?limit=2")
    assert [entry["galleryId"] for entry in newest["galleries"]] == ids[::-1]
    assert [entry["images"] for entry in newest["galleries"]] == [2, 1]
    for entry, job in zip(newest["galleries"], jobs[::-1], strict=True):
        assert datetime.fromisoformat(entry["createdAt"]) == datetime.fromisoformat(job["createdAt"])
        cover = service.download(entry["coverUrl"])
        assert cover.headers["content-type"].startswith("image/") and cover.body

    first = page(service, "?limit=1")
    second = page(service, f"?limit=1&cursor={first['nextCursor']}")
    assert [entry["galleryId"] for entry in first["galleries"] + second["galleries"]] == ids[::-1]
    assert first["total"] == second["total"] >= 2

    shown = service.cloud.request("GET", f"/gallery/{ids[1]}").json()
    assert (shown["galleryId"], shown["total"]) == (ids[1], 2)
    assert {image["model"] for image in shown["images"]} == {row["model"] for row in jobs[1]["results"]}
    assert {image["imageKey"] for image in shown["images"]} == {row["imageKey"] for row in jobs[1]["results"]}
    for image in shown["images"]:
        assert image["width"] > 0 and image["height"] > 0
        assert service.download(image["imageUrl"]).body


def test_a_gallery_that_does_not_exist_is_empty(service: Service) -> None:
    for gallery_id in ("2020-01-01-00-00-00-aaaaaaaa", "..%5Cjobs", "%00", "x" * 3000, "%ED%A0%80"):
        answer = service.cloud.request("GET", f"/gallery/{gallery_id}")
        assert answer.status == 200, (gallery_id, answer.body)
        assert (answer.json()["images"], answer.json()["total"]) == ([], 0)


def test_a_page_that_cannot_be_is_refused(service: Service) -> None:
    for query in ("limit=0", "limit=x", "limit=", "cursor=..", "limit=1&limit=2"):
        answer = service.cloud.request("GET", f"/gallery/list?{query}")
        assert (answer.status, answer.json()["error"]) == (400, "INVALID_PARAMETER"), query


def test_the_description_is_served_of_the_routes_that_are_there(service: Service) -> None:
    answer = service.cloud.request("GET", "/openapi.json")
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    whole = json.loads((ROOT / "functions/pixelprompt/api/openapi.json").read_text(encoding="utf-8"))
    # This deployment has no budget.
    del whole["paths"]["/usage"]
    assert answer.json() == whole
