"""Rows that are read with their neighbours: quicker, and never anything else than what is stored."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from metaspo.cache import DiskStore, StoreError
from metaspo.cache.disk.database import add_first, open_cache
from metaspo.cache.disk.folder import connect
from metaspo.cache.disk.reader import ALLOWANCE, BLOCK, BLOCKS, LONGEST, DiskReader
from metaspo.cache.testing import make_entry, make_key


async def fill(folder: Path, count: int) -> list[str]:
    """So many entries, in this order; their keys."""
    keys = [make_key(number) for number in range(count)]
    async with DiskStore(folder) as store:
        await store.put_many({key: make_entry(key) for key in keys})
    return keys


def change(folder: Path, statement: str, *values: object) -> None:
    """Tamper with the database."""
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        connection.execute(statement, values)


async def test_neighbours_are_found_in_memory(tmp_path: Path) -> None:
    """What was kept together is read together: of each block one row is found by its key."""
    keys = await fill(tmp_path / "cache", 4 * BLOCK)
    async with DiskStore(tmp_path / "cache") as store:
        for start in range(0, len(keys), 50):
            wanted = keys[start : start + 50][::-1]
            assert await store.get_many(wanted) == {key: make_entry(key) for key in wanted}
        told = store.statistics()
        assert told.store_hits <= 5 * 50
        assert told.memory_hits + told.store_hits == len(keys)


def test_what_is_of_no_use_is_read_no_more(tmp_path: Path) -> None:
    """Rows may be read in vain up to an allowance, and beyond it twice as many as were of use."""
    items = [(make_key(number), b"") for number in range(60 * BLOCK)]
    with closing(open_cache(tmp_path / "cache")) as cache:
        add_first(cache, items)

    def read(reader: DiskReader, *, used: int) -> int:
        """How many neighbours are read, from block to block."""
        count = 0
        for key, _ in items[::BLOCK]:
            reader.by_keys([key])
            count += sum(map(len, reader.neighbours(used=used)))
        return count

    with closing(DiskReader(connect(tmp_path / "cache"))) as reader:
        assert ALLOWANCE < read(reader, used=0) <= ALLOWANCE + BLOCK
        assert read(reader, used=0) == 0
        assert abs(read(reader, used=4 * BLOCK) - 8 * BLOCK) <= BLOCK


def test_one_look_up_reads_few_blocks_and_no_long_records_unasked(tmp_path: Path) -> None:
    """However much was of use before: its rows may stand all over the database, and a block of long ones be a gigabyte.
    Long ones count as read in vain."""
    items = [(make_key(number), bytes(LONGEST + number % 2)) for number in range((BLOCKS + 1) * BLOCK)]
    with closing(open_cache(tmp_path / "cache")) as cache:
        add_first(cache, items)
    with closing(DiskReader(connect(tmp_path / "cache"))) as reader:
        assert len(reader.by_keys([key for key, _ in items[BLOCK // 2 :: BLOCK]])) == BLOCKS + 1
        blocks = list(reader.neighbours(used=len(items)))
        assert [len(block) for block in blocks] == [BLOCK // 2] * BLOCKS
        assert {len(record) for block in blocks for _, record in block} == {LONGEST}
        assert len(list(reader.neighbours(used=0))) == 1
        assert list(reader.neighbours(used=0)) == []


def test_a_reader_that_was_closed_has_let_go_of_the_database(tmp_path: Path) -> None:
    with closing(open_cache(tmp_path / "cache")):
        connection = connect(tmp_path / "cache")
        DiskReader(connection).close()
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


async def test_a_neighbour_that_is_damaged_harms_nobody_until_it_is_asked_for(tmp_path: Path) -> None:
    """And once it was removed and asked again, the new answer counts."""
    keys = await fill(tmp_path / "cache", 5)
    change(tmp_path / "cache", "UPDATE Cache SET value = x'31' || value WHERE key = ?", keys[1])
    change(tmp_path / "cache", "UPDATE Cache SET value = 'text' WHERE key = ?", keys[2])
    change(tmp_path / "cache", "UPDATE Cache SET mode = 2 WHERE key = ?", keys[3])
    async with DiskStore(tmp_path / "cache") as store:
        assert await store.get(keys[0]) == make_entry(keys[0])
        for key in keys[1:4]:
            with pytest.raises(StoreError, match=key[:12]):
                await store.get(key)
        change(tmp_path / "cache", "DELETE FROM Cache WHERE key = ?", keys[1])
        assert await store.get(keys[1]) is None
        assert await store.put(keys[1], make_entry("new")) == make_entry("new")
        assert await store.get_many(keys[:2]) == {keys[0]: make_entry(keys[0]), keys[1]: make_entry("new")}
        assert await store.get(keys[4]) == make_entry(keys[4])


async def test_a_neighbour_under_another_key_is_not_that_keys_answer(tmp_path: Path) -> None:
    """A record that was moved is found out also where it was read ahead."""
    keys = await fill(tmp_path / "cache", 3)
    change(
        tmp_path / "cache", "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = ?) WHERE key = ?", *keys[1:]
    )
    async with DiskStore(tmp_path / "cache") as store:
        assert await store.get(keys[0]) == make_entry(keys[0])
        with pytest.raises(StoreError, match="checksum"):
            await store.get(keys[2])
