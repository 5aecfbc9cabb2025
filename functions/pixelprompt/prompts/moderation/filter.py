"""The content filter: a word list, and behind it an optional model that answers yes or no."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from pixelprompt.prompts.moderation.matching import categories_found, most_serious, shows_minors, words_of
from pixelprompt.prompts.moderation.readings import Readings
from pixelprompt.prompts.moderation.terms import ADULTS, Terms, load_negative_terms, load_terms

MODEL_CATEGORY: Final = "model_judgement"
"""Category of a prompt that only the classifier found inappropriate."""
UNAVAILABLE: Final = "moderation_unavailable"
"""Category of a prompt that could not be judged because the classifier failed, under the closed policy."""
Classifier = Callable[[str, str], bool]
"""Says whether a prompt is inappropriate; gets the prompt and its negative prompt, which may be empty."""
logger = logging.getLogger(__name__)


class Verdict(Struct, frozen=True):
    """The filter's verdict. It names a category, never the words that led to it.

    ``in_negative`` says that the negative prompt led to it, and not the prompt by itself.
    """

    blocked: bool
    category: str | None = None
    in_negative: bool = False


class ContentFilter:
    """Decides whether a prompt may go to the image models.

    Parameters
    ----------
    classifier
        Says whether a prompt is inappropriate (True blocks); asked only about what the keyword filter lets through.
    fail_closed
        What a failing classifier means: block as ``moderation_unavailable`` (True), or let the prompt pass (False).
    terms
        The word list; the one beside this module unless given.
    negative_terms
        What counts in a negative prompt; from the same file unless given.
    """

    def __init__(
        self,
        *,
        classifier: Classifier | None = None,
        fail_closed: bool = True,
        terms: Terms | None = None,
        negative_terms: Terms | None = None,
    ) -> None:
        self._classifier = classifier
        self._fail_closed = fail_closed
        self._terms = terms if terms is not None else load_terms()
        self._negative_terms = negative_terms

    def check_prompt(self, prompt: str) -> bool:
        """Whether the prompt is blocked."""
        return self.verdict(prompt).blocked

    def verdict(self, prompt: str, negative: str = "") -> Verdict:
        """Whether a prompt with its negative prompt is blocked, and under which category."""
        verdict = self.screen(prompt, negative)
        return verdict if verdict.blocked else self.judge(prompt, negative)

    def screen(self, prompt: str, negative: str = "") -> Verdict:
        """Verdict of the word list, which costs nothing.

        A negative prompt asks for less of what it names. So nudity may be named there, and clothes may not; where it
        names adults, the prompt asks for minors.
        """
        readings = Readings(self._terms, prompt)
        category = most_serious(self._terms.categories, categories_found(self._terms, readings))
        if category is not None:
            return Verdict(True, category)
        category = self._screen_negative(readings, negative) if negative else None
        return Verdict(category is not None, category, in_negative=category is not None)

    def _screen_negative(self, prompt: Readings, negative: str) -> str | None:
        terms = self._negative_terms or load_negative_terms()
        categories = categories_found(
            terms, Readings(terms, negative), beside=words_of(prompt), about_minors=shows_minors(self._terms, prompt)
        )
        if ADULTS in categories:
            categories |= categories_found(self._terms, prompt, about_minors=True)
        return most_serious((*self._terms.categories, *terms.categories), categories - {ADULTS})

    def judge(self, prompt: str, negative: str = "") -> Verdict:
        """Verdict of the classifier, if one is set, on a prompt that passes the word list."""
        if self._classifier is None:
            return Verdict(False)
        try:
            inappropriate = self._classifier(prompt, negative)
        except Exception as error:  # whatever an SDK raises, the policy decides; the log names the type only
            logger.warning(
                "The moderation model failed with %s; the prompt %s.",
                type(error).__name__,
                "is blocked until it answers again" if self._fail_closed else "passes on the keyword filter alone",
            )
            return Verdict(True, UNAVAILABLE) if self._fail_closed else Verdict(False)
        return Verdict(True, MODEL_CATEGORY) if inappropriate else Verdict(False)
