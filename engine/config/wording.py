"""What a system prompt must keep to whatever it is worth: how long it may be, and the words in it.

A new constraint on the text of a prompt is a field here, a line of `fault` and one of `request`; nobody else has to
know of it. Constraints on how a prompt fares are `Objective`'s (engine/selection).
"""

from typing import Self

from pydantic import Field, model_validator

from metaspo.engine.config.table import LARGEST, Table


class Wording(Table):
    """Constraints on the text of a system prompt; what breaks one is not taken, nor scored."""

    max_chars: int | None = Field(
        default=None, ge=1, le=LARGEST, description="longest system prompt that is taken, in characters"
    )
    must_contain: tuple[str, ...] = Field(default=(), description="words that must stand in a system prompt")
    must_not_contain: tuple[str, ...] = Field(default=(), description="words that must not stand in a system prompt")

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        if not all(map(_plain, (*self.must_contain, *self.must_not_contain))):
            raise ValueError("must_contain and must_not_contain hold words: one of them is empty")
        rest = self.model_copy(update={"must_contain": ()})
        for words in self.must_contain:
            if fault := rest.fault(words):
                raise ValueError(f"no system prompt can hold the words '{words}': {fault}")
        return self

    def fault(self, prompt: str) -> str:
        """What a system prompt breaks; "" if nothing."""
        if self.max_chars is not None and len(prompt) > self.max_chars:
            return f"it has {len(prompt):,} characters, and max_chars = {self.max_chars:,}"
        for words in self.must_contain:
            if not stand_in(prompt, words):
                return f"it does not hold the words '{words}' (must_contain)"
        for words in self.must_not_contain:
            if stand_in(prompt, words):
                return f"it holds the words '{words}' (must_not_contain)"
        return ""

    @property
    def request(self) -> str:
        """What to tell whoever writes a system prompt; "" if there is nothing to keep to."""
        asked = [
            f"have at most {self.max_chars} characters" if self.max_chars is not None else "",
            f"contain, word for word: {_quoted(self.must_contain)}" if self.must_contain else "",
            f"not contain: {_quoted(self.must_not_contain)}" if self.must_not_contain else "",
        ]
        said = "; it must ".join(filter(None, asked))
        return f"Whatever system prompt you write must {said}." if said else ""


def stand_in(prompt: str, words: str) -> bool:
    """Whether words stand in a prompt, whatever their case and the white space between them.

    As a part of a longer word they do not; in a script without upper and lower case, where words need not be told
    apart by spaces, any place counts.
    """
    text, wanted = _plain(prompt), _plain(words)
    start = text.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        if not _goes_on(text[max(start - 1, 0) : start + 1]) and not _goes_on(text[end - 1 : end + 1]):
            return True
        start = text.find(wanted, start + 1)
    return False


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _goes_on(two: str) -> bool:
    """Whether a word goes on from one character to the next."""
    return len(two) == 2 and all(char.isdigit() or char.upper() != char for char in two)


def _quoted(phrases: tuple[str, ...]) -> str:
    return ", ".join(f'"{words}"' for words in phrases)
