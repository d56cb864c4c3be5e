"""Numbers: one whole number, or any number with a tolerance and units."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.beside_numbers import tail
from metaspo.engine.tasks.formats.notation import LONGEST, Numeral, as_text, given_number, number_in, without_tex
from metaspo.engine.tasks.formats.plain import ends, plain
from metaspo.engine.tasks.formats.tagged import Kind
from metaspo.engine.tasks.numberwords import digits_for_words

_LINES: Final = late_pattern(r"(?<!\s)\s*\n\s*(?![^\W\d_])")  # one number a line is a list
_BARE: Final = late_pattern(r"\s*+(-?[1-9][0-9]*+|0)\s*+")
_SIGN_APART: Final = late_pattern(r"\A-\s+(?=[\d.$€£¥])")
_ITEM_OR_SIGN: Final = late_pattern(r"\s*-\s+[\d.,/$€£¥%]+\s*")  # "- 5" may be an item of a list, or five below zero
_UNIT: Final = late_pattern(r"\s?([^\W\d_][\w/^]*|[%‰°$€£¥₹]\w*)")


FIRST_NUMBER: Final = (
    'The number after "the answer is" counts, else the first one in an answer, but for those of steps and list items; '
    'several side by side, as in "3 or 4", cannot be read.'
)


@dataclass(frozen=True, slots=True)
class Integer(Kind):
    """The number that the text gives as its answer, else its first one, if it is whole: "1,234", "-5", "4.0", "1e6".

    "4.5" and "1/2" are malformed, not 4 and not 1. Ranges, sums and lists ("1-5", "1, 2, 3") are passed over, and so is
    a number that is denied ("not 5"). Signs of currency and percent do not count. The canonical form has no separators,
    plus signs, leading zeros or fraction.

    Attributes:
        number_words: "three" counts as 3.
    """

    number_words: bool = False

    @property
    def wanted(self) -> str:
        return "one whole number"

    def parse(self, text: str, /) -> str | None:
        if bare := _BARE.fullmatch(text):
            return bare[1]
        text = without_tex(plain(ends(text)))
        if _ITEM_OR_SIGN.fullmatch(text):
            return None
        if self.number_words:
            text = digits_for_words(text.replace(self.wanted, " "))
        numeral = given_number(text)
        return None if numeral is None else _whole(text, numeral)

    def parse_field(self, text: str, /) -> str | None:
        return self.parse(_SIGN_APART.sub("-", _LINES.sub("; ", plain(ends(text)).strip())))

    def canonical(self, answer: str, /) -> str | None:
        text = without_tex(plain(answer)).strip()
        text = digits_for_words(text) if self.number_words else text
        numeral = number_in(text)
        return _whole(text, numeral) if numeral and tail(text, numeral.end) == len(text) else None

    def reading(self) -> str:
        return FIRST_NUMBER


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """The number that the text gives as its answer, else its first one: "-1.5", "1/2", "2 1/4", "3e-4", "1,234.5".

    The canonical form is a decimal where there is an exact one, else a fraction.

    Attributes:
        absolute_tolerance, relative_tolerance: how far from the right answer, in its unit or as a share of it, still
            counts; the wider of the two.
        units: what each unit is worth, {"m": 1, "km": 1000, "%": 0.01}: a number with one of them is multiplied by it,
            one with another word after it is malformed, one without any is taken as it is. Empty: units do not count.
        number_words: "three" counts as 3.
    """

    absolute_tolerance: float = 0.0
    relative_tolerance: float = 0.0
    units: Mapping[str, float] = field(default_factory=dict)
    number_words: bool = False

    def __post_init__(self) -> None:
        if not all(0 <= x < math.inf for x in (self.absolute_tolerance, self.relative_tolerance)):
            raise ValueError("a tolerance is a number from 0 on")
        if not all(0 < factor < math.inf for factor in self.units.values()):
            raise ValueError("units are worth numbers above 0, {m = 1, km = 1000}")

    @property
    def wanted(self) -> str:
        return f"a number (in {' or '.join(self.units)})" if self.units else "a number"

    def parse(self, text: str, /) -> str | None:
        text = self._digits(without_tex(plain(ends(text))))
        if _ITEM_OR_SIGN.fullmatch(text):
            return None
        numeral = given_number(text)
        return None if numeral is None else self._in_unit(numeral, text[numeral.end : numeral.end + 40])

    def parse_field(self, text: str, /) -> str | None:
        return self.parse(_SIGN_APART.sub("-", _LINES.sub("; ", plain(ends(text)).strip())))

    def canonical(self, answer: str, /) -> str | None:
        text = self._digits(without_tex(plain(answer)).strip())
        numeral = number_in(text)
        if numeral is None or not (self.units or tail(text, numeral.end) == len(text)):
            return None
        return self._in_unit(numeral, text[numeral.end :])

    def reading(self) -> str:
        return FIRST_NUMBER

    def similarity(self, prediction: str, answer: str, /) -> float:
        """1 where the prediction is within the tolerance of the answer, else 0."""
        given, right = Fraction(prediction), Fraction(answer)
        slack = max(_exact(self.absolute_tolerance), _exact(self.relative_tolerance) * abs(right))
        return float(abs(given - right) <= slack)

    def _digits(self, text: str) -> str:
        return digits_for_words(text) if self.number_words else text

    def _in_unit(self, numeral: Numeral, after: str) -> str | None:
        if numeral.value is None or len(numeral.value) > LONGEST:
            return None
        unit = _UNIT.match(after) if self.units else None
        if unit is None:
            return numeral.value
        factor = self.units.get(unit[1])
        return None if factor is None else as_text(Fraction(numeral.value) * _exact(factor))


def _whole(text: str, numeral: Numeral) -> str | None:
    """The number, if it is whole and not written as a fraction: "5/5" more often means a rating than 1."""
    value = numeral.value
    return None if value is None or "." in value or "/" in text[numeral.start : numeral.end] else value


def _exact(value: float) -> Fraction:
    """The number as it was written, not the float beside it."""
    return Fraction(Decimal(repr(value)))
