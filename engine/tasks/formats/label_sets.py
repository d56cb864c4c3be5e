"""Any number of labels of a set."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.labels import Label
from metaspo.engine.tasks.formats.mentions import announced
from metaspo.engine.tasks.formats.plain import ends, plain
from metaspo.engine.tasks.formats.tagged import Kind
from metaspo.engine.tasks.shown import shown

BETWEEN_LABELS: Final = ", "
NONE: Final = "none"
_SEPARATOR: Final = late_pattern(r"[,;|、，；\n]")
_AND: Final = late_pattern(r"(?:^|(?<=\s))(?:and|&)\s+", re.IGNORECASE)
_BULLET: Final = late_pattern(r"^(?:[-*•]|\d+[.)])\s+")
_NOISE: Final = " \t\r\n.!:*_\"'`()[]{}"


@dataclass(frozen=True, slots=True)
class LabelSet(Kind):
    """Every label that an answer gives, in the set's order; "none" stands for no label at all.

    A list is read as one. From any other text the labels that it names and does not deny are taken, where it announces
    its answer ("the answer is") only those behind that on the same line; naming all of them is no answer there.

    Attributes:
        labels, number_words: as `Label` has them; no label may hold what stands between labels.
    """

    labels: tuple[str, ...]
    number_words: bool = False
    _label: Label = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for label in self.labels:
            if len(split_labels(label)) > 1 or label.casefold() == NONE:
                raise ValueError(
                    f"label {shown(label)} cannot be one of several: commas, semicolons and bars stand between labels, "
                    f'and "{NONE}" for no label'
                )
        object.__setattr__(self, "_label", Label(self.labels, number_words=self.number_words))

    @property
    def wanted(self) -> str:
        return f"every label that fits, with commas between them, or {NONE}, of: {BETWEEN_LABELS.join(self.labels)}"

    def parse(self, text: str, /) -> str | None:
        text = text.replace(self.wanted, " ")
        if (read := self.parse_field(text)) is not None:
            return read
        text = self._label.plain(text)
        mentions = self._label.mentions(text)
        start = next((mention.start for mention in mentions if announced(text, mention)), 0)
        line = text[start:].find("\n") if start else -1
        end = start + line if line >= 0 else len(text)
        named = {mention.value for mention in mentions if start <= mention.start < end}
        return self._written(named) if named and len(named) < len(self.labels) else None

    def parse_field(self, text: str, /) -> str | None:
        """The labels of a list; None also where a part of it is none."""
        text = plain(ends(text)).strip(_NOISE)
        return self.canonical(text) if split_labels(text) else None

    def canonical(self, answer: str, /) -> str | None:
        parts = split_labels(answer)
        if [part.casefold() for part in parts] in ([], [NONE]):
            return NONE
        labels = {label for part in parts for label in self._labels_of(part)}
        return None if None in labels else self._written(labels)

    def reading(self) -> str:
        places = 'where it says "the answer is", only those behind that on the same line'
        return f"All labels count that an answer names and does not deny; {places}."

    def similarity(self, prediction: str, answer: str, /) -> float:
        """The F1 of one set of labels against the other; no label at all is right where none is expected."""
        given, right = _set(prediction), _set(answer)
        return 2 * len(given & right) / (len(given) + len(right)) if given or right else 1.0

    def _labels_of(self, part: str) -> list[str | None]:
        """Of a part between commas: the label that it is, or several with "and" between them."""
        whole = self._label.canonical(part.strip(_NOISE))
        return [whole] if whole else [self._label.canonical(piece.strip(_NOISE)) for piece in _AND.split(part) if piece]

    def _written(self, labels: Collection[str | None]) -> str:
        return BETWEEN_LABELS.join(label for label in self.labels if label in labels)


def split_labels(text: str) -> list[str]:
    """The parts of a list of labels, on one line or several."""
    lines = [_BULLET.sub("", line.strip()) for line in text.splitlines()]
    return [part.strip() for line in lines for part in _SEPARATOR.split(line) if part and not part.isspace()]


def labels_in(text: str) -> list[str]:
    """The labels that an answer of the data holds, as they stand there."""
    return [part for part in split_labels(text) if part.casefold() != NONE]


def _set(written: str) -> set[str]:
    return set() if written == NONE else set(written.split(BETWEEN_LABELS))
