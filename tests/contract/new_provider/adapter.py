"""Toy: a provider that doesn't exist. One call makes one image, which comes in base64."""

from pixelprompt.models.model import Credentials, Generated, ImageRequest, Model
from pixelprompt.models.provider import PROVIDERS, key_headers
from pixelprompt.providers.wire.error_response import read_error
from pixelprompt.providers.wire.errors import imageless, status_error
from pixelprompt.providers.wire.image_bytes import decode_image
from pixelprompt.providers.wire.members import text, whole
from pixelprompt.providers.wire.transport import exchange, json_object, unreadable


def generate(request: ImageRequest, model: Model, credentials: Credentials, deadline: float) -> Generated:
    """One image; the API accepts a seed."""
    body = {**model.parameters, "model": model.id, "prompt": request.prompt}
    if request.seed is not None:
        body["seed"] = request.seed
    headers = key_headers(PROVIDERS["toy"].key_header, credentials.key)
    with exchange(deadline) as http:
        response = http.post(f"{credentials.base_url}/images", headers=headers, json=body)
    if not response.is_success:
        raise status_error(read_error(response, credentials.key))
    document = json_object(response)
    if document is None:
        raise unreadable()
    encoded = text(document, "image")
    if not encoded:
        raise imageless(document, credentials.key)
    image = decode_image(encoded, seed=whole(document, "seed"))
    return Generated((image,), response.headers.get("x-request-id"))
