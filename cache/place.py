"""Where an answer stands in a database: beside those of requests that begin as its own does.

A key is a hash. In an index that is ordered by keys alone a hundred answers fall on a hundred pages once it is large,
and each of these is read, logged and copied back for one answer. But requests come in groups: of one system prompt, and
in it of one user prompt, over many rows. A place is a short hash of how a request begins; by places first, then by
keys, a hundred answers fall on a few pages, however many there are.

Places decide nothing: two requests are the same exactly if their keys are, and only databases know of places at all.
A row without one stands under its key alone: what a server, an older snapshot or an older version kept has none.
"""

from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

from metaspo.backends import Message
from metaspo.backends.late_patterns import late_pattern

START = 32
"""Characters of what follows a system prompt that count: most of them are the user prompt's own, not yet the row's."""

PREFIX = "p"
"""Begins every place: after all digits, so that rows without a place come first in the index."""
LENGTH = 10

ROW_NAME = late_pattern("(p[0-9a-f]{9})?[0-9a-f]{64}")
"""What a key looks like behind its place, where it has one."""


class Key(str):
    """A request's key, and beside it the place of its answer. Keys are equal if their digits are."""

    __slots__ = ("place",)
    place: str


_new = str.__new__  # half of what a method of the class's own takes


def key_at(place: str, digits: str) -> Key:
    """A key with its place."""
    key = _new(Key, digits)
    key.place = place
    return key


def row_name(key: str) -> str:
    """What a row of a database with places is found by."""
    return key.place + key if isinstance(key, Key) else key


def key_of_row(name: str) -> str:
    """Undoes `row_name`."""
    return key_at(name[:LENGTH], name[LENGTH:]) if name.startswith(PREFIX) else name


def digits_of(name: str) -> str:
    """The same, of a key nothing but its digits."""
    return name[LENGTH:] if name.startswith(PREFIX) else name


def beginning(messages: Sequence[Message]) -> tuple[str, str]:
    """The text that a group of requests shares, and the one after it; of a single message it is that one's start."""
    if len(messages) > 1:
        return messages[0].content, messages[1].content
    return "", messages[0].content if messages else ""


@lru_cache(maxsize=64)
def group_of(model: str, shared: str) -> str:
    """The part of a place that a model and a group's shared text make."""
    return f"{PREFIX}{crc32(_bytes(shared), crc32(_bytes(model))) >> 12:05x}"


def place_of(group: str, text: str) -> str:
    """The whole place: with what comes after the shared text."""
    return f"{group}{crc32(_bytes(text[:START])) & 0xFFFF:04x}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
