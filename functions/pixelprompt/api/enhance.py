"""``POST /enhance``: limits and moderation around the text model that expands a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from pixelprompt.deadline import Deadline
from pixelprompt.identity import ANYBODY, Identity
from pixelprompt.limits.caller import CallerIp, read_ip
from pixelprompt.limits.limiter import Limiter, refuse_limited
from pixelprompt.models.registry import ModelRegistry
from pixelprompt.prompts.enhancement import (
    PROMPT_LIMIT,
    TIME_LIMIT,
    Enhancement,
    EnhancementCache,
    enhance_prompt,
    unchanged,
)
from pixelprompt.prompts.moderation.classifier import refuse_blocked
from pixelprompt.prompts.moderation.filter import ContentFilter, Verdict
from pixelprompt.prompts.prompt import read_body_with_prompt, read_prompt
from pixelprompt.providers.keys import ProviderKeys

if TYPE_CHECKING:
    from pixelprompt.limits.spending import CallBudget


class EnhanceRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /enhance``."""

    prompt: Annotated[
        str,
        Meta(
            description="The prompt to expand. Counted without the white space around it; no control characters.",
            examples=["a red fox"],
            extra_json_schema={"minLength": 1, "maxLength": PROMPT_LIMIT, "pattern": r"\S"},
        ),
    ]
    ip: CallerIp = None


class PromptEnhancer:
    """Expands the prompts of requests.

    Parameters
    ----------
    registry : gives the models as they are now
    moderation_seconds : what moderation may take after the text model
    trust_body_ip : whether the body's ``ip`` names the caller
    deadline : of the request
    budget : reserves what a call of the text model may cost, where there are budgets
    judges : whether moderation calls the text model as well
    """

    def __init__(
        self,
        limiter: Limiter,
        moderation: ContentFilter,
        registry: Callable[[], ModelRegistry],
        keys: ProviderKeys,
        cache: EnhancementCache,
        *,
        moderation_seconds: float,
        trust_body_ip: bool,
        deadline: Deadline,
        budget: CallBudget | None = None,
        judges: bool = False,
    ) -> None:
        self._limiter = limiter
        self._moderation = moderation
        self._registry = registry
        self._keys = keys
        self._cache = cache
        self._moderation_seconds = moderation_seconds
        self._trust_body_ip = trust_body_ip
        self._deadline = deadline
        self._budget = budget
        self._judging = budget if judges else None

    def enhance(self, body: Mapping[str, Any], source_ip: str, caller: Identity = ANYBODY) -> Enhancement:
        """The enhanced prompt of a request's body, or the original with a warning.

        Raises
        ------
        RequestError : of the kind that tells what is wrong
        """
        request = read_body_with_prompt(body, EnhanceRequest, PROMPT_LIMIT)
        prompt = read_prompt(request.prompt, PROMPT_LIMIT)
        ip = read_ip(request.ip, source_ip, self._trust_body_ip)
        verdict = self._moderation.screen(prompt)
        if verdict.blocked:
            # It is not counted, but a caller over a limit hears only of that.
            refuse_limited(self._limiter.look(ip, caller.key).decision)
            refuse_blocked(verdict)
        # A response from the cache counts as well: its moderation may call a model.
        refuse_limited(self._limiter.check(ip, key=caller.key))
        refuse_blocked(self._judged(prompt, caller))
        enhancement = self._enhanced(prompt, caller)
        if self._is_blocked(enhancement, prompt, caller):
            return unchanged(prompt, "The enhanced prompt was blocked by moderation.")
        return enhancement

    def _enhanced(self, prompt: str, caller: Identity) -> Enhancement:
        model = self._registry().get_prompt_model()
        credentials = self._keys.credentials(model) if model else None

        def ask() -> Enhancement:
            # What comes of it must be moderated as well.
            seconds = min(TIME_LIMIT, self._deadline.left() - self._moderation_seconds)
            with _reserved(self._budget if credentials else None, prompt, caller):
                return enhance_prompt(prompt, model, credentials, time_limit=seconds)

        return self._cache.get(prompt, model, ask)

    def _is_blocked(self, enhancement: Enhancement, prompt: str, caller: Identity) -> bool:
        """Whether a harmless prompt has become another; the word list reads each version alone, a model both."""
        versions = [text for text in dict.fromkeys((enhancement.short, enhancement.long)) if text != prompt]
        if any(self._moderation.screen(text).blocked for text in versions):
            return True
        return bool(versions) and self._judged("\n".join(versions), caller).blocked

    def _judged(self, text: str, caller: Identity) -> Verdict:
        with _reserved(self._judging, text, caller):
            return self._moderation.judge(text)


def _reserved(budget: CallBudget | None, text: str, caller: Identity) -> AbstractContextManager[None]:
    return budget.reserved(text, caller) if budget else nullcontext()
