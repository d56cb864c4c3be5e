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
        free: it is held against no right answer, and need not be short.
    """

    number_words: bool = False
    free: bool = False

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
        return "Answer in words of your own." if self.free else f"Answer with {self.wanted}."

    def reading(self) -> str:
        beside = "" if self.free else ", so that whatever stands beside the right words makes it another one"
        return f"All of an answer counts{beside}."
