"""A hint for a mistyped name."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest known name, "" if none is close."""
    matches = get_close_matches(word, list(names), n=1, cutoff=0.5)
    return f" (did you mean '{matches[0]}'?)" if matches else ""
