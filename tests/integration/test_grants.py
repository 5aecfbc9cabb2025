"""Each grant of each Lambda's role is taken away in turn, and what fails is what needed it.

The emulator evaluates the roles' policies at each request, so a grant is gone at once, and back at once.
"""

import base64
import io
import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psutil
import pytest
from PIL import Image

from local.checks.grants import listed
from local.cloud import Cloud
from pixelprompt.identity import Identity
from pixelprompt.jobs.schema import Reference
from pixelprompt.jobs.store import JobManager
from pixelprompt.storage.keys import gallery
from pixelprompt.storage.references import ReferenceStorage
from tests.shipped import ASYNCHRONOUS, FIRST

from .conftest import Service, restart

NOT_ENFORCED = {
    "logs:CreateLogStream": "the emulator itself writes what a function prints",
    "logs:PutLogEvents": "the emulator itself writes what a function prints",
    "xray:PutTraceSegments": "the emulator has nothing that sends traces",
    "xray:PutTelemetryRecords": "the emulator has nothing that sends traces",
    "sqs:SendMessage": "the emulator itself hands over the events that finish failed at",
    "bedrock:InvokeModel": "a simulator plays Amazon Bedrock",
}


_STREAM = io.BytesIO()
Image.new("RGB", (64, 64), "red").save(_STREAM, "PNG")
IMAGE = _STREAM.getvalue()
IMAGE_URL = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"


class Bench:
    """The functions, invoked directly with their events, and what they work on."""

    def __init__(self, service: Service) -> None:
        self.service = service
        # Of a job this old nobody waits for its execution to begin.
        self.jobs = JobManager(service.s3, service.bucket, clock=lambda: datetime.now(UTC) - timedelta(minutes=1))
        self.references = ReferenceStorage(service.s3, service.bucket)
        self.done = service.run(models=[FIRST.name])

    def invoke(self, function: str, event: dict[str, Any]) -> str:
        """All that a function says: its answer and its log lines."""
        client = self.service.cloud.client("lambda")
        answer = client.invoke(FunctionName=self.service.function(function), LogType="Tail", Payload=json.dumps(event))
        # A function that writes nothing has no such member.
        log = base64.b64decode(answer.get("LogResult", "")).decode()
        return f"{answer['Payload'].read().decode()}\n{log}"

    def call(self, function: str, method: str, path: str, body: Any = None, **headers: str) -> str:
        """Invoke a function as API Gateway does."""
        named = {"jobId": path.rpartition("/")[2]} if re.search("/(status|cancel|retry)/", path) else {}
        if path.startswith("/gallery/") and path != "/gallery/list":
            named = {"galleryId": path.rpartition("/")[2]}
        request = {
            "requestContext": {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}},
            "rawPath": path,
            "headers": {name.replace("_", "-"): value for name, value in headers.items()},
            "pathParameters": named,
            "body": None if body is None else json.dumps(body),
        }
        return self.invoke(function, request)

    def submit(self, **headers: str) -> str:
        return self.call("submit", "POST", "/generate", {"prompt": "a red fox", "models": [FIRST.name]}, **headers)

    def submit_first(self) -> str:
        """Submit when nothing is counted, as after two idle days."""
        self.service.s3.delete_object(Bucket=self.service.bucket, Key=COUNTS)
        return self.submit()

    def submit_twice(self) -> str:
        key = uuid.uuid4().hex
        self.submit(Idempotency_Key=key)
        return self.submit(Idempotency_Key=key)

    def enhance(self) -> str:
        return self.call("enhance", "POST", "/enhance", {"prompt": f"a red fox {uuid.uuid4().hex}"})

    def upload(self) -> str:
        return self.call("upload", "POST", "/uploads", {"contentType": "image/png"})

    def upload_first(self) -> str:
        """Ask for a form when nothing is counted, as after two idle days."""
        self.service.s3.delete_object(Bucket=self.service.bucket, Key=UPLOAD_COUNTS)
        return self.upload()

    def upload_file(self) -> str:
        """S3's response to a form."""
        form = self.service.cloud.request("POST", "/uploads", {"contentType": "image/png"}).json()
        answer = self.service.post_form(form["url"], form["fields"], b"an image")
        return f"{answer.status} {answer.body.decode()}"

    def submit_an_edit(self) -> str:
        body = {"prompt": "make it night", "models": [FIRST.name], "images": [{"data": IMAGE_URL}]}
        return self.call("submit", "POST", "/generate", body)

    def edit(self, reference: dict[str, str]) -> str:
        """The id of a job with a reference image that is not prepared."""
        job_id = self.jobs.create_job("make it night", {"images": 1}, [{"name": FIRST.name, "provider": "openai"}])
        self.references.save_given(job_id, [reference])
        return job_id

    def prepare(self, reference: dict[str, str] | None = None) -> str:
        return self.invoke("prepare-references", {"jobId": self.edit(reference or {"data": IMAGE_URL}), "run": 1})

    def prepare_an_upload(self) -> str:
        upload_id = uuid.uuid4().hex
        self.service.s3.put_object(Bucket=self.service.bucket, Key=f"uploads/{upload_id}", Body=IMAGE)
        return self.prepare({"uploadId": upload_id})

    def prepare_an_earlier_image(self) -> str:
        return self.prepare({"imageKey": self.done["results"][0]["imageKey"]})

    def prepare_again(self) -> str:
        job_id = self.edit({"data": IMAGE_URL})
        self.references.save(job_id, 0, IMAGE, "image/png")
        digest = {"index": 0, "source": "data", "sha256": "0" * 64, "size": len(IMAGE)}
        self.jobs.record_references(job_id, [cast(Reference, digest)])
        return self.invoke("prepare-references", {"jobId": job_id, "run": 1})

    def prepare_for_no_job(self) -> str:
        return self.invoke("prepare-references", {"jobId": str(uuid.uuid4()), "run": 1})

    def generate_an_edit(self) -> str:
        item = self.item()
        self.references.save(item["jobId"], 0, IMAGE, "image/png")
        return self.invoke("generate", {**item, "parameters": {"images": 1}})

    def models(self) -> str:
        return self.call("models", "GET", "/models")

    def job(self, model: str = FIRST.name) -> str:
        """The id of a job with one open row, and no execution."""
        return self.jobs.create_job("a red fox", {}, [{"name": model, "provider": "openai"}])

    def item(self, model: str = FIRST.name) -> dict[str, Any]:
        """A Map item of a new job."""
        job_id = self.job(model)
        document = self.jobs.get_job_status(job_id)
        assert document
        named = {"jobId": job_id, "index": 0, "model": model, "attempt": 1, "run": 1}
        return {**named, "prompt": "a red fox", "createdAt": document["createdAt"], "parameters": {}}

    def generate(self) -> str:
        return self.invoke("generate", self.item())

    def generate_for_an_owner(self) -> str:
        return self.invoke("generate", {**self.item(), "owner": Identity("key ada").owner})

    def generate_for_an_expired_job(self) -> str:
        return self.invoke("generate", {**self.item(), "jobId": str(uuid.uuid4())})

    def generate_in_a_redrive(self) -> str:
        return self.invoke("generate", {**self.item(), "redriveCount": 1})

    def generate_slowly(self) -> str:
        return self.invoke("generate", self.item(ASYNCHRONOUS.name))

    def record_failure(self) -> str:
        return self.invoke("record-failure", {**self.item(), "error": {"Error": "Lambda.Unknown"}})

    def finish(self) -> str:
        return self.invoke("finish", {"jobId": self.job(), "run": 1})

    def status(self) -> str:
        return self.call("status", "GET", f"/status/{self.done['jobId']}")

    def status_of_no_job(self) -> str:
        return self.call("status", "GET", f"/status/{uuid.uuid4()}")

    def status_of_an_abandoned_job(self) -> str:
        job_id = self.job()
        key = f"jobs/{job_id}/status.json"
        document = self.jobs.get_job_status(job_id)
        old = json.dumps({**(document or {}), "createdAt": "2026-01-01T00:00:00.000Z"})
        self.service.s3.put_object(Bucket=self.service.bucket, Key=key, Body=old)
        return self.call("status", "GET", f"/status/{job_id}")

    def status_of_an_unstarted_job(self) -> str:
        return self.call("status", "GET", f"/status/{self.job()}")

    def cancel(self) -> str:
        return self.call("cancel", "POST", f"/cancel/{self.job()}")

    def cancel_no_job(self) -> str:
        return self.call("cancel", "POST", f"/cancel/{uuid.uuid4()}")

    def retry_no_job(self) -> str:
        return self.call("retry", "POST", f"/retry/{uuid.uuid4()}")

    def retry(self) -> str:
        job_id = self.job()
        row = {"errorCode": "unknown_outcome", "error": "It broke.", "billable": "unknown"}
        self.jobs.mark_model_error(job_id, FIRST.name, row)
        return self.call("retry", "POST", f"/retry/{job_id}")

    def galleries(self) -> str:
        return self.call("gallery", "GET", "/gallery/list")

    def gallery(self) -> str:
        return self.call("gallery", "GET", f"/gallery/{gallery(self.done['jobId'], self.done['createdAt'])}")

    def pictures(self, function: str, method: str, path: str) -> str:
        """What an address that a function has signed answers."""
        url = re.search(r'\\"imageUrl\\":\\"([^"]+)\\"', self.call(function, method, path))
        assert url
        answer = self.service.cloud.request("GET", url[1])
        return f"{answer.status} {answer.body.decode(errors='replace')}"

    def pictures_of_status(self) -> str:
        return self.pictures("status", "GET", f"/status/{self.done['jobId']}")

    def pictures_of_cancel(self) -> str:
        return self.pictures("cancel", "POST", f"/cancel/{self.done['jobId']}")

    def pictures_of_gallery(self) -> str:
        return self.pictures("gallery", "GET", f"/gallery/{gallery(self.done['jobId'], self.done['createdAt'])}")


Act = Callable[[Bench], str]
KEYS_UNREAD = "Failed to read the provider keys"
NO_ADDRESS = "403 .*AccessDenied"


def objects(action: str, key: str, act: Act) -> tuple[str, Act, str]:
    return (f"s3:{action} {key}", act, f"S3 refused {action} on {key.replace('*', '.+')}")


def listing(prefix: str, act: Act) -> tuple[str, Act, str]:
    return ("s3:ListBucket", act, f"S3 refused ListObjectsV2 on {prefix}")


def missing(key: str, act: Act) -> tuple[str, Act, str]:
    """A key that does not exist, which S3 says only to a role that may list the bucket."""
    return ("s3:ListBucket", act, f"S3 refused GetObject on {key.replace('*', '.+')}")


def catalogue_and_keys(act: Act) -> list[tuple[str, Act, str]]:
    return [objects("GetObject", "config/models.json", act), ("secretsmanager:GetSecretValue", act, KEYS_UNREAD)]


STATUS, RESUME, COUNTS = "jobs/*/status.json", "jobs/*/resume/*", "rate-limit/ratelimit.json"
UPLOAD_COUNTS = "rate-limit/uploads.json"
PREPARED = "references/*/?"
# By function: a grant, what needs it, and what is said without it.
ENFORCED: dict[str, list[tuple[str, Act, str]]] = {
    "submit": [
        objects("GetObject", STATUS, Bench.submit_twice),
        objects("PutObject", STATUS, Bench.submit),
        objects("GetObject", COUNTS, Bench.submit),
        objects("PutObject", COUNTS, Bench.submit),
        objects("GetObject", "idempotency/*", Bench.submit_twice),
        objects("PutObject", "idempotency/*", Bench.submit_twice),
        missing(COUNTS, Bench.submit_first),
        ("states:StartExecution", Bench.submit, "The execution could not be started.*AccessDenied"),
        (
            "s3:PutObject references/*/given.json",
            Bench.submit_an_edit,
            "S3 refused PutObject on references/.+/given.json",
        ),
        *catalogue_and_keys(Bench.submit),
    ],
    "prepare-references": [
        objects("GetObject", STATUS, Bench.prepare),
        objects("PutObject", STATUS, Bench.prepare),
        objects("GetObject", "references/*/given.json", Bench.prepare),
        objects("GetObject", "uploads/*", Bench.prepare_an_upload),
        objects("GetObject", "images/*", Bench.prepare_an_earlier_image),
        objects("PutObject", PREPARED, Bench.prepare),
        (f"s3:GetObject {PREPARED}", Bench.prepare_again, "S3 refused HeadObject on references/.+/0"),
        listing("jobs/", Bench.prepare_an_earlier_image),
    ],
    "generate": [
        objects("GetObject", STATUS, Bench.generate),
        objects("PutObject", STATUS, Bench.generate),
        objects("PutObject", RESUME, Bench.generate_slowly),
        objects("GetObject", RESUME, Bench.generate_in_a_redrive),
        objects("PutObject", "group-images/*", Bench.generate),
        objects("PutObject", "images/*", Bench.generate),
        objects("PutObject", "gallery-index/*", Bench.generate),
        objects("PutObject", "owned-galleries/*", Bench.generate_for_an_owner),
        objects("GetObject", PREPARED, Bench.generate_an_edit),
        missing(STATUS, Bench.generate_for_an_expired_job),
        *catalogue_and_keys(Bench.generate),
    ],
    "record-failure": [
        objects("GetObject", STATUS, Bench.record_failure),
        objects("PutObject", STATUS, Bench.record_failure),
        objects("GetObject", RESUME, Bench.record_failure),
        listing("group-images/", Bench.record_failure),
    ],
    "finish": [
        objects("GetObject", STATUS, Bench.finish),
        objects("PutObject", STATUS, Bench.finish),
        listing("group-images/", Bench.finish),
    ],
    "status": [
        objects("GetObject", STATUS, Bench.status),
        missing(STATUS, Bench.status_of_no_job),
        ("lambda:InvokeFunction", Bench.status_of_an_abandoned_job, "could not be asked.*AccessDenied"),
        ("states:DescribeExecution", Bench.status_of_an_unstarted_job, "could not be looked for.*AccessDenied"),
        ("s3:GetObject images/*", Bench.pictures_of_status, NO_ADDRESS),
    ],
    "enhance": [
        objects("GetObject", "enhanced/*", Bench.enhance),
        objects("PutObject", "enhanced/*", Bench.enhance),
        objects("GetObject", "rate-limit/enhance.json", Bench.enhance),
        objects("PutObject", "rate-limit/enhance.json", Bench.enhance),
        missing("enhanced/*", Bench.enhance),
        *catalogue_and_keys(Bench.enhance),
    ],
    "upload": [
        objects("GetObject", UPLOAD_COUNTS, Bench.upload),
        objects("PutObject", UPLOAD_COUNTS, Bench.upload),
        missing(UPLOAD_COUNTS, Bench.upload_first),
        ("s3:PutObject uploads/*", Bench.upload_file, "403 .*AccessDenied"),
    ],
    "models": [*catalogue_and_keys(Bench.models), missing("config/models.json", Bench.models)],
    "gallery": [
        objects("GetObject", STATUS, Bench.gallery),
        listing("gallery-index/", Bench.galleries),
        ("s3:GetObject images/*", Bench.pictures_of_gallery, NO_ADDRESS),
    ],
    "cancel": [
        objects("GetObject", STATUS, Bench.cancel),
        objects("PutObject", STATUS, Bench.cancel),
        missing(STATUS, Bench.cancel_no_job),
        ("states:StopExecution", Bench.cancel, "The job is cancelled, but its execution could not be stopped"),
        ("s3:GetObject images/*", Bench.pictures_of_cancel, NO_ADDRESS),
    ],
    "retry": [
        objects("GetObject", STATUS, Bench.retry),
        objects("PutObject", STATUS, Bench.retry),
        objects("GetObject", COUNTS, Bench.retry),
        objects("PutObject", COUNTS, Bench.retry),
        objects("GetObject", RESUME, Bench.retry),
        missing(STATUS, Bench.retry_no_job),
        ("states:StartExecution", Bench.retry, "The execution could not be started.*AccessDenied"),
    ],
}
# A warm worker has read these and keeps them for a minute or more.
CACHED = {"s3:GetObject config/models.json", "secretsmanager:GetSecretValue"}
# This one reads no other key that may be missing.
FRESH = {("models", "s3:ListBucket"), *((function, grant) for function in ENFORCED for grant in CACHED)}


class Role:
    """The live role of a function, whose one policy is taken apart into single grants."""

    def __init__(self, service: Service, function: str) -> None:
        self._iam = service.cloud.client("iam")
        name = service.function(function)
        arn = service.cloud.client("lambda").get_function_configuration(FunctionName=name)["Role"]
        self._role = arn.rpartition("/")[2]
        (self._policy,) = self._iam.list_role_policies(RoleName=self._role)["PolicyNames"]
        assert not self._iam.list_attached_role_policies(RoleName=self._role)["AttachedPolicies"]
        document = self._iam.get_role_policy(RoleName=self._role, PolicyName=self._policy)["PolicyDocument"]
        self.grants = dict(_grants(document, service.bucket))
        self._document = document

    @contextmanager
    def without(self, *grants: str) -> Iterator[None]:
        """The role with all its grants but these, and then again with them."""
        rest = [statement for grant, statement in self.grants.items() if grant not in grants]
        assert len(rest) == len(self.grants) - len(set(grants))
        self._put({"Version": "2012-10-17", "Statement": rest})
        try:
            yield
        finally:
            self._put(self._document)

    def _put(self, document: dict[str, Any]) -> None:
        text = json.dumps(document)
        self._iam.put_role_policy(RoleName=self._role, PolicyName=self._policy, PolicyDocument=text)


def _grants(document: dict[str, Any], bucket: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A policy as single grants, each with its statement: an action, and for objects the keys."""
    for statement in document["Statement"]:
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                single = {**statement, "Action": action, "Resource": resource}
                if action.startswith("s3:") and "/" in resource:
                    yield f"{action} {resource.removeprefix(f'arn:aws:s3:::{bucket}/')}", single
                elif action == "bedrock:InvokeModel":
                    yield action, {**statement, "Action": action}
                else:
                    yield action, single


@pytest.fixture(scope="module")
def bench(cloud: Any) -> Bench:
    return Bench(Service(cloud))


@pytest.mark.parametrize("function", ENFORCED)
def test_every_grant_is_tried_here_or_has_its_reason(service: Service, function: str) -> None:
    tried = {grant for grant, _, _ in ENFORCED[function]}
    explained = {grant for grant in Role(service, function).grants if grant in NOT_ENFORCED}
    assert not tried & explained
    assert set(Role(service, function).grants) == tried | explained


def test_every_function_is_tried(service: Service) -> None:
    names = [entry["FunctionName"] for entry in service.cloud.client("lambda").list_functions()["Functions"]]
    ours = {name.removeprefix("pixel-prompt-dev-") for name in names if name.startswith("pixel-prompt-dev-")}
    assert ours == set(ENFORCED)


# The functions all of whose grants have been tried.
TRIED: set[str] = set()


@pytest.mark.parametrize("function", ENFORCED)
def test_without_a_grant_what_needs_it_fails(service: Service, bench: Bench, function: str) -> None:
    role = Role(service, function)
    for grant, act, said in ENFORCED[function]:
        with role.without(grant):
            if (function, grant) in FRESH:
                restart(service, function)
            heard = act(bench)
        assert re.search(said, heard, re.DOTALL), (grant, heard)
        # With it, nothing of the kind is said.
        assert not re.search(said, act(bench), re.DOTALL), grant
    TRIED.add(function)


def test_what_is_not_enforced_is_not_needed_here(service: Service) -> None:
    """Should the emulator learn to enforce one of them, it belongs among those above."""
    with ExitStack() as roles:
        for function in ENFORCED:
            role = Role(service, function)
            roles.enter_context(role.without(*(grant for grant in role.grants if grant in NOT_ENFORCED)))
        assert service.run()["status"] == "completed"
        assert service.cloud.request("GET", f"/status/{uuid.uuid4()}").status == 404
        assert service.cloud.request("POST", f"/retry/{uuid.uuid4()}").status == 404
        assert service.cloud.request("POST", "/enhance", {"prompt": "a heron"}).status == 200


def test_the_emulator_listens_on_loopback_and_on_one_port_only(cloud: Cloud) -> None:
    """With TLS, run as root, it would open port 443 by itself."""
    state = json.loads((cloud.directory / "state.json").read_text())
    emulator = psutil.Process(state["emulator"]["pid"])
    listening = {c.laddr for c in emulator.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert {tuple(address) for address in listening} == {("127.0.0.1", state["emulator"]["port"])}
