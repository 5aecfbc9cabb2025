"""Deploy-time settings, read from the CDK context and validated before anything is synthesized."""

import ipaddress
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from infra.context import Check, SettingsError, read_values, single_values
from pixelprompt.limits.ledger_rate_limit import MAX_LIMIT
from pixelprompt.settings import HOST, LOOPBACK_HOSTS
from pixelprompt.validation import about

STAGES = ("dev", "prod")
# An inline Map runs at most 40 items at once.
MAX_MODELS = 40
# A new AWS account runs ten functions at once, so of a job nine models beside one request, however many may.
_NEW_ACCOUNT = 9

# API Gateway gives up after 30 s.
MAX_WAIT_SECONDS = 20

# The Pythons that Lambda has and the pinned packages have wheels for, the newest last.
PYTHON_VERSIONS = ("3.11", "3.12", "3.13", "3.14")
# The minor version of the Python that synthesizes.
INTERPRETER = f"{sys.version_info.major}.{sys.version_info.minor}"

# The retention periods that CloudWatch Logs supports.
LogRetentionDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
]  # fmt: skip

_DOLLARS = "US dollars from 0 to 1000000"


class Settings(Struct, frozen=True, kw_only=True, rename="camel"):
    """Deploy-time settings.

    In the CDK context the names are in camel case: ``-c ipLimit=10``. A value set there overrides the stage's value
    in ``cdk.json``, which overrides the default.
    """

    stage: Annotated[
        str, Meta(description="Name of the deployment, `dev` or `prod` or another key of `stages` in `cdk.json`.")
    ] = "dev"
    target: Annotated[
        Literal["aws", "local"],
        Meta(
            description="`aws`, or `local` for the emulator on a laptop; the one switch for all that must differ there."
        ),
    ] = "aws"
    global_limit: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Jobs per rolling hour in total; 0 rejects every request.")
    ] = 100
    ip_limit: Annotated[
        int,
        Meta(ge=0, le=1_000_000, description="Jobs per rolling day and IP address; 0 rejects every counted address."),
    ] = 50
    enhance_limit: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Requests to enhance a prompt per rolling hour in total; 0 rejects every one.",
        ),
    ] = 100
    enhance_ip_limit: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Requests to enhance a prompt per rolling day and IP address; 0 rejects every counted address.",
        ),
    ] = 50
    upload_limit: Annotated[
        int,
        Meta(ge=0, le=1_000_000, description="Forms for uploads per rolling hour in total; 0 rejects every request."),
    ] = 200
    upload_ip_limit: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Forms for uploads per rolling day and IP address; 0 rejects every counted address.",
        ),
    ] = 100
    limit_store: Annotated[
        Literal["s3", "dynamodb"],
        Meta(
            description="Where requests are counted: in `s3`, or in `dynamodb`, where none is refused because many "
            "arrive at once; limits are then at most 5000. A budget and API keys need `dynamodb`, which is then the "
            "default."
        ),
    ] = "s3"
    ip_include: Annotated[
        str,
        about(
            "IP addresses and networks (CIDR), separated by commas, that are not counted.",
            "IP addresses and networks such as 192.0.2.7,198.51.100.0/24, separated by commas",
        ),
    ] = ""
    trust_body_ip: Annotated[
        bool,
        Meta(
            description="Whether the body's `ip` names the caller; only behind a trusted front end; true for `local`."
        ),
    ] = False
    retention_days: Annotated[int, Meta(ge=1, le=3650, description="Days after which jobs and images expire.")] = 30
    log_retention_days: Annotated[
        LogRetentionDays, Meta(description="Days for which logs are kept, one of the periods of CloudWatch Logs.")
    ] = 30
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], Meta(description="Level of the functions' logs.")
    ] = "INFO"
    cors_origins: Annotated[
        str,
        about(
            "Origins that browsers may call from, separated by commas; `*` is every one.",
            "* or origins such as https://example.com, separated by commas, as browsers send them: in lower case, "
            "without :443",
        ),
    ] = "*"
    max_concurrency: Annotated[int, Meta(ge=1, le=MAX_MODELS, description="Models of one job that run at once.")] = (
        MAX_MODELS
    )
    prompt_model_index: Annotated[
        str,
        about(
            "Which text model enhances prompts: its place counted from 1, its name or its id.",
            "the place (from 1), name or id of a text model of the catalogue",
        ),
    ] = "1"
    moderation: Annotated[
        Literal["keyword", "model", "openai"],
        Meta(
            description="How prompts are checked: by `keyword`, and then by a text `model` or by `openai`'s moderation."
        ),
    ] = "keyword"
    throttle_rate: Annotated[
        int, Meta(ge=1, le=10_000, description="Requests per second that the API lets through.")
    ] = 50
    throttle_burst: Annotated[int, Meta(ge=1, le=5_000, description="Requests at once that the API lets through.")] = (
        100
    )
    reserved_concurrency: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Invocations of *generate* kept free for it, and at most allowed; 0 reserves none.",
        ),
    ] = 0
    api_auth: Annotated[
        Literal["none", "keys", "iam", "jwt"],
        Meta(
            description="Who may call: anybody (`none`), whoever has an API key of the deployment (`keys`), whom "
            "`iam` allows, or whom a `jwt` names."
        ),
    ] = "none"
    jwt_issuer: Annotated[
        str,
        about(
            "https URL of the tokens' issuer; needed with `jwt`.",
            "an https URL such as https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbCdEfGhI",
        ),
    ] = ""
    jwt_audience: Annotated[
        str,
        about(
            "Audience that the tokens must be meant for; needed with `jwt`.",
            "the audience of the tokens, such as the client id that they are issued to",
        ),
    ] = ""
    allow_public: Annotated[
        bool,
        Meta(
            description="Whether it is meant that anyone may call; the stage `prod` asks for it where `apiAuth` is "
            "none."
        ),
    ] = False
    gallery: Annotated[
        Literal["public", "owner", "off"],
        Meta(
            description="Who sees the galleries of jobs: everyone who may call (`public`), only the caller who made "
            "the job (`owner`), or nobody, without routes (`off`); by default `owner` with authentication, else `off` "
            "in the stage `prod` and `public` in all others."
        ),
    ] = "public"
    public_images: Annotated[
        bool,
        Meta(
            description="Whether images are public by URL, through CloudFront, where callers need credentials; else "
            "they have presigned URLs there."
        ),
    ] = False
    cloudfront: Annotated[
        bool,
        Meta(
            description="Whether CloudFront serves the page, and images that are public; else images have presigned "
            "URLs; off for `local`."
        ),
    ] = True
    status_wait: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_WAIT_SECONDS,
            description="Seconds that a request for a status may wait for a change; 0 returns at once; 20 for `local`.",
        ),
    ] = 0
    alarm_email: Annotated[
        str,
        about(
            "Email address that alarms are sent to.",
            "an email address, or empty",
        ),
    ] = ""
    daily_spend_alarm: Annotated[
        float,
        about(
            "US dollars a day, at AWS and at the providers, above which an alarm is raised; 0 raises none.",
            _DOLLARS,
            ge=0,
            le=1_000_000,
        ),
    ] = 0
    daily_budget: Annotated[
        float,
        about(
            "US dollars that jobs and enhancements may cost at the providers in a UTC calendar day, above which they "
            "are refused; 0 sets no budget.",
            _DOLLARS,
            ge=0,
            le=1_000_000,
        ),
    ] = 0
    monthly_budget: Annotated[
        float,
        about(
            "US dollars that jobs and enhancements may cost at the providers in a UTC calendar month, above which they "
            "are refused; 0 sets no budget.",
            _DOLLARS,
            ge=0,
            le=1_000_000,
        ),
    ] = 0
    unknown_price_ceiling: Annotated[
        float,
        about(
            "US dollars that an image counts for in a budget where its price is unknown; 0 refuses such models.",
            _DOLLARS,
            ge=0,
            le=1_000_000,
        ),
    ] = 0
    confirm_above: Annotated[
        float,
        about(
            "Share of what is left of a budget, above which the page asks before it sends a job; 1 never asks.",
            "a number from 0 to 1",
            ge=0,
            le=1,
        ),
    ] = 0.25
    key_hosts: Annotated[
        Mapping[str, Sequence[str]],
        about(
            "Hosts, by the names of keys, that these keys may go to beside the providers' own: exact names, "
            "with the port unless it is 443.",
            'a JSON object of key names and hosts such as {"MY_KEY": ["my.example", "127.0.0.1:8080"]}: exact names, '
            "with the port unless it is 443, without scheme, path, or wildcard",
        ),
    ] = field(default_factory=dict)
    provider_endpoints: Annotated[
        Mapping[str, str],
        about(
            "Base URLs of simulators by provider; only for `local`, only loopback.",
            'a JSON object of providers and loopback URLs, without user and password, such as {"openai": '
            '"http://127.0.0.1:8000/openai/v1"}',
        ),
    ] = field(default_factory=dict)
    api_url: Annotated[
        str,
        about(
            "URL of the API, if not API Gateway's own; only for `local`, only loopback; "
            "the last part of its path becomes the API's id.",
            "a loopback URL, without user and password, such as http://127.0.0.1:4566/_aws/execute-api/pixel-prompt",
        ),
    ] = ""
    removal_policy: Annotated[
        Literal["retain", "destroy"],
        Meta(
            description="What becomes of the bucket and the secret with the stack: `destroy` (default of `dev`) or "
            "`retain`."
        ),
    ] = "retain"
    python_version: Annotated[
        str,
        about(
            "The functions' Python; by default that of the synthesizing interpreter, or the newest that "
            "Lambda supports where it lacks that one; `prod` must name it.",
            f"one of {', '.join(PYTHON_VERSIONS)}",
        ),
    ] = field(default_factory=lambda: _default_python("dev"))

    @property
    def execution_seconds(self) -> int:
        """Seconds that an execution may take: 40 models in waves, each with 180 s of waiting and 240 s of work.

        Beside them, 490 s are for *Prepare references* and 480 s for *Finish job*, and a *Record failure* before it:
        every attempt after an error of theirs, each up to its timeout. Where no Lambda is free, they wait for one in
        the time that is left.
        """
        return 490 + 480 + 420 * math.ceil(MAX_MODELS / min(self.max_concurrency, _NEW_ACCOUNT))

    @property
    def serves_page(self) -> bool:
        """Whether the page is deployed: it needs CloudFront, and has no credentials but an API key."""
        return self.cloudfront and self.api_auth in ("none", "keys")

    @property
    def has_public_images(self) -> bool:
        """Whether CloudFront serves images to anybody; else they have presigned URLs."""
        return self.cloudfront and (self.api_auth == "none" or self.public_images)

    @property
    def has_ledger(self) -> bool:
        """Whether the DynamoDB table of counts and budgets is deployed."""
        return self.limit_store == "dynamodb"

    @property
    def has_budget(self) -> bool:
        """Whether jobs and enhancements that would cost too much are refused."""
        return bool(self.daily_budget or self.monthly_budget)

    @property
    def has_charges(self) -> bool:
        """Whether jobs may be charged to a budget, of the deployment or of an API key."""
        return _has_charges(self.api_auth, self.daily_budget, self.monthly_budget)

    @property
    def has_gallery(self) -> bool:
        """Whether the gallery's routes, its function and its part of the page are deployed."""
        return self.gallery != "off"

    @property
    def chosen(self) -> dict[str, Any]:
        """The settings that are not the defaults of the stage, by their names in the context."""
        default = Settings(
            stage=self.stage, **_defaults(self.stage, self.target, self.api_auth, has_charges=self.has_charges)
        )
        values = {name: getattr(self, _snake_case(name)) for name in NAMES}
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
        stages = {name: with_present_names(values) for name, values in stages.items()}
        stage = str(context.get("stage", "dev"))
        if stage not in (*STAGES, *stages):
            raise SettingsError(
                f"stage is {json.dumps(stage)}; it must be one of {', '.join(dict.fromkeys((*STAGES, *stages)))}."
            )
        for name, own in stages.items():
            # A mistake in another stage is not found only when that one is deployed.
            if name != stage:
                read_values(own, cls, _CHECKS)
        chosen = dict(stages.get(stage, {}))
        chosen.update(with_present_names(single_values(context)))
        values = read_values(chosen, cls, _CHECKS)
        values["stage"] = stage
        api_auth = values.get("api_auth", "none")
        has_charges = _has_charges(api_auth, values.get("daily_budget", 0), values.get("monthly_budget", 0))
        defaults = _defaults(stage, values.get("target", "aws"), api_auth, has_charges=has_charges)
        settings = cls(**{**defaults, **values})
        settings._check()
        return settings

    def _check(self) -> None:
        """Check what concerns several values at once."""

        def refuse(name: str, reason: str) -> NoReturn:
            raise SettingsError(f"{name} is {json.dumps(getattr(self, _snake_case(name)))}; {reason}")

        is_local = self.target == "local"
        for name in ("providerEndpoints", "apiUrl"):
            if getattr(self, _snake_case(name)) and not is_local:
                refuse(name, "it is allowed only with target=local.")
        if is_local and self.cloudfront:
            refuse("cloudfront", "with target=local it must be false.")
        if is_local and self.api_auth not in ("none", "keys"):
            refuse("apiAuth", "with target=local it must be none or keys.")
        for name in ("jwtIssuer", "jwtAudience"):
            if bool(getattr(self, _snake_case(name))) != (self.api_auth == "jwt"):
                refuse(name, "it is needed with apiAuth=jwt, and only there.")
        if self.stage == "prod" and self.api_auth == "none" and not (self.allow_public or is_local):
            refuse(
                "apiAuth",
                "in the stage prod it must be keys, iam or jwt, unless allowPublic=true says that anybody may call.",
            )
        self._check_images(refuse)
        if self.api_auth == "keys" and not self.has_ledger:
            refuse("limitStore", "with apiAuth=keys it must be dynamodb, where the keys are kept.")
        if self.has_budget and not self.has_ledger:
            refuse("limitStore", "with dailyBudget or monthlyBudget it must be dynamodb, where budgets are kept.")
        if not self.has_charges:
            for name in ("unknownPriceCeiling", "confirmAbove"):
                if getattr(self, _snake_case(name)) != getattr(Settings(), _snake_case(name)):
                    refuse(name, "it is needed only with dailyBudget, monthlyBudget, or apiAuth=keys.")
        if self.has_ledger:
            needed_by = "a budget needs" if self.has_budget else "apiAuth=keys needs" if self.has_charges else ""
            store = f"limitStore=dynamodb, which {needed_by}," if needed_by else "limitStore=dynamodb"
            for name in _LIMITS:
                if getattr(self, _snake_case(name)) > MAX_LIMIT:
                    refuse(name, f"with {store} it must be at most {MAX_LIMIT}: one item holds its window.")
        if not self.python_version:
            refuse("pythonVersion", f"in the stage prod it must be set, to one of {', '.join(PYTHON_VERSIONS)}.")

    def _check_images(self, refuse: Callable[[str, str], NoReturn]) -> None:
        """Check who sees images."""
        if self.gallery == "owner" and self.api_auth == "none":
            refuse("gallery", "it needs apiAuth keys, iam or jwt: without authentication, nobody owns a job.")
        if self.public_images and self.api_auth == "none":
            refuse("publicImages", "with apiAuth=none, images are public anyway; remove it.")
        if self.public_images and not self.cloudfront:
            refuse("publicImages", "it needs cloudfront.")


NAMES = Settings.__struct_encode_fields__
# What is counted in windows.
_LIMITS = ("globalLimit", "ipLimit", "enhanceLimit", "enhanceIpLimit", "uploadLimit", "uploadIpLimit")
# Former names of settings, which are accepted until 3.0.0.
FORMER_NAMES = {"removal": "removalPolicy"}


def with_present_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Context values under the present names of their settings.

    Raises
    ------
    SettingsError : a setting is there under both names
    """
    for former, present in FORMER_NAMES.items():
        if former in values and present in values:
            raise SettingsError(f"{former} is the former name of {present}, and both are set; remove {former}.")
    return {FORMER_NAMES.get(name, name): value for name, value in values.items()}


def former_names(context: Mapping[str, Any]) -> list[str]:
    """A sentence for each former name that a valid context uses."""
    used = {*context, *(name for values in context.get("stages", {}).values() for name in values)}
    return [
        f"The setting {former} is now {present}; rename it before 3.0.0."
        for former, present in FORMER_NAMES.items()
        if former in used
    ]


def _has_charges(api_auth: str, daily_budget: float, monthly_budget: float) -> bool:
    return api_auth == "keys" or bool(daily_budget or monthly_budget)


def _defaults(stage: str, target: str, api_auth: str, *, has_charges: bool) -> dict[str, Any]:
    """The defaults that depend on the stage, the target, or other settings, by the names of their fields."""
    is_local = target == "local"
    open_gallery = "off" if stage == "prod" else "public"
    return {
        "limit_store": "dynamodb" if has_charges else "s3",
        "trust_body_ip": is_local,
        "cloudfront": not is_local,
        "status_wait": MAX_WAIT_SECONDS if is_local else 0,
        "removal_policy": "destroy" if stage == "dev" else "retain",
        "gallery": open_gallery if api_auth == "none" else "owner",
        "python_version": _default_python(stage),
    }


def _default_python(stage: str) -> str:
    """The functions' Python where no setting names one; none for `prod`, where another machine must not change it."""
    if stage == "prod":
        return ""
    return INTERPRETER if INTERPRETER in PYTHON_VERSIONS else PYTHON_VERSIONS[-1]


def _snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def _networks(value: str) -> str:
    networks = [part.strip() for part in value.split(",") if part.strip()]
    for network in networks:
        ipaddress.ip_network(network, strict=False)
    return ",".join(networks)


def _origins(value: str) -> str:
    origins = [part.strip() for part in value.split(",")]
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


def _issuer(issuer: str) -> str:
    parts = urlsplit(issuer)
    is_plain = parts.hostname and not (parts.query or parts.fragment or "@" in parts.netloc)
    if issuer and (parts.scheme != "https" or not is_plain):
        raise ValueError
    return issuer


def _email(address: str) -> str:
    if address and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address):
        raise ValueError
    return address


def _audience(text: str) -> str:
    return _not_blank(text) if text else ""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text.strip()


def _loopback_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname not in LOOPBACK_HOSTS or "@" in parts.netloc:
        raise ValueError
    return url


def _loopback_urls(urls: Mapping[str, str]) -> dict[str, str]:
    if not all(provider.isidentifier() for provider in urls):
        raise ValueError
    return {provider: _loopback_url(url) for provider, url in urls.items()}


def _key_hosts(allowed: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    if not all(name.isidentifier() for name in allowed):
        raise ValueError
    return {name: _hosts(hosts) for name, hosts in allowed.items()}


def _hosts(hosts: Sequence[str]) -> list[str]:
    if not hosts or not all(map(HOST.fullmatch, hosts)):
        raise ValueError
    return [host.lower() for host in hosts]


def _python(version: str) -> str:
    if version not in PYTHON_VERSIONS:
        raise ValueError
    return version


# What no type says of a value; each raises ValueError.
_CHECKS: dict[str, Check] = {
    "ipInclude": _networks,
    "corsOrigins": _origins,
    "promptModelIndex": _not_blank,
    "jwtIssuer": _issuer,
    "jwtAudience": _audience,
    "alarmEmail": _email,
    "keyHosts": _key_hosts,
    "providerEndpoints": _loopback_urls,
    "apiUrl": _loopback_url,
    "pythonVersion": _python,
}
