"""An answer inside a tag."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.base import AnswerFormat, feedback_of, is_blocking, similarity_of

_DENIED: Final = late_pattern(r"(?:\b(?:not|never)|n['\u2019]t)(?:\s+be)?[ \t\"'*_`]*\Z", re.IGNORECASE)
_LAST_LETTERS: Final = frozenset("tTrReE")  # of "not" and "n't", "never", "be"
_BRACKETS: Final = str.maketrans("＜＞／", "<>/")


class Kind(AnswerFormat, Protocol):
    """An answer format that can also stand inside a tag."""

    __slots__ = ()

    @property
    def wanted(self) -> str:
        """What the model is to write, to be put in a sentence: "one whole number"."""
        ...

    def describe(self) -> str:
        return f"Answer with {self.wanted}."


@runtime_checkable
class FieldReader(Protocol):
    """A kind that reads what stands in a place of its own more strictly than a text."""

    def parse_field(self, text: str, /) -> str | None:
        """The prediction in canonical form; None also where several different ones are named."""
        ...


def field_reader(kind: Kind) -> Callable[[str], str | None]:
    """How a kind reads what stands in a place of its own."""
    return kind.parse_field if isinstance(kind, FieldReader) else kind.parse


@dataclass(frozen=True, slots=True)
class Tagged:
    """An answer between `<answer>` and `</answer>`; the last closed tag that can be read counts.

    No closed tag, or none with an answer in it, is malformed: the model was cut off or did not do as asked. (A tag that
    a stop string may have left open at the end of a whole answer is closed before, by `engine/cut_tags`.)

    Attributes:
        inner: what stands between the tags.
        tag: its name; case is ignored.
    """

    inner: Kind
    tag: str = "answer"
    _tags: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _opening: str = field(init=False, repr=False, compare=False)
    closing: str = field(init=False, repr=False, compare=False)
    _read: Callable[[str], str | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name = re.escape(self.tag)
        object.__setattr__(self, "_opening", f"<{self.tag}>")
        object.__setattr__(self, "closing", f"</{self.tag}>")
        object.__setattr__(self, "_tags", late_pattern(rf"<(/?){name}\s*>", re.IGNORECASE))
        object.__setattr__(self, "_read", field_reader(self.inner))

    @property
    def blocking(self) -> bool:
        """As the kind inside."""
        return is_blocking(self.inner)

    def parse(self, text: str, /) -> str | None:
        if not text.isascii():
            text = text.translate(_BRACKETS)
        if text.count("<") == 2:  # as in most answers
            start, end = text.find(self._opening), text.find(self.closing)
            if 0 <= start < end:
                return self._read_at(text, start, text[start + len(self._opening) : end])
        for start, content in reversed(self._closed(text)):
            if (answer := self._read_at(text, start, content)) is not None:
                return answer
        return None

    def canonical(self, answer: str, /) -> str | None:
        inner = self.inner.canonical(answer)
        return None if inner is None or self._tags.search(inner) else inner

    def describe(self) -> str:
        return f"Between <{self.tag}> and </{self.tag}>, write {self.inner.wanted}."

    def reading(self) -> str:
        return f"What stands between the last <{self.tag}> and </{self.tag}> counts, and nothing outside of them."

    def similarity(self, prediction: str, answer: str, /) -> float:
        """What the kind inside says."""
        return similarity_of(self.inner)(prediction, answer)

    def feedback(self, prediction: str, answer: str, /) -> str:
        """What the kind inside says."""
        return feedback_of(self.inner, prediction, answer)

    def _read_at(self, text: str, start: int, content: str) -> str | None:
        """What stands in a tag that begins there, if it is an answer."""
        if content.strip(" \"'`") == "and" and text[:start].rstrip(" \"'`")[-7:].lower() == "between":
            return None  # the instruction: "between <answer> and </answer>"
        # The pattern is slow to find that there is no denial: the last letter before the tag mostly tells.
        last = text[max(0, start - 24) : start].rstrip(" \t\"'*_`")[-1:]
        if last in _LAST_LETTERS and _DENIED.search(text, max(0, start - 24), start):
            return None  # "it is not <answer>B</answer>"
        return self._read(content)

    def _closed(self, text: str) -> list[tuple[int, str]]:
        """Start and content of each innermost tag that is closed."""
        closed = []
        opening: re.Match[str] | None = None
        for match in self._tags.finditer(text):
            if not match[1]:
                opening = match
            elif opening is not None:
                closed.append((opening.start(), text[opening.end() : match.start()]))
                opening = None
        return closed
