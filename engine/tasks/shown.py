"""What a message shows of somebody's data, which may hold whole books: cut short."""

from collections.abc import Iterable


def shown(value: object, *, most: int = 60) -> str:
    """A value as Python writes it, cut to so many characters: data may hold whole books."""
    text = repr(value[: 2 * most] if isinstance(value, str) else value)
    return text if len(text) <= most else text[: most - 1] + "…"


def listed(names: Iterable[str], *, most: int = 300) -> str:
    """Names beside each other, cut to so many characters."""
    text = ", ".join(names)
    return text if len(text) <= most else text[: most - 1] + "…"
