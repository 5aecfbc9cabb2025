"""Deploy-time settings, read from the CDK context and validated before anything is synthesised."""

import difflib
import ipaddress
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn
from urllib.parse import urlsplit

LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
_HOST = re.compile(r"((?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
STAGES = ("dev", "prod")
# An inline Map runs at most 40 items at once.
MOST_MODELS = 40
# A new AWS account runs ten functions at once, so of a job nine models beside one request, however many may.
_NEW_ACCOUNT = 9

# API Gateway gives up after 30 s.
LONGEST_WAIT = 20

# The Pythons that Lambda has and the pinned packages have wheels for, the newest last.
PYTHON_VERSIONS = ("3.11", "3.12", "3.13", "3.14")
# The minor version of the Python that synthesizes.
INTERPRETER = f"{sys.version_info.major}.{sys.version_info.minor}"

# The retention periods that CloudWatch Logs takes.
LOG_RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip

# What the CDK itself keeps in the context under names without its usual ":" or "/".
_CDK_CONTEXT = ("stages", "acknowledged-issue-numbers", "cli-telemetry")


class SettingsError(ValueError):
    """A setting is wrong; the message is one sentence with its name, its value and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be chosen at deploy time.

    In the CDK context the names are in camel case: ``-c ipLimit=10``. A value given there overrides the stage's value
    in ``cdk.json``, which overrides the default.

    Attributes
    ----------
    stage : name of the deployment, ``dev`` or ``prod`` or another key of ``stages`` in ``cdk.json``
    target : ``aws``, or ``local`` for the emulator on a laptop; the one switch for all that must differ there
    global_limit : jobs per rolling hour in all; 0 turns every request away
    ip_limit : jobs per rolling day and address; 0 turns every counted address away
    enhance_limit : requests to enhance a prompt per rolling hour in all; 0 turns every one away
    enhance_ip_limit : requests to enhance a prompt per rolling day and address; 0 turns every counted address away
    ip_include : addresses and networks (CIDR), separated by commas, that pass without being counted
    trust_body_ip : whether the body's ``ip`` names the caller; only behind a trusted front end; true for ``local``
    retention_days : days after which jobs and images expire
    log_retention_days : days for which logs are kept, one of the periods of CloudWatch Logs
    log_level : level of the functions' logs
    cors_origins : origins that browsers may call from, separated by commas; ``*`` is every one
    max_concurrency : models of one job that run at once
    prompt_model_index : which text model enhances prompts: its place counted from 1, its name or its id
    moderation : how prompts are checked: by ``keyword``, and then by a text ``model`` or by ``openai``'s moderation
    throttle_rate : requests per second that the API lets through
    throttle_burst : requests at once that the API lets through
    reserved_concurrency : invocations of *generate* kept free for it, and at most allowed; 0 reserves none
    api_auth : who may call: anybody (``none``), whom ``iam`` allows, or whom a ``jwt`` names
    jwt_issuer : https address of the tokens' issuer; needed with ``jwt``
    jwt_audience : audience that the tokens must be meant for; needed with ``jwt``
    allow_public : whether it is meant that anybody may call; the stage ``prod`` asks for it where ``api_auth`` is none
    gallery : whether the galleries of all jobs are ``public`` to everyone who may call, or ``off``, without routes; the
        stage ``prod`` has them off by default, all others public
    cloudfront : whether CloudFront serves pictures and page; else pictures have presigned addresses; off for ``local``
    status_wait : seconds that a request for a status may wait for a change; 0 answers at once; 20 for ``local``
    alarm_email : address that alarms are sent to
    daily_budget : US dollars a day, at AWS and at the providers, above which an alarm is raised; 0 is no budget
    key_hosts : hosts, by the names of keys, that these keys may go to beside the providers' own: exact names, with the
        port unless it is 443
    provider_endpoints : base URLs of simulators by provider; only for ``local``, only loopback
    api_url : where the API is called, if not at API Gateway's own address; only for ``local``, only loopback; the last
        part of its path becomes the API's id
    removal : what becomes of the bucket and the secret with the stack: ``destroy`` (default of ``dev``) or ``retain``
    python_version : the functions' Python; by default that of the synthesizing interpreter, or the newest that Lambda
        supports where it lacks that one; ``prod`` must name it
    """

    stage: str = "dev"
    target: Literal["aws", "local"] = "aws"
    global_limit: int = 100
    ip_limit: int = 50
    enhance_limit: int = 100
    enhance_ip_limit: int = 50
    ip_include: str = ""
    trust_body_ip: bool = False
    retention_days: int = 30
    log_retention_days: int = 30
    log_level: str = "INFO"
    cors_origins: str = "*"
    max_concurrency: int = MOST_MODELS
    prompt_model_index: str = "1"
    moderation: str = "keyword"
    throttle_rate: int = 50
    throttle_burst: int = 100
    reserved_concurrency: int = 0
    api_auth: Literal["none", "iam", "jwt"] = "none"
    jwt_issuer: str = ""
    jwt_audience: str = ""
    allow_public: bool = False
    gallery: Literal["public", "off"] = "public"
    cloudfront: bool = True
    status_wait: int = 0
    alarm_email: str = ""
    daily_budget: float = 0
    key_hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    provider_endpoints: Mapping[str, str] = field(default_factory=dict)
    api_url: str = ""
    removal: Literal["retain", "destroy"] = "retain"
    python_version: str = field(default_factory=lambda: _default_python(Settings.stage))

    @property
    def execution_seconds(self) -> int:
        """Seconds that an execution may take: 40 models in waves, each with 180 s of waiting and 240 s of work.

        The other 480 s are for *Finish job*, and a *Record failure* before it: every attempt after an error of theirs,
        each as long as it may take. Where there is no free Lambda, they wait for one in the time that is left.
        """
        return 480 + 420 * math.ceil(MOST_MODELS / min(self.max_concurrency, _NEW_ACCOUNT))

    @property
    def serves_page(self) -> bool:
        """Whether the page is deployed: it needs CloudFront, and calls the API without credentials."""
        return self.cloudfront and self.api_auth == "none"

    @property
    def has_gallery(self) -> bool:
        """Whether the gallery's routes, its function and its part of the page are deployed."""
        return self.gallery == "public"

    @property
    def chosen(self) -> dict[str, Any]:
        """The settings that are not the defaults of the stage, by their names in the context."""
        default = Settings(stage=self.stage, **_stage_defaults(self.stage, self.target))
        values = {name: getattr(self, _snake_case(name)) for name in _READERS}
        return {name: value for name, value in values.items() if value != getattr(default, _snake_case(name))}

    @classmethod
    def from_context(cls, context: Mapping[str, Any]) -> "Settings":
        """The settings that a CDK context asks for.

        Raises
        ------
        SettingsError : a name is unknown or a value is not allowed
        """
        stages = context.get("stages", {})
        if not isinstance(stages, Mapping) or not all(isinstance(values, Mapping) for values in stages.values()):
            raise SettingsError(f"stages is {json.dumps(stages)}; it must be an object of settings by stage.")
        for name, values in stages.items():
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,15}", name):
                raise SettingsError(
                    f"stages has {json.dumps(name)}; the name of a stage must be at most 16 lower-case letters, digits "
                    "and hyphens, and begin with a letter."
                )
            if "stage" in values:
                raise SettingsError(f"stages.{name} has a stage; remove it, its name is {name}.")
        stage = str(context.get("stage", cls.stage))
        if stage not in (*STAGES, *stages):
            raise SettingsError(
                f"stage is {json.dumps(stage)}; it must be {_listed(dict.fromkeys((*STAGES, *stages)))}."
            )
        for name, own in stages.items():
            # A mistake in another stage is not found only when that one is deployed.
            if name != stage:
                read_values(own, _READERS)
        chosen = dict(stages.get(stage, {}))
        chosen.update(single_values(context))
        values = read_values(chosen, _READERS)
        values["stage"] = stage
        settings = cls(**{**_stage_defaults(stage, values.get("target", cls.target)), **values})
        settings._check()
        return settings

    def _check(self) -> None:
        """What single values cannot tell."""

        def refuse(name: str, reason: str) -> NoReturn:
            raise SettingsError(f"{name} is {json.dumps(getattr(self, _snake_case(name)))}; {reason}")

        is_local = self.target == "local"
        for name in ("providerEndpoints", "apiUrl"):
            if getattr(self, _snake_case(name)) and not is_local:
                refuse(name, "it is allowed only with target=local.")
        if is_local and self.cloudfront:
            refuse("cloudfront", "with target=local it must be false.")
        if is_local and self.api_auth != "none":
            refuse("apiAuth", "with target=local it must be none.")
        for name in ("jwtIssuer", "jwtAudience"):
            if bool(getattr(self, _snake_case(name))) != (self.api_auth == "jwt"):
                refuse(name, "it is needed with apiAuth=jwt, and only there.")
        if self.stage == "prod" and self.api_auth == "none" and not (self.allow_public or is_local):
            refuse(
                "apiAuth",
                "in the stage prod it must be iam or jwt, unless allowPublic=true says that anybody may call.",
            )
        if not self.python_version:
            refuse("pythonVersion", f"in the stage prod it must be set, to {_listed(PYTHON_VERSIONS)}.")


def read_values(chosen: Mapping[str, Any], readers: Mapping[str, "Reader"]) -> dict[str, Any]:
    """What context values mean, by the names of the fields that hold them: ``ipLimit`` is ``ip_limit``.

    Raises
    ------
    SettingsError : a name has no reader, or its reader does not take the value
    """
    values: dict[str, Any] = {}
    for name, value in chosen.items():
        if name not in readers:
            close = difflib.get_close_matches(name, readers, 1)
            raise SettingsError(
                f"{name} is {json.dumps(value)}, but there is no such setting; "
                + (f"did you mean {close[0]}?" if close else f"there are {', '.join(readers)}.")
            )
        read, allowed = readers[name]
        try:
            values[_snake_case(name)] = read(value)
        except (ValueError, TypeError, LookupError, AttributeError):
            raise SettingsError(f"{name} is {json.dumps(value)}; it must be {allowed}.") from None
    return values


def single_values(context: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a CDK context, without what the CDK itself keeps there."""
    return {name: value for name, value in context.items() if not re.search("[:/]", name) and name not in _CDK_CONTEXT}


def _stage_defaults(stage: str, target: str) -> dict[str, Any]:
    """The defaults that depend on the stage or the target, by the names of their fields."""
    is_local = target == "local"
    return {
        "trust_body_ip": is_local,
        "cloudfront": not is_local,
        "status_wait": LONGEST_WAIT if is_local else 0,
        "removal": "destroy" if stage == "dev" else "retain",
        "gallery": "off" if stage == "prod" else "public",
        "python_version": _default_python(stage),
    }


def _default_python(stage: str) -> str:
    """The functions' Python where no setting names one; none for `prod`, where another machine must not change it."""
    if stage == "prod":
        return ""
    return INTERPRETER if INTERPRETER in PYTHON_VERSIONS else PYTHON_VERSIONS[-1]


def _listed(choices: Iterable[object]) -> str:
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last


def _snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


Reader = tuple[Callable[[Any], Any], str]
"""A function that turns a context value into a setting or raises, and the words for what it takes."""


def _whole_number(lowest: int, highest: int) -> Reader:
    def read(value: Any) -> int:
        # On the command line every value is text.
        number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value
        if type(number) is not int or not lowest <= number <= highest:
            raise ValueError
        return number

    return read, f"a whole number from {lowest} to {highest}"


def _choice(*choices: str | int) -> Reader:
    return lambda value: {str(choice): choice for choice in choices}[str(value)], _listed(choices)


def _boolean(value: Any) -> bool:
    return {"true": True, "false": False}[json.dumps(value) if isinstance(value, bool) else value]


def _word(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
        raise ValueError
    return str(value).strip()


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _networks(value: Any) -> str:
    networks = [part.strip() for part in _string(value).split(",") if part.strip()]
    for network in networks:
        ipaddress.ip_network(network, strict=False)
    return ",".join(networks)


def _origins(value: Any) -> str:
    origins = [part.strip() for part in _string(value).split(",")]
    if origins != ["*"] and not all(map(_is_origin, origins)):
        raise ValueError
    return ",".join(origins)


def _is_origin(text: str) -> bool:
    """Whether a browser writes an origin like this: in lower case, and without the usual port of its scheme."""
    try:
        parts = urlsplit(text)
        usual = {"http": 80, "https": 443}[parts.scheme]
        return re.fullmatch(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]*)?", text) is not None and (
            parts.port != usual
        )
    except (KeyError, ValueError):
        return False


def _issuer(value: Any) -> str:
    issuer = _string(value)
    parts = urlsplit(issuer)
    is_plain = parts.hostname and not (parts.query or parts.fragment or "@" in parts.netloc)
    if issuer and (parts.scheme != "https" or not is_plain):
        raise ValueError
    return issuer


def _email(value: Any) -> str:
    address = _string(value)
    if address and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address):
        raise ValueError
    return address


def _audience(value: Any) -> str:
    return _word(value) if value != "" else ""


def _dollars(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not 0 <= number <= 1_000_000:
        raise ValueError
    return number


def _loopback_url(value: Any) -> str:
    url = _string(value)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname not in LOOPBACK_HOSTS or "@" in parts.netloc:
        raise ValueError
    return url


def _loopback_urls(value: Any) -> dict[str, str]:
    urls = json.loads(value) if isinstance(value, str) else value
    if not isinstance(urls, Mapping) or not all(provider.isidentifier() for provider in urls):
        raise ValueError
    return {provider: _loopback_url(url) for provider, url in urls.items()}


def _key_hosts(value: Any) -> dict[str, list[str]]:
    allowed = json.loads(value) if isinstance(value, str) else value
    if not isinstance(allowed, Mapping) or not all(name.isidentifier() for name in allowed):
        raise ValueError
    return {name: _hosts(hosts) for name, hosts in allowed.items()}


def _hosts(hosts: Any) -> list[str]:
    if not isinstance(hosts, list) or not hosts or not all(map(_HOST.fullmatch, hosts)):
        raise ValueError
    return [host.lower() for host in hosts]


_READERS: dict[str, Reader] = {
    "stage": (str, ""),
    "target": _choice("aws", "local"),
    "globalLimit": _whole_number(0, 1_000_000),
    "ipLimit": _whole_number(0, 1_000_000),
    "enhanceLimit": _whole_number(0, 1_000_000),
    "enhanceIpLimit": _whole_number(0, 1_000_000),
    "ipInclude": (_networks, "addresses and networks such as 192.0.2.7,198.51.100.0/24, separated by commas"),
    "trustBodyIp": (_boolean, "true or false"),
    "retentionDays": _whole_number(1, 3650),
    "logRetentionDays": _choice(*LOG_RETENTION_DAYS),
    "logLevel": _choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    "corsOrigins": (
        _origins,
        "* or origins such as https://example.com, separated by commas, as browsers send them: in lower case, "
        "without :443",
    ),
    "maxConcurrency": _whole_number(1, MOST_MODELS),
    "promptModelIndex": (_word, "the place (from 1), name or id of a text model of the catalogue"),
    "moderation": _choice("keyword", "model", "openai"),
    "throttleRate": _whole_number(1, 10_000),
    "throttleBurst": _whole_number(1, 5_000),
    "reservedConcurrency": _whole_number(0, 1_000),
    "apiAuth": _choice("none", "iam", "jwt"),
    "jwtIssuer": (_issuer, "an https address such as https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEfGhI"),
    "jwtAudience": (_audience, "the audience of the tokens, such as the client id that they are issued to"),
    "allowPublic": (_boolean, "true or false"),
    "gallery": _choice("public", "off"),
    "cloudfront": (_boolean, "true or false"),
    "statusWait": _whole_number(0, LONGEST_WAIT),
    "alarmEmail": (_email, "an e-mail address, or empty"),
    "dailyBudget": (_dollars, "US dollars from 0 to 1000000"),
    "keyHosts": (
        _key_hosts,
        'a JSON object of key names and hosts such as {"MY_KEY": ["my.example", "127.0.0.1:8080"]}: exact names, with '
        "the port unless it is 443, without scheme, path, or wildcard",
    ),
    "providerEndpoints": (
        _loopback_urls,
        'a JSON object of providers and loopback URLs, without user and password, such as {"openai": '
        '"http://127.0.0.1:8000/openai/v1"}',
    ),
    "apiUrl": (
        _loopback_url,
        "a loopback URL, without user and password, such as http://127.0.0.1:4566/_aws/execute-api/pixel-prompt",
    ),
    "removal": _choice("retain", "destroy"),
    "pythonVersion": _choice(*PYTHON_VERSIONS),
}
