"""When a model ends, and what to use instead."""

from __future__ import annotations

from datetime import date, timedelta

from local.doctor.report import BAD, WARNING, Row
from pixelprompt.models.model import Model
from pixelprompt.models.registry import WARNING_DAYS


def judge_shutdown(model: Model, row: Row, day: date, announced: str | None = None) -> None:
    """Judge the shutdown day of a model: the provider's own date counts before the catalogue's."""
    text = announced or model.shutdown
    if not text:
        if model.retired:
            row.add(BAD, f"It is gone, says the catalogue; {instead(model)}, and give it default: false.")
        return
    row.ends = text
    ends = date.fromisoformat(text)
    source = "says its provider" if announced else "says the catalogue"
    if ends <= day:
        row.add(BAD, f"It was shut down on {text}, {source}; {instead(model)}, and give it default: false.")
    elif ends - day <= timedelta(days=WARNING_DAYS):
        row.add(WARNING, f"It will be shut down on {text}, {source}; {instead(model)}.")


def instead(model: Model) -> str:
    """The advice about a model that ends, for a person."""
    if model.replacement:
        return f"use {model.replacement} instead"
    return "choose another one in the overlay"
