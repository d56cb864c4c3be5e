"""Questions that have no answer, as in SQuAD 2.0."""

from dataclasses import dataclass, field
from typing import Final

from metaspo.engine.tasks.base import feedback_of, is_blocking, reading_of, similarity_of
from metaspo.engine.tasks.formats.plain import plain
from metaspo.engine.tasks.formats.tagged import Kind, field_reader

_NOISE: Final = " \t\r\n.!\"'*_`()[]"


@dataclass(frozen=True, slots=True)
class OrUnanswerable(Kind):
    """Another kind of answer, or an agreed word that says there is none; an empty answer of the data is that word.

    Attributes:
        inner: how an answer looks where there is one.
        word: what stands for none; case and punctuation around it do not count.
    """

    inner: Kind
    word: str = "unanswerable"
    _folded: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_folded", self.word.casefold())

    @property
    def wanted(self) -> str:
        return f"{self.inner.wanted}; or the word {self.word}, if there is no answer"

    @property
    def blocking(self) -> bool:
        """As the other format."""
        return is_blocking(self.inner)

    def parse(self, text: str, /) -> str | None:
        return self.word if self._says_none(text) else self.inner.parse(text)

    def parse_field(self, text: str, /) -> str | None:
        return self.word if self._says_none(text) else field_reader(self.inner)(text)

    def canonical(self, answer: str, /) -> str | None:
        return self.word if not answer.strip() or self._says_none(answer) else self.inner.canonical(answer)

    def reading(self) -> str:
        return reading_of(self.inner)

    def similarity(self, prediction: str, answer: str, /) -> float:
        """1 or 0 where one of the two is the word, else what the other format says."""
        if self.word in (prediction, answer):
            return float(prediction == answer)
        return similarity_of(self.inner)(prediction, answer)

    def feedback(self, prediction: str, answer: str, /) -> str:
        """What the other format says; of the word nothing."""
        return "" if self.word in (prediction, answer) else feedback_of(self.inner, prediction, answer)

    def _says_none(self, text: str) -> bool:
        return len(text) < 200 and plain(text).strip(_NOISE).casefold() == self._folded
