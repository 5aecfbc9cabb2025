"""Check an operator's overlay of the model catalogue, show what it changes, and upload it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.aws import deployment as deployments
from pixelprompt.errors import ConfigurationError
from pixelprompt.models import catalogue, registry
from pixelprompt.models.model import Model
from pixelprompt.models.provider import KeyHosts, called_host, key_name
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.settings import Settings
from pixelprompt.storage.keys import OVERLAY_KEY

# Members that an entry without them has.
_DEFAULTS = {"default": True, "enabled": True}


def run(
    file: Path,
    directory: Path,
    environment: Mapping[str, str],
    *,
    put: bool = False,
    bucket: str | None = None,
    stage: str | None = None,
    local: bool = False,
) -> int:
    """Check an overlay, say what it changes, and upload it where that is asked for; the exit code.

    Parameters
    ----------
    directory : where the cloud on a laptop lives
    put : upload it to `bucket`, or to that of a deployment; `stage` and `local` as in `local.aws.deployment.find`

    Raises
    ------
    CloudError : the deployment does not exist, or S3 refuses the upload
    """
    prompt_model = environment.get("PROMPT_MODEL_INDEX", "").strip() or "1"
    found: deployments.Deployment | None = None
    client: deployments.ClientFactory | None = None
    if put and bucket:
        client, _ = deployments.account(environment)
    elif put:
        found = deployments.find(directory, environment, stage=stage, local=local)
        client, bucket, prompt_model = found.client, found.bucket, found.prompt_model()
    changes: Any = None
    try:
        changes = read(file)
        key_hosts = found.key_hosts() if found else Settings(environment).key_hosts
        lines = describe(changes, prompt_model=prompt_model, key_hosts=key_hosts)
    except ConfigurationError as error:
        # The error names fields as they are called now.
        print("\n".join([f"{file}: {error}", *catalogue.former_names(changes)]), file=sys.stderr)
        return 1
    print("\n".join(lines))
    if client and bucket:
        _upload(client("s3"), bucket, changes)
        print(f"It is stored at s3://{bucket}/{OVERLAY_KEY}; running functions use it within a minute.")
    else:
        print("The overlay is valid; nothing was uploaded.")
    return 0


def read(file: Path) -> Any:
    """The JSON in a file.

    Raises
    ------
    ConfigurationError : reading it failed, or it is not valid JSON
    """
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"Failed to read the overlay: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"The overlay is not valid JSON: {error}.") from error


def describe(
    changes: Any,
    *,
    prompt_model: str = "1",
    day: Callable[[], date] = registry.today,
    key_hosts: Mapping[str, Iterable[str]] | None = None,
) -> list[str]:
    """Two lines for each entry of an overlay: what it does to the built-in catalogue, and which key it sends where.

    Parameters
    ----------
    key_hosts : hosts by the names of keys that the deployment's setting ``keyHosts`` allows to go there

    Raises
    ------
    ConfigurationError : the service would not use the overlay; the message says which entry and what is allowed
    """
    loaded = ModelRegistry.load(prompt_model=prompt_model, overlay=changes, day=day, key_hosts=key_hosts)
    built_in = json.loads(registry.CATALOGUE.read_text(encoding="utf-8"))
    merged = catalogue.overlay(built_in, changes)
    lines: list[str] = []
    for section in catalogue.SECTIONS:
        before = {entry["name"]: entry for entry in built_in[section]}
        after = {entry["name"]: entry for entry in merged[section]}
        for name in (entry["name"] for entry in changes.get(section, [])):
            lines.append(_line(before.get(name), after[name], day().isoformat()))
            lines.append(f"  {_sent(after[name], loaded.key_hosts)}")
            if (model := loaded.find(name)) and section == "models" and (warning := loaded.warning(model)):
                lines.append(f"  {warning}")
    defaults = [model.name for model in loaded.get_all_models() if model.default]
    lines += catalogue.former_names(changes)
    lines.append(f"Default models: {', '.join(defaults) or 'none'}.")
    return lines


def _line(before: Mapping[str, Any] | None, after: Mapping[str, Any], today: str) -> str:
    title = f"{after['name']} ({after['provider']}, {after['id']})"
    known = {**_DEFAULTS, **(before or {})}
    was_enabled, is_enabled = known["enabled"], after.get("enabled", True)
    was_over, is_over = (str(entry.get("shutdown", "9999-12-31")) <= today for entry in (known, after))
    fields = [
        f"{name} {_short(known.get(name))} → {_short(after.get(name))}"
        for name in after
        if name not in ("enabled", "name") and after.get(name) != known.get(name)
    ]
    if before is None:
        key = f", needs the key {after['apiKeyName']} in the secret" if after.get("apiKeyName") else ""
        return f"added     {title}{key}" + ("" if is_enabled else ", but disabled") + (", but shut down" * is_over)
    if is_over and not was_over:
        instead = f"; requests for it name {after['replacement']}" if after.get("replacement") else ""
        return f"retired   {title}, shut down on {after['shutdown']}{instead}"
    if was_enabled != is_enabled:
        return f"{'enabled ' if is_enabled else 'disabled'}  {title}" + (f": {'; '.join(fields)}" if fields else "")
    return f"changed   {title}: {'; '.join(fields)}" if fields else f"unchanged {title}"


def _sent(entry: Mapping[str, Any], key_hosts: KeyHosts) -> str:
    """The key that a model would send, and the host that would get it."""
    provider, base_url = entry["provider"], entry.get("baseUrl")
    model = Model(entry["name"], provider, entry["id"], base_url=base_url, api_key_name=entry.get("apiKeyName"))
    name, host = key_name(model), called_host(provider, base_url)
    if name is None:
        return f"sends no key: {provider} uses the AWS role"
    if host is None:
        return f"sends no {name}: it has no baseUrl"
    if key_hosts.sent_key(model):
        return f"sends {name} to {host}"
    return f"sends no key to {host}: {name} may go there only with keyHosts={json.dumps({name: [host]})}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _upload(s3: Any, bucket: str, changes: Any) -> None:
    body = json.dumps(changes, indent=2, ensure_ascii=False).encode()
    try:
        s3.put_object(Bucket=bucket, Key=OVERLAY_KEY, Body=body, ContentType="application/json")
    except ClientError as error:
        cure = f"S3 returned {{code}} for {OVERLAY_KEY} in {bucket}. Check that the bucket is the right one, and yours."
        raise deployments.aws_failure(error, cure) from None
    except BotoCoreError as error:
        raise deployments.aws_failure(error) from None
