"""The emulator serves whoever started it and nobody else: each way around that, tried over the wire."""

import contextlib
import hashlib
import io
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local.cloud.certificate import write as write_certificate
from local.cloud.running import ORIGINS
from local.cloud.servers import launch_emulator
from local.emulator import peer
from local.emulator.access_key import AccessKey
from local.lease import Lease
from local.permissions import private_files
from local.processes import end, with_children

REGION = "us-east-1"
BUCKET = "a-bucket"
PAGE = "http://127.0.0.1:65000"
SECRET = "sk-the-key-of-a-provider"
API = "an-api"
# What a function of the cloud answers to the HTTP API: its own credentials, for the tests.
FUNCTION = """
import json, os
def handler(event, context):
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return {"statusCode": 200, "body": json.dumps({name: os.environ.get(name, "") for name in names})}
"""


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Emulator:
    """A running emulator with a secret, a bucket, and a function behind an HTTP API."""

    port: int
    key: AccessKey
    certificate: str
    arn: str
    origins: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def client(self, service: str, key: AccessKey | None = None, token: str | None = None) -> Any:
        """A client with the key of the run, or another one."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            verify=self.certificate or None,
            config=Config(
                signature_version="s3v4" if service == "s3" else None,
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
            ),
            aws_session_token=token,
            **(key or self.key).client_options(),
        )

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send a request as it is, without a signature."""
        url = path if "://" in path else self.url + path
        request = urllib.request.Request(url, body, dict(headers or {}), method=method)
        context = ssl.create_default_context(cafile=self.certificate) if self.certificate else None
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return Answer(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), dict(error.headers))


@pytest.fixture(scope="module", params=["plain", "enforcing IAM"])
def emulator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Both kinds: with and without IAM, which has it check signatures itself."""
    folder = tmp_path_factory.mktemp("emulator")
    key = AccessKey.random()
    certificate, private_key = "", ""
    (folder / ORIGINS).write_text(json.dumps([PAGE]))
    with private_files():
        used = Lease(folder)
        if request.param != "plain":
            certificate, private_key = map(str, write_certificate(folder / "tls"))
        server = launch_emulator(
            folder / "run", folder / "emulator.log", cloud=folder, access_key=key,
            certificate=certificate, key=private_key,
        )  # fmt: skip
    try:
        running = Emulator(server.port, key, certificate, "", folder / ORIGINS)
        limit = time.monotonic() + 30
        while True:
            try:
                assert running.send("GET", "/_ministack/ready").status == 200
                break
            except (OSError, AssertionError):
                assert time.monotonic() < limit, (folder / "emulator.log").read_text()
                time.sleep(0.1)
        yield replace(running, arn=_fill(running))
    finally:
        if process := server.process():
            end(with_children(process))
        used.end()


def _fill(emulator: Emulator) -> str:
    """Make a secret, a bucket with an object, and a function behind an HTTP API; the function's ARN."""
    emulator.client("secretsmanager").create_secret(Name="keys", SecretString=SECRET)
    emulator.client("s3").create_bucket(Bucket=BUCKET)
    emulator.client("s3").put_object(Bucket=BUCKET, Key="images/a b.txt", Body=b"an image")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = emulator.client("iam").create_role(
        RoleName="a-role", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    own = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}
    emulator.client("iam").put_role_policy(
        RoleName="a-role",
        PolicyName="own",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [own]}),
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("function.py", FUNCTION)
    arn: str = emulator.client("lambda").create_function(
        FunctionName="a-function",
        Runtime=f"python{sys.version_info.major}.{sys.version_info.minor}",
        Role=role,
        Handler="function.handler",
        Code={"ZipFile": archive.getvalue()},
        Timeout=30,
    )["FunctionArn"]
    gateway = emulator.client("apigatewayv2")
    api = gateway.create_api(Name="api", ProtocolType="HTTP", Tags={"ms-custom-id": API})["ApiId"]
    integration = gateway.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    gateway.create_route(ApiId=api, RouteKey="$default", Target=f"integrations/{integration}")
    gateway.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    emulator.client("lambda").add_permission(
        FunctionName="a-function",
        StatementId="api",
        Action="lambda:InvokeFunction",
        Principal="apigateway.amazonaws.com",
        SourceArn=f"arn:aws:execute-api:{REGION}:000000000000:{api}/*",
    )
    assert api == API
    return arn


JSON = {"Content-Type": "application/x-amz-json-1.1"}
READ_SECRET = {**JSON, "X-Amz-Target": "secretsmanager.GetSecretValue"}
ASKED = b'{"SecretId": "keys"}'
API_PATH = f"/_aws/execute-api/{API}"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("POST", "/", READ_SECRET, ASKED),
        # Its path is nearly that of the HTTP API.
        ("POST", API_PATH, READ_SECRET, ASKED),
        ("POST", "/_aws/execute-api/", READ_SECRET, ASKED),
        ("POST", f"/x/..{API_PATH}/", READ_SECRET, ASKED),
        ("POST", f"/{API_PATH}/", READ_SECRET, ASKED),
        ("POST", "/", {**JSON, "X-Amz-Target": "AWSStepFunctions.StartExecution"}, b'{"stateMachineArn": "a"}'),
        ("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=ListRoles&Version=2010-05-08"),
        ("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", {}, None),
        ("GET", "/?Action=ListRoles&Version=2010-05-08&AWSAccessKeyId=test", {}, None),
        ("POST", "/2015-03-31/functions", JSON, b"{}"),
        ("POST", "/2015-03-31/functions/a-function/invocations", JSON, b"{}"),
        ("GET", "/2015-03-31/functions/", {}, None),
        ("GET", "/", {}, None),
        ("GET", f"/{BUCKET}", {}, None),
        ("GET", f"/{BUCKET}/images/a%20b.txt", {}, None),
        ("HEAD", f"/{BUCKET}/images/a%20b.txt", {}, None),
        ("PUT", f"/{BUCKET}/images/b", {}, b"mine"),
        ("DELETE", f"/{BUCKET}/images/a%20b.txt", {}, None),
        ("POST", f"/{BUCKET}?delete", {}, b"<Delete/>"),
        ("OPTIONS", "/", {}, None),
        ("OPTIONS", f"/{BUCKET}/images/b", {}, None),
        ("POST", "/_ministack/reset", {}, b""),
        ("POST", "/_ministack/config", JSON, b"{}"),
        ("GET", "/_ministack/health", {}, None),
        ("POST", "/_ministack/ready", READ_SECRET, ASKED),
        ("POST", "/_ministack/rds/iam-auth", JSON, b"{}"),
        ("PUT", "/_ministack/cfn-response/x", {}, b"{}"),
        ("GET", "/_ministack/lambda-code/a-function", {}, None),
        ("GET", "/_localstack/health", {}, None),
        ("GET", "/_aws/sqs/messages", {}, None),
        ("GET", "/_aws/ses/messages", {}, None),
        ("GET", f"/restapis/{API}/prod/_user_request_/x", {}, None),
        ("GET", "/iceberg/v1/config", {}, None),
        ("GET", "/oauth2/authorize", {}, None),
        ("POST", "/v2/email/outbound-emails", JSON, b"{}"),
        ("POST", "/WriteGetObjectResponse", {"x-amz-request-route": "x"}, b""),
    ],
)  # fmt: skip
def test_an_unsigned_request_reaches_nothing(
    emulator: Emulator, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> None:
    answer = emulator.send(method, path, headers, body)
    assert answer.status == 403, answer
    assert "access-control-allow-origin" not in {name.lower() for name in answer.headers}
    assert emulator.client("s3").get_object(Bucket=BUCKET, Key="images/a b.txt")["Body"].read() == b"an image"


@pytest.mark.parametrize("token", [None, "a-token"])
@pytest.mark.parametrize("id", ["", "test", "000000000000", "123456789012", "AKIAIOSFODNN7EXAMPLE", "of the run"])
def test_a_forged_signature_opens_nothing(emulator: Emulator, id: str, token: str | None) -> None:
    for secret in ("test", "", "of-another-run", emulator.key.id):
        forged = AccessKey(emulator.key.id if id == "of the run" else id or "x", secret or "x")
        with pytest.raises(ClientError) as refused:
            emulator.client("secretsmanager", forged, token).get_secret_value(SecretId="keys")
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        with pytest.raises(ClientError) as refused:
            emulator.client("s3", forged, token).list_buckets()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def _signed(emulator: Emulator, body: bytes = ASKED, service: str = "secretsmanager") -> dict[str, str]:
    """The headers of a request for the secret, signed with the key of the run."""
    request = AWSRequest("POST", f"{emulator.url}/", {**READ_SECRET}, body)
    SigV4Auth(Credentials(emulator.key.id, emulator.key.secret), service, REGION).add_auth(request)
    return dict(request.headers)


def test_a_signature_is_for_one_request(emulator: Emulator) -> None:
    headers = _signed(emulator)
    assert SECRET.encode() in emulator.send("POST", "/", headers, ASKED).body
    authorization = headers["Authorization"]
    others: list[dict[str, Any]] = [
        {"body": b'{"SecretId": "other"}'},
        {"X-Amz-Target": "secretsmanager.DeleteSecret"},
        {"X-Amz-Date": "20200101T000000Z"},
        {"Authorization": authorization[:-1] + ("0" if authorization[-1] != "0" else "1")},
        {"Authorization": authorization.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")},
        {"Authorization": authorization.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1")},
        {"Authorization": "AWS " + emulator.key.id + ":c2lnbmF0dXJl"},
        {"Authorization": f"AWS4-HMAC-SHA256 Credential={emulator.key.id}"},
        {"Authorization": f"Bearer {emulator.key.id}"},
        {"Authorization": ""},
        {"path": "/?x=1"},
        {"method": "PUT"},
    ]
    for other in others:
        changed = {**headers, **{name: value for name, value in other.items() if "-" in name or name[0].isupper()}}
        answer = emulator.send(
            str(other.get("method", "POST")),
            str(other.get("path", "/")),
            changed,
            other.get("body", ASKED),
        )
        assert answer.status == 403, other


def test_the_signature_of_a_presigned_url_signs_nothing_else(emulator: Emulator) -> None:
    url = urlsplit(_presigned(emulator))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    signature, signing = query.pop("X-Amz-Signature"), url.query.partition("&X-Amz-Signature=")[0]
    credential = f"Credential={query['X-Amz-Credential']}, SignedHeaders=host, Signature={signature}"
    moved = {
        "Authorization": f"AWS4-HMAC-SHA256 {credential}",
        "X-Amz-Date": query["X-Amz-Date"],
        "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD",
    }
    path = f"{url.path}?{signing}"
    for added in (READ_SECRET, {**READ_SECRET, "X-Amz-Target": "secretsmanager.ListSecrets"}, {}):
        answer = emulator.send("GET", path, {**moved, **added}, ASKED if added else None)
        assert answer.status == 403, answer
    assert emulator.send("GET", f"{path}&X-Amz-Signature={signature}", moved).status == 403
    # Nor does a signature in the headers sign a header that is added, or another body.
    for other in ({"X-Amz-Security-Token": "x"}, {"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}, {"X-Amz-Meta-A": "a"}):
        assert emulator.send("POST", "/", {**_signed(emulator), **other}, ASKED).status == 403
    request = AWSRequest("PUT", f"{emulator.url}/{BUCKET}/swapped", data=b"right")
    S3SigV4Auth(Credentials(emulator.key.id, emulator.key.secret), "s3", REGION).add_auth(request)
    assert emulator.send("PUT", f"/{BUCKET}/swapped", dict(request.headers), b"WRONG").status == 403
    assert emulator.send("PUT", f"/{BUCKET}/swapped", dict(request.headers), b"right").status == 200


def test_what_is_no_signature_is_refused_and_breaks_nothing(emulator: Emulator) -> None:
    headers = _signed(emulator)
    signed = headers["Authorization"].rpartition("Signature=")[0]
    for signature in ("\xe9" * 64, "", "0" * 63, "0" * 65, "A" * 64):
        answer = emulator.send("POST", "/", {**headers, "Authorization": f"{signed}Signature={signature}"}, ASKED)
        assert answer.status == 403, signature


def test_a_header_in_utf_8_is_signed_as_it_is(emulator: Emulator) -> None:
    s3 = emulator.client("s3")
    name = 'attachment; filename="\u00fc.png"'
    s3.put_object(Bucket=BUCKET, Key="utf-8", Body=b"", ContentDisposition=name)
    assert s3.head_object(Bucket=BUCKET, Key="utf-8")["ContentDisposition"]


def test_an_old_signature_is_refused(emulator: Emulator) -> None:
    request = AWSRequest("POST", f"{emulator.url}/", {**READ_SECRET}, ASKED)
    auth = SigV4Auth(Credentials(emulator.key.id, emulator.key.secret), "secretsmanager", REGION)
    auth.add_auth(request)
    request.headers.replace_header("X-Amz-Date", "20200101T000000Z")
    del request.headers["Authorization"]
    request.context["timestamp"] = "20200101T000000Z"
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    auth._inject_signature_to_request(request, signature)
    assert emulator.send("POST", "/", dict(request.headers), ASKED).status == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1", "localhost", "127.0.0.1:{port}.evil.example",
     "localhost.evil.example:{port}", "a.localhost:{port}", "s3.localhost:{port}", "[::1]:{port}", "0.0.0.0:{port}",
     f"{API}.execute-api.localhost:{{port}}", "x.lambda-url.us-east-1.localhost:{port}", "", "2130706433:{port}"],
)  # fmt: skip
def test_a_name_that_leads_here_is_no_way_in(emulator: Emulator, host: str) -> None:
    named = {"Host": host.format(port=emulator.port)}
    assert emulator.send("POST", "/", {**READ_SECRET, **named}, ASKED).status in (400, 403)
    assert emulator.send("GET", f"{API_PATH}/", named).status in (400, 403)
    assert emulator.send("GET", "/", named).status in (400, 403)


def test_two_hosts_are_none(emulator: Emulator) -> None:
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=10) as raw:
        connection = ssl.create_default_context(cafile=emulator.certificate).wrap_socket(
            raw, server_hostname="127.0.0.1"
        ) if emulator.certificate else raw  # fmt: skip
        hosts = f"Host: 127.0.0.1:{emulator.port}\r\nHost: evil.example"
        connection.sendall(f"GET {API_PATH}/ HTTP/1.1\r\n{hosts}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(4096).split()[1] in (b"400", b"403")


def test_a_distribution_is_reached_by_its_name_and_nothing_else_is(emulator: Emulator) -> None:
    named = {"Host": f"abcdefgh.cloudfront.localhost:{emulator.port}"}
    for method, path, headers, body in (
        ("GET", f"/{BUCKET}/images/a%20b.txt", {}, None),
        ("POST", "/", READ_SECRET, ASKED),
        ("GET", f"{API_PATH}/", {}, None),
    ):
        assert emulator.send(method, path, {**headers, **named}, body).status == 403
    answer = emulator.client("cloudfront").create_distribution(
        DistributionConfig={
            "CallerReference": "a",
            "Comment": "",
            "Enabled": True,
            "Origins": {"Quantity": 1, "Items": [{"Id": "o", "DomainName": f"{BUCKET}.s3.amazonaws.com",
                                                   "S3OriginConfig": {"OriginAccessIdentity": ""}}]},
            "DefaultCacheBehavior": {"TargetOriginId": "o", "ViewerProtocolPolicy": "allow-all",
                                     "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
                                     "MinTTL": 0},
        }
    )  # fmt: skip
    label = answer["Distribution"]["DomainName"].partition(".")[0]
    named = {"Host": f"{label}.cloudfront.localhost:{emulator.port}"}
    # It answers for itself, whatever that is.
    for path in (
        "/images/a%20b.txt", "/_ministack/health", "/_ministack/lambda-code/a-function", "/v2/email/identities",
        "/iceberg/v1/config", "/v20180820/bucket", "/2015-03-31/functions/", f"{API_PATH}/", "/oauth2/authorize",
    ):  # fmt: skip
        found = emulator.send("GET", path, named)
        assert "x-cache" in {name.lower() for name in found.headers}, (path, found)
    for path in ("/", "/_ministack/reset", "/_ministack/config", "/Execute"):
        assert emulator.send("POST", path, {**JSON, **named}, b"{}").status == 403
    assert emulator.client("s3").list_buckets()["Buckets"]
    assert SECRET.encode() not in emulator.send("POST", "/", {**READ_SECRET, **named}, ASKED).body


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:9", "http://localhost:65000", "*"]
)
def test_a_page_of_another_origin_is_refused(emulator: Emulator, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = emulator.send(method, f"{API_PATH}/generate", {"Origin": origin, "Content-Type": "text/plain"}, b"{}")
        assert answer.status == 403
        assert json.loads(answer.body)["error"] == "ORIGIN_NOT_ALLOWED"
        assert "access-control-allow-origin" not in {name.lower() for name in answer.headers}
    url = emulator.client("s3").generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "images/a b.txt"})
    assert emulator.send("GET", url, {"Origin": origin}).status == 403
    # A page that has the key has it from its user, but no page needs it.
    assert emulator.send("POST", "/", {**_signed(emulator), "Origin": origin}, ASKED).status == 403


@pytest.mark.parametrize("content", ["5", "null", "[[1]]", "", "[]", "{"])
def test_without_a_list_of_origins_no_page_is_served(emulator: Emulator, content: str) -> None:
    before = emulator.origins.read_text()
    emulator.origins.write_text(content)
    try:
        answer = emulator.send("GET", f"{API_PATH}/", {"Origin": PAGE})
        assert answer.status == 403
        assert "`make up`" in json.loads(answer.body)["message"]
    finally:
        emulator.origins.write_text(before)


def test_its_own_page_is_served(emulator: Emulator) -> None:
    assert emulator.send("POST", f"{API_PATH}/generate", {"Origin": PAGE}, b"{}").status == 200
    url = emulator.client("s3").generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "images/a b.txt"})
    assert emulator.send("GET", url, {"Origin": PAGE}).status == 200


@pytest.mark.parametrize("path", ["/", f"{API_PATH}/x"])
def test_there_is_no_way_in_by_a_websocket(emulator: Emulator, path: str) -> None:
    headers = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt",
    }  # fmt: skip
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=10) as raw:
        connection = ssl.create_default_context(cafile=emulator.certificate).wrap_socket(
            raw, server_hostname="127.0.0.1"
        ) if emulator.certificate else raw  # fmt: skip
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{emulator.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert connection.recv(4096).split()[1] == b"403"


def _presigned(emulator: Emulator, method: str = "get_object", seconds: int = 60) -> str:
    url: str = emulator.client("s3").generate_presigned_url(
        method, Params={"Bucket": BUCKET, "Key": "images/a b.txt"}, ExpiresIn=seconds
    )
    return url


def test_a_presigned_url_reads_its_object_and_does_nothing_else(emulator: Emulator) -> None:
    url = _presigned(emulator)
    assert emulator.send("GET", url).body == b"an image"
    assert emulator.send("HEAD", _presigned(emulator, "head_object")).status == 200
    # What is not signed is not seen: another service is not reached.
    for headers, body in (
        ({"X-Amz-Target": "secretsmanager.GetSecretValue", **JSON}, ASKED),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"Action=ListRoles&Version=2010-05-08"),
        ({"X-Amz-Copy-Source": f"/{BUCKET}/x"}, None),
    ):
        assert emulator.send("GET", url, headers, body).body == b"an image"
    signature = url.rpartition("X-Amz-Signature=")[2]
    algorithm = "X-Amz-Algorithm=AWS4-HMAC-SHA256"
    for wrong in (
        url.replace("a%20b.txt", "a%20c.txt"),
        url.replace(signature, "0" * 64),
        url.replace(f"X-Amz-Signature={signature}", "X-Amz-Signature="),
        url.replace(algorithm, "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256"),
        url.replace(algorithm, "X-Amz-Algorithm=none"),
        url.replace(f"{algorithm}&", ""),
        url.replace(emulator.key.id, "test"),
        url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        f"{url}&x-amz-algorithm=AWS4-HMAC-SHA256",
        f"{url}&X-Amz-Signature={signature}",
        f"{url}&versionId=1",
        f"{url}&AWSAccessKeyId=test&Signature=x&Expires=9999999999",
        f"{emulator.url}/?X-Amz-Signature={signature}",
        f"{emulator.url}/{BUCKET}/images/a%20b.txt?AWSAccessKeyId={emulator.key.id}&Signature=x&Expires=9999999999",
    ):
        assert emulator.send("GET", wrong).status in (400, 403), wrong
    for method in ("PUT", "DELETE", "POST"):
        assert emulator.send(method, url, {}, b"mine").status == 403
    assert emulator.send("PUT", _presigned(emulator, "put_object"), {}, b"mine").status == 403
    assert emulator.send("DELETE", _presigned(emulator, "delete_object")).status == 403


def test_a_query_signature_of_another_service_opens_nothing(emulator: Emulator) -> None:
    for signer in (SigV4QueryAuth,):
        request = AWSRequest("GET", f"{emulator.url}/?Action=GetCallerIdentity&Version=2011-06-15")
        signer(Credentials("test", "test"), "sts", REGION, expires=60).add_auth(request)
        assert emulator.send("GET", request.url).status == 403


def test_a_presigned_url_ends(emulator: Emulator) -> None:
    url = _presigned(emulator, seconds=1)
    time.sleep(2.1)
    assert emulator.send("GET", url).status == 403


def _form(emulator: Emulator, fields: Mapping[str, str], path: str = f"/{BUCKET}", **headers: str) -> Answer:
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields.items()]
    parts += [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nmine\r\n--{boundary}--\r\n'
    ]
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return emulator.send("POST", path, {**kind, **headers}, "".join(parts).encode())


def test_a_form_uploads_what_its_policy_allows(emulator: Emulator) -> None:
    s3 = emulator.client("s3")
    form = s3.generate_presigned_post(BUCKET, "uploads/one", Conditions=[["content-length-range", 1, 100]])["fields"]
    assert _form(emulator, form).status == 204
    assert s3.get_object(Bucket=BUCKET, Key="uploads/one")["Body"].read() == b"mine"
    # The header that would lead the request to another service is not seen.
    assert _form(emulator, form, **{"X-Amz-Target": "secretsmanager.GetSecretValue"}).status == 204
    other = AccessKey(emulator.key.id, "of-another-run")
    forged = emulator.client("s3", other).generate_presigned_post(BUCKET, "uploads/two")["fields"]
    tests = AccessKey("test", "test")
    strange = emulator.client("s3", tests).generate_presigned_post(BUCKET, "uploads/two")["fields"]
    for fields in (
        {"key": "uploads/two"},
        {"key": "uploads/two", "policy": form["policy"]},
        {**form, "key": "uploads/two"},
        {**form, "x-amz-signature": "0" * 64},
        {name: value for name, value in form.items() if name != "x-amz-signature"},
        {name: value for name, value in form.items() if not name.startswith("x-amz-")},
        {"key": "uploads/two", "policy": form["policy"], "AWSAccessKeyId": emulator.key.id, "signature": "c2ln"},
        forged,
        strange,
    ):
        answer = _form(emulator, fields)
        assert answer.status in (400, 403), (fields, answer)
    for path in ("/functions", "/", "/2015-03-31/functions", f"/{BUCKET}/uploads", f"/{BUCKET}?policy", "/no-bucket"):
        assert _form(emulator, form, path).status == 403, path
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix="uploads/two")


def test_a_page_may_ask_whether_it_may_upload(emulator: Emulator) -> None:
    rule = {"AllowedOrigins": [PAGE], "AllowedMethods": ["POST"]}
    emulator.client("s3").put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    answer = emulator.send("OPTIONS", f"/{BUCKET}", {**asked, "X-Amz-Target": "secretsmanager.GetSecretValue"})
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] in (PAGE, "*")
    assert emulator.send("OPTIONS", f"/{BUCKET}", {**asked, "Origin": "https://other.example"}).status == 403
    for path in ("/functions", "/", "/2015-03-31/functions", f"/{BUCKET}/uploads", f"/{BUCKET}?policy", "/no-bucket"):
        assert emulator.send("OPTIONS", path, asked).status == 403, path


@pytest.mark.parametrize("kind", ["boundary=boundary", "boundary=b", "boundary=boundary; x=y", "charset=utf-8"])
def test_a_form_without_a_policy_costs_the_emulator_little(emulator: Emulator, kind: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; {kind}", "Content-Encoding": "aws-chunked"}
    many = b"--boundary\r\n\r\n" * 1_000_000
    for body in (bytes(33 * 2**20), many, b"1\r\nx\r\n" * 1_000_000):
        began = time.monotonic()
        # It may not wait for the end of what it does not read.
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            assert emulator.send("POST", f"/{BUCKET}", headers, body).status in (400, 403)
        assert emulator.send("GET", "/_ministack/ready").status == 200
        assert time.monotonic() - began < 10


def test_another_credential_beside_the_one_that_is_checked_counts_for_nothing(emulator: Emulator) -> None:
    own = json.loads(emulator.send("GET", f"{API_PATH}/").body)
    key = Credentials(own["AWS_ACCESS_KEY_ID"], own["AWS_SECRET_ACCESS_KEY"], own["AWS_SESSION_TOKEN"] or None)
    request = AWSRequest("GET", f"{emulator.url}/{BUCKET}?list-type=2")
    S3SigV4Auth(key, "s3", REGION).add_auth(request)
    headers = dict(request.headers)
    assert emulator.send("GET", f"/{BUCKET}?list-type=2", headers).status == 200
    algorithm, _, fields = headers["Authorization"].partition(" ")
    day = headers["X-Amz-Date"][:8]
    for service in ("secretsmanager", "lambda", "iam", "s3"):
        other = f"Credential={emulator.key.id}/{day}/{REGION}/{service}/aws4_request"
        for authorization in (
            f"{algorithm} X-{other}, {fields}",
            f"{algorithm} {fields}, X-{other}",
            f"{algorithm} {other}, {fields}",
            f"{algorithm} {fields}, {other}",
            f"{algorithm} {fields}, {algorithm} {fields}",
        ):
            answer = emulator.send("GET", f"/{BUCKET}?list-type=2", {**headers, "Authorization": authorization})
            assert answer.status == 403, authorization


def test_a_path_that_another_service_knows_is_not_served_unsigned(emulator: Emulator) -> None:
    s3 = emulator.client("s3")
    alarms = "service/GraniteServiceVersion20100801/operation/DescribeAlarms"
    for bucket, key in (("service", alarms.partition("/")[2]), ("iceberg-x", "v1/config"), ("apikeys", "a")):
        url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        assert emulator.send("GET", url).status in (403, 404)
    s3.create_bucket(Bucket="apikeys")
    kind = {"Content-Type": "multipart/form-data; boundary=boundary"}
    assert emulator.send("POST", "/apikeys", kind, b'{"name": "evil", "enabled": true}').status == 403
    assert emulator.client("apigateway").get_api_keys()["items"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Amz-Expires", "999999999999999999"), ("X-Amz-Expires", "604801"), ("X-Amz-Expires", "-1"),
        ("X-Amz-Expires", ""), ("X-Amz-Date", "99991231T235959Z"), ("X-Amz-Date", "20261399T000000Z"),
        ("X-Amz-Date", "today"), ("X-Amz-Signature", "%C3%A9"), ("X-Amz-Credential", "%ED%A0%80"),
        ("X-Amz-Credential", "a/b"), ("X-Amz-SignedHeaders", "%00"), ("X-Amz-SignedHeaders", ""),
    ],
)  # fmt: skip
def test_a_presigned_url_with_odd_values_is_refused_and_breaks_nothing(
    emulator: Emulator, name: str, value: str
) -> None:
    url = re.sub(rf"{name}=[^&]*", f"{name}={value}", _presigned(emulator))
    assert emulator.send("GET", url).status in (400, 403)


def test_who_knows_the_names_of_a_role_does_not_know_its_credentials(emulator: Emulator) -> None:
    own = json.loads(emulator.send("GET", f"{API_PATH}/").body)
    role = "arn:aws:iam::000000000000:role/a-role"
    digest = hashlib.sha256(f"{emulator.arn}:{role}".encode()).hexdigest()
    derived = [hashlib.sha256(f"{name}:{digest}".encode()).hexdigest() for name in ("secret", "token")]
    for id in (f"ASIA{digest[:16].upper()}", own["AWS_ACCESS_KEY_ID"]):
        for token in (derived[1], None):
            with pytest.raises(ClientError) as refused:
                emulator.client("s3", AccessKey(id, derived[0]), token).list_objects_v2(Bucket=BUCKET)
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    key = AccessKey(own["AWS_ACCESS_KEY_ID"], own["AWS_SECRET_ACCESS_KEY"])
    assert emulator.client("s3", key, own["AWS_SESSION_TOKEN"] or None).list_objects_v2(Bucket=BUCKET)["KeyCount"]
    if emulator.certificate:
        assert own["AWS_SECRET_ACCESS_KEY"] != emulator.key.secret
        with pytest.raises(ClientError):
            emulator.client("secretsmanager", key, own["AWS_SESSION_TOKEN"]).get_secret_value(SecretId="keys")
        with pytest.raises(ClientError):
            emulator.client("s3", key).list_objects_v2(Bucket=BUCKET)


def test_a_session_that_the_emulator_began_has_a_secret_nobody_can_know(emulator: Emulator) -> None:
    made = emulator.client("sts").assume_role(
        RoleArn="arn:aws:iam::000000000000:role/a-role", RoleSessionName="a-session"
    )
    given = made["Credentials"]
    key = AccessKey(given["AccessKeyId"], given["SecretAccessKey"])
    assert emulator.client("sts", key, given["SessionToken"]).get_caller_identity()["Arn"].endswith("a-role/a-session")
    with pytest.raises(ClientError):
        emulator.client("sts", AccessKey(key.id, "x"), given["SessionToken"]).get_caller_identity()


def test_a_large_upload_is_signed_too(emulator: Emulator) -> None:
    body = os.urandom(9 * 2**20)
    s3 = emulator.client("s3")
    s3.put_object(Bucket=BUCKET, Key="large", Body=body)
    assert s3.get_object(Bucket=BUCKET, Key="large")["Body"].read() == body
    request = AWSRequest("PUT", f"{emulator.url}/{BUCKET}/large", data=body)
    S3SigV4Auth(Credentials(emulator.key.id, "of-another-run"), "s3", REGION).add_auth(request)
    with pytest.raises((urllib.error.URLError, AssertionError)):
        assert emulator.send("PUT", f"/{BUCKET}/large", dict(request.headers), body).status != 403


# As another user, who may not be able to read the interpreter's modules: all are imported before.
CLIENT = """
import os, socket, sys
port, request = int(sys.argv[1]), sys.argv[2].encode().decode("unicode_escape").encode()
"idna".encode("idna"); os.setgid(65534); os.setuid(65534)
connection = socket.create_connection(("127.0.0.1", port), timeout=20)
connection.sendall(request)
print(connection.recv(4096).split()[1].decode())
"""


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs Linux, and root to become another user")
def test_another_user_of_the_machine_starts_no_job(emulator: Emulator) -> None:
    if emulator.certificate:
        pytest.skip("the same without TLS")
    lines = [f"POST {API_PATH}/generate HTTP/1.1", f"Host: 127.0.0.1:{emulator.port}", "Content-Length: 2", "", "{}"]
    request = "\\r\\n".join(lines)
    command = [sys.executable, "-I", "-c", CLIENT, str(emulator.port), request]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "403"
    assert emulator.send("POST", f"{API_PATH}/generate", {}, b"{}").status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whose a connection is")
@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_whose_a_connection_is(address: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connection,
    ):
        at = ("127.0.0.1", server.getsockname()[1])
        connection.connect((address, at[1]))
        client = ("127.0.0.1", connection.getsockname()[1])
        assert peer.owner_of(client, at)[0] == os.getuid()
        assert not peer.is_of_another_user(client, at)
        assert peer.is_of_another_user((client[0], 1), at), "nobody's"
        connection.close()
        assert peer.is_of_another_user(client, at), "closed: nobody's any more"


@pytest.mark.parametrize(
    ("owner", "refused"),
    [
        ((1000, 77), False), ((0, 77), False), ((1001, 77), True), ((1000, 0), True), ((0, 0), True),
        (FileNotFoundError(), True), (PermissionError(), False), (AttributeError(), False),
    ],
)  # fmt: skip
def test_whose_connections_are_refused(
    monkeypatch: pytest.MonkeyPatch, owner: tuple[int, int] | Exception, refused: bool
) -> None:
    def answer(*_: Any) -> tuple[int, int]:
        if isinstance(owner, Exception):
            raise owner
        return owner

    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(peer, "owner_of", answer)
    assert peer.is_of_another_user(("127.0.0.1", 4000), ("127.0.0.1", 8000)) is refused


def test_the_key_of_a_run_is_in_no_command_line_and_in_no_log(emulator: Emulator, tmp_path: Path) -> None:
    key = AccessKey.random()
    key.save(tmp_path)
    key.save_shell_file(tmp_path, "http://127.0.0.1:1", REGION, "")
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    assert key.secret not in repr(key)
    assert AccessKey.load(tmp_path) == key
    for table in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert emulator.key.secret.encode() not in table.read_bytes()
        except OSError:
            continue
