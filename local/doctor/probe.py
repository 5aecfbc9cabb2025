"""The free request to a provider or a server, and what its response says about a key, the models, and the credit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from local.doctor.report import BAD, WARNING, Finding
from pixelprompt.models.provider import PROVIDERS, Probe, key_headers
from pixelprompt.providers.wire import transport
from pixelprompt.providers.wire.error_response import ErrorResponse, read_error
from pixelprompt.providers.wire.errors import is_bad_key, spoken_error, status_error
from pixelprompt.redaction import clean
from pixelprompt.settings import LOOPBACK_HOSTS

REQUEST_SECONDS = 10.0
_MAX_PAGES = 10


@dataclass(frozen=True)
class ProbeResult:
    """The result of a probe.

    Attributes
    ----------
    key : one word about the key
    problem : what keeps every model of the server from being called
    shutdowns : the models it lists with the days they end, where the list says so; None where it lists none
    """

    key: str
    problem: Finding | None = None
    shutdowns: Mapping[str, str | None] | None = None


@dataclass(frozen=True)
class Server:
    """Where models are called, and with which key.

    Attributes
    ----------
    key_header : the header that the key is sent in
    probe : the request that asks it
    withheld : whether the key must not go there, so that none is sent
    """

    provider: str
    base_url: str
    key: str | None = field(repr=False)
    key_name: str | None
    key_header: str
    probe: Probe
    withheld: bool = False

    @property
    def is_any_server(self) -> bool:
        """Whether it is one of the many servers that speak its protocol."""
        return PROVIDERS[self.provider].is_any_server

    @property
    def title(self) -> str:
        """Its name for a person."""
        # Not the whole URL: it may hold a password.
        return urlsplit(self.base_url).netloc.rpartition("@")[2] if self.is_any_server else self.provider


def ask(server: Server, deadline: float, cure: str) -> ProbeResult:
    """Ask a server about its key, its models and the account's credit.

    Parameters
    ----------
    deadline : epoch seconds
    cure : what to do about a key, for a person
    """
    probe, url = server.probe, server.base_url + server.probe.path
    headers = key_headers(server.key_header, server.key)
    shutdowns: dict[str, str | None] | None = None
    page = ""
    try:
        for _ in range(_MAX_PAGES):
            with transport.client(deadline) as http:
                response = http.get(url + page, headers=headers)
            if response.status_code != 200:
                return _failed(server, read_error(response, server.key), cure)
            document = response.json()
            listed = _listed(probe, document)
            if listed is not None:
                shutdowns = {**(shutdowns or {}), **listed}
            token = document.get("nextPageToken") if isinstance(document, dict) else None
            if not token:
                break
            page = f"{'&' if '?' in url else '?'}pageToken={quote(str(token), safe='')}"
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        late = isinstance(error, httpx2.TimeoutException)
        cause = f"didn't respond within {REQUEST_SECONDS:.0f} s" if late else "is unreachable"
        where = "start it" if urlsplit(url).hostname in LOOPBACK_HOSTS else "check the network and its status page"
        return ProbeResult("unknown", Finding(BAD, f"{server.title} {cause}; {where}."))
    except (ValueError, RecursionError):
        return ProbeResult("unknown", Finding(WARNING, f"{server.title} returned invalid JSON; try again later."))
    accepted = "accepted" if server.key else "not needed"
    credit = _credit(probe, document)
    if isinstance(credit, int | float) and credit <= 0:
        return ProbeResult(accepted, _no_credit(server), shutdowns)
    return ProbeResult(accepted, None, shutdowns)


def _listed(probe: Probe, document: Any) -> Mapping[str, str | None] | None:
    """The models in a response with the days they end, where the list says so; None where it lists none."""
    if probe.models is None:
        return None
    # Together returns the bare list.
    entries = document.get(probe.models) if isinstance(document, dict) else document
    if not isinstance(entries, list):
        return None
    return {
        str(entry[probe.model_id]).removeprefix("models/"): _end(entry)
        for entry in entries
        if isinstance(entry, dict) and probe.model_id in entry
    }


def _end(entry: Mapping[str, Any]) -> str | None:
    """The shutdown day of a listed model, where its provider states one."""
    text = entry.get("shutdown_date")
    try:
        return date.fromisoformat(text).isoformat() if isinstance(text, str) else None
    except ValueError:
        return None


def _credit(probe: Probe, document: Any) -> Any:
    """The account's credit in a response, or None where it doesn't say."""
    if not probe.credit:
        return None
    for name in probe.credit:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _failed(server: Server, error: ErrorResponse, cure: str) -> ProbeResult:
    """Explain an error response, with the provider's own words for the operator on a terminal of their own."""
    key, finding = _meaning(server, error, cure)
    # A page has no words.
    said = clean(error.message, server.key) if error.words else ""
    return ProbeResult(key, Finding(finding.mark, f"{finding.sentence} It says: {said}") if said else finding)


def _meaning(server: Server, error: ErrorResponse, cure: str) -> tuple[str, Finding]:
    """The state of the key, and the finding."""
    title = server.title
    match status_error(error).code:
        case "bad_credentials":
            return _bad_credentials(server, error, cure)
        case "quota_exhausted":
            return "accepted" if server.key and error.status != 401 else "unknown", _no_credit(server)
        # Google's word for an account whose region or billing does not allow the API.
        case "invalid_request" if "FAILED_PRECONDITION" in error.codes.split():
            return "denied", _denied(server, cure)
        case "rate_limited" | "provider_unavailable" | "unknown_outcome":
            sentence = f"{title} is busy or failing (HTTP {error.status}); try again later."
        case _ if server.is_any_server and error.status in (404, 405):
            sentence = f"{title} doesn't list its models, so only a job can tell."
        case _:
            sentence = f"{title} returned HTTP {error.status}, so only a job can tell."
    return "unknown", Finding(WARNING, sentence)


def _bad_credentials(server: Server, error: ErrorResponse, cure: str) -> tuple[str, Finding]:
    """Distinguish a key without permission to list models, a bad one, a missing one, and an account that is denied."""
    title, name = server.title, server.key_name or "a key"
    if error.says("scope"):
        sentence = f"{name} has no permission to list models, so only a job can tell; let the key read models."
        return "restricted", Finding(WARNING, sentence)
    if not server.key and not spoken_error(error):
        return "missing", Finding(BAD, f"{title} asks for a key; {cure}.")
    if is_bad_key(error):
        return "refused", Finding(BAD, f"{title} doesn't accept {name}; get a valid one and {cure}.")
    return "denied", _denied(server, cure)


def _denied(server: Server, cure: str) -> Finding:
    denial = f"{server.title} denies access" + (f" with {server.key_name or 'a key'}" if server.key else "")
    checks = f"check the account's permissions, status, billing, and region there, or get another key and {cure}"
    return Finding(BAD, f"{denial}; {checks}.")


def _no_credit(server: Server) -> Finding:
    return Finding(BAD, f"The account at {server.title} has no credit left; add some.")
