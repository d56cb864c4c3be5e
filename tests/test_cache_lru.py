"""The memory layer stays within its size and forgets the right entries."""

import gc
from collections.abc import Callable

import pytest

from metaspo.cache.lru import OVERHEAD, Recent, RecentEntries
from metaspo.cache.record import encode_entry
from metaspo.cache.testing import make_entry


def record(key: str, text: str) -> bytes:
    return encode_entry(key, make_entry(text))


HEAD = len(record("a", ""))


def test_forgets_what_was_longest_not_asked_for() -> None:
    """Over its size it drops the entry whose last use is longest ago."""
    recent = RecentEntries(3 * (OVERHEAD + HEAD + 1))
    for key in "abc":
        recent.add(key, record(key, key))
    recent.get("a")
    recent.add("d", record("d", "d"))
    assert [key for key in "abcd" if recent.get(key)] == ["a", "c", "d"]


def test_counts_bytes_not_entries() -> None:
    """One long answer takes the room of many short ones, and one that is too long for all is not kept."""
    room = 10 * (OVERHEAD + HEAD)
    recent = RecentEntries(room)
    for number in range(8):
        recent.add(str(number), record(str(number), ""))
    long = "x" * (room * 8 // 10)
    recent.add("long", record("long", long))
    assert (len(recent), recent.get("long")) == (2, make_entry(long))
    recent.add("too long", record("too long", "x" * room))
    assert len(recent) == 0


def test_what_is_kept_is_nothing_to_the_garbage_collector() -> None:
    """Tens of thousands of entries must not be passed over at every collection."""
    recent = RecentEntries(2**20)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(500):
        recent.add(str(number), record(str(number), "text"))
    gc.collect()
    assert len(recent) == 500
    assert len(gc.get_objects()) - before < 50


def test_adding_again_changes_nothing() -> None:
    """The first entry under a key stays, and its bytes are counted once."""
    recent = RecentEntries(2 * (OVERHEAD + HEAD + 1))
    recent.add("b", record("b", "b"))
    for text in "axyz":
        recent.add("a", record("a", text))
    assert (recent.get("a"), recent.get("b")) == (make_entry("a"), make_entry("b"))


@pytest.mark.parametrize(
    ("use", "kept"),
    [
        (lambda recent: recent.get("a"), "acd"),
        (lambda recent: recent.get_many(["a", "x"]), "acd"),
        (lambda recent: recent.add("a", "ten letter"), "bcd"),
        (lambda recent: recent.forget("b"), "acd"),
        (len, "bcd"),
    ],
)
def test_what_was_asked_for_last_is_forgotten_last(use: Callable[[Recent[str, str]], object], kept: str) -> None:
    """What was added again is not, and what was forgotten leaves its room to another."""
    recent: Recent[str, str] = Recent(30, len)
    recent.add_many((key, "ten letter") for key in "abc")
    use(recent)
    recent.add("d", "ten letter")
    assert sorted(recent.get_many("abcd")) == list(kept)


def test_records_added_together_are_all_there() -> None:
    recent = RecentEntries(2**20)
    recent.add_many((key, record(key, key)) for key in "ab")
    assert recent.get_many("abc") == {key: make_entry(key) for key in "ab"}
