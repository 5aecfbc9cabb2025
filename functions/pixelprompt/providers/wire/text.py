"""Text models: how long their answers may be."""

from pixelprompt.models.model import ProviderError

# Most tokens of a text model's answer: /enhance needs about 150, and a model's thoughts count as well.
ANSWER_TOKENS = 2000


def cut_off(parameter: str, tokens: object) -> ProviderError:
    """The error of a text model whose answer ended at so many tokens, which ``parameter`` of the model sets."""
    return ProviderError(
        "no_image",
        f"The answer is longer than {parameter}={tokens} allows; the operator can raise it in the model's parameters.",
    )
