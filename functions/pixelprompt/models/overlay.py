"""The operator's overlay of the catalogue: ``config/models.json`` in the bucket, taken up while the service runs."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pixelprompt.errors import ConfigurationError, StorageError
from pixelprompt.models.catalogue import former_names
from pixelprompt.models.provider import KeyHosts
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.observability import log_failure, logger
from pixelprompt.storage.documents import DocumentStore
from pixelprompt.storage.keys import OVERLAY_KEY

CACHE_SECONDS = 60.0


class LiveRegistry:
    """The registry with the overlay as it is now, read at most once a minute.

    A broken overlay is logged and ignored in favor of the last good one.

    Parameters
    ----------
    key_hosts : the deployment's own hosts by the names of keys that may go there
    clock : seconds of a clock that never goes back
    """

    def __init__(
        self,
        s3_client: Any,
        bucket: str,
        *,
        prompt_model: int | str = 1,
        key_hosts: Mapping[str, Iterable[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._documents = DocumentStore(s3_client, bucket)
        self._prompt_model = prompt_model
        self._key_hosts = key_hosts
        self._clock = clock
        self._registry = ModelRegistry.load(prompt_model=prompt_model, key_hosts=key_hosts)
        self._etag: str | None = None
        self._read_at: float | None = None

    def __call__(self, fresh: bool = False) -> ModelRegistry:
        """The models as they are now; ``fresh`` reads the overlay whenever it was read last."""
        now = self._clock()
        if fresh or self._read_at is None or now - self._read_at >= CACHE_SECONDS:
            self._read_at = now
            try:
                self._refresh()
            except (ConfigurationError, StorageError) as error:
                log_failure("The overlay of the model catalogue is not used.", error)
        return self._registry

    @property
    def key_hosts(self) -> KeyHosts:
        """Hosts that each key may go to; no overlay changes them."""
        return self._registry.key_hosts

    def _refresh(self) -> None:
        found = self._documents.read(OVERLAY_KEY)
        etag = found.etag if found else None
        if etag == self._etag:
            return
        # A broken overlay is not looked at again before it changes.
        self._etag = etag
        overlay = found.value if found else None
        self._registry = ModelRegistry.load(prompt_model=self._prompt_model, overlay=overlay, key_hosts=self._key_hosts)
        for sentence in former_names(overlay or {}):
            logger.warning(sentence)
        logger.info("The model catalogue was reloaded.", models=len(self._registry.get_all_models()))
