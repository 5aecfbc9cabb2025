"""The providers' keys, from one secret in Secrets Manager: ``{"OPENAI_API_KEY": "…", …}``."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from pixelprompt.errors import ConfigurationError
from pixelprompt.providers import PROVIDERS
from pixelprompt.providers.base import Credentials

CACHE_SECONDS = 300.0


class ProviderKeys:
    """Reads the secret, at most once in five minutes.

    Parameters
    ----------
    secrets_client : boto3 Secrets Manager client
    secret : name or ARN
    endpoints : base URLs in place of the providers' own, by provider
    clock : seconds of a clock that never goes back
    """

    def __init__(
        self,
        secrets_client: Any,
        secret: str,
        endpoints: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = secrets_client
        self._secret = secret
        self._endpoints = endpoints or {}
        self._clock = clock
        self._keys: dict[str, str] = {}
        self._read_at: float | None = None

    def credentials(self, provider: str) -> Credentials | None:
        """What is needed to call a provider, or None where its key is missing."""
        key = self._current().get(PROVIDERS[provider].key_name)
        return Credentials(key, self._endpoints.get(provider)) if key else None

    def configured(self) -> list[str]:
        """The providers that can be called."""
        return [provider for provider in PROVIDERS if self.credentials(provider)]

    def _current(self) -> dict[str, str]:
        now = self._clock()
        if self._read_at is None or now - self._read_at >= CACHE_SECONDS:
            self._keys = self._read()
            self._read_at = now
        return self._keys

    def _read(self) -> dict[str, str]:
        try:
            text = self._client.get_secret_value(SecretId=self._secret)["SecretString"]
            keys = json.loads(text)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise ConfigurationError(f"Secrets Manager answered {code} for the secret of the provider keys.") from error
        except BotoCoreError as error:
            raise ConfigurationError(f"Secrets Manager cannot be reached ({type(error).__name__}).") from error
        except ValueError:
            keys = None
        if not isinstance(keys, dict):
            raise ConfigurationError("The secret of the provider keys is no JSON object; set it with `make keys`.")
        return {name: value for name, value in keys.items() if isinstance(value, str) and value}
