"""Number words become digits, and nothing else changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.tasks import digits_for_words

_SMALL = [
    *["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
    *["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"],
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def _spelled(number: int, joiner: str, conjunction: str) -> str:
    """The number in English, written from the top down."""
    if number < 20:
        return _SMALL[number]
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            head = f"{_spelled(number // size, joiner, conjunction)} {name}"
            rest = number % size
            return f"{head}{conjunction}{_spelled(rest, joiner, conjunction)}" if rest else head
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens - 2]}{joiner}{_SMALL[ones]}" if ones else _TENS[tens - 2]


@given(st.integers(0, 999_999), st.sampled_from(["-", " "]), st.sampled_from([" ", " and "]), st.booleans())
def test_every_number_below_a_million_is_read_back(number: int, joiner: str, conjunction: str, shout: bool) -> None:
    words = _spelled(number, joiner, conjunction)
    assert digits_for_words(words.upper() if shout else words) == str(number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There are three cats and twenty-one dogs.", "There are 3 cats and 21 dogs."),
        ("a hundred", "100"),
        ("nineteen hundred", "1900"),
        ("one thousand, nine hundred and ninety-three", "1993"),
        ("one, two, three", "1, 2, 3"),
        ("someone weighs often", "someone weighs often"),
        ("seventh", "seventh"),
        ("", ""),
    ],
)
def test_words_in_a_sentence(text: str, expected: str) -> None:
    assert digits_for_words(text) == expected


@given(st.one_of(st.text(), st.lists(st.sampled_from([*_SMALL, *_TENS, "hundred", "thousand", "and", "a", "x", ","]))))
def test_a_second_pass_changes_nothing(text: str | list[str]) -> None:
    once = digits_for_words(text if isinstance(text, str) else " ".join(text))
    assert digits_for_words(once) == once
