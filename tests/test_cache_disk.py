"""DiskStore keeps what every store must, in a private folder, without side files, and in batches."""

import asyncio
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import diskcache
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_script import names_in

from metaspo.cache import DiskMaintenance, DiskStore, Entry, Store, StoreError, verify_cache
from metaspo.cache.disk.database import add_first, open_cache
from metaspo.cache.disk.folder import SETTINGS
from metaspo.cache.testing import StoreConformance, make_entry, make_key
from metaspo.cache.writer import BATCH


class TestDiskStore(StoreConformance):
    """The common laws."""

    def open(self, folder: Path) -> Store:
        """A store with a usual memory layer."""
        return DiskStore(folder)


class TestDiskStoreWithoutMemory(StoreConformance):
    """The common laws hold for what is read from disk alone."""

    def open(self, folder: Path) -> Store:
        """A store that remembers nothing."""
        return DiskStore(folder, memory_bytes=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "some" / "cache"


def mode_of(folder: Path) -> int:
    """Who may do what with a folder."""
    return stat.S_IMODE(folder.stat().st_mode)


async def put_all(store: DiskStore, names: range) -> None:
    """Put an entry for each name, all at once."""
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(store.put, make_key(name), make_entry(str(name)))


async def test_folder_is_private_and_holds_one_database(folder: Path) -> None:
    """Nobody but the owner can read the folder, and even a huge answer makes no file of its own."""
    async with DiskStore(folder) as store:
        await store.put(make_key(1), make_entry("x" * 5_000_000))
    assert mode_of(folder) == 0o700
    assert names_in(folder) == {"cache.db"}


async def test_nothing_is_evicted(folder: Path) -> None:
    """Settings that would throw entries away are off, on disk too, whatever another program set them to."""
    async with DiskStore(folder) as store:
        await store.put(make_key(1), make_entry())
    with diskcache.Cache(str(folder), size_limit=1, cull_limit=10, eviction_policy="least-recently-stored"):
        pass
    async with DiskStore(folder) as store:
        await put_all(store, range(300))
        assert len(await store.get_many([make_key(name) for name in range(300)])) == 300
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        settings = dict(connection.execute("SELECT key, value FROM Settings"))
    assert {name: settings[name] for name in SETTINGS} == SETTINGS
    assert (settings["eviction_policy"], settings["cull_limit"], settings["statistics"]) == ("none", 0, 0)


def test_little_of_the_database_is_held_in_memory(folder: Path) -> None:
    """Whoever writes holds 1 MiB of its pages, also where an earlier version held 32."""
    open_cache(folder).close()
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        connection.execute("UPDATE Settings SET value = 8192 WHERE key = 'sqlite_cache_size'")
    cache = open_cache(folder)
    ((pages,),), ((page,),) = (cache._sql(f"PRAGMA {size}").fetchall() for size in ("cache_size", "page_size"))
    cache.close()
    assert pages * page == 2**20


async def test_writes_are_batched(folder: Path) -> None:
    """A thousand answers that come at once take a few transactions, not a thousand."""
    async with DiskStore(folder) as store:
        with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
            seen: set[int] = set()
            async with anyio.create_task_group() as group:
                for name in range(1_000):
                    group.start_soon(store.put, make_key(name), make_entry())
                while len(seen) == 0 or store.statistics().waiting:
                    seen.add(connection.execute("SELECT count(*) FROM Cache").fetchone()[0])
                    await anyio.lowlevel.checkpoint()
            assert {number % BATCH for number in seen} == {0}
        assert store.statistics().written == 1_000


async def test_put_returns_only_when_it_is_on_disk(folder: Path) -> None:
    """What `put` returned can be read by everybody else."""
    async with DiskStore(folder) as store:
        await store.put(make_key(1), make_entry())
        async with DiskStore(folder) as other:
            assert await other.get_many([make_key(1)]) == {make_key(1): make_entry()}


async def test_other_process_s_answer_is_canonical(folder: Path) -> None:
    """Of two stores of one folder the one that comes second gets the first one's answer, and counts none written."""
    async with DiskStore(folder) as one, DiskStore(folder) as other:
        await one.put(make_key(1), make_entry("one"))
        assert await other.put(make_key(1), make_entry("other")) == make_entry("one")
        assert (one.statistics().written, other.statistics().written) == (1, 0)


async def test_statistics_tell_where_entries_were_found(folder: Path) -> None:
    """Hits in memory, hits on disk and misses are counted apart."""
    async with DiskStore(folder) as store:
        await put_all(store, range(3))
    async with DiskStore(folder) as store:
        await store.get_many([make_key(0), make_key(1), make_key("none")])
        await store.get_many([make_key(0)])
        told = store.statistics()
        assert (told.memory_hits, told.store_hits, told.misses) == (1, 2, 1)
        assert told.remembered == 3  # with their neighbour
        assert "store_hits=2" in repr(store)


async def test_task_runs_only_while_there_is_something_to_write(folder: Path) -> None:
    """An idle store has no task, so that a forgotten one keeps no loop from ending."""
    async with DiskStore(folder) as store:
        idle = anyio.get_running_tasks()
        async with anyio.create_task_group() as group:
            group.start_soon(store.put, make_key(1), make_entry())
            await anyio.lowlevel.checkpoint()
            assert "cache writer" in str(anyio.get_running_tasks())
        assert anyio.get_running_tasks() == idle


async def test_cancelled_close_still_writes(folder: Path) -> None:
    """Closing inside a cancelled scope, as at Ctrl-C, writes what is waiting all the same."""
    with anyio.CancelScope() as scope:
        async with DiskStore(folder) as store, anyio.create_task_group() as group:
            for name in range(5 * BATCH):
                group.start_soon(store.put, make_key(name), make_entry())
            await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert store.unwritten() == {}
    async with DiskStore(folder) as store:
        assert len(await store.get_many([make_key(name) for name in range(5 * BATCH)])) == 5 * BATCH


async def test_close_that_is_cancelled_by_the_event_loop_still_writes(folder: Path) -> None:
    """As at a second Ctrl-C, which shielded scopes do not hold back."""
    store = DiskStore(folder)
    puts = asyncio.gather(*(store.put(make_key(name), make_entry()) for name in range(5 * BATCH)))
    await asyncio.sleep(0)
    close = asyncio.create_task(store.aclose())
    for _ in range(2):
        await asyncio.sleep(0)
        close.cancel()
    with pytest.raises(asyncio.CancelledError):
        await close
    assert store.unwritten() == {}
    assert len(await puts) == 5 * BATCH


@pytest.mark.parametrize("jump", [-1e9, 1e9], ids=["back", "forward"])
async def test_clock_may_jump(folder: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """Nothing is decided by the clock: entries of any date are found and kept after it jumped by 30 years."""
    dates = [0.0, 1.8e9, 9e9]
    now = time.time
    async with DiskStore(folder, memory_bytes=0) as store:
        for date in dates:
            await store.put(make_key(date), make_entry(created=date))
        monkeypatch.setattr(time, "time", lambda: now() + jump)
        await store.put(make_key("after"), make_entry())
        assert len(await store.get_many([make_key(date) for date in dates])) == 3
    async with DiskStore(folder) as store:
        assert len(await store.get_many([make_key(name) for name in [*dates, "after"]])) == 4


@pytest.mark.virtual
async def test_works_on_virtual_time(folder: Path) -> None:
    """On a clock that jumps the writer's thread is waited for: writing takes no virtual time, and nothing is lost."""

    async def answer(store: DiskStore, number: int) -> None:
        await anyio.sleep(number % 7 * 60)
        await store.put(make_key(number), make_entry())

    async with DiskStore(folder) as store, anyio.create_task_group() as group:
        for number in range(500):
            group.start_soon(answer, store, number)
    assert anyio.current_time() == pytest.approx(360)
    assert verify_cache(DiskMaintenance(folder)).entries == 500


def test_refuses_a_folder_of_other_things(tmp_path: Path) -> None:
    """A folder with other files is left as it is."""
    (tmp_path / "thesis.tex").write_text("...")
    mode = mode_of(tmp_path)
    with pytest.raises(StoreError, match=r"thesis\.tex.*name a folder"):
        DiskStore(tmp_path)
    assert names_in(tmp_path) == {"thesis.tex"}
    assert mode_of(tmp_path) == mode


def test_refuses_another_program_s_cache(folder: Path) -> None:
    """Somebody else's diskcache is not touched."""
    with diskcache.Cache(str(folder)) as foreign:
        foreign["a"] = 1
    before = (folder / "cache.db").read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        DiskStore(folder)
    assert (folder / "cache.db").read_bytes() == before


STEPS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.booleans()), max_size=20)


@settings(max_examples=12)
@given(STEPS, st.sampled_from([0, 2_000, 10**6]))
async def test_of_two_stores_on_one_folder_either_gives_the_first_answer(
    steps: list[tuple[int, int, bool]], memory_bytes: int
) -> None:
    """Whatever each was asked, told or remembers by then."""
    with TemporaryDirectory() as folder:
        stores = [DiskStore(folder, memory_bytes=memory_bytes) for _ in range(2)]
        first: dict[str, Entry] = {}
        for number, (which, name, puts) in enumerate(steps):
            key = make_key(name)
            if puts:
                entry = make_entry(f"answer {number}")
                assert await stores[which].put(key, entry) == first.setdefault(key, entry)
            for store in (stores[which], stores[1 - which]) if puts else (stores[which],):
                assert await store.get_many([key]) == {key: first[key] for key in [key] if key in first}
        for store in stores:
            await store.aclose()


async def test_a_commit_that_fails_once_leaves_no_transaction_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither another process nor the next put meets what it began."""
    execute = diskcache.Cache._sql.fget
    failing = ["COMMIT"]

    def _sql(cache: diskcache.Cache) -> Callable[..., object]:
        def run(statement: str, *arguments: object) -> object:
            if statement in failing:
                failing.remove(statement)
                raise sqlite3.OperationalError("disk I/O error")
            return execute(cache)(statement, *arguments)

        return run

    monkeypatch.setattr(diskcache.Cache, "_sql", property(_sql))
    async with DiskStore(folder) as store, DiskStore(folder, busy_timeout=0.1) as another:
        with pytest.raises(StoreError):
            await store.put(make_key(1), make_entry("1"))
        assert not failing
        assert await another.put(make_key(2), make_entry("2")) == make_entry("2")
        assert await another.get_many([make_key(1)]) == {}
        assert await store.put(make_key(3), make_entry("3")) == make_entry("3")
        assert await another.get_many([make_key(3)]) == {make_key(3): make_entry("3")}


def test_of_two_items_with_one_key_the_first_is_kept_and_the_second_is_told_of_it(tmp_path: Path) -> None:
    with closing(open_cache(tmp_path)) as cache:
        assert add_first(cache, [("a", b"1"), ("b", b"2"), ("a", b"3")]) == [None, None, b"1"]
        assert add_first(cache, [("b", b"4"), ("b", b"5"), ("c", b"6"), ("c", b"7")]) == [b"2", b"2", None, b"6"]
