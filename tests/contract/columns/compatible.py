"""The column of servers that speak the OpenAI Images API."""

from msgspec.structs import replace

from pixelprompt.models.model import Model
from tests.contract.cases import REFUSED, Column

MODEL = Model("Plain Diffusion", "compatible", "plain-diffusion", supports={"images": {"max": 16}})
COLUMN = Column(
    MODEL,
    replace(MODEL, id="unknown-model"),
    # A plain server answers HTTP 400 at either stage, and does not say at which.
    other={"image withheld": REFUSED, "edit withheld": REFUSED},
    rare=("words instead", "no credit, no code", "wrong path", "data policy (404)"),
    images_by={"url": {"response_format": "url"}, "base64": {"response_format": "b64_json"}},
    has_request_id=False,
)
