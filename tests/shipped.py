"""Models of the catalogue that is shipped, by what a test needs of them: where any will do, no test names one."""

import json

from pixelprompt.models.catalogue import parse
from pixelprompt.models.model import Model
from pixelprompt.models.registry import CATALOGUE

SHIPPED = parse(json.loads(CATALOGUE.read_text(encoding="utf-8")))["models"]


def of(provider: str) -> list[Model]:
    """All of the provider, in the catalogue's order: the first are those of a job that names no models."""
    return [model for model in SHIPPED if model.provider == provider]


FIRST, SECOND = of("openai")[:2]
# Of other providers; the first gives one image for each call.
ONE_IMAGE = of("gemini")[0]
OTHER = of("recraft")[0]
# A call only starts it; later ones ask for the image.
ASYNCHRONOUS = of("bfl")[0]
