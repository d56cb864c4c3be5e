"""English number words, zero to 999,999, as digits."""

import re
from collections.abc import Sequence
from typing import Final

from metaspo.backends.late_patterns import late_pattern

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


# "One third", "two fifths"; "second" is a time.
_PARTS: Final = {
    "half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "hundredth": 100, "thousandth": 1000,
}  # fmt: skip


def _pattern() -> re.Pattern[str]:
    hyphen = "[-\u2010\u2011]"
    digit, teen, tens = ("|".join(words) for words in (_DIGITS, _TEENS, _TENS))
    below_100 = rf"(?:(?:{tens})(?:(?:\s+|{hyphen})(?:{digit})\b)?|{teen}|{digit}|zero)"
    rest = rf"(?:,?\s+(?:and\s+)?|{hyphen})"
    multiple = rf"(?:(?:{{}}|a)(?:\s+|{hyphen}))?"
    below_1000 = rf"(?:{multiple.format(below_100)}hundred\b(?:{rest}{below_100}\b)?|{below_100})"
    number = rf"(?:{multiple.format(below_1000)}thousand\b(?:{rest}{below_1000}\b)?|{below_1000})"
    part = "|".join(_PARTS)
    more = rf"(?:\s+point(?P<decimals>(?:\s+(?:{digit}|zero|oh))+)|\s+and\s+(?P<upper>a|{digit})\s+(?P<lower>{part})s?)"
    return late_pattern(
        rf"\b(?P<number>(?>{number}))\b(?![\s-]+first\b|-second\b)(?:{more}|[\s-]+(?P<of>{part})(?P<many>s)?)?\b",
        re.IGNORECASE | re.ASCII,
    )


_NUMBER: Final = _pattern()
_WORD: Final = late_pattern(r"[a-z]+")


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

    Knows zero to 999,999 as English writes them, with or without hyphens and "and", decimals ("two point five") and
    fractions ("two thirds", "one and a half"); no ordinals, and no "dozen".
    """
    return _NUMBER.sub(_digits, text)


def _digits(match: re.Match[str]) -> str:
    value = _value(_WORD.findall(match["number"].lower()))
    if match["decimals"]:
        return f"{value}.{''.join(str(_VALUES.get(word, 0)) for word in match['decimals'].lower().split())}"
    if match["lower"]:
        return f"{value} {_VALUES.get(match['upper'].lower(), 1)}/{_PARTS[match['lower'].lower()]}"
    if match["of"] is None:
        return str(value)
    if bool(match["many"]) == (value == 1):  # "twenty-fifth" is no fraction
        return match[0]
    return f"{value}/{_PARTS[match['of'].lower()]}"
