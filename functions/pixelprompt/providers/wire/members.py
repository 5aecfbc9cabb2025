"""Members of a JSON document from outside, where each may be missing or of another type."""

from typing import Any

_LARGEST = 2**64


def member(value: Any, name: str) -> dict[str, Any]:
    """Return the object of this name in another object; empty if there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def members(value: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects in the list of this name in an object."""
    found = value.get(name) if isinstance(value, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def text(value: Any, name: str) -> str:
    """Return the string of this name in an object; empty if there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def whole(value: Any, name: str) -> int | None:
    """Return the integer of this name in an object, or None; one of more than 64 bits is none."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        return None
    return found if abs(found) < _LARGEST else None


def number(value: Any, name: str) -> float | None:
    """Return the number of this name in an object, or None; one that is negative or not finite is none."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, int | float) or isinstance(found, bool):
        return None
    return float(found) if 0 <= found < _LARGEST else None
