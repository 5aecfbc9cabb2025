"""Finds what an invocation needs before its provider is asked: the model, its key, and the reference images."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pixelprompt.errors import PixelPromptError, StorageError
from pixelprompt.generation.invocation import Calls, Deadlines, Invocation
from pixelprompt.models.model import Credentials, Image, Model, ProviderError
from pixelprompt.models.references import check_references
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.observability import log_failure
from pixelprompt.providers import adapter
from pixelprompt.providers.keys import ProviderKeys


class InvocationFactory:
    """Makes invocations.

    Parameters
    ----------
    registry : gives the models as they are now, with ``fresh=True`` without any cache
    references : gives the first so many reference images of a job
    """

    def __init__(
        self,
        registry: Callable[..., ModelRegistry],
        keys: ProviderKeys,
        references: Callable[[str, int], tuple[Image, ...]],
    ) -> None:
        self._registry = registry
        self._keys = keys
        self._references = references

    def prepare(self, calls: Calls, deadlines: Deadlines) -> Invocation | None:
        """The invocation with all that its calls need; None where no provider can be asked, which closes the calls."""
        model = self._find(calls)
        if model is None:
            calls.refuse(ProviderError("model_retired", "This deployment no longer offers the model."))
            return None
        try:
            credentials = self._credentials(model)
        except PixelPromptError as error:
            log_failure("Failed to read the provider keys.", error)
            calls.refuse(ProviderError("internal", billable="no"))
            return None
        if credentials is None:
            key = self._keys.key_name(model)
            message = f"The key {key} is missing; the operator can add it with `make keys`."
            calls.refuse(ProviderError("bad_credentials", message))
            return None

        def references(count: int) -> tuple[Image, ...]:
            found = self._references(calls.item.job_id, count)
            check_references(found, model.supports)
            return found

        try:
            return Invocation.prepare(calls, model, credentials, deadlines, references)
        except StorageError as error:
            log_failure("Failed to read the reference images.", error)
            message = "The reference images could not be read; they expire with their job."
            calls.refuse(ProviderError("internal", message, billable="no"))
        except ProviderError as error:
            calls.refuse(error)
        return None

    def _credentials(self, model: Model) -> Credentials | None:
        """Return the credentials for the model's provider; its SDK is loaded while the keys are read."""
        with ThreadPoolExecutor(1) as pool:
            # If this fails, it fails again when the provider is asked, and is reported there.
            pool.submit(adapter, model.provider)
            return self._keys.credentials(model)

    def _find(self, calls: Calls) -> Model | None:
        """The item's model as the catalogue has it now; a retired one still ends what it has begun."""
        name = calls.item.model
        model = self._registry().find(name) or self._registry(fresh=True).find(name)
        if model is None and calls.progress.tokens:
            model = self._registry().find_retired(name)
        return model
