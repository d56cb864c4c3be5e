"""Looking after a cache folder whose database is sound, has foreign rows, or is damaged in places."""

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from metaspo.cache import DiskMaintenance, StoreError
from metaspo.cache.disk.folder import connect
from metaspo.cache.maintenance import Row
from metaspo.cache.record import encode_entry
from metaspo.cache.testing import make_entry, make_key

MANY = 40
PAGE = 4096
KEYS = [make_key(number) for number in range(MANY)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache of forty entries that fill a good many pages."""
    random_text = random.Random("entries")
    records = [(key, encode_entry(key, make_entry(random_text.randbytes(600).hex()))) for key in KEYS]
    caring = DiskMaintenance(tmp_path / "cache")
    assert caring.add(records) == MANY
    caring.close()
    return tmp_path / "cache"


def change(folder: Path, *statements: str) -> None:
    """By another program."""
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def keys_and_problems(folder: Path) -> list[tuple[object, str, str]]:
    return [(row.id, row.key, row.problem) for row in DiskMaintenance(folder).rows()]


@pytest.mark.parametrize("chunk", [1, 7, MANY, 500])
@pytest.mark.parametrize("cut", [0, 1, 3, 8, 20])
def test_what_lies_before_a_cut_is_read_and_the_rest_is_told_row_by_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cut: int, chunk: int
) -> None:
    """None is skipped, however many are read at once."""
    monkeypatch.setattr("metaspo.cache.disk.maintenance._CHUNK", chunk)
    os.truncate(folder / "cache.db", os.path.getsize(folder / "cache.db") - cut * PAGE)
    rows = keys_and_problems(folder)
    assert [number for number, _, _ in rows] == list(range(1, MANY + 1))
    read = [key for _, key, problem in rows if not problem]
    assert read == KEYS[: len(read)]
    assert (len(read) < MANY) == bool(cut)
    lost = rows[len(read) :]
    assert {key for _, key, _ in lost} <= {""}
    assert all(problem.startswith("its page cannot be read (") for _, _, problem in lost)
    assert {row.size for row in DiskMaintenance(folder).rows() if row.entry is None} <= {0}
    assert bool(DiskMaintenance(folder).damage()) == bool(cut)


def test_rows_around_a_page_that_was_overwritten_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were removed before are not told of."""
    monkeypatch.setattr("metaspo.cache.disk.maintenance._CHUNK", 10)
    change(folder, "DELETE FROM Cache WHERE rowid IN (4, 5, 40)")
    with (folder / "cache.db").open("r+b") as file:
        file.seek(os.path.getsize(folder / "cache.db") // 2 // PAGE * PAGE)
        file.write(b"\xa5" * PAGE)
    rows = keys_and_problems(folder)
    assert 0 < sum(bool(problem) for _, _, problem in rows) < MANY // 2
    for number, key, problem in rows:
        assert number not in (4, 5, 40)
        assert key == "" if problem else key == KEYS[int(str(number)) - 1]
    assert {1, 2, 3, 38, 39} <= {number for number, _, problem in rows if not problem}


def overwrite(folder: Path, *names: str) -> None:
    """The pages that tables and indexes begin with."""
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        pages = dict(connection.execute("SELECT name, rootpage FROM sqlite_master").fetchall())
    with (folder / "cache.db").open("r+b") as file:
        for name in names:
            file.seek((pages[name] - 1) * PAGE)
            file.write(b"\xa5" * PAGE)


@pytest.mark.parametrize("name", ["Settings", "sqlite_autoindex_Settings_1", "Cache_key_raw"])
def test_where_a_table_beside_the_rows_is_damaged_all_of_them_are_read(folder: Path, name: str) -> None:
    overwrite(folder, name)
    assert [key for _, key, problem in keys_and_problems(folder) if not problem] == KEYS
    assert DiskMaintenance(folder).damage()


def test_where_nothing_can_be_read_nobody_is_sent_back_to_what_reads_the_rest(folder: Path) -> None:
    """Who only uses the cache is, before anybody has tried."""
    overwrite(folder, "Cache")
    assert {problem[:9] for _, _, problem in keys_and_problems(folder)} == {"its page "}
    overwrite(folder, "Settings")
    with pytest.raises(StoreError, match="restore it from a snapshot, or name another folder") as error:
        keys_and_problems(folder)
    assert "cache export" not in str(error.value)
    with pytest.raises(StoreError, match="cache export"):
        connect(folder)


def test_rows_that_no_metaspo_wrote_are_told_with_what_is_wrong(folder: Path) -> None:
    change(
        folder,
        "UPDATE Cache SET key = x'00ff' WHERE rowid = 1",
        "UPDATE Cache SET raw = 0 WHERE rowid = 2",
        "UPDATE Cache SET mode = 4 WHERE rowid = 3",
        "UPDATE Cache SET value = x'00' WHERE rowid = 4",
    )
    first, second, third, fourth, *others = DiskMaintenance(folder).rows()
    assert first == Row(1, "", 0, None, "its key is not plain text")
    assert second == Row(2, "", 0, None, "its key is not plain text")
    assert third == Row(3, KEYS[2], 0, None, "its value is not plain bytes (mode 4)")
    assert (fourth.key, fourth.size, fourth.entry) == (KEYS[3], 1, None)
    assert fourth.problem
    assert [row.key for row in others if row.entry is not None] == KEYS[4:]


def test_what_is_removed_makes_the_file_smaller(folder: Path) -> None:
    """Its size is that of all its files."""
    caring, file = DiskMaintenance(folder), folder / "cache.db"
    rows, before = list(caring.rows()), os.path.getsize(file)
    assert caring.size() == sum(path.stat().st_size for path in folder.iterdir())
    caring.remove(rows[:20])
    assert [row.key for row in caring.rows()] == KEYS[20:]
    assert os.path.getsize(file) < before
    assert caring.damage() == ()
