"""What changed between two prompts, word by word."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

Change = Literal["same", "added", "removed"]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text that is in both prompts, or in one of them only."""

    change: Change
    text: str


def differences(old: str, new: str) -> list[Span]:
    """The spans that lead from the old text to the new one.

    Those that are not "added" make up the old text, those that are not "removed" the new one.
    """
    if old == new:  # as for every fixed prompt: finding that out word by word takes seconds for a long one
        return [Span("same", old)] if old else []
    return list(_spans(_words(old), _words(new)))


def _words(text: str) -> list[str]:
    """Words and the space between them: together the text again."""
    return re.findall(r"\s+|\w+|[^\w\s]", text)


def _spans(old: list[str], new: list[str]) -> Iterator[Span]:
    for change, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if change == "equal":
            yield Span("same", "".join(old[a:b]))
            continue
        if b > a:
            yield Span("removed", "".join(old[a:b]))
        if d > c:
            yield Span("added", "".join(new[c:d]))
