"""The dialects of the OpenAI Images API: how servers of the provider ``compatible`` differ from OpenAI's own."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from pixelprompt.models.provider import PROVIDERS, Probe
from pixelprompt.models.sizes import OPENAI_SIZES, PixelLimits

# How reference images are sent: as files of a multipart form, as OpenAI accepts them; as the JSON members ``image`` or
# ``images``; or as the JSON member ``input_references``.
ReferenceForm = Literal["files", "image", "input_references"]

# Diffusion models draw in blocks; 64 suits all of them.
_USUAL_SIZES = PixelLimits(multiple_of=64, shortest=256, longest=4096)


class Dialect(Struct, frozen=True):
    """Form of a server's requests.

    Attributes
    ----------
    size : the members that hold an image's size: one as ``WIDTHxHEIGHT``, or two for width and height; none where the
        server accepts ``aspect_ratio`` and ``resolution``
    pixels : which sizes a model may be asked for, where the catalogue does not say
    lower_case : whether a resolution is written in lower case (``1k``)
    renamed : other names of members that the usual protocol has
    path : below the base URL, of the request for images
    references : the form of reference images; None where none are sent
    edit_path : below the base URL, of a request with reference images, where it is not ``path``
    key_header : the header that the key is sent in
    probe : the request with which ``make doctor`` checks a key
    """

    size: tuple[str, ...] = ("size",)
    pixels: PixelLimits = _USUAL_SIZES
    lower_case: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)
    path: str = "/images/generations"
    references: ReferenceForm | None = None
    edit_path: str | None = None
    key_header: str = PROVIDERS["compatible"].key_header
    probe: Probe | None = PROVIDERS["compatible"].probe


DIALECTS: dict[str, Dialect] = {
    "openai": Dialect(references="files", edit_path="/images/edits"),
    "xai": Dialect(size=(), lower_case=True, references="image", edit_path="/images/edits"),
    "openrouter": Dialect(
        size=(),
        path="/images",
        references="input_references",
        # It lists its models to anybody, so its list says nothing about a key.
        probe=Probe("/key", credit=("data", "limit_remaining")),
    ),
    "siliconflow": Dialect(size=("image_size",), renamed={"n": "batch_size", "steps": "num_inference_steps"}),
    "together": Dialect(size=("width", "height"), pixels=PixelLimits(multiple_of=16, shortest=64, longest=1792)),
    # The ``model`` of a request is the name of a deployment, which no list has.
    "azure": Dialect(
        pixels=OPENAI_SIZES,
        path="/images/generations?api-version=v1",
        references="files",
        edit_path="/images/edits?api-version=v1",
        key_header="api-key",
        probe=Probe("/models?api-version=v1"),
    ),
}


def dialect(name: str | None) -> Dialect:
    """The dialect of a model; OpenAI's own where the catalogue names none."""
    return DIALECTS[name or "openai"]
