"""Keeping many answers at once."""

import asyncio
import math
import sqlite3
from collections.abc import Coroutine, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from metaspo.cache import DiskStore, Entry, FallbackStore, MemoryStore, Store, StoreError
from metaspo.cache.testing import make_entry, make_key


class Choosy(MemoryStore):
    """Refuses some entries."""

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        refused = {key for key, entry in entries.items() if entry.completion.text == "bad"}
        kept = await super().put_many({key: entry for key, entry in entries.items() if key not in refused})
        return {key: StoreError("It is bad.") if key in refused else kept[key] for key in entries}


async def test_what_is_there_already_is_what_is_kept(tmp_path: Path) -> None:
    """Old, new, and coming in at the same time: everyone gets the first entry of each key."""
    async with DiskStore(tmp_path / "cache") as store:
        await store.put(make_key(1), make_entry("old"))
        first = {make_key(number): make_entry(f"first {number}") for number in range(250)}
        second = {make_key(number): make_entry(f"second {number}") for number in range(250)}
        found = await asyncio.gather(store.put_many(first), store.put_many(second))
        assert found[0] == found[1] == first | {make_key(1): make_entry("old")}


async def test_a_damaged_row_fails_alone(tmp_path: Path) -> None:
    """The answers that are stored in the same transaction are kept."""
    async with DiskStore(tmp_path / "cache", memory_bytes=0) as store:
        await store.put(make_key("damaged"), make_entry())
        await asyncio.to_thread(damage, tmp_path / "cache")
        kept = await store.put_many({make_key(name): make_entry(name) for name in ("before", "damaged", "after")})
        assert isinstance(kept[make_key("damaged")], StoreError)
        assert kept[make_key("before")] == make_entry("before")
        assert set(await store.get_many([make_key("before"), make_key("after")])) == {
            make_key("before"),
            make_key("after"),
        }


async def test_what_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    """The others of its batch are kept, and the store can be closed."""
    names = ("before", "broken", "after")
    entries = {make_key(name): make_entry(name) for name in names}
    completion = make_entry().completion._replace(latency=math.inf)
    entries[make_key("broken")] = make_entry()._replace(completion=completion)
    async with DiskStore(tmp_path / "cache") as store:
        kept = await store.put_many(entries)
        alone = await store.put_many({make_key("broken"): entries[make_key("broken")]})
        assert isinstance(kept[make_key("broken")], StoreError)
        assert isinstance(alone[make_key("broken")], StoreError)
        assert set(await store.get_many([make_key(name) for name in names])) == {make_key("before"), make_key("after")}


def damage(folder: Path) -> None:
    """Change every record that is there."""
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        connection.execute("UPDATE Cache SET value = x'00'")
        connection.commit()


@pytest.mark.parametrize("make", [MemoryStore, Choosy])
async def test_a_fallback_store_keeps_all(make: type[Store]) -> None:
    """What the other store refuses stays in memory, in one batch with what it takes."""
    entries = {make_key(text): make_entry(text) for text in ("one", "bad", "two")}
    async with FallbackStore(make(), warn=lambda _: None) as store:
        assert await store.put_many(entries) == entries
        assert await store.get_many(list(entries)) == entries


async def test_in_memory_no_task_is_made() -> None:
    """Keeping many answers there costs no more than keeping them one after the other."""
    made: list[object] = []
    entries = {make_key(number): make_entry(str(number)) for number in range(10)}
    loop = asyncio.get_running_loop()
    store = MemoryStore()
    await store.put(make_key(3), make_entry("earlier"))

    def count(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, object]) -> "asyncio.Task[object]":
        made.append(work)
        return asyncio.Task(work, loop=loop)

    loop.set_task_factory(count)  # type: ignore[arg-type]
    try:
        assert await store.put_many(entries) == entries | {make_key(3): make_entry("earlier")}
    finally:
        loop.set_task_factory(None)
    assert made == []
