"""Answers of requests that begin alike stand together in a database, and what they are known by is as it was."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling_world import Server

from metaspo.backends import Message, Request, Sampling
from metaspo.cache import (
    DiskMaintenance,
    DiskStore,
    Entry,
    FallbackStore,
    QuickReader,
    Store,
    StoreError,
    export_cache,
    import_cache,
    request_key,
    verify_cache,
)
from metaspo.cache import testing as laws
from metaspo.cache.disk.database import open_cache
from metaspo.cache.disk.folder import PLACES
from metaspo.cache.place import LENGTH, Key, key_at, key_of_row, row_name
from metaspo.cache.record import encode_entry
from metaspo.cache.testing import StoreConformance, make_entry, make_key
from metaspo.scheduling import Gateway, Lane

texts = st.text(max_size=40) | st.sampled_from(["\ud800", ""])


def placed(name: object) -> Key:
    """A key that has a place, as those of requests do."""
    return key_at(f"p{make_key(('place', name))[: LENGTH - 1]}", make_key(name))


def ask(prompt: int, row: int) -> Request:
    """A row under a prompt."""
    told = (Message("system", f"You are no. {prompt}."), Message("user", f"Say whether this is right or wrong: {row}"))
    return Request(model="m", messages=told)


def names(folder: Path) -> list[str]:
    """Of all rows, in the order of the index."""
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        return [name for (name,) in connection.execute("SELECT key FROM Cache ORDER BY key")]


def make_old(folder: Path) -> Path:
    """A new cache as the version before places made it."""
    open_cache(folder).close()
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {PLACES - 1}")
    return folder


@pytest.fixture
def keys_with_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws are tried with keys as requests have them."""
    monkeypatch.setattr(laws, "make_key", placed)


@pytest.mark.usefixtures("keys_with_places")
class TestPlaces(StoreConformance):
    """The common laws, read from disk alone."""

    def open(self, folder: Path) -> Store:
        """A store that remembers nothing."""
        return DiskStore(folder, memory_bytes=0)


@pytest.mark.usefixtures("keys_with_places")
class TestCacheOfOld(StoreConformance):
    """The common laws in a folder of the version before."""

    def open(self, folder: Path) -> Store:
        """A store that remembers nothing."""
        return DiskStore(folder if folder.exists() else make_old(folder), memory_bytes=0)


@pytest.mark.virtual
async def test_answers_of_one_prompt_stand_together(tmp_path: Path) -> None:
    """Whatever comes between them; no answer of a gateway's loses its place on its way."""
    async with (
        DiskStore(tmp_path / "cache") as disk,
        FallbackStore(disk, warn=pytest.fail) as store,
        Gateway([Lane("lane", [Server()])], store=store) as gateway,
    ):
        await gateway.complete_many([ask(number % 7, number // 7) for number in range(140)], lane="lane")
        await gateway.complete(ask(3, 20), lane="lane")
    found = names(tmp_path / "cache")
    assert [name[LENGTH:] for name in found] == [name[LENGTH:] for name in sorted(map(row_name, _asked()))]
    places = [name[:LENGTH] for name in found]
    assert len(set(places)) == 7
    assert places == sorted(places)


def _asked() -> list[Key]:
    return [*(request_key(ask(number % 7, number // 7)) for number in range(140)), request_key(ask(3, 20))]


@given(shared=texts, text=texts, draw=st.integers(0, 3), more=st.lists(texts, max_size=2))
def test_a_place_depends_on_how_a_request_begins(shared: str, text: str, draw: int, more: list[str]) -> None:
    """Not on its sampling, its draw, or what comes later; and a row's name says its key and its place."""
    request = Request(model="m", messages=(Message("system", shared), Message("user", text)))
    later = (*request.messages, *(Message("user", each) for each in more))
    other = replace(request, messages=later, draw=draw, sampling=Sampling(temperature=1.0))
    key = request_key(request)
    assert key.place == request_key(other).place
    again = key_of_row(row_name(key))
    assert isinstance(again, Key)
    assert (again, again.place) == (key, key.place)


async def test_a_folder_of_old_stays_as_it_is(tmp_path: Path) -> None:
    """The version that made it goes on beside this one: it finds what this one keeps."""
    folder = make_old(tmp_path / "cache")
    async with DiskStore(folder) as store:
        await store.put(placed(1), make_entry("new"))
        await store.put(make_key(2), make_entry("old"))
        assert await store.put(placed(2), make_entry("later")) == make_entry("old")
    assert names(folder) == sorted([make_key(1), make_key(2)])
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (PLACES - 1,)


async def test_what_has_no_place_is_found(tmp_path: Path) -> None:
    """As what is imported from an earlier version or a server has none: it is the first answer as any other."""
    folder = tmp_path / "cache"
    async with DiskStore(folder) as store:
        await store.put_many({make_key(number): make_entry(f"bare {number}") for number in range(0, 1_200, 2)})
    answers: dict[str, Entry] = {placed(number): make_entry(f"placed {number}") for number in range(1_200)}
    first = {key: make_entry(f"{'placed' if n % 2 else 'bare'} {n}") for n, key in enumerate(answers)}
    async with DiskStore(folder, memory_bytes=0) as store:
        assert await store.get_many(list(answers)) == {key: first[key] for key in list(answers)[::2]}
        assert await store.put_many(answers) == first
        assert await store.get_many(list(answers)) == first
        reader = QuickReader(store)
        assert [reader.get(key) for key in list(answers)[:4]] == list(first.values())[:4]
        reader.close()
    assert len(names(folder)) == 1_200
    assert verify_cache(DiskMaintenance(folder)).sound


async def test_what_comes_without_its_place_is_no_second_answer(tmp_path: Path) -> None:
    """The one that the folder had by then counts, whoever looks, and is counted once."""
    folder, keys = tmp_path / "cache", [placed(number) for number in range(40)]
    first: dict[str, Entry] = {key: make_entry(f"first {key}") for key in keys}
    bare = [(str(key), encode_entry(key, make_entry(f"second {key}"))) for key in keys]
    cache = DiskMaintenance(folder)
    assert cache.add([(key_at(keys[0].place, keys[0]), encode_entry(keys[0], first[keys[0]])), bare[0]]) == 1
    assert cache.add(bare[:1]) == 0
    async with DiskStore(folder) as store:
        await store.put_many(first)
        await store.put(make_key("more"), make_entry())
        assert await store.put_many({str(key): make_entry("third") for key in keys}) == first
    assert cache.add(bare) == 0
    cache.close()
    async with DiskStore(folder) as store:
        assert await store.put_many(dict.fromkeys(keys, make_entry("third"))) == first
        assert [await store.get(key) for key in keys] == list(first.values())
    assert len(names(folder)) == len(keys) + 1


async def test_a_snapshot_keeps_places(tmp_path: Path) -> None:
    """What is moved by one stands as it stood, is not added twice, and is found in a folder of old as well."""
    async with DiskStore(tmp_path / "cache") as store:
        await store.put_many({placed(number): make_entry(str(number)) for number in range(300)})
    export_cache(DiskMaintenance(tmp_path / "cache"), tmp_path / "snapshot.zst")
    for folder in (tmp_path / "new", make_old(tmp_path / "old")):
        cache = DiskMaintenance(folder)
        assert [import_cache(cache, tmp_path / "snapshot.zst").added for _ in range(2)] == [300, 0]
        cache.close()
        async with DiskStore(folder) as store:
            assert len(await store.get_many([placed(number) for number in range(300)])) == 300
    assert names(tmp_path / "new") == names(tmp_path / "cache")


async def test_an_answer_at_a_place_is_found_by_its_key_s_digits(tmp_path: Path) -> None:
    """As a journal or a header names it; what is added later, too, and nothing for what is not there."""
    async with DiskStore(tmp_path / "cache", memory_bytes=0) as store:
        for number in range(3):
            await store.put(placed(number), make_entry(str(number)))
            digits = [str(placed(other)) for other in range(4)]
            found = {str(placed(other)): make_entry(str(other)) for other in range(number + 1)}
            assert await store.get_many(digits) == found
            assert await store.get_many([placed(0), *digits[1:]]) == found
        await store.put_many({make_key(9): make_entry("9")})
        assert await store.get(make_key(9)) == make_entry("9")


async def test_a_row_at_another_key_s_place_is_bad(tmp_path: Path) -> None:
    """Its checksum is its key's; a place that is damaged hides one answer and harms no other one."""
    async with DiskStore(tmp_path / "cache") as store:
        await store.put_many({placed(1): make_entry("1"), placed(2): make_entry("2")})
    with closing(sqlite3.connect(tmp_path / "cache" / "cache.db", isolation_level=None)) as connection:
        connection.execute(
            "UPDATE Cache SET key = ? WHERE key = ?", (f"{placed(1).place}{make_key(9)}", row_name(placed(1)))
        )
    async with DiskStore(tmp_path / "cache") as store:
        assert await store.get_many([placed(1), placed(2)]) == {placed(2): make_entry("2")}
        with pytest.raises(StoreError, match="checksum"):
            await store.get(key_at(placed(1).place, make_key(9)))
    assert len(verify_cache(DiskMaintenance(tmp_path / "cache")).bad) == 1
