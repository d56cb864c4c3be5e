"""A run whose user said so goes on when the cache fails, warned once; nothing that can still be kept is lost."""

import asyncio
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from store_script import run_script

from metaspo.cache import DiskStore, Entry, FallbackStore, MemoryStore, Store, StoreError, open_store
from metaspo.cache.base import BadEntry
from metaspo.cache.testing import StoreConformance, make_entry, make_key


def unexpected(text: str) -> None:
    """A warning that nothing gives cause for."""
    raise AssertionError(text)


class TestFallbackStore(StoreConformance):
    """Over a store that works it is that store."""

    def open(self, folder: Path) -> Store:
        """A store on disk."""
        return FallbackStore(DiskStore(folder), warn=unexpected)


class Broken(Store):
    """A store that can do nothing."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Fails."""
        raise StoreError("It is broken.")

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        """Fails."""
        raise StoreError("It is broken.")

    async def aclose(self) -> None:
        """Fails."""
        raise StoreError("It is broken.")


class TestFallbackStoreOverABrokenOne(StoreConformance):
    """Over a store that does nothing but fail it is a store in memory."""

    persistent = False

    def open(self, folder: Path) -> Store:
        """A store that nobody listens to."""
        return FallbackStore(Broken(), warn=lambda _: None)


class Full(MemoryStore):
    """A store that answers and keeps nothing."""

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        """Fails for each."""
        return {key: StoreError("It is full.") for key in entries}


async def test_a_store_that_reads_and_keeps_nothing_is_told_of_once() -> None:
    told: list[str] = []
    async with FallbackStore(Full(), warn=told.append) as store:
        for number in range(3):
            assert await store.put(make_key(number), make_entry(str(number))) == make_entry(str(number))
        assert len(await store.get_many([make_key(number) for number in range(3)])) == 3
        assert [("Going on" in text, "It is full." in text) for text in told] == [(True, True)]


@pytest.mark.parametrize("local", [True, False])
async def test_it_is_as_local_as_the_store_behind_it(local: bool) -> None:
    behind = MemoryStore()
    behind.local = local
    async with FallbackStore(behind, warn=unexpected) as store:
        assert store.local is local


async def stored(folder: Path, count: int) -> int:
    """How many of the first `count` entries are on disk."""
    async with DiskStore(folder) as store:
        return len(await store.get_many([make_key(number) for number in range(count)]))


UP_TO_THE_LIMIT = """
async def main():
    told = []
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1))
    async with FallbackStore(DiskStore(folder), warn=told.append) as store:
        for number in range(40):
            kept = await store.put(make_key(number), make_entry("x" * 20_000))
            assert kept == await store.put(make_key(number), make_entry("later"))
        keys = [make_key(number) for number in range(40)]
        assert await store.get_many(keys) == {key: make_entry("x" * 20_000) for key in keys}
        assert len(told) == 1
        AT_THE_END
    print(*told, sep="|")
asyncio.run(main())
"""


async def test_at_a_file_size_limit_it_goes_on_and_warns_once(tmp_path: Path) -> None:
    """All answers are there for the run, and what there was room for afterwards; how many are lost is told."""
    told = run_script(UP_TO_THE_LIMIT.replace("AT_THE_END", "pass"), tmp_path / "cache").strip().split("|")
    assert len(told) == 2
    assert told[0].startswith("Going on without storing")
    assert all(str(tmp_path / "cache") in text and "full disk" in text and "\n" not in text for text in told)
    kept = await stored(tmp_path / "cache", 40)
    assert 0 < kept < 40
    assert told[1].startswith(f"{40 - kept} of the answers")


async def test_what_could_not_be_written_is_written_at_the_end_if_there_is_room_then(tmp_path: Path) -> None:
    """A disk that is cleared while the run goes on costs nothing."""
    clear = "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))"
    told = run_script(UP_TO_THE_LIMIT.replace("AT_THE_END", clear), tmp_path / "cache").strip().split("|")
    assert len(told) == 1
    assert await stored(tmp_path / "cache", 40) == 40


async def test_one_damaged_entry_leaves_the_others_readable_and_storing_on(tmp_path: Path) -> None:
    """What is damaged is asked for again; everything else is still found and kept on disk."""
    folder = tmp_path / "cache"
    async with DiskStore(folder) as store:
        await asyncio.gather(*(store.put(make_key(number), make_entry()) for number in range(10)))
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        connection.execute("UPDATE Cache SET value = x'00' WHERE key = ?", [make_key(3)])
    told: list[str] = []
    async with FallbackStore(DiskStore(folder), warn=told.append) as store:
        found = await store.get_many([make_key(number) for number in range(10)])
        assert found.keys() == {make_key(number) for number in range(10)} - {make_key(3)}
        assert await store.put(make_key(3), make_entry("anew")) == make_entry("anew")
        assert await store.get_many([make_key(3)]) == {make_key(3): make_entry("anew")}
        await store.put(make_key(10), make_entry("ten"))
        async with DiskStore(folder) as other:
            assert await other.get_many([make_key(10)]) == {make_key(10): make_entry("ten")}
        assert len(told) == 1
    assert "bad entry" in told[0]
    assert told[1].startswith("1 of the answers")


class FarAndDamaged(MemoryStore):
    """A store on a server, one of whose entries cannot be used."""

    local = False

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Fails as a whole where that one is among the keys."""
        if make_key(3) in keys:
            raise BadEntry("It is damaged.")
        return await super().get_many(keys)


async def test_one_damaged_entry_on_a_server_leaves_the_others_readable() -> None:
    """The server has answered, so that it is asked again, unlike one that nobody reaches."""
    behind, told = FarAndDamaged(), list[str]()
    await behind.put_many({make_key(number): make_entry(str(number)) for number in range(5)})
    async with FallbackStore(behind, warn=told.append) as store:
        readable = {make_key(number): make_entry(str(number)) for number in (0, 1, 2, 4)}
        assert await store.get_many([make_key(number) for number in range(5)]) == readable
        assert await store.get_many([make_key(4)]) == {make_key(4): make_entry("4")}
    assert len(told) == 1


class ClosedBefore(MemoryStore):
    """Cannot be closed twice."""

    closings = 0

    async def aclose(self) -> None:
        self.closings += 1
        if self.closings > 1:
            raise StoreError("It is closed.")


async def test_the_other_store_is_closed_once_however_often_it_is_asked_for() -> None:
    behind, told = ClosedBefore(), list[str]()
    store = FallbackStore(behind, warn=told.append)
    for _ in range(2):
        await store.aclose()
    assert (behind.closings, told) == (1, [])


class Unreached(Broken):
    """A store that counts who asks."""

    def __init__(self, *, local: bool) -> None:
        self.local = local
        self.asked = 0

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Fails."""
        self.asked += 1
        return await super().get_many(keys)


@pytest.mark.parametrize(("local", "asked"), [(False, 1), (True, 6)])
async def test_a_server_that_nobody_reaches_is_asked_once_and_a_disk_again(local: bool, asked: int) -> None:
    """Every look-up would wait for the server again; a disk says at once what it cannot read, each key by itself."""
    behind = Unreached(local=local)
    async with FallbackStore(behind, warn=lambda _: None) as store:
        for number in range(3):
            assert await store.get_many([make_key(number)]) == {}
    assert behind.asked == asked


class Unclosed(Full):
    """A store that cannot be closed either."""

    async def aclose(self) -> None:
        """Fails."""
        raise StoreError("It stays open.")


@pytest.mark.parametrize("puts", [0, 1, 2])
async def test_what_fails_at_the_end_is_told_with_how_many_it_costs(puts: int) -> None:
    """And with the first reason; where only closing fails, with that one."""
    told: list[str] = []
    async with FallbackStore(Unclosed(), warn=told.append) as store:
        for number in range(puts):
            await store.put(make_key(number), make_entry())
    assert told[-1].endswith("It is full." if puts else "It stays open.")
    assert told[-1].startswith(f"{puts} of the answers" if puts else "The cache could not be closed.")


class OnceFull(MemoryStore):
    """Has no room for its first entry, and takes its time over every other."""

    def __init__(self) -> None:
        super().__init__()
        self.full = True
        self.kept: list[str] = []
        self.closed = False

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        """Fails the first time."""
        if self.full:
            self.full = False
            return dict.fromkeys(entries, StoreError("It is full."))
        await asyncio.sleep(0)
        self.kept += [entry.completion.text for entry in entries.values()]
        return await super().put_many(entries)

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True
        await super().aclose()


async def test_closing_goes_on_to_its_end_when_the_event_loop_cancels_it() -> None:
    """As at Ctrl-C: what is in memory is offered to the other store all the same, which is closed then."""
    inner = OnceFull()
    store = FallbackStore(inner, warn=lambda _: None)
    for name in ("one", "two"):
        await store.put(make_key(name), make_entry(name))
    assert inner.kept == []
    close = asyncio.create_task(store.aclose())
    await asyncio.sleep(0)
    close.cancel()
    with pytest.raises(asyncio.CancelledError):
        await close
    assert (inner.kept, inner.closed) == (["one", "two"], True)


async def test_a_store_that_was_closed_too_early_costs_nothing(tmp_path: Path) -> None:
    """It fails as a whole, not at some entry; the answers are kept in memory all the same."""
    inner = DiskStore(tmp_path / "cache")
    async with FallbackStore(inner, warn=lambda _: None) as store:
        await inner.aclose()
        assert await store.put(make_key(1), make_entry()) == make_entry()
        assert await store.get_many([make_key(1)]) == {make_key(1): make_entry()}


class Claiming:
    """Claims that write down what they are told, until they are broken."""

    lease = 5.0
    contested = True

    def __init__(self) -> None:
        self.told: list[str] = []
        self.broken = False

    def _tell(self, what: str, keys: Collection[str]) -> set[str]:
        if self.broken:
            raise StoreError("It is broken.")
        self.told.append(f"{what} {' '.join(keys)}")
        return set(keys)

    async def claim_many(self, keys: Collection[str]) -> set[str]:
        return self._tell("claim", keys) - {"taken"}

    async def renew(self, keys: Collection[str]) -> None:
        self._tell("renew", keys)

    def release(self, keys: Collection[str]) -> None:
        self._tell("release", keys)


class ClaimingStore(MemoryStore):
    """Has such claims."""

    def __init__(self) -> None:
        super().__init__()
        self.claiming = Claiming()

    @property
    def claims(self) -> Claiming:
        return self.claiming


@pytest.mark.parametrize("fails_at", ["claim", "renew"])
async def test_claims_are_the_other_stores_until_they_fail_and_then_everything_is_ours(fails_at: str) -> None:
    """Nobody else is asked or told anything from then on."""
    behind = ClaimingStore()
    async with FallbackStore(behind, warn=unexpected) as store:
        claims = store.claims
        assert claims is not None
        assert (claims.lease, claims.contested) == (5.0, True)
        assert await claims.claim_many(["a", "taken"]) == {"a"}
        await claims.renew(["a"])
        claims.release(["a"])
        assert behind.claiming.told == ["claim a taken", "renew a", "release a"]
        behind.claiming.broken = True
        if fails_at == "claim":
            assert await claims.claim_many(["a", "taken"]) == {"a", "taken"}
        else:
            await claims.renew(["a"])
        behind.claiming.broken = False
        assert not claims.contested
        assert await claims.claim_many(["taken"]) == {"taken"}
        await claims.renew(["a"])
        claims.release(["a"])
        assert len(behind.claiming.told) == 3
    assert FallbackStore(MemoryStore(), warn=unexpected).claims is None


async def test_what_a_store_shares_is_shared_through_it() -> None:
    """A limit that other processes keep, too, is no matter of whether answers can be stored."""
    pytest.importorskip("redis")
    async with FallbackStore(open_store("redis://127.0.0.1:1/0"), warn=unexpected) as store:
        assert store.sharing is not None
