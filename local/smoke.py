"""The smoke test: the whole way through a deployment, over HTTP alone, for as little money as it can be had.

It needs nothing but the API's URL. Requests are signed where the API asks for it, with the AWS credentials of the
caller; the key in API_KEY goes along, or the token in API_TOKEN.
"""

from __future__ import annotations

import json
import re
import statistics
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies
from PIL import Image

from local.aws.deployment import aws_failure
from local.cloud import CloudError
from local.confirmation import confirm
from local.doctor import BAD, GOOD, WARNING
from local.report import images
from pixelprompt.settings import LOOPBACK_HOSTS

PROMPT = "a lighthouse in fog"
BLOCKED = "a naked woman on a beach"
# Goals, in seconds.
JOB_ID_GOAL = 1.0
STATUS_GOAL = 0.5
IMAGES_GOAL = 300.0
POLL_SECONDS = 0.5
# A dropped connection or a 5xx now and then says nothing about a deployment: seconds until it is asked again.
_PAUSES = (1.0, 3.0)
# So many of the cheapest models, each of another provider, are asked: one that is down today proves nothing.
CHEAPEST = 2
# What a provider or its account lacks; the deployment can do nothing for it.
_PROVIDERS_FAULT = (
    "refused", "rate_limited", "quota_exhausted", "bad_credentials", "model_retired", "provider_unavailable", "timeout",
)  # fmt: skip
_FINAL = ("completed", "partial", "failed", "cancelled")


@dataclass(frozen=True)
class Response:
    """A response; header names are in lower case, `seconds` is from the first attempt to its last byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float = 0.0

    def json(self) -> dict[str, Any]:
        """The JSON object in the body; empty where it is not one."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def __str__(self) -> str:
        return f"{self.status} {self.json().get('error') or self.json().get('message') or ''}".strip()


class Api:
    """An HTTP API, asked over connections that stay open.

    Parameters
    ----------
    token : goes along with every request, if any: an API key, or a JWT
    source : the variable that has it
    certificate : file of the authority to trust instead of the usual ones
    say : prints the requests that had to be repeated

    Raises
    ------
    CloudError : `url` is not the URL of an API
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        certificate: str = "",
        say: Callable[[str], object] = lambda line: None,
        *,
        source: str = "API_TOKEN",
    ) -> None:
        try:
            parts = urlsplit(url)
            is_usable = parts.scheme in ("http", "https") and parts.hostname
        except ValueError:
            is_usable = False
        if not is_usable:
            raise CloudError(f"{url!r} is not the URL of an API; it must begin with https://, like the output ApiUrl.")
        if parts.username is not None:
            raise CloudError("The URL must not contain a user name; put a key into the environment as API_KEY.")
        self.url = url.rstrip("/")
        self._token, self._source = token, source
        # A proxy does not reach this machine.
        proxies = {} if parts.hostname in LOOPBACK_HOSTS else get_environ_proxies(self.url)
        self._session = URLLib3Session(certificate or True, proxies, timeout=(10, 60))
        self._say = say
        self._sign: Callable[[AWSRequest], None] | None = None

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """Send a request; after a dropped connection or a 5xx, report it and send the request again.

        A repeat never starts a second job, because jobs have an Idempotency-Key; at worst a prompt is enhanced twice.

        Parameters
        ----------
        path : or a whole URL, which is asked as it is

        Raises
        ------
        CloudError : nothing responds
        """
        started = time.monotonic()
        outcome = self._attempt(method, path, body, headers)
        for pause in _PAUSES:
            if isinstance(outcome, Response) and not _is_transient(outcome):
                break
            self._say(f"  {WARNING} repeated {method} {path.partition('?')[0]} after: {outcome}")
            time.sleep(pause)
            outcome = self._attempt(method, path, body, headers)
        if isinstance(outcome, str):
            raise CloudError(f"No response from {self.url}: {outcome}")
        return replace(outcome, seconds=time.monotonic() - started)

    def _attempt(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None) -> Response | str:
        """The response, or the reason for its absence in a word."""
        try:
            return self._request(method, path, body, headers)
        except BotoCoreError as error:
            # Its text may have the whole URL, and the query of an image's URL may be its signature.
            return type(error).__name__

    def _request(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None) -> Response:
        sent_headers = {"User-Agent": "pixel-prompt-smoke", **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent_headers["Content-Type"] = "application/json"
        own = path.startswith("/")
        request = AWSRequest(method, self.url + path if own else path, headers=sent_headers, data=body or b"")
        if own and self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        elif own and self._sign:
            self._sign(request)
        response = self._session.send(request.prepare())
        content = response.content
        lowered = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status_code, lowered, content)

    def enter(self, environment: Mapping[str, str]) -> str:
        """Find out how the API authenticates callers, and do so; the way, in words.

        Raises
        ------
        CloudError : it rejects this caller
        """
        response = self.request("GET", "/models")
        if response.status == 401:
            raise CloudError(
                f"The API rejected {self._source}; get a new one." if self._token
                else "The API asks for credentials; set API_KEY to an API key (apiAuth=keys; `make key` makes one), or "
                "API_TOKEN to a token (apiAuth=jwt)."
            )  # fmt: skip
        if response.status != 403:
            if response.status != 200:
                raise CloudError(f"GET {self.url}/models returned {response}: the API is broken, or the URL is wrong.")
            return f"with {self._source}" if self._token else "anyone may call"
        if self._token:
            raise CloudError(
                f"The API rejected {self._source}: the key is unknown, disabled, or expired (see `make key-list`), or "
                "the token does not allow it."
            )
        self._sign = signer(self.url, environment)
        if (response := self.request("GET", "/models")).status == 403:
            raise CloudError(
                f"The API returned {response} to a signed request, too; allow your role execute-api:Invoke on it."
            )
        return "with signed requests"


def _is_transient(response: Response) -> bool:
    """Whether an error of the server may be gone at the next attempt."""
    return response.status >= 500 and response.json().get("error") != "NO_PROVIDER_CONFIGURED"


def signer(url: str, environment: Mapping[str, str]) -> Callable[[AWSRequest], None]:
    """Signs requests to an API by the caller's AWS credentials, as ``apiAuth=iam`` asks for.

    Raises
    ------
    CloudError : the credentials or the region are missing
    """
    import boto3
    from botocore.auth import SigV4Auth

    try:
        session = boto3.Session()
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise aws_failure(error) from None
    if not credentials:
        raise CloudError("The API asks for signed requests (apiAuth=iam); set AWS credentials that may call it.")
    named = re.search(r"\.execute-api\.([a-z0-9-]+)\.", url)
    region = named[1] if named else environment.get("AWS_REGION") or session.region_name
    if not region:
        raise CloudError("The API asks for signed requests; set AWS_REGION to its region.")

    def sign(request: AWSRequest) -> None:
        SigV4Auth(credentials.get_frozen_credentials(), "execute-api", region).add_auth(request)

    return sign


@dataclass
class Report:
    """Findings, printed as they come.

    Attributes
    ----------
    seconds : what was measured, by what it is called
    images : how many were asked for
    cost : of the job, as its document says
    wrong : what was not as it must be
    """

    say: Callable[[str], object] = print
    seconds: dict[str, float] = field(default_factory=dict)
    images: int = 0
    cost: Mapping[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def check(self, right: object, what: str, otherwise: object = "") -> bool:
        """Note whether something is as it must be."""
        if right:
            self.say(f"  {GOOD} {what}")
        else:
            self.wrong.append(what)
            self.say(f"  {BAD} {what}{f': {otherwise}' if otherwise != '' else ''}")
        return bool(right)

    def measure(self, what: str, seconds: float, goal: float) -> None:
        """Record a time; one sample that misses its goal is a warning, but proves no error."""
        self.seconds[what] = seconds
        self.say(f"  {GOOD if seconds < goal else WARNING} {what}: {seconds:.2f} s (goal: below {goal:g} s)")

    def is_limited(self, response: Response) -> bool:
        """Note where a limit of the deployment, which does its work, is in the way."""
        limited = response.status == 429 and response.json().get("error") == "RATE_LIMIT_EXCEEDED"
        if limited:
            self.say(f"  {WARNING} not tried: {_reason(response)}")
        return limited


def run(url: str, environment: Mapping[str, str], say: Callable[[str], object] = print, *, gallery: str = "") -> Report:
    """Try a deployment out.

    Parameters
    ----------
    url : of the API
    environment : API_KEY or API_TOKEN; MODELS: names separated by commas, or ``all`` for the default models; YES, as
        for `confirm`; AWS_CA_BUNDLE: a file of authorities to trust, as for the AWS tools
    gallery : the deployed setting ``gallery``; empty where it is not known, so that both of its values pass

    Raises
    ------
    CloudError : it cannot be tried out at all
    Unconfirmed : it may cost, and was not confirmed
    """
    given = {name: environment.get(name, "").strip() for name in ("API_KEY", "API_TOKEN")}
    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        raise CloudError("Both API_KEY and API_TOKEN are set; unset the one that this API doesn't ask for.")
    source = named[0] if named else "API_KEY"
    api = Api(url, given[source], environment.get("AWS_CA_BUNDLE", "").strip(), say, source=source)
    report = Report(say)
    say(f"Smoke test of {api.url}")
    report.check(True, f"it responds; {api.enter(environment)}")
    try:
        _try(api, report, environment, gallery)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # Another API's documents have other members.
        report.check(False, "its responses are Pixel Prompt's", repr(error))
    amount, unknown = report.cost.get("amount"), report.cost.get("unknown")
    dollars = f"${amount:.4f}" if amount is not None else "unknown"
    without = f" (and {unknown} of the models without a known cost)" if unknown else ""
    say(f"  images asked for: {report.images}; cost of the job at the providers: {dollars}{without}")
    say("All is well." if not report.wrong else f"Not well: {'; '.join(report.wrong)}.")
    return report


def _try(api: Api, report: Report, environment: Mapping[str, str], gallery: str) -> None:
    models = choose_models(api, report, environment.get("MODELS", "").strip())
    if models is None:
        return
    if urlsplit(api.url).hostname not in LOOPBACK_HOSTS:
        confirm(f"Ask {len(models)} models for an image each, {_price(models)}?", environment)
    _try_refusals(api, report)
    _try_job(api, report, [row["model"] for row in models], gallery)
    _try_enhancement(api, report)


def _try_refusals(api: Api, report: Report) -> None:
    for what, method, path, body, status, code in (
        ("a body that is not JSON is rejected", "POST", "/generate", b"{", 400, "INVALID_JSON"),
        ("a blocked prompt is rejected", "POST", "/generate", {"prompt": BLOCKED}, 400, "INAPPROPRIATE_CONTENT"),
        ("an unknown job is not found", "GET", f"/status/{uuid.uuid4()}", None, 404, "JOB_NOT_FOUND"),
    ):
        response = api.request(method, path, body)
        if report.is_limited(response):
            continue
        report.check((response.status, response.json().get("error")) == (status, code), what, response)
    response = api.request("GET", "/openapi.json")
    report.check(str(response.json().get("openapi", "")).startswith("3.1"), "it serves its description", response)


def choose_models(api: Api, report: Report, wanted: str) -> list[dict[str, Any]] | None:
    """The models to ask, with their costs; None where the deployment can ask none."""
    named = [name.strip() for name in wanted.split(",") if name.strip()]
    asked = {} if wanted in ("", "all") else {"models": named}
    response = api.request("POST", "/generate", {"prompt": PROMPT, "dryRun": True, **asked})
    offered = response.json().get("models", [])
    if not report.check(response.status == 200 and offered, "it estimates the cost of a job", _reason(response)):
        return None
    if wanted:
        return list(offered)
    priced = [row for row in offered if row["cost"]["amount"] is not None] or offered
    cheapest: dict[str, dict[str, Any]] = {}
    for row in sorted(priced, key=lambda row: row["cost"]["amount"] or 0):
        cheapest.setdefault(row["provider"], row)
    return list(cheapest.values())[:CHEAPEST]


def _price(models: list[dict[str, Any]]) -> str:
    amounts = [row["cost"]["amount"] for row in models]
    known = sum(amount for amount in amounts if amount is not None)
    return f"about ${known:.2f}" + (", and some of unknown price" if None in amounts else "")


def _reason(response: Response) -> str:
    return str(response.json().get("message") or response)


def _try_job(api: Api, report: Report, models: list[str], gallery: str) -> None:
    body, key = {"prompt": PROMPT, "models": models}, {"Idempotency-Key": str(uuid.uuid4())}
    report.say(f"  a job of {len(models)}: {', '.join(models)}")
    started = time.monotonic()
    response = api.request("POST", "/generate", body, key)
    if report.is_limited(response) or not report.check(response.status == 200, "a job starts", _reason(response)):
        return
    report.images = len(models)
    report.measure("time to the job's id", response.seconds, JOB_ID_GOAL)
    job_id = response.json()["jobId"]
    again = api.request("POST", "/generate", body, key)
    report.check(again.json().get("jobId") == job_id, "the same request again is the same job", again)
    job = _watch(api, report, job_id, started)
    report.cost = job.get("cost") or {}
    rows = job.get("results", [])
    for row in rows:
        if row["status"] != "completed":
            reason = str(row.get("error") or "").rstrip(".")
            text = f"{row['model']} ended as {row.get('errorCode') or row['status']}: {reason}"
            if row.get("errorCode") in _PROVIDERS_FAULT:
                report.say(f"  {WARNING} {text}")
            else:
                report.check(False, text)
    _check_images(api, report, rows)
    try_gallery(api, report, gallery)


def try_gallery(api: Api, report: Report, gallery: str) -> None:
    response = api.request("GET", "/gallery/list?limit=1")
    is_off = response.status == 404 and response.json().get("error") == "NOT_FOUND"
    if gallery == "off":
        report.check(is_off, "its gallery is off, as deployed", response)
        return
    if is_off and not gallery:
        report.say(f"  {WARNING} its gallery is off; the deployed setting isn't known here, STAGE=… compares with it")
        return
    report.check(response.status == 200 and "galleries" in response.json(), "it lists galleries", response)


def _watch(api: Api, report: Report, job_id: str, started: float) -> dict[str, Any]:
    """Poll the job until it ends; its last document."""
    times: list[float] = []
    first = None
    job: dict[str, Any] = {}
    while job.get("status") not in _FINAL and time.monotonic() - started < IMAGES_GOAL:
        response = api.request("GET", f"/status/{job_id}")
        times.append(response.seconds)
        if response.status != 200:
            report.check(False, "the job's status is there", response)
            return {}
        job, etag = response.json(), response.headers.get("etag", "")
        if first is None and any(row.get("images") for row in job["results"]):
            first = time.monotonic() - started
        if job["status"] not in _FINAL:
            time.sleep(POLL_SECONDS)
    ended = time.monotonic() - started
    report.measure(f"status, median of {len(times)}", statistics.median(times), STATUS_GOAL)
    report.check(job["status"] in ("completed", "partial"), "the job ends with an image", job["status"])
    if first is not None:
        report.measure("first image", first, IMAGES_GOAL)
        report.measure("all images", ended, IMAGES_GOAL)
    report.check(ended < IMAGES_GOAL, f"the job ends within {IMAGES_GOAL:g} s")
    unchanged = api.request("GET", f"/status/{job_id}", headers={"If-None-Match": etag})
    report.check(unchanged.status == 304, "a status that has not changed is not sent again", unchanged)
    return job


def _check_images(api: Api, report: Report, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for image in row.get("images") or ():
            response = api.request("GET", image["imageUrl"])
            try:
                pixels = images.load(response.body)
            except images.ImageError as error:
                report.check(False, f"{row['model']} has made an image ({error})", response)
                continue
            kind, size = response.headers.get("content-type", ""), pixels.size
            what = Image.MIME.get(pixels.format or "", "")
            text = f"{row['model']} has made an image of {size[0]} × {size[1]}, served as {kind}"
            report.check(response.status == 200 and kind == what, text)


def _try_enhancement(api: Api, report: Report) -> None:
    response = api.request("POST", "/enhance", {"prompt": PROMPT})
    if report.is_limited(response):
        return
    found = response.json()
    report.check(response.status == 200 and found.get("enhanced"), "a prompt is enhanced", _reason(response))
    if warning := found.get("warning"):
        report.say(f"  {WARNING} {warning}")


def command(url: str, environment: Mapping[str, str], *, gallery: str = "") -> int:
    """Try a deployment out and report the outcome; 0 only where all is well."""
    return 1 if run(url, environment, gallery=gallery).wrong else 0
