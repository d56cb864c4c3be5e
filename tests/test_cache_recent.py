"""The memory layer stays within its size and forgets the right entries."""

from store_conformance import make_entry

from metaspo.cache.recent import OVERHEAD, RecentEntries


def test_forgets_what_was_longest_not_asked_for() -> None:
    """Over its size it drops the entry whose last use is longest ago."""
    recent = RecentEntries(3 * (OVERHEAD + 1))
    for key in "abc":
        recent.add(key, make_entry(key))
    recent.get("a")
    recent.add("d", make_entry("d"))
    assert [key for key in "abcd" if recent.get(key)] == ["a", "c", "d"]


def test_counts_bytes_not_entries() -> None:
    """One long answer takes the room of many short ones, and one that is too long for all is not kept."""
    recent = RecentEntries(10 * OVERHEAD)
    for number in range(8):
        recent.add(str(number), make_entry(""))
    recent.add("long", make_entry("x" * (8 * OVERHEAD)))
    assert (len(recent), recent.get("long")) == (2, make_entry("x" * (8 * OVERHEAD)))
    recent.add("too long", make_entry("x" * (10 * OVERHEAD)))
    assert len(recent) == 0


def test_adding_again_changes_nothing() -> None:
    """The first entry under a key stays, and its bytes are counted once."""
    recent = RecentEntries(2 * (OVERHEAD + 1))
    recent.add("b", make_entry("b"))
    for text in "axyz":
        recent.add("a", make_entry(text))
    assert (recent.get("a"), recent.get("b")) == (make_entry("a"), make_entry("b"))
