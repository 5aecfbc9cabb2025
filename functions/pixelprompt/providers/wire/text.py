"""Text models: how long their answers may be."""

from pixelprompt.models.model import Model, ProviderError

# Most tokens of a text model's answer: /enhance needs about 150, and a model's thoughts count as well.
ANSWER_TOKENS = 2000
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


def most_tokens(model: Model) -> int:
    """Tokens that an answer of a text model has at most."""
    given = [value for name in _LIMITS if isinstance(value := model.parameters.get(name), int)]
    return max(given, default=ANSWER_TOKENS)


def cut_off(parameter: str, tokens: object) -> ProviderError:
    """The error of a text model whose answer ended at so many tokens, which ``parameter`` of the model sets."""
    return ProviderError(
        "no_image",
        f"The answer is longer than {parameter}={tokens} allows; the operator can raise it in the model's parameters.",
    )
