"""Common parts of the simulated providers: routes, and the faults that show before any work is done."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

from werkzeug.wrappers import Response

from local.simulator.errors import ERROR_FAULTS, Page, Words
from local.simulator.exchange import Exchange, Refusal, Stage
from local.simulator.faults import COMMON_FAULTS, Fault
from local.simulator.messages import Request

# Faults returned as soon as the request is understood; the others show when the image would be ready.
EARLY_FAULTS = frozenset(
    {
        "throttled",
        "quota_exhausted",
        "refused",
        "retired",
        "bad_key",
        "bad_parameter",
        "server_error",
        "unavailable",
        *ERROR_FAULTS,
    }
)


Handler = Callable[[Exchange, dict[str, str]], Response]


class Route(NamedTuple):
    """A method and a path (named groups become arguments) with their handler."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    model_in_path: bool = False

    def match(self, request: Request) -> dict[str, str] | None:
        """Return the named groups of the path, or None where it is another route's."""
        match = self.pattern.fullmatch(request.path) if self.method == request.method else None
        return match.groupdict() if match else None


def route(method: str, pattern: str, handler: Handler, *, model_in_path: bool = False) -> Route:
    """A route whose pattern must match the whole path; `model_in_path` marks one that makes something with `model`."""
    return Route(method, re.compile(pattern), handler, model_in_path)


class Provider(ABC):
    """One wire protocol. A subclass fills `routes` and words the errors.

    Attributes
    ----------
    name : of the provider
    errors : the responses to the faults of `errors.py` that the protocol can have
    playable : all faults that it can have
    early : the faults that show before any work is done
    more_models : models beside the catalogue's that a fault can be set for
    """

    name: ClassVar[str]
    errors: ClassVar[Mapping[str, Words | Page]]
    playable: ClassVar[frozenset[str]] = COMMON_FAULTS
    early: ClassVar[frozenset[str]] = EARLY_FAULTS
    more_models: ClassVar[tuple[str, ...]] = ()

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.routes: list[Route] = []

    def handle(self, exchange: Exchange) -> Response:
        """Handle a request.

        Raises
        ------
        Dropped
            If the connection is to end without a response.
        """
        try:
            response = self._route(exchange)
        except Refusal as refusal:
            return refusal.response
        if response.status_code == 200 and exchange.makes_image and exchange.meets("created"):
            response.status_code = 201
        return response

    def _route(self, exchange: Exchange) -> Response:
        for candidate in self.routes:
            if (path := candidate.match(exchange.request)) is not None:
                return candidate.handler(exchange, path)
        return self.no_such_route(exchange)

    def drop_before_body(self, exchange: Exchange) -> None:
        """End the connection before the body is read, if the path names a model with the fault `dropped_before`.

        Raises
        ------
        Dropped
            If the model has the fault.
        """
        for candidate in self.routes:
            if candidate.model_in_path and (path := candidate.match(exchange.request)):
                fault = self.stage.faults.peek(path["model"], self.playable)
                if fault is not None and fault.name == "dropped_before":
                    exchange.identify(path["model"])

    @abstractmethod
    def no_such_route(self, exchange: Exchange) -> Response:
        """The provider's response on a path it does not have."""

    @abstractmethod
    def fault_response(self, exchange: Exchange, fault: Fault) -> Response:
        """The words of a fault that is not in `errors`: an early one, or a late one that is an HTTP response."""

    @abstractmethod
    def error(self, exchange: Exchange, words: Words) -> Response:
        """These words in the provider's own envelope."""

    def refuse_early(self, exchange: Exchange, *, edits: bool = False) -> None:
        """Play the faults that show before any work is done; `edits` says whether the request has reference images.

        Raises
        ------
        Refusal
            If the request meets such a fault.
        """
        fault = exchange.fault
        if fault is None or fault.name not in self.early or (fault.name == "refused_image" and not edits):
            return
        error = self.errors.get(fault.name)
        if error is None:
            raise Refusal(self.fault_response(exchange, fault))
        if isinstance(error, Page):
            raise Refusal(Response(error.body, error.status, {"Content-Type": error.content_type}))
        raise Refusal(self.error(exchange, error))
