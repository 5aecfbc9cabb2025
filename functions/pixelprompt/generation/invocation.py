"""One invocation: its provider calls, the result of each, and the resulting row."""

from collections.abc import Callable
from threading import Lock
from typing import cast

from msgspec import Struct, field
from msgspec.structs import replace

from pixelprompt.generation.item import MAX_WAIT, Item
from pixelprompt.jobs.progress import Progress
from pixelprompt.jobs.schema import FailedResult, Image, Missing, ResultFields
from pixelprompt.models.cost import UNKNOWN, added, computed, reported
from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model, ProviderError
from pixelprompt.models.model import Image as SourceImage
from pixelprompt.models.parameters import IMAGES, MAX_IMAGES, Receipt, as_made, image_request, seed_of_call

# Seconds, at most, for storing the image and recording it after the provider has responded.
_STORING = 30.0
# For recording alone.
_RECORDING = 10.0


class Deadlines(Struct, frozen=True):
    """Until when, in epoch seconds: the model may wait or be polled, a provider may respond, images may be stored."""

    item: float
    response: float
    storage: float

    @classmethod
    def of(cls, item: Item, now: float, seconds_left: float) -> "Deadlines":
        """Deadlines of an invocation that begins at ``now`` (epoch seconds) and may take ``seconds_left``."""
        end = now + seconds_left
        return cls(
            item=item.deadline or now + MAX_WAIT,
            response=end - min(_STORING, seconds_left / 4),
            storage=end - min(_RECORDING, seconds_left / 8),
        )


class Calls(Struct):
    """Results of an item's calls, in this invocation and in earlier ones; ``lock`` guards ``progress``."""

    item: Item
    progress: Progress
    lock: Lock = field(default_factory=Lock)

    def refuse(self, error: ProviderError) -> None:
        """Close what is open with an error of ours; what a provider is at work on may still be charged for."""
        if self.progress.tokens:
            error.billable = "unknown"
        closed = set(self.progress.images) | set(self.progress.failures)
        self.fail(min(set(range(2 * MAX_IMAGES + 1)) - closed), error)

    def fail(self, call: int, error: ProviderError) -> None:
        """Close a call with its error."""
        failure = cast(FailedResult, error.row())
        if error.cost:
            failure["cost"] = reported(error.cost)
        with self.lock:
            self.progress.failures[call] = failure

    def add(self, call: int, images: list[Image], generated: Generated) -> None:
        """Close a call with its images."""
        self.progress.images[call] = images
        self.progress.request_id = self.progress.request_id or generated.request_id
        # A server that does not know what an image costs says 0.
        if generated.cost:
            self.progress.costs[call] = generated.cost
        self.progress.used.update(generated.used or {})
        for kind, count in (generated.usage or {}).items():
            self.progress.usage[kind] = self.progress.usage.get(kind, 0) + count
        if (generated.usage or {}).get("outputImageTokens"):
            self.progress.counted.append(call)

    def row(self, model: Model | None, receipt: Receipt) -> ResultFields:
        """The fields of the row at its end; without a model where it has left the catalogue."""
        progress, used = self.progress, receipt.used()
        result = progress.result()
        # A model that has left the catalogue has no receipt; what was asked for stays.
        made, wanted = len(result["images"]), (used or self.item.parameters).get("n", 1)
        failure = progress.failure()
        own = set(progress.images).difference(progress.earlier)
        if own and set(progress.costs) == own:
            cost = reported(sum(progress.costs.values()))
        else:
            usage = progress.usage if set(progress.counted) == own else None
            cost = computed(model, sum(len(progress.images[call]) for call in own), used, usage)
        given = self._contradicted(receipt, result["images"])
        price = (model.price if model else None) or {}
        if "resolution" in given.get("adjusted", {}) and price.get("unit") == "image" and price.get("byResolution"):
            # The price is of the size that was asked for.
            cost = cost if cost["basis"] == "reported" else UNKNOWN
        # One of the calls may have been charged for although it gave no image.
        cost = added(cost, failure.pop("cost", None))
        row: ResultFields = {**result, "cost": cost, **given}
        if progress.request_id:
            row["requestId"] = progress.request_id
        if progress.usage:
            row["usage"] = progress.usage
        if progress.used:
            row["used"] = progress.used
        if made < wanted:
            row["missing"] = Missing(images=wanted - made, **failure)
        return row

    def _contradicted(self, receipt: Receipt, images: list[Image]) -> ResultFields:
        """The fields of a receipt where an image contradicts it."""
        kinds = [_kind_of(image) for image in images if image.get("width") and image.get("height")]
        made = as_made(receipt, kinds)
        if made == receipt:
            return {}
        # A carried receipt does not know why others are ignored; the job document says so already.
        fields: ResultFields = {"applied": made.applied, "adjusted": made.adjusted}
        if not self.item.dumped_receipt:
            fields["ignored"] = made.ignored
        return fields


class Invocation(Struct, frozen=True):
    """The work of one invocation at a provider.

    Attributes
    ----------
    receipt : what became of the caller's parameters with the model
    request : what one call makes
    """

    calls: Calls
    model: Model
    credentials: Credentials
    receipt: Receipt
    request: ImageRequest
    deadlines: Deadlines

    @classmethod
    def prepare(
        cls,
        calls: Calls,
        model: Model,
        credentials: Credentials,
        deadlines: Deadlines,
        references: Callable[[int], tuple[SourceImage, ...]],
    ) -> "Invocation":
        """The invocation that makes an item's images with a model as it is now.

        ``references`` gives the first so many reference images; it is asked only where a request is still to be sent.
        """
        receipt = calls.item.receipt_for(model)
        request = image_request(calls.item.prompt, receipt.used(), model)
        invocation = cls(calls, model, credentials, receipt, request, deadlines)
        count = receipt.used().get(IMAGES, 0)
        if count and set(invocation.open_calls()) - set(calls.progress.tokens):
            return replace(invocation, request=replace(request, references=references(count)))
        return invocation

    @property
    def item(self) -> Item:
        """The item."""
        return self.calls.item

    @property
    def number_of_calls(self) -> int:
        """Number of calls that make the images: one if a call makes several."""
        return int(self.receipt.used().get("n", 1)) if self.request.n == 1 else 1

    def open_calls(self) -> list[int]:
        """The calls that have neither images nor an error yet."""
        return [call for call in range(self.number_of_calls) if not self.calls.progress.is_closed(call)]

    def request_of(self, call: int) -> ImageRequest:
        """The request of one call; each has a seed of its own, or they would all make the same image."""
        seed = self.request.seed
        if seed is not None and call:
            seed = seed_of_call(seed, call, self.model)
        return replace(self.request, seed=seed, resume=self.calls.progress.tokens.get(call))


def _kind_of(image: Image) -> tuple[int, int, str]:
    """Width, height, and format of a stored image."""
    kind = str(image["binaryKey"]).rpartition(".")[2]
    return image["width"], image["height"], "jpeg" if kind == "jpg" else kind
