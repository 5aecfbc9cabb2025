"""Runtime settings: the only module that reads the environment.

Each Lambda reads its own settings once, at its first request, and passes them in. A setting that is missing is
reported when it is asked for, so importing a module needs none.
"""

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from pixelprompt.errors import ConfigurationError

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
# A host as a setting names it, with the port unless it is 443.
HOST = re.compile(r"((?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
# Seconds after which a job that is still open was abandoned, where the deployment does not tell.
MAX_JOB_SECONDS = 2880


def endpoint_is_overridden() -> bool:
    """Whether AWS is somewhere else than at AWS: an emulator."""
    return bool(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


def runs_in_lambda() -> bool:
    """Whether Lambda, or what plays it, runs this process."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


class Settings(Struct, frozen=True):
    """Settings that a deployment passes to its Lambdas as environment variables."""

    environment: Mapping[str, str]

    @classmethod
    def from_environment(cls) -> "Settings":
        """The settings of this process."""
        return cls(dict(os.environ))

    def _text(self, name: str, default: str | None = None) -> str:
        value = self.environment.get(name, "").strip()
        if value:
            return value
        if default is None:
            raise ConfigurationError(f"The environment variable {name} is missing; deploy the stack again to set it.")
        return default

    def _count(self, name: str, default: int) -> int:
        text = self._text(name, str(default))
        if not text.isdecimal():
            raise ConfigurationError(f"{name} is {text!r}; it must be a whole number from 0.")
        return int(text)

    def _dollars(self, name: str) -> float | None:
        text = self._text(name, "")
        if not text:
            return None
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            raise ConfigurationError(f"{name} is {text!r}; it must be an amount of US dollars such as 12.5.")
        return float(text)

    @property
    def bucket_name(self) -> str:
        """Bucket of the job documents and images."""
        return self._text("BUCKET_NAME")

    @property
    def state_machine_arn(self) -> str:
        """State machine that runs a job."""
        return self._text("STATE_MACHINE_ARN")

    @property
    def finish_function(self) -> str:
        """Name of the finish Lambda."""
        return self._text("FINISH_FUNCTION")

    @property
    def provider_secret(self) -> str:
        """ARN of the secret that holds the provider keys."""
        return self._text("PROVIDER_SECRET")

    @property
    def ledger_table(self) -> str:
        """DynamoDB table of the ledger; empty where the deployment has none."""
        return self._text("LEDGER_TABLE", "")

    @property
    def daily_budget(self) -> float | None:
        """US dollars that may be spent at the providers in a UTC calendar day."""
        return self._dollars("DAILY_BUDGET")

    @property
    def monthly_budget(self) -> float | None:
        """US dollars that may be spent at the providers in a UTC calendar month."""
        return self._dollars("MONTHLY_BUDGET")

    @property
    def confirm_above(self) -> float:
        """Share of what a budget has left above which a page asks before it sends a job."""
        text = self._text("CONFIRM_ABOVE", "0.25")
        if not re.fullmatch(r"0(\.[0-9]+)?|1(\.0+)?", text):
            raise ConfigurationError(f"CONFIRM_ABOVE is {text!r}; it must be a number from 0 to 1.")
        return float(text)

    @property
    def unknown_price_ceiling(self) -> float | None:
        """US dollars that an image counts whose price is unknown."""
        return self._dollars("UNKNOWN_PRICE_CEILING")

    @property
    def global_limit(self) -> int:
        """Jobs per rolling hour in total."""
        return self._count("GLOBAL_LIMIT", 100)

    @property
    def ip_limit(self) -> int:
        """Jobs per rolling day and IP address."""
        return self._count("IP_LIMIT", 50)

    @property
    def enhance_limit(self) -> int:
        """Requests to enhance a prompt per rolling hour in total."""
        return self._count("ENHANCE_LIMIT", 100)

    @property
    def enhance_ip_limit(self) -> int:
        """Requests to enhance a prompt per rolling day and IP address."""
        return self._count("ENHANCE_IP_LIMIT", 50)

    @property
    def upload_limit(self) -> int:
        """Forms for uploads per rolling hour in total."""
        return self._count("UPLOAD_LIMIT", 200)

    @property
    def upload_ip_limit(self) -> int:
        """Forms for uploads per rolling day and IP address."""
        return self._count("UPLOAD_IP_LIMIT", 100)

    @property
    def ip_whitelist(self) -> tuple[str, ...]:
        """IP addresses and networks (CIDR) that pass without being counted."""
        entries = tuple(entry.strip() for entry in self._text("IP_INCLUDE", "").split(",") if entry.strip())
        for entry in entries:
            try:
                ipaddress.ip_network(entry, strict=False)
            except ValueError:
                raise ConfigurationError(
                    f"IP_INCLUDE has {entry!r}; it allows IP addresses and networks, such as 192.0.2.7 or 192.0.2.0/24."
                ) from None
        return entries

    @property
    def moderation(self) -> str:
        """Mode of the prompt check; see ``pixelprompt.prompts.moderation.classifier``."""
        return self._text("MODERATION", "keyword")

    @property
    def trust_body_ip(self) -> bool:
        """Whether the body's ``ip`` names the caller."""
        return self._text("TRUST_BODY_IP", "false").lower() == "true"

    @property
    def cors_origins(self) -> tuple[str, ...]:
        """Origins that browsers may call from; ``*`` is every one."""
        return tuple(origin.strip() for origin in self._text("CORS_ORIGINS", "*").split(",") if origin.strip())

    @property
    def longest_job(self) -> int:
        """Seconds after which a job that is still open was abandoned."""
        return self._count("MAX_JOB_SECONDS", MAX_JOB_SECONDS)

    @property
    def status_wait(self) -> int:
        """Seconds that a request for a status may wait for a change; 0 means that none waits."""
        return self._count("STATUS_WAIT", 0)

    @property
    def gallery(self) -> str:
        """Who sees the galleries: ``public`` (whoever may call), ``owner``, or ``off``."""
        return self._text("GALLERY", "public")

    @property
    def has_gallery(self) -> bool:
        """Whether the routes of the gallery are deployed."""
        return self.gallery != "off"

    @property
    def has_usage(self) -> bool:
        """Whether the route of usage is deployed."""
        return self._text("USAGE", "false").lower() == "true"

    @property
    def has_charges(self) -> bool:
        """Whether jobs are charged to budgets, of the deployment or of API keys."""
        return self._text("CHARGES", "false") == "true"

    @property
    def api_url(self) -> str:
        """URL of the API; empty if it is API Gateway's own."""
        return self._text("API_URL", "")

    @property
    def cloudfront_domain(self) -> str:
        """Domain that serves ``images/``; empty where presigned URLs are used."""
        return self._text("CLOUDFRONT_DOMAIN", "")

    @property
    def prompt_model(self) -> str:
        """Text model that enhances prompts: its place counted from 1, its name or its ID."""
        return self._text("PROMPT_MODEL_INDEX", "1")

    @property
    def provider_endpoints(self) -> dict[str, str]:
        """Base URLs that stand in for the providers' own, by provider: the simulators of a laptop.

        Only loopback addresses are accepted, so that no deployment can send its keys elsewhere by this setting.
        """
        endpoints = self._object("PROVIDER_ENDPOINTS")
        if endpoints is None or not all(map(_is_loopback, endpoints.values())):
            raise ConfigurationError(
                "PROVIDER_ENDPOINTS must be a JSON object of provider names and loopback URLs, without user and "
                "password."
            )
        return endpoints

    @property
    def key_hosts(self) -> dict[str, list[str]]:
        """Hosts by the names of keys that may go there, beside the providers' own and those of the catalogue."""
        allowed = self._object("KEY_HOSTS")
        if allowed is None or not all(
            isinstance(hosts, list) and all(isinstance(host, str) and HOST.fullmatch(host) for host in hosts)
            for hosts in allowed.values()
        ):
            raise ConfigurationError(
                f"KEY_HOSTS is {self._text('KEY_HOSTS', '')!r}; it must be a JSON object of key names and hosts "
                'such as {"MY_KEY": ["my.example", "127.0.0.1:8080"]}: exact names, with the port unless it is 443, '
                "without scheme, path, or wildcard."
            )
        return allowed

    def _object(self, name: str) -> dict[str, Any] | None:
        """A JSON object, or None where the text is anything else."""
        try:
            value = json.loads(self._text(name, "{}"))
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def _is_loopback(url: Any) -> bool:
    try:
        parts = urlsplit(url)
    except (ValueError, AttributeError):
        return False
    return parts.hostname in LOOPBACK_HOSTS and "@" not in parts.netloc
