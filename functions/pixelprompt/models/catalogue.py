"""The catalogue of models: what a file or an overlay may hold, and what it means.

An entry has ``name``, ``provider`` and ``id``, and may have ``default``, ``enabled``, ``timeLimit`` (s), ``parameters``
(sent as they are), ``supports`` (which parameters it supports), ``pixels`` (which sizes), ``price``, ``region``,
``baseUrl``, ``path``, ``dialect``, ``apiKeyName``, ``released``, ``shutdown`` (days), ``retired`` (gone, though nobody
gave a day), ``replacement`` (an id) and ``uncorroborated`` (which part rests on a single source).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pixelprompt.errors import ConfigurationError
from pixelprompt.models.catalogue_entry import FIELDS, EntryError, pixel_sizes, read_entry
from pixelprompt.models.dialect import dialect
from pixelprompt.models.model import Model
from pixelprompt.models.parameters import IMAGES
from pixelprompt.models.provider import PROVIDERS, KeyHosts, called_host, key_name
from pixelprompt.storage.keys import file_name

Entry = Mapping[str, Any]
SECTIONS = ("models", "textModels")
# Former names of fields, which entries of an overlay may have until 3.0.0.
FORMER_NAMES = {"takes": "supports", "keyName": "apiKeyName"}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def parse(catalogue: Any) -> dict[str, list[Model]]:
    """The models of a catalogue by section, disabled ones left out.

    Raises
    ------
    ConfigurationError : says which entry is wrong and what is allowed
    """
    if not isinstance(catalogue, Mapping) or not all(isinstance(catalogue.get(name), list) for name in SECTIONS):
        raise ConfigurationError(f"The model catalogue must be an object with the lists {' and '.join(SECTIONS)}.")
    return {section: _section(catalogue[section], section) for section in SECTIONS}


def overlay(catalogue: Mapping[str, Any], changes: Any) -> dict[str, Any]:
    """A catalogue with changes on top: an entry replaces the one of the same name, or is added at the end.

    Raises
    ------
    ConfigurationError : the changes are not a catalogue
    """
    if not isinstance(changes, Mapping) or not set(changes) <= {*SECTIONS, "schemaVersion"}:
        raise ConfigurationError(f"An overlay must be an object with the lists {' or '.join(SECTIONS)}.")
    result = dict(catalogue)
    for section in SECTIONS:
        entries = changes.get(section, [])
        if not isinstance(entries, list) or not all(_is_named(entry) for entry in entries):
            raise ConfigurationError(f"{section} of the overlay must be a list of objects, each with a name.")
        for number, entry in enumerate(entries):
            try:
                json.dumps(entry, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise ConfigurationError(f"{section}[{number}] of the overlay has an unpaired surrogate.") from None
        changed = {entry["name"]: with_present_names(entry, section) for entry in entries}
        if len(changed) < len(entries):
            raise ConfigurationError(f"{section} of the overlay names a model twice.")
        kept = [_changed(entry, changed.pop(entry["name"], {})) for entry in catalogue[section]]
        result[section] = [*kept, *changed.values()]
    return result


def with_present_names(entry: Entry, section: str) -> Entry:
    """An entry with the present names of its fields.

    Raises
    ------
    ConfigurationError : a field is there under both names
    """
    for former, present in FORMER_NAMES.items():
        if former in entry and present in entry:
            raise ConfigurationError(f"{section} ({entry['name']}) has `{present}` and its former name `{former}`.")
    return {FORMER_NAMES.get(name, name): value for name, value in entry.items()}


def former_names(changes: Any) -> list[str]:
    """A sentence for each former name that an overlay uses; of anything else, as far as it resembles one."""
    lists = {name: changes.get(name) for name in SECTIONS} if isinstance(changes, Mapping) else {}
    return [
        f"{section} ({entry['name']}) has `{former}`; rename it to `{present}` before 3.0.0."
        for section, entries in lists.items()
        if isinstance(entries, list)
        for entry in filter(_is_named, entries)
        for former, present in FORMER_NAMES.items()
        if former in entry
    ]


def key_hosts(catalogue: Mapping[str, Any]) -> dict[str, set[str]]:
    """The hosts by the names of keys that the entries of a valid catalogue name, disabled ones included."""
    found: dict[str, set[str]] = {}
    for entry in (entry for section in SECTIONS for entry in catalogue[section] if "apiKeyName" in entry):
        if host := called_host(entry["provider"], entry.get("baseUrl")):
            found.setdefault(entry["apiKeyName"], set()).add(host)
    return found


def check_keys(sections: Mapping[str, Sequence[Model]], allowed: KeyHosts) -> None:
    """Refuse models that would send a key to a host that is not the key's.

    A model of ``compatible`` without an ``apiKeyName`` passes: it is called without a key where the key may not go.

    Raises
    ------
    ConfigurationError : says which model, key and host, and how to allow it
    """
    for section, models in sections.items():
        for model in models:
            name, host = key_name(model), called_host(model.provider, model.base_url)
            needs_key = model.api_key_name is not None or PROVIDERS[model.provider].key_required
            if name is None or host is None or not needs_key or allowed.sent_key(model):
                continue
            hosts = ", ".join(allowed.of(name)) or "none"
            raise ConfigurationError(
                f"{section} ({model.name}) would send the key {name} to {host}; the hosts of {name}: {hosts}. "
                f"If {host} may have the key, deploy with the setting keyHosts={json.dumps({name: [host]})}. "
                "Otherwise correct provider, baseUrl, or apiKeyName."
            )


def _changed(entry: Entry, changes: Entry) -> dict[str, Any]:
    """An entry with changes on top; another provider or id does not inherit what is only the former one's."""
    lost: set[str] = set()
    if changes.get("provider", entry["provider"]) != entry["provider"]:
        lost = {"path", "pixels"}
    elif changes.get("id", entry["id"]) != entry["id"]:
        # A path may name the model; sizes in pixels mostly hold for a family of models.
        lost = {"path"}
    return {**{name: value for name, value in entry.items() if name not in lost}, **changes}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_named(entry: Any) -> bool:
    return isinstance(entry, Mapping) and _is_text(entry.get("name"))


def _section(entries: Sequence[Any], section: str) -> list[Model]:
    models: list[Model] = []
    seen: dict[str, Model] = {}
    for number, entry in enumerate(entries):
        where = f"{section}[{number}]"
        model = _model(entry, where)
        for name in (file_name(model.name).casefold(), model.id.casefold()):
            other = seen.setdefault(name, model)
            if other is not model:
                raise ConfigurationError(
                    f"{where} {model.name!r} ({model.id}) has the same name in keys, or the same id, as {other.name!r} "
                    f"({other.id}); rename it, or change that entry under its own name."
                )
        if entry.get("enabled", True):
            models.append(model)
    return models


def _model(entry: Any, where: str) -> Model:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} in the model catalogue must be an object.")
    for name in ("name", "provider", "id"):
        if not _is_text(entry.get(name)):
            raise ConfigurationError(f"{where} in the model catalogue needs {name!r}, a string.")
        if _CONTROL.search(entry[name]):
            raise ConfigurationError(f"{where} in the model catalogue has a control character in its {name}.")
    where = f"{where} ({entry['name']})"
    if unknown := next((name for name in entry if name not in FIELDS), None):
        raise ConfigurationError(f"{where} has {unknown!r}, which is unknown. Use: {', '.join(FIELDS)}.")
    try:
        read = read_entry(entry)
    except EntryError as error:
        value = _shown(entry.get(error.field))
        raise ConfigurationError(f"{where} has {error.field}={value}; it must be {error}.") from None
    _check_provider(entry, where)
    if read.enabled and not read.retired:
        _check_svg(entry, where)
    return Model(
        name=read.name,
        provider=read.provider,
        id=read.id,
        time_limit=read.time_limit,
        parameters=read.parameters,
        supports=entry.get("supports", {}),
        pixels=pixel_sizes(read.pixels) if read.pixels else None,
        price=entry.get("price"),
        region=read.region or None,
        base_url=read.base_url or None,
        path=read.path or None,
        dialect=read.dialect or None,
        api_key_name=read.api_key_name or None,
        released=entry.get("released"),
        shutdown=entry.get("shutdown"),
        replacement=read.replacement or None,
        retired=read.retired,
        default=read.default,
    )


def _check_provider(entry: Entry, where: str) -> None:
    """Refuse what the provider's adapter would not send."""
    provider, supports = entry["provider"], entry.get("supports", {})
    row = PROVIDERS[provider]
    unsent = sorted(set(supports) - row.parameters - {"n"})
    if unsent:
        raise ConfigurationError(
            f"{where} supports {', '.join(unsent)}, which the adapter of {provider} does not send."
        )
    if row.is_any_server and IMAGES in supports and dialect(entry.get("dialect")).references is None:
        raise ConfigurationError(
            f"{where} supports {IMAGES}, which the dialect {entry['dialect']} does not send; remove it."
        )
    if supports.get("n", {}).get("perCall") and not row.several_per_call:
        raise ConfigurationError(f"{where} has n.perCall, but {provider} makes one image in a call.")
    if "pixels" in entry and not row.sends_pixels:
        raise ConfigurationError(f"{where} has pixels, but {provider} models aren't told a size in pixels; remove it.")
    if "baseUrl" in entry and not row.custom_servers:
        allowed = ", ".join(sorted(name for name, other in PROVIDERS.items() if other.custom_servers))
        raise ConfigurationError(f"{where} has baseUrl; only {allowed} models may have one.")
    if "apiKeyName" in entry and row.key_name is None:
        raise ConfigurationError(
            f"{where} has apiKeyName, but {provider} uses the AWS role instead of a key; remove it."
        )
    if forbidden := sorted(row.forbidden_parameters & set(entry.get("parameters", {}))):
        raise ConfigurationError(f"{where} has {forbidden[0]!r} in parameters, which is not allowed; remove it.")


def _check_svg(entry: Entry, where: str) -> None:
    """Reject a model whose images are certainly SVG documents: they would be paid for and not stored."""
    parameters = {name: str(value).lower() for name, value in entry.get("parameters", {}).items()}
    is_recraft = re.search(r"(^|[/_-])recraft", f"{entry['provider']}/{entry['id']}".lower())
    draws_vectors = re.search(r"[_-](vector|svg)\b", entry["id"].lower()) or parameters.get("style", "").startswith(
        "vector_illustration"
    )
    is_svg = any(parameters.get(name) == "svg" for name in ("output_format", "image_format", "format"))
    if is_svg or (is_recraft and draws_vectors):
        raise ConfigurationError(
            f"{where} makes SVG images, which this service doesn't store. Use a raster model, such as recraftv4_1, or "
            "the output format png, jpeg, or webp."
        )


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return "a value that is nested too deeply"
