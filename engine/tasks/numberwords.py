"""English number words, zero to 999,999, as digits."""

import re
from collections.abc import Sequence
from typing import Final

_DIGITS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS: Final = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES: Final = {
    "zero": 0,
    **{word: value for value, word in enumerate(_DIGITS, 1)},
    **{word: value for value, word in enumerate(_TEENS, 10)},
    **{word: 10 * value for value, word in enumerate(_TENS, 2)},
}


def _pattern() -> re.Pattern[str]:
    hyphen = "[-\u2010\u2011]"
    digit, teen, tens = ("|".join(words) for words in (_DIGITS, _TEENS, _TENS))
    below_100 = rf"(?:(?:{tens})(?:(?:\s+|{hyphen})(?:{digit})\b)?|{teen}|{digit}|zero)"
    rest = rf"(?:,?\s+(?:and\s+)?|{hyphen})"
    multiple = rf"(?:(?:{{}}|a)(?:\s+|{hyphen}))?"
    below_1000 = rf"(?:{multiple.format(below_100)}hundred(?:{rest}{below_100}\b)?|{below_100})"
    number = rf"(?:{multiple.format(below_1000)}thousand(?:{rest}{below_1000}\b)?|{below_1000})"
    return re.compile(rf"\b{number}\b", re.IGNORECASE | re.ASCII)


_NUMBER: Final = _pattern()
_WORD: Final = re.compile(r"[a-z]+")


def _value(words: Sequence[str]) -> int:
    total = part = 0
    for word in words:
        if word == "thousand":
            total, part = 1000 * max(part, 1), 0
        elif word == "hundred":
            part = 100 * max(part, 1)
        else:
            part += _VALUES.get(word, 0)
    return total + part


def digits_for_words(text: str) -> str:
    """The text with every number word replaced by its digits: "Twenty-three cats" becomes "23 cats".

    Knows zero to 999,999 as English writes them, with or without hyphens and "and"; no fractions, ordinals, "dozen".
    """
    return _NUMBER.sub(lambda match: str(_value(_WORD.findall(match[0].lower()))), text)
