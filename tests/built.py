"""What the entry points have built from the settings of a process."""

from pixelprompt import services


def forget() -> None:
    """Let the entry points read their settings again."""
    for value in vars(services).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
