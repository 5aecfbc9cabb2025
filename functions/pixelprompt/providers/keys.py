"""The providers' keys, from one secret in Secrets Manager: ``{"OPENAI_API_KEY": "…", …}``."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from pixelprompt.errors import ConfigurationError, DeadlineExceeded, ServiceUnavailable
from pixelprompt.models.model import Credentials, Model
from pixelprompt.models.provider import PROVIDERS, KeyHosts, called_host, key_name, url_host
from pixelprompt.observability import log_failure, logger
from pixelprompt.settings import LOOPBACK_HOSTS

CACHE_SECONDS = 300.0


class ProviderKeys:
    """Reads the secret, at most once in five minutes.

    Parameters
    ----------
    secrets_client : boto3 Secrets Manager client
    secret : name or ARN
    endpoints : base URLs in place of the providers' own, by provider; keys may go there
    key_hosts : which hosts each key may go to; by default each provider's to the provider's own
    clock : seconds of a clock that never goes back
    """

    def __init__(
        self,
        secrets_client: Any,
        secret: str,
        endpoints: Mapping[str, str] | None = None,
        key_hosts: KeyHosts | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = secrets_client
        self._secret = secret
        self._endpoints = endpoints or {}
        self._key_hosts = key_hosts or KeyHosts()
        self._clock = clock
        self._keys: dict[str, str] = {}
        self._read_at: float | None = None

    def key_name(self, model: Model) -> str | None:
        """Name of the key that a model needs in the secret, or None where its provider needs none."""
        return key_name(model)

    def withholds(self, model: Model) -> bool:
        """Whether a model's key must not go to the model's host, so that it is never sent."""
        if self.key_name(model) is None or self._endpoint(model) or self._key_hosts.sent_key(model):
            return False
        # The simulators have keys that are none, also for an entry that names their URL itself.
        endpoint = self._endpoints.get(model.provider)
        return not endpoint or url_host(endpoint) != called_host(model.provider, model.base_url)

    def has_credentials(self, model: Model) -> bool:
        """Whether a model can be called."""
        return self.credentials(model) is not None

    def credentials(self, model: Model) -> Credentials | None:
        """Credentials for a model's provider, or None if its key is missing, or must not go to its host."""
        name = self.key_name(model)
        key = self._current().get(name) if name else None
        required = model.api_key_name is not None or PROVIDERS[model.provider].key_required
        if key and self.withholds(model):
            if required:
                host = called_host(model.provider, model.base_url)
                logger.warning("A key is not sent: keyHosts does not allow it.", key_name=name, host=host)
            key = None
        if required and not key:
            return None
        own = model.base_url or PROVIDERS[model.provider].base_url
        return Credentials(key, self._endpoint(model) or own)

    def _endpoint(self, model: Model) -> str | None:
        # A server on this machine is called where it is.
        own = model.base_url and urlsplit(model.base_url).hostname in LOOPBACK_HOSTS
        return None if own else self._endpoints.get(model.provider)

    def _current(self) -> dict[str, str]:
        now = self._clock()
        if self._read_at is None or now - self._read_at >= CACHE_SECONDS:
            try:
                self._keys = self._read()
            except ServiceUnavailable as error:
                if self._read_at is None:
                    raise
                log_failure("Failed to read the provider keys; the last ones are used.", error)
            self._read_at = now
        return self._keys

    def _read(self) -> dict[str, str]:
        try:
            text = self._client.get_secret_value(SecretId=self._secret)["SecretString"]
        except (ClientError, BotoCoreError, DeadlineExceeded) as error:
            message = "Failed to read the provider keys at the moment. Try again in a few seconds."
            raise ServiceUnavailable(message, headers={"Retry-After": "5"}) from error
        try:
            keys = json.loads(text)
        except ValueError:
            keys = None
        if not isinstance(keys, dict):
            raise ConfigurationError("The secret of the provider keys is not a JSON object; set it with `make keys`.")
        return {name: key.strip() for name, key in keys.items() if isinstance(key, str) and _is_key(key.strip(), name)}


def _is_key(key: str, name: str) -> bool:
    """Whether a text can be a key at all: HTTP headers take only printable ASCII."""
    if key and not (key.isascii() and key.isprintable()):
        logger.warning("A key has invalid characters and is not used; set it with `make keys`.", key_name=name)
        return False
    return bool(key)
