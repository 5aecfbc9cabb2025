"""A caller gets a form from the API and uploads an image into the bucket with it."""

import base64
import hashlib
import hmac
import io
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from PIL import Image

from local.cdk import REGION
from local.cloud import Response

from .conftest import Service

MAX_BYTES = 20 * 2**20
Fields = dict[str, str]


def ask(service: Service, **body: Any) -> Response:
    return service.cloud.request("POST", "/uploads", {"contentType": "image/png", **body})


def form_of(service: Service) -> dict[str, Any]:
    answer = ask(service)
    assert answer.status == 200, answer.body
    form: dict[str, Any] = answer.json()
    return form


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_image_is_uploaded_by_the_form(service: Service) -> None:
    form, data = form_of(service), png()
    key = f"uploads/{form['uploadId']}"
    assert service.keys(key) == []
    answer = service.post_form(form["url"], form["fields"], data)
    assert (answer.status, answer.body) == (204, b"")
    stored = service.s3.get_object(Bucket=service.bucket, Key=key)
    assert (stored["Body"].read(), stored["ContentType"]) == (data, "image/png")
    # By the form alone nobody reads it.
    assert service.cloud.request("GET", f"{form['url']}/{key}").status == 403


def test_the_largest_image_passes_and_a_larger_one_does_not(service: Service) -> None:
    form = form_of(service)
    key = f"uploads/{form['uploadId']}"
    for data, code in ((bytes(MAX_BYTES + 1), b"EntityTooLarge"), (b"", b"EntityTooSmall")):
        refused = service.post_form(form["url"], form["fields"], data)
        assert refused.status == 400 and code in refused.body
        assert service.keys(key) == []
    assert service.post_form(form["url"], form["fields"], bytes(MAX_BYTES)).status == 204
    assert service.s3.head_object(Bucket=service.bucket, Key=key)["ContentLength"] == MAX_BYTES


def policy_with(fields: Fields, **members: Any) -> str:
    """The form's policy with other members."""
    return base64.b64encode(json.dumps({**json.loads(base64.b64decode(fields["policy"])), **members}).encode()).decode()


def signed_by_another(fields: Fields) -> Fields:
    """The form with the signature that another key gives to the same policy."""
    signature = hmac.new(b"another key", fields["policy"].encode(), hashlib.sha256).hexdigest()
    return {**fields, "x-amz-signature": signature}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda fields: {**fields, "Content-Type": "text/html"}, id="type"),
        pytest.param(lambda fields: {n: v for n, v in fields.items() if n != "Content-Type"}, id="no type"),
        pytest.param(lambda fields: {**fields, "key": "images/mine.png"}, id="key"),
        pytest.param(lambda fields: {**fields, "key": f"{fields['key']}0"}, id="longer key"),
        pytest.param(lambda fields: {**fields, "key": "uploads/${filename}"}, id="key by file name"),
        pytest.param(lambda fields: {**fields, "x-amz-meta-mine": "1"}, id="metadata"),
        pytest.param(lambda fields: {**fields, "success_action_redirect": "https://evil.example"}, id="redirect"),
        pytest.param(lambda fields: {**fields, "acl": "public-read"}, id="acl"),
        pytest.param(lambda fields: {**fields, "policy": policy_with(fields, conditions=[])}, id="policy"),
        pytest.param(
            lambda fields: {**fields, "policy": policy_with(fields, expiration="2099-01-01T00:00:00Z")}, id="longer"
        ),
        pytest.param(
            lambda fields: {**fields, "policy": policy_with(fields, expiration="2020-01-01T00:00:00Z")}, id="expired"
        ),
        pytest.param(signed_by_another, id="signature"),
        pytest.param(lambda fields: {n: v for n, v in fields.items() if n != "x-amz-signature"}, id="no signature"),
        pytest.param(lambda fields: {n: v for n, v in fields.items() if n != "policy"}, id="no policy"),
        pytest.param(lambda fields: {"key": fields["key"]}, id="key alone"),
    ],
)
def test_a_form_that_is_not_as_signed_is_refused(service: Service, changed: Callable[[Fields], Fields]) -> None:
    form = form_of(service)
    before = service.keys("")
    refused = service.post_form(form["url"], changed(form["fields"]), png())
    assert refused.status in (400, 403), refused.body
    assert service.keys("") == before
    # As it was signed, it is accepted.
    assert service.post_form(form["url"], form["fields"], png()).status == 204


def test_a_form_that_has_expired_is_refused(service: Service) -> None:
    """Signed with the key of the cloud itself, which may do everything: only its time is over."""
    key, version_4 = service.cloud.access_key(), Config(signature_version="s3v4", s3={"addressing_style": "path"})
    url = service.cloud.endpoints["aws"]
    s3 = boto3.client("s3", endpoint_url=url, region_name=REGION, config=version_4, **key.client_options())
    for seconds, status in ((-1, 403), (60, 204)):
        form = s3.generate_presigned_post(service.bucket, "uploads/0", ExpiresIn=seconds)
        assert service.post_form(form["url"], form["fields"], png()).status == status


def test_a_page_reads_the_response_to_its_upload(service: Service) -> None:
    form, page = form_of(service), service.cloud.endpoints["page"].rstrip("/")
    answer = service.post_form(form["url"], form["fields"], png(), Origin=page)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "*")
    refused = service.post_form(form["url"], form["fields"], png(), Origin="https://evil.example")
    assert (refused.status, refused.json()["error"]) == (403, "ORIGIN_NOT_ALLOWED")


def test_the_101st_form_of_an_address_is_refused(service: Service) -> None:
    statuses = [ask(service, ip="198.51.100.1").status for _ in range(2)]
    key = "rate-limit/uploads.json"
    counted = json.loads(service.s3.get_object(Bucket=service.bucket, Key=key)["Body"].read())
    (now, _) = counted["ip_requests"]["198.51.100.1"]
    times = [now - 60 - index for index in range(99)]
    full = {"global_requests": times, "ip_requests": {"198.51.100.1": times}}
    service.s3.put_object(Bucket=service.bucket, Key=key, Body=json.dumps(full))
    statuses += [ask(service, ip="198.51.100.1").status for _ in range(2)]
    assert statuses == [200, 200, 200, 429]
    refused = ask(service, ip="198.51.100.1")
    assert (refused.json()["error"], refused.json()["scope"]) == ("RATE_LIMIT_EXCEEDED", "ip")
    assert int(refused.headers["retry-after"]) == refused.json()["retryAfter"] > 80_000
    assert ask(service, ip="198.51.100.2").status == 200
    assert service.keys("rate-limit/") == [key]
