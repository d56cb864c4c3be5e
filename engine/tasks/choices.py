"""Options under a question: lettered, shuffled if asked for, and the answer as a letter."""

import hashlib
from collections.abc import Sequence
from random import Random
from string import ascii_uppercase
from typing import Final

from metaspo.engine.tasks.shown import shown

MAX_OPTIONS: Final = len(ascii_uppercase)
AS_LISTS: Final = "save the data as JSONL or Parquet, where a list stays one"


class ChoiceError(ValueError):
    """Options or an answer among them that cannot be lettered; `str()` says what is wrong with them."""


def is_written_list(text: str) -> bool:
    """Whether a text is a list or table of texts as Python writes one: what pandas makes of such a column in a CSV."""
    return text[:2] in ("['", "{'") and text[-1] in "]}"


def option_order(options: Sequence[str], *, question: str, shuffle: bool) -> tuple[int, ...]:
    """Which option stands in which place; shuffled by a draw from the texts, the same on every machine.

    Raises `ChoiceError` for fewer than two options or more than there are letters.
    """
    if len(options) == 1 and is_written_list(options[0]):
        raise ChoiceError(f"is a list written as text, {shown(options[0])}: {AS_LISTS}")
    if not 2 <= len(options) <= MAX_OPTIONS:
        raise ChoiceError(f"holds {len(options)} options; there must be 2 to {MAX_OPTIONS}")
    order = list(range(len(options)))
    if shuffle:
        digest = hashlib.sha256("\n".join([question, *options]).encode()).digest()
        Random(int.from_bytes(digest)).shuffle(order)
    return tuple(order)


def lettered(options: Sequence[str], order: Sequence[int]) -> str:
    """The options as lines: "(A) first"."""
    return "\n".join(
        f"({letter}) {options[index].strip()}" for letter, index in zip(ascii_uppercase, order, strict=False)
    )


def letter_of(answer: str, options: Sequence[str], order: Sequence[int]) -> str:
    """The letter of an answer given as one option's text or as the letter of its place in the data.

    Raises `ChoiceError` where it is neither.
    """
    texts = [option.strip() for option in options]
    letters = ascii_uppercase[: len(texts)]
    text = answer.strip()
    if text in texts:
        index = texts.index(text)
    elif len(text) == 1 and text.upper() in letters:
        index = letters.index(text.upper())
    else:
        raise ChoiceError(f"is {shown(answer)}, none of the {len(texts)} options and no letter of one")
    return letters[order.index(index)]
