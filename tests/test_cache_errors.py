"""Every trouble ends in one clear sentence, and no answer is lost to it."""

import errno
import os
import pickle
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest
from store_script import run_script

from metaspo.cache import (
    BadEntry,
    DiskMaintenance,
    DiskStore,
    Entry,
    PruneFilter,
    StoreError,
    export_cache,
    import_cache,
    prune_cache,
    verify_cache,
)
from metaspo.cache.disk.database import open_cache
from metaspo.cache.disk.folder import PLACES, connect
from metaspo.cache.errors import explain
from metaspo.cache.place import key_at, row_name
from metaspo.cache.record import FORMAT, BadRecord
from metaspo.cache.testing import make_entry, make_key

COUNT = 800


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "cache"


async def fill(folder: Path, *, count: int = COUNT) -> None:
    """Put `count` entries."""
    async with DiskStore(folder) as store, anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(store.put, make_key(number), make_entry(f"{number} " * 50))


def change(folder: Path, *statements: str, values: tuple[object, ...] = ()) -> None:
    """Tamper with the database."""
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement, values)


def assert_one_sentence(text: str, folder: Path) -> None:
    """A message names the place and fits in a line."""
    assert str(folder) in text
    assert "\n" not in text.strip()
    assert text.strip().endswith(".")


async def stored(folder: Path, count: int) -> int:
    """How many of the first `count` entries can be read."""
    async with DiskStore(folder) as store:
        return len(await store.get_many([make_key(number) for number in range(count)]))


async def test_file_size_limit(folder: Path) -> None:
    """At a file-size limit `put` says so; once the limit is raised, what had failed is written with the next answer."""
    script = """
async def main():
    async with DiskStore(folder) as store:
        await put(store, 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, -1))
        number, trouble = 0, None
        while trouble is None:
            number += 1
            trouble = await put(store, number)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        assert len(store.unwritten()) == 1
        assert await put(store, number + 1) is None
        assert store.unwritten() == {}
    print(number + 2, trouble, sep="|")
asyncio.run(main())
"""
    count, trouble = run_script(script, folder).split("|")
    assert_one_sentence(trouble, folder)
    assert "full disk" in trouble
    assert await stored(folder, int(count)) == int(count)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can only be mounted by root")
    yield mount
    subprocess.run(["umount", mount], check=True)


async def test_full_disk(small_disk: Path) -> None:
    """On a full disk `put` says so, reading goes on, and closing writes what had failed once there is room again."""
    script = """
async def main():
    filler = folder.with_name("filler")
    filler.write_bytes(b"x" * 1_000_000)
    async with DiskStore(folder) as store:
        number, trouble = -1, None
        while trouble is None:
            number += 1
            trouble = await put(store, number)
        assert len(await store.get_many([make_key(n) for n in range(number)])) == number
        filler.unlink()
    print(number + 1, trouble, sep="|")
asyncio.run(main())
"""
    count, trouble = run_script(script, small_disk / "cache").split("|")
    assert_one_sentence(trouble, small_disk / "cache")
    assert "no room left: free some space" in trouble
    assert await stored(small_disk / "cache", int(count)) == int(count)


async def test_closing_tells_what_could_not_be_written(folder: Path) -> None:
    """If the trouble lasts, closing says how many answers are not kept, and hands them out."""
    script = """
async def main():
    store = DiskStore(folder)
    await put(store, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, -1))
    assert None not in await asyncio.gather(put(store, 1), put(store, 2))
    try:
        await store.aclose()
    except StoreError as error:
        print(error)
    assert store.unwritten() == {make_key(n): make_entry("x" * 20_000) for n in (1, 2)}
    await store.aclose()
asyncio.run(main())
"""
    trouble = run_script(script, folder)
    assert_one_sentence(trouble, folder)
    assert trouble.startswith("2 answers are not kept")
    assert await stored(folder, 3) == 1


@pytest.fixture
def anyone_s_folder() -> Iterator[Path]:
    """A folder that a process without root's rights can reach."""
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o777)
    yield parent / "cache"
    parent.chmod(0o700)
    shutil.rmtree(parent)


async def test_read_only_folder(anyone_s_folder: Path) -> None:
    """A folder that may not be written is named at opening and at making it; what is open already keeps its answers."""
    script = """
async def main():
    warm = DiskStore(folder / "warm")
    await put(warm, 0)
    await warm.aclose()
    if os.geteuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)
    store = DiskStore(folder.with_name("mine"))
    await put(store, 0)
    for path in folder.with_name("mine").iterdir():
        path.chmod(0o400)
    folder.with_name("mine").chmod(0o500)
    assert await put(store, 1) is None
    assert len(await store.get_many([make_key(0)])) == 1
    for path in (folder.with_name("mine"), folder.with_name("mine") / "new"):
        try:
            DiskStore(path)
        except StoreError as error:
            print(error)
    folder.with_name("mine").chmod(0o700)
    for path in folder.with_name("mine").iterdir():
        path.chmod(0o600)
    await store.aclose()
asyncio.run(main())
"""
    mine = anyone_s_folder.with_name("mine")
    troubles = run_script(script, anyone_s_folder).splitlines()
    assert len(troubles) == 2
    for trouble in troubles:
        assert_one_sentence(trouble, mine)
        assert "name another folder" in trouble
    assert await stored(mine, 2) == 2


def damage(folder: Path, pages: range) -> None:
    """Overwrite pages of the database."""
    with (folder / "cache.db").open("r+b") as file:
        for page in pages:
            file.seek(page * 4096)
            file.write(b"\xa5" * 4096)


async def test_overwritten_pages(folder: Path, tmp_path: Path) -> None:
    """Damaged pages are reported, never read as answers, and everything else can be saved into a new cache."""
    await fill(folder)
    damage(folder, range(40, 44))
    texts = {make_key(number): f"{number} " * 50 for number in range(COUNT)}
    troubles = set()
    async with DiskStore(folder, memory_bytes=0) as store:
        for key, text in texts.items():
            try:
                found = await store.get_many([key])
            except StoreError as error:
                troubles.add(str(error))
            else:
                assert found[key].completion.text == text
    assert troubles
    for trouble in troubles:
        assert_one_sentence(trouble, folder)
    check = verify_cache(DiskMaintenance(folder))
    assert not check.sound
    assert check.bad
    assert check.damage
    exported = export_cache(DiskMaintenance(folder), tmp_path / "saved.gz")
    assert (exported.entries, exported.bad) == (check.entries, len(check.bad))
    assert exported.entries > COUNT - 100
    assert import_cache(DiskMaintenance(tmp_path / "new"), tmp_path / "saved.gz").added == exported.entries
    assert verify_cache(DiskMaintenance(tmp_path / "new")).sound


def looks_sound(folder: Path) -> bool:
    """Whether `verify_cache` finds nothing wrong."""
    try:
        return verify_cache(DiskMaintenance(folder)).sound
    except StoreError:
        return False


async def test_a_path_that_is_too_long_is_told_as_such(folder: Path) -> None:
    deep = folder.joinpath(*["d" * 100] * 5)
    with pytest.raises(StoreError, match=r"its whole path has \d{3} bytes, more than SQLite takes"):
        async with DiskStore(deep):
            pass


@pytest.mark.parametrize("size", [0, 100, 4096, 20_000, 300_000])
async def test_truncated_database(folder: Path, size: int) -> None:
    """A database that was cut short is never taken for a smaller or an empty cache."""
    await fill(folder)
    os.truncate(folder / "cache.db", size)
    with pytest.raises(StoreError) as trouble:
        async with DiskStore(folder) as store:
            await store.get_many([make_key(number) for number in range(COUNT)])
    assert_one_sentence(str(trouble.value), folder)
    assert not looks_sound(folder)


async def test_empty_file_is_called_cut_short(folder: Path) -> None:
    """A file of no bytes is not another program's, and no new cache is made of it."""
    await fill(folder, count=1)
    os.truncate(folder / "cache.db", 0)
    with pytest.raises(StoreError, match="cut short to nothing"):
        DiskStore(folder)


async def test_what_is_left_of_a_truncated_database_can_be_saved(folder: Path, tmp_path: Path) -> None:
    """The answers before the cut are exported and can be imported elsewhere."""
    await fill(folder)
    os.truncate(folder / "cache.db", (folder / "cache.db").stat().st_size // 2)
    exported = export_cache(DiskMaintenance(folder), tmp_path / "saved.gz")
    assert exported.entries > COUNT // 3
    assert exported.entries + exported.bad == COUNT
    import_cache(DiskMaintenance(tmp_path / "new"), tmp_path / "saved.gz")
    assert await stored(tmp_path / "new", COUNT) == exported.entries


async def test_garbage_instead_of_a_database(folder: Path) -> None:
    """A file that is no database is left alone and named."""
    await fill(folder, count=1)
    (folder / "cache.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match="not a database") as trouble:
        DiskStore(folder)
    assert_one_sentence(str(trouble.value), folder)
    assert (folder / "cache.db").read_bytes() == b"garbage" * 1000


@pytest.mark.parametrize(("version", "advice"), [(PLACES + 1, "update metaspo"), (FORMAT - 1, "export it")])
async def test_other_format(folder: Path, version: int, advice: str) -> None:
    """A cache of another format is not touched; the message says which way to go."""
    await fill(folder, count=1)
    change(folder, f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match=f"format {version}.*reads format.*{advice}") as trouble:
        DiskStore(folder)
    assert_one_sentence(str(trouble.value), folder)


async def test_foreign_settings(folder: Path) -> None:
    """Settings that diskcache would hand to SQLite as they are are not obeyed."""
    await fill(folder, count=1)
    change(folder, "INSERT INTO Settings VALUES ('sqlite_writable_schema', 1)")
    with pytest.raises(StoreError, match=r"foreign settings \(sqlite_writable_schema"):
        DiskStore(folder)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.proof,)


TAMPERED = {
    "pickled value": "UPDATE Cache SET mode = 4, value = ?1 WHERE key = ?2",
    "pickled file": "UPDATE Cache SET mode = 4, value = NULL, filename = 'payload' WHERE key = ?2",
    "file elsewhere": "UPDATE Cache SET mode = 2, value = NULL, filename = '/etc/hostname' WHERE key = ?2",
    "pickle as bytes": "UPDATE Cache SET value = ?1 WHERE key = ?2",
    "text value": "UPDATE Cache SET value = 'yes' WHERE key = ?2",
    "damaged text": "UPDATE Cache SET value = CAST(x'ff31' AS TEXT) WHERE key = ?2",
    "damaged mode": "UPDATE Cache SET mode = CAST(x'ff31' AS TEXT) WHERE key = ?2",
    "swapped value": "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key <> ?2) WHERE key = ?2",
}


@pytest.mark.parametrize(
    ("text", "damaged"),
    [(b"indexCache_key_raw", b"indexCache\xffkey_raw"), (b"/\x02sqlite_cache_size", b".\x02sqlite_cache_size")],
    ids=["a name in an error", "a setting that is no text"],
)
async def test_damage_that_is_no_error_of_the_database_s_is_one_sentence(
    folder: Path, text: bytes, damaged: bytes
) -> None:
    """An error tells of a name that is no UTF-8; diskcache takes every setting for a text."""
    await fill(folder, count=1)
    data = (folder / "cache.db").read_bytes()
    (folder / "cache.db").write_bytes(data.replace(text, damaged))
    with pytest.raises(StoreError) as trouble:
        DiskStore(folder)
    assert_one_sentence(str(trouble.value), folder)


@pytest.mark.parametrize("at", range(0, 74, 7))
async def test_a_name_that_is_damaged_in_the_index_ends_in_a_sentence(folder: Path, at: int) -> None:
    """Looked up among others, it may be found by the name of another; those that it hides are bad."""
    keys = [key_at("p0123abcde", make_key(number)) for number in range(40)]
    entries: dict[str, Entry] = {key: make_entry(f"answer {key}") for key in keys}
    async with DiskStore(folder) as store:
        await store.put_many({key: entries[key] for key in keys[:30]})
    data = bytearray((folder / "cache.db").read_bytes())
    found = [match.start() for match in re.finditer(row_name(sorted(keys[:30])[15]).encode(), data)]
    (start,) = [start for start in found if data[start // 4096 * 4096] == 0x0A]  # in an index's page, not in a table's
    data[start + at] ^= 0x02
    (folder / "cache.db").write_bytes(data)
    async with DiskStore(folder, memory_bytes=0) as store:
        with suppress(StoreError):
            assert (await store.get_many(keys)).items() <= entries.items()
        kept = await store.put_many(entries)
        assert all(isinstance(kept[key], BadEntry) or kept[key] == entries[key] for key in keys)
    assert not verify_cache(DiskMaintenance(folder)).sound


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED.keys())
async def test_tampered_row_runs_nothing(folder: Path, tmp_path: Path, statement: str) -> None:
    """A row that somebody else wrote is refused by reading, writing and every tool; its payload never runs."""
    proof = tmp_path / "proof"
    payload = pickle.dumps(Payload(proof))
    await fill(folder, count=2)
    change(folder, statement, values=(payload, make_key(0)))
    (folder / "payload").write_bytes(payload)
    async with DiskStore(folder) as store:
        with pytest.raises(StoreError, match="bad entry") as trouble:
            await store.get_many([make_key(0)])
        assert_one_sentence(str(trouble.value), folder)
        with pytest.raises(StoreError, match="bad entry"):
            await store.put(make_key(0), make_entry("new"))
        assert len(await store.get_many([make_key(1)])) == 1
        await store.put(make_key(2), make_entry("other entries are still kept"))
    assert [row.key for row in verify_cache(DiskMaintenance(folder)).bad] == [make_key(0)]
    assert export_cache(DiskMaintenance(folder), tmp_path / "snapshot.gz").bad == 1
    assert prune_cache(DiskMaintenance(folder), PruneFilter(bad=True), delete=True).entries == 1
    assert verify_cache(DiskMaintenance(folder)).sound
    assert await stored(folder, 3) == 2
    assert not proof.exists()
    pickle.loads(payload)  # noqa: S301 - shows that the payload would have worked
    assert proof.exists()


async def test_pickled_key_runs_nothing(folder: Path, tmp_path: Path) -> None:
    """A key is never unpickled either."""
    payload = pickle.dumps(Payload(tmp_path / "proof"))
    await fill(folder, count=2)
    change(folder, "UPDATE Cache SET raw = 0, key = ? WHERE key = ?", values=(payload, make_key(0)))
    assert [row.problem for row in verify_cache(DiskMaintenance(folder)).bad] == ["its key is not plain text"]
    assert export_cache(DiskMaintenance(folder), tmp_path / "snapshot.gz").bad == 1
    assert await stored(folder, 2) == 1
    assert prune_cache(DiskMaintenance(folder), PruneFilter(bad=True), delete=True).entries == 1
    assert not (tmp_path / "proof").exists()


async def test_another_process_holds_the_cache(folder: Path) -> None:
    """While somebody else writes for too long reading goes on and `put` says so; afterwards its answer is written."""
    async with DiskStore(folder, busy_timeout=0.02) as store:
        await store.put(make_key(0), make_entry())
        with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="held by another process") as trouble:
                await store.put(make_key(1), make_entry())
            assert len(await store.get_many([make_key(0), make_key(1)])) == 1
            other.execute("ROLLBACK")
        assert_one_sentence(str(trouble.value), folder)
    assert await stored(folder, 2) == 2


async def test_database_taken_away(folder: Path) -> None:
    """If the folder vanishes under an open store, `put` says so and keeps its answer."""
    async with DiskStore(folder) as store:
        await store.put(make_key("before"), make_entry())
        move(folder, folder.with_name("elsewhere"))
        with pytest.raises(StoreError, match="could not be opened") as trouble:
            await store.put(make_key(0), make_entry())
        assert_one_sentence(str(trouble.value), folder)
        move(folder.with_name("elsewhere"), folder)
    assert await stored(folder, 1) == 1


async def test_another_database_put_in_its_place(folder: Path) -> None:
    """As of a restored backup: nothing is written to a file that nobody finds any more, nor to one never opened."""
    await fill(folder, count=1)
    async with DiskStore(folder) as store:
        await store.put(make_key(1), make_entry())
        move(folder, folder.with_name("elsewhere"))
        await fill(folder, count=1)
        with pytest.raises(StoreError, match="is not the file that was opened") as trouble:
            await store.put(make_key(2), make_entry())
        assert_one_sentence(str(trouble.value), folder)
        move(folder, folder.with_name("another"))
        move(folder.with_name("elsewhere"), folder)
    assert await stored(folder.with_name("another"), 3) == 1
    assert await stored(folder, 3) == 3


def move(source: Path, target: Path) -> None:
    """Rename a folder."""
    source.rename(target)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError("no"), "may not be opened: correct the permissions"),
        (FileNotFoundError("gone"), "could not be opened: see that the folder is there"),
        (OSError("what?"), "could not be used: see the reason given"),
        (sqlite3.OperationalError("what?"), "could not be used: see the reason given"),
    ],
    ids=repr,
)
def test_a_reason_is_told_with_what_to_do(tmp_path: Path, error: Exception, advice: str) -> None:
    """And of what is behind it, the first."""
    text = str(explain(tmp_path, error))
    assert text.startswith(f"The cache in {tmp_path} {advice}")
    assert text.endswith(f"({error}).")
    behind = sqlite3.DatabaseError("cannot rollback")  # as diskcache hides it
    behind.__context__ = error
    assert str(explain(tmp_path, behind)) == text


async def test_an_error_of_the_database_is_told_by_its_code(tmp_path: Path) -> None:
    """Extended codes by their primary one."""
    with closing(sqlite3.connect(tmp_path / "x", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE a (b UNIQUE)")
        with closing(sqlite3.connect(tmp_path / "x", isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
            connection.execute("PRAGMA busy_timeout = 0")
            with pytest.raises(sqlite3.OperationalError) as busy:
                connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA query_only = ON")
        with pytest.raises(sqlite3.OperationalError) as readonly:
            connection.execute("INSERT INTO a VALUES (1)")
    assert "held by another process" in str(explain(tmp_path, busy.value))
    assert "may not be written" in str(explain(tmp_path, readonly.value))
    readonly.value.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
    assert "may not be written" in str(explain(tmp_path, readonly.value))


def test_a_plain_connection_reads_what_is_ours_and_writes_only_where_that_was_said(
    folder: Path, tmp_path: Path
) -> None:
    """Another program's database is refused, a missing one is not made, and a short one is opened only to be saved."""
    with pytest.raises(StoreError, match="There is no cache in"):
        connect(folder)
    open_cache(folder).close()
    with closing(connect(folder)) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM Settings")
    with closing(connect(folder, write=True)) as connection:
        connection.execute("DELETE FROM Cache")
    (tmp_path / "other").mkdir()
    change(tmp_path / "other", "CREATE TABLE Cache (key)")
    with pytest.raises(StoreError, match="another program's database"):
        connect(tmp_path / "other")
    os.truncate(folder / "cache.db", os.path.getsize(folder / "cache.db") - 4096)
    with pytest.raises(StoreError, match="damaged"):
        connect(folder)
    connect(folder, salvage=True).close()


def test_keys_are_text_and_values_bytes_and_nothing_else_goes_in_or_comes_out(folder: Path) -> None:
    """So nothing is ever unpickled."""
    cache = open_cache(folder)
    disk = cache.disk
    assert disk.put("key") == ("key", True)
    assert disk.get("key", True) == "key"
    assert disk.store(b"value", False) == (0, 1, None, b"value")
    assert disk.fetch(1, None, b"value", False) == b"value"
    refusals: list[Callable[[], object]] = [
        lambda: disk.put(7),
        lambda: disk.store("text", False),
        lambda: disk.store(b"value", True),
    ]
    for refused in refusals:
        with pytest.raises(TypeError):
            refused()
    rows: list[Callable[[], object]] = [
        lambda: disk.get("key", False),
        lambda: disk.get(7, True),
        lambda: disk.fetch(2, None, b"value", False),
        lambda: disk.fetch(1, None, "value", False),
    ]
    for damaged in rows:
        with pytest.raises(BadRecord):
            damaged()
    cache.close()


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free some space on its disk"), (errno.EDQUOT, "free some space"), (errno.EROFS, "name another")],
)
def test_a_fault_of_the_disk_is_told_by_its_cause_whether_sqlite_met_it_or_not(
    tmp_path: Path, number: int, advice: str
) -> None:
    error = OSError(number, os.strerror(number))
    error.__context__ = FileNotFoundError("as `mkdir` with all parents has met before")
    assert advice in str(explain(tmp_path, error))
