"""Answers looked up by any thread: those of the folder, and those used last without it."""

from pathlib import Path

from metaspo.cache import DiskMaintenance, DiskStore, MemoryStore
from metaspo.cache.disk.quick_reader import QuickReader
from metaspo.cache.lru import OVERHEAD
from metaspo.cache.record import encode_entry
from metaspo.cache.testing import make_entry, make_key

KEYS = [make_key(number) for number in range(3)]


def filled(folder: Path) -> DiskMaintenance:
    """A cache with an entry for each key but the last, which is damaged."""
    caring = DiskMaintenance(folder)
    entries = {key: encode_entry(key, make_entry(key)) for key in KEYS[:2]}
    caring.add([*entries.items(), (KEYS[2], b"nonsense")])
    return caring


def test_what_was_read_once_is_there_without_the_folder(tmp_path: Path) -> None:
    """And what was told; what was not, and what cannot be read, is not here."""
    caring = filled(tmp_path)
    reader = QuickReader(DiskStore(tmp_path))
    assert [reader.get(key) for key in KEYS] == [make_entry(KEYS[0]), make_entry(KEYS[1]), None]
    caring.remove([row for row in caring.rows() if row.key == KEYS[0]])
    reader.add(KEYS[2], make_entry("told"))
    expected = [make_entry(KEYS[0]), make_entry(KEYS[1]), make_entry("told")]
    assert [reader.get(key) for key in KEYS] == expected
    for _ in range(2):
        reader.close()
        assert [reader.get(key) for key in KEYS] == expected
    assert reader.get(make_key(9)) is None
    caring.close()


def test_what_does_not_fit_into_memory_is_read_again(tmp_path: Path) -> None:
    """The entries used last stay."""
    caring = filled(tmp_path)
    size = len(encode_entry(KEYS[0], make_entry(KEYS[0])))
    reader = QuickReader(DiskStore(tmp_path), memory_bytes=size + OVERHEAD)
    assert [reader.get(key) is not None for key in KEYS] == [True, True, False]
    caring.remove(list(caring.rows()))
    assert [reader.get(key) is not None for key in KEYS] == [False, True, False]
    reader.close()
    caring.close()


def test_without_a_folder_only_what_was_told_is_there() -> None:
    reader = QuickReader(MemoryStore())
    assert reader.get(KEYS[0]) is None
    reader.add(KEYS[0], make_entry("a"))
    assert reader.get(KEYS[0]) == make_entry("a")
    reader.close()
