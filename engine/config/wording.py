"""What a prompt must keep to whatever it is worth: how long it may be, the words in it, the part that stays as it is.

A new constraint on the text of a prompt is a field here, a line of `fault` and one of `request`; nobody else has to
know of it. Constraints on how a prompt fares are `Objective`'s (engine/selection).
"""

import re
from collections.abc import Callable
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from metaspo.engine.config.table import Table
from metaspo.engine.tasks.spec_table import LARGEST

CountTokens = Callable[[str], int]
"""How many tokens of the base model a text has."""


def _some_text(value: str) -> str:
    if not value.strip():
        raise ValueError("must be a part of the first prompt, word for word: this one is empty")
    return value.strip()


FixedPart = Annotated[str, AfterValidator(_some_text)]


class Wording(Table):
    """Constraints on the text of a system prompt; what breaks one is not taken, nor scored."""

    max_chars: int | None = Field(
        default=None, ge=1, le=LARGEST, description="longest system prompt that is taken, in characters"
    )
    max_prompt_tokens: int | None = Field(
        default=None, ge=1, le=LARGEST, description="longest system prompt that is taken, in tokens of the base model"
    )
    must_contain: tuple[str, ...] = Field(default=(), description="words that must stand in a system prompt")
    must_not_contain: tuple[str, ...] = Field(default=(), description="words that must not stand in a system prompt")
    fixed: tuple[FixedPart, ...] = Field(
        default=(), description="parts of the first system prompt that stay in every other one, letter by letter"
    )

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        if not all(map(_plain, (*self.must_contain, *self.must_not_contain))):
            raise ValueError("must_contain and must_not_contain hold words: one of them is empty")
        rest = self.model_copy(update={"must_contain": (), "fixed": ()})
        for words in (*self.must_contain, *self.fixed):
            if fault := rest.fault(words, count=lambda _: 0):
                raise ValueError(f"no system prompt can hold the words '{words}': {fault}")
        return self

    @property
    def is_set(self) -> bool:
        """Whether there is anything to keep to."""
        return any(getattr(self, name) not in (None, ()) for name in Wording.model_fields)

    @property
    def without_lengths(self) -> Self:
        """What a prompt must keep to that may be too long yet: a first one is to be shortened."""
        return self.model_copy(update=dict.fromkeys(("max_chars", "max_prompt_tokens")))

    def mended(self, prompt: str, *, first: str) -> str:
        """The prompt with every fixed part in it, letter by letter.

        One that stands there with other white space is set right; one that is lost is put back: at the front where the
        `first` prompt begins with it, else at the end.
        """
        for part in self.fixed:
            if part in prompt:
                continue
            loose = re.compile(r"\s+".join(map(re.escape, part.split())), re.IGNORECASE)
            there = [other for other in self.fixed if other in prompt]
            set_right = loose.sub(part.replace("\\", r"\\"), prompt, count=1)
            if part in set_right and all(other in set_right for other in there):  # it may stand within another part
                prompt = set_right
            elif first.startswith(part):
                prompt = f"{part}\n\n{prompt}"
            else:
                prompt = f"{prompt}\n\n{part}"
        return prompt

    def fault(self, prompt: str, *, count: CountTokens | None = None) -> str:
        """What a prompt breaks; "" if nothing. `count` is needed where tokens are to be counted."""
        if self.max_chars is not None and len(prompt) > self.max_chars:
            return f"it has {len(prompt):,} characters, and max_chars = {self.max_chars:,}"
        if self.max_prompt_tokens is not None:
            if count is None:
                raise AssertionError("max_prompt_tokens, and nobody counts")
            if (tokens := count(prompt)) > self.max_prompt_tokens:
                return f"it has {tokens:,} tokens, and max_prompt_tokens = {self.max_prompt_tokens:,}"
        for words in self.must_contain:
            if not stand_in(prompt, words):
                return f"it does not hold the words '{words}' (must_contain)"
        for words in self.must_not_contain:
            if stand_in(prompt, words):
                return f"it holds the words '{words}' (must_not_contain)"
        for part in self.fixed:
            if part not in prompt:
                return f"it does not hold, letter by letter, the fixed part '{part}' (fixed)"
        return ""

    def request(self, kind: str) -> str:
        """What to tell whoever writes a prompt of this kind; "" if there is nothing to keep to."""
        asked = [
            f"have at most {self.max_chars} characters" if self.max_chars is not None else "",
            f"have at most {self.max_prompt_tokens} tokens" if self.max_prompt_tokens is not None else "",
            f"contain, word for word: {_quoted(self.must_contain)}" if self.must_contain else "",
            f"not contain: {_quoted(self.must_not_contain)}" if self.must_not_contain else "",
            f"leave this as it stands, letter by letter: {_quoted(self.fixed)}" if self.fixed else "",
        ]
        said = "; it must ".join(filter(None, asked))
        return f"Whatever {kind} prompt you write must {said}." if said else ""


def drawn_again(kind: str, fault: str) -> str:
    """What to tell whoever wrote a prompt that broke something."""
    return f"Before now you wrote a {kind} prompt that was not taken: {fault}. Write one that keeps to what is asked."


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
