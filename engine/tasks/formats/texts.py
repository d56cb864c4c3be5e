"""The whole text."""

from dataclasses import dataclass
from typing import Final

from metaspo.engine.tasks.numberwords import digits_for_words

_WANTED: Final = "the answer alone, in as few words as possible"


@dataclass(frozen=True, slots=True)
class Text:
    """The whole text without the white space around it; the instruction copied out is malformed.

    Attributes:
        number_words: number words in it become digits.
    """

    number_words: bool = False

    @property
    def wanted(self) -> str:
        return _WANTED

    def parse(self, text: str, /) -> str | None:
        stripped = text.strip()
        if len(stripped) <= len(_WANTED) + 40 and _WANTED in stripped:
            return None
        return (digits_for_words(stripped) if self.number_words else stripped) or None

    def canonical(self, answer: str, /) -> str | None:
        return self.parse(answer)

    def describe(self) -> str:
        return f"Answer with {self.wanted}."
