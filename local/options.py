"""Options of a cloud on a laptop: settings, provider keys, the simulator's faults and latency."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pixelprompt.models.provider import PROVIDERS
from pixelprompt.models.registry import ModelRegistry

# Environment variables that become settings of the stack: IP_LIMIT is ipLimit, and so on. infra/settings.py says what
# they mean and what they allow.
SETTINGS = (
    "IP_LIMIT",
    "GLOBAL_LIMIT",
    "ENHANCE_LIMIT",
    "ENHANCE_IP_LIMIT",
    "UPLOAD_LIMIT",
    "UPLOAD_IP_LIMIT",
    "LIMIT_STORE",
    "DAILY_BUDGET",
    "MONTHLY_BUDGET",
    "UNKNOWN_PRICE_CEILING",
    "CONFIRM_ABOVE",
    "IP_INCLUDE",
    "TRUST_BODY_IP",
    "RETENTION_DAYS",
    "LOG_LEVEL",
    "CORS_ORIGINS",
    "PROMPT_MODEL_INDEX",
    "MAX_CONCURRENCY",
    "MODERATION",
    "STATUS_WAIT",
    "GALLERY",
    "API_AUTH",
    "KEY_HOSTS",
)

# In place of a key, for a simulated provider.
SIMULATED_KEY = "simulated"
# How a provider is reached from here, if it is a real one.
NETWORK_VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)


class OptionError(ValueError):
    """An option is wrong; the message names it, its value and what is allowed."""


@dataclass(frozen=True)
class Options:
    """The options that a cloud is started with.

    Attributes
    ----------
    settings : by the names of `SETTINGS`; the stack's own default holds for what is not there
    keys : real keys by the names of their environment variables; a provider without one is simulated
    faults : faults of the simulators, such as ``gpt-image-2.6-flare=throttled:2:1,recraftv4_1=refused``
    latency : seconds that simulated images take, such as ``0.5-4`` or ``2``; empty is the simulator's own default
    enforce_iam : whether the emulator holds each Lambda to its role's policies; it then speaks TLS
    network : environment variables that reach the providers through a proxy or a private certificate authority
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    faults: str = ""
    latency: str = ""
    enforce_iam: bool = False
    network: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.settings) - set(SETTINGS)):
            raise OptionError(f"Unknown setting {', '.join(unknown)}. Available: {', '.join(SETTINGS)}.")
        if self.faults:
            # Imported only here: it brings Pillow along.
            from local.simulator.faults import FaultError, parse_faults

            try:
                parse_faults(self.faults)
            except FaultError as error:
                raise OptionError(f"SIMULATOR_FAULTS is {self.faults!r}. {error}") from None
        self.simulator_arguments()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Options:
        """The options in the caller's environment; an empty variable counts as none."""
        chosen = {name: value.strip() for name, value in environment.items() if value.strip()}
        return cls(
            settings={name: chosen[name] for name in SETTINGS if name in chosen},
            keys=keys_in(environment),
            faults=chosen.get("SIMULATOR_FAULTS", ""),
            latency=chosen.get("SIMULATOR_LATENCY", ""),
            enforce_iam=_switch("ENFORCE_IAM", chosen.get("ENFORCE_IAM", "0")),
            network={name: chosen[name] for name in chosen if name.upper() in (*NETWORK_VARIABLES, "NO_PROXY")},
        )

    def resolved(self, registry: ModelRegistry) -> Options:
        """The same with faults at the models' ids, as the simulators know them, where a name was used.

        Raises
        ------
        OptionError : a fault is for a model that is unknown
        """
        entries = [entry.partition("=") for entry in self.faults.split(",") if entry.strip()]
        faults = ",".join(f"{_fault_id(model.strip(), registry)}={fault}" for model, _, fault in entries)
        return replace(self, faults=faults)

    def faulted(self, registry: ModelRegistry) -> list[str]:
        """The names of the models that have a fault of their own; the id of one that `registry` lacks."""
        models = [model.partition("=")[0].strip() for model in self.faults.split(",") if model.strip()]
        found = {model: registry.find(model) for model in models if model != "*"}
        return [entry.name if entry else model for model, entry in found.items()]

    def over(self, other: Options) -> Options:
        """These options with their keys, and the other's where these say nothing."""
        return Options(
            settings={**other.settings, **self.settings},
            keys=self.keys,
            faults=self.faults or other.faults,
            latency=self.latency or other.latency,
            enforce_iam=self.enforce_iam or other.enforce_iam,
            network=self.network,
        )

    def remembered(self) -> dict[str, Any]:
        """The options that a cloud remembers: of the keys only their names, nothing of the caller's network."""
        return {
            "settings": dict(self.settings),
            "faults": self.faults,
            "latency": self.latency,
            "enforce_iam": self.enforce_iam,
            "key_names": sorted(self.keys),
        }

    @classmethod
    def recalled(cls, remembered: Mapping[str, Any]) -> Options:
        """The options that a cloud remembers, without keys: those come from the environment of each command only."""
        return cls(**{name: value for name, value in remembered.items() if name != "key_names"})

    def differences(self, remembered: Mapping[str, Any]) -> list[str]:
        """The environment variables that say something else than what a cloud remembers."""
        mine, theirs = self.remembered(), {**Options().remembered(), **remembered}
        settings = {*mine["settings"].items()} ^ {*theirs["settings"].items()}
        keys = {*mine["key_names"]} ^ {*theirs["key_names"]}
        names = {"faults": "SIMULATOR_FAULTS", "latency": "SIMULATOR_LATENCY", "enforce_iam": "ENFORCE_IAM"}
        others = [variable for name, variable in names.items() if mine[name] != theirs[name]]
        return [*sorted({name for name, _ in settings}), *others, *sorted(keys)]

    def simulated(self) -> list[str]:
        """The providers that simulators play: those without a key."""
        names = key_names(self.settings.get("KEY_HOSTS", ""))
        real = {provider for key in self.keys for provider in names[key]}
        return [provider for provider, row in PROVIDERS.items() if row.simulator_path and provider not in real]

    def context(self, simulator_url: str, api_url: str) -> dict[str, Any]:
        """The CDK context of this cloud."""
        endpoints = {provider: simulator_url + PROVIDERS[provider].simulator_path for provider in self.simulated()}
        fixed = {"target": "local", "stage": "dev", "providerEndpoints": endpoints, "apiUrl": api_url}
        return {**fixed, **self.setting_context()}

    def origins(self) -> list[str]:
        """The origins that `CORS_ORIGINS` names, whose pages may call the cloud beside its own; ``*`` is all."""
        return [origin.strip() for origin in self.settings.get("CORS_ORIGINS", "").split(",") if origin.strip()]

    def setting_context(self) -> dict[str, str]:
        """The settings by their names in the CDK context."""
        return {_camel_case(name): value for name, value in sorted(self.settings.items())}

    def secret(self) -> dict[str, str]:
        """The content of the secret of the provider keys."""
        played = set(self.simulated())
        simulated = {name: SIMULATED_KEY for name, providers in key_names().items() if providers & played}
        return {**simulated, **self.keys}

    def simulator_arguments(self) -> list[str]:
        """Command line arguments of the simulator."""
        arguments = ["--faults", self.faults]
        if self.latency:
            number = r"\d+(?:\.\d+)?"
            found = re.fullmatch(rf"({number})(?:-({number}))?", self.latency)
            if not found or float(found[1]) > float(found[2] or found[1]):
                allowed = "it accepts seconds, such as 0.5-4 or 2"
                raise OptionError(f"SIMULATOR_LATENCY is {self.latency!r}; {allowed}.")
            arguments += ["--latency-min", found[1], "--latency-max", found[2] or found[1]]
        return arguments

    def network_environment(self) -> dict[str, str]:
        """The environment that lets the emulator's Lambdas reach real providers; empty where all are simulated."""
        if not self.keys:
            return {}
        inherited = {name: value for name, value in self.network.items() if name.upper() != "NO_PROXY"}
        direct = self.network.get("no_proxy") or self.network.get("NO_PROXY") or ""
        no_proxy = ",".join(filter(None, [direct, "127.0.0.1,localhost"]))
        return {**inherited, "NO_PROXY": no_proxy, "no_proxy": no_proxy}


def keys_in(environment: Mapping[str, str]) -> dict[str, str]:
    """The provider keys that the caller's environment holds; an empty one counts as none."""
    names = key_names(environment.get("KEY_HOSTS", ""))
    found = {name: environment.get(name, "").strip() for name in sorted(names)}
    return {name: key for name, key in found.items() if key}


def key_names(key_hosts: str = "") -> dict[str, set[str]]:
    """The names of all keys, each with the providers that it opens.

    Parameters
    ----------
    key_hosts : the setting KEY_HOSTS, whose names are keys for servers of one's own
    """
    names: dict[str, set[str]] = {}
    for name, provider in PROVIDERS.items():
        if provider.key_name:
            names.setdefault(provider.key_name, set()).add(name)
    for model in ModelRegistry.load().get_all_models():
        if model.api_key_name:
            names.setdefault(model.api_key_name, set()).add(model.provider)
    own = {provider for provider, row in PROVIDERS.items() if row.is_any_server}
    return dict.fromkeys(_names_in(key_hosts), own) | names


def _names_in(key_hosts: str) -> list[str]:
    # What is wrong with the setting, the stack says.
    try:
        hosts = json.loads(key_hosts or "{}")
    except (ValueError, RecursionError):
        return []
    return sorted(hosts) if isinstance(hosts, dict) else []


def _fault_id(wanted: str, registry: ModelRegistry) -> str:
    """The id of a model that may have a fault, by its name or id; ``*`` is every model."""
    # Imported only here: it brings Pillow along.
    from local.simulator.protocols import PREFIXES, protocol_of

    models = (*registry.get_all_models(), *registry.get_text_models())
    more = [id for provider in PREFIXES for id in protocol_of(provider).more_models]
    ids = {model.id.casefold(): model.id for model in models} | {id: id for id in ("*", *more)}
    ids |= {model.name.casefold(): model.id for model in models}
    if known := ids.get(wanted.casefold()):
        return known
    close = dict.fromkeys(ids[key] for key in difflib.get_close_matches(wanted.casefold(), ids))
    raise OptionError(
        f"SIMULATOR_FAULTS has the unknown model {wanted!r}. "
        + (
            f"Did you mean {' or '.join(close)}? "
            if close
            else f"Available: {', '.join(dict.fromkeys(ids.values()))}. "
        )
        + "A model of your own counts once its overlay is in the bucket of the running cloud."
    )


def _switch(name: str, value: str) -> bool:
    if value not in ("0", "1"):
        raise OptionError(f"{name} is {value!r}; it accepts 0 or 1.")
    return value == "1"


def _camel_case(name: str) -> str:
    first, *rest = name.lower().split("_")
    return first + "".join(word.capitalize() for word in rest)
