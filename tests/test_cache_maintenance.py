"""The tools tell the truth about a cache, delete only what they were told to, and move it without loss."""

import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest
import zstandard
from store_script import names_in

from metaspo.backends import Usage
from metaspo.backends.file_lock import try_lock
from metaspo.cache import (
    DiskMaintenance,
    DiskStore,
    Entry,
    PruneFilter,
    StoreError,
    cache_info,
    export_cache,
    import_cache,
    prune_cache,
    verify_cache,
)
from metaspo.cache.maintenance import Row
from metaspo.cache.record import entry_to_dict
from metaspo.cache.snapshot import SNAPSHOT_VERSION
from metaspo.cache.testing import TEXTS, make_entry, make_key

ENTRIES: dict[str, Entry] = {
    make_key("a1"): make_entry("one", model="a", run="first", created=100.0),
    make_key("a2"): make_entry("two", model="a", run="second", created=200.0),
    make_key("a3"): make_entry("three", model="a", run="second", created=300.0),
    make_key("b1"): make_entry("four", model="b", run="first", created=400.0),
}


async def keep(folder: Path, entries: dict[str, Entry]) -> None:
    """Put entries into a cache, one after the other."""
    async with DiskStore(folder) as store:
        for key, entry in entries.items():
            await store.put(key, entry)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


async def kept(folder: Path, entries: dict[str, Entry]) -> dict[str, Entry]:
    """Those of the entries that are in a cache, as they are there."""
    async with DiskStore(folder) as store:
        return await store.get_many(list(entries))


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A cache that holds `ENTRIES`."""
    await keep(tmp_path / "cache", ENTRIES)
    return tmp_path / "cache"


async def test_info_adds_up(folder: Path) -> None:
    """Entries and tokens are summed for each model and run."""
    big = make_entry(model="a", run="first")._replace(revision="r3")
    big = big._replace(completion=big.completion._replace(usage=Usage(1_000, 100, 10)))
    await keep(folder, {make_key("big"): big})
    info = cache_info(DiskMaintenance(folder))
    assert (info.entries, info.bad, info.format) == (5, 0, 1)
    assert info.size == size_of(folder)
    told = [
        (g.model, g.revision, g.run, g.entries, g.prompt_tokens, g.cached_tokens, g.completion_tokens)
        for g in info.groups
    ]
    assert told == [
        ("a", "r3", "first", 2, 1_120, 74, 107),
        ("a", "r3", "second", 2, 240, 128, 14),
        ("b", "r3", "first", 1, 120, 64, 7),
    ]
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        (size,) = connection.execute("SELECT sum(length(value)) FROM Cache").fetchone()
    assert sum(group.size for group in info.groups) == size


async def test_sound_cache_is_called_sound(folder: Path) -> None:
    """Nothing is wrong with a cache that only its store wrote."""
    check = verify_cache(DiskMaintenance(folder))
    assert (check.sound, check.entries, check.bad, check.damage) == (True, 4, (), ())


async def test_verify_names_the_bad_row(folder: Path) -> None:
    """Of a row that was changed key and reason are told; the others count as sound."""
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.execute("UPDATE Cache SET value = substr(value, 2) WHERE key = ?", (make_key("a2"),))
    check = verify_cache(DiskMaintenance(folder))
    assert (check.sound, check.entries, check.damage) == (False, 3, ())
    assert [row.key for row in check.bad] == [make_key("a2")]
    assert "format" in check.bad[0].problem
    assert cache_info(DiskMaintenance(folder)).bad == 1


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        (PruneFilter(model="a"), {"a1", "a2", "a3"}),
        (PruneFilter(run="first"), {"a1", "b1"}),
        (PruneFilter(before=300.0), {"a1", "a2"}),
        (PruneFilter(model="a", before=200.0), {"a1"}),
        (PruneFilter(model="b", run="second"), set()),
        (PruneFilter(bad=True), set()),
    ],
)
async def test_prune_removes_what_fits_and_nothing_else(folder: Path, what: PruneFilter, gone: set[str]) -> None:
    """Without `delete` it only counts; with it exactly the entries that fit all conditions go."""
    planned = prune_cache(DiskMaintenance(folder), what)
    assert (planned.entries, planned.deleted) == (len(gone), False)
    assert await kept(folder, ENTRIES) == ENTRIES
    done = prune_cache(DiskMaintenance(folder), what, delete=True)
    assert (done.entries, done.size, done.deleted) == (planned.entries, planned.size, True)
    left = {key: entry for key, entry in ENTRIES.items() if key not in {make_key(name) for name in gone}}
    assert await kept(folder, ENTRIES) == left
    assert verify_cache(DiskMaintenance(folder)).sound


def test_prune_must_be_told_what() -> None:
    """A filter that says nothing, or two things at once, is refused rather than taken for everything."""
    with pytest.raises(ValueError, match="what to remove"):
        PruneFilter()
    with pytest.raises(ValueError, match="what to remove"):
        PruneFilter(model="a", bad=True)


async def test_prune_gives_room_back(tmp_path: Path) -> None:
    """What was removed no longer takes room on disk."""
    await keep(tmp_path / "cache", {make_key(n): make_entry("x" * 100_000, model=str(n % 2)) for n in range(20)})
    before = cache_info(DiskMaintenance(tmp_path / "cache")).size
    prune_cache(DiskMaintenance(tmp_path / "cache"), PruneFilter(model="0"), delete=True)
    assert cache_info(DiskMaintenance(tmp_path / "cache")).size < 0.6 * before


async def test_prune_beside_an_open_store(folder: Path) -> None:
    """Pruning while a run uses the cache removes the entries, and the run goes on."""
    async with DiskStore(folder, memory_bytes=0) as store:
        assert len(await store.get_many(list(ENTRIES))) == 4
        assert prune_cache(DiskMaintenance(folder), PruneFilter(model="a"), delete=True).entries == 3
        assert len(await store.get_many(list(ENTRIES))) == 1
        await store.put(make_key("new"), make_entry())
    assert verify_cache(DiskMaintenance(folder)).entries == 2


async def test_snapshot_moves_everything(tmp_path: Path) -> None:
    """Export and import bring every entry, of any text, to another folder as it was."""
    entries = {make_key(text): make_entry(text, created=float(n)) for n, text in enumerate(TEXTS)}
    await keep(tmp_path / "here", entries)
    exported = export_cache(DiskMaintenance(tmp_path / "here"), tmp_path / "snapshot.jsonl.zst")
    imported = import_cache(DiskMaintenance(tmp_path / "there"), tmp_path / "snapshot.jsonl.zst")
    assert (exported.entries, exported.bad) == (imported.added, imported.kept) == (len(TEXTS), 0)
    assert await kept(tmp_path / "there", entries) == entries
    assert names_in(tmp_path) == {"here", "there", "snapshot.jsonl.zst"}
    frame = zstandard.get_frame_parameters((tmp_path / "snapshot.jsonl.zst").read_bytes())
    assert frame.has_checksum, "so that any tool that unpacks it sees a flipped bit"


async def test_snapshot_of_many_entries(tmp_path: Path) -> None:
    """Several batches arrive whole."""
    entries = {make_key(n): make_entry(str(n)) for n in range(1_001)}
    async with DiskStore(tmp_path / "here") as store, anyio.create_task_group() as group:
        for key, entry in entries.items():
            group.start_soon(store.put, key, entry)
    export_cache(DiskMaintenance(tmp_path / "here"), tmp_path / "snapshot.zst")
    assert import_cache(DiskMaintenance(tmp_path / "there"), tmp_path / "snapshot.zst").added == 1_001
    assert await kept(tmp_path / "there", entries) == entries


async def test_import_never_replaces(folder: Path, tmp_path: Path) -> None:
    """An entry that is there stays canonical; importing again adds nothing."""
    await keep(tmp_path / "there", {make_key("a1"): make_entry("mine")})
    export_cache(DiskMaintenance(folder), tmp_path / "snapshot.zst")
    first = import_cache(DiskMaintenance(tmp_path / "there"), tmp_path / "snapshot.zst")
    again = import_cache(DiskMaintenance(tmp_path / "there"), tmp_path / "snapshot.zst")
    assert (first.added, first.kept, again.added, again.kept) == (3, 1, 0, 4)
    assert await kept(tmp_path / "there", ENTRIES) == {**ENTRIES, make_key("a1"): make_entry("mine")}


async def test_same_cache_gives_same_bytes(folder: Path, tmp_path: Path) -> None:
    """A snapshot can be compared and pinned by its hash: neither its name nor the time is in it."""
    export_cache(DiskMaintenance(folder), tmp_path / "one.zst")
    export_cache(DiskMaintenance(folder), tmp_path / "other.zst")
    assert (tmp_path / "one.zst").read_bytes() == (tmp_path / "other.zst").read_bytes()


async def test_snapshot_is_readable_by_others(folder: Path, tmp_path: Path) -> None:
    """It is Zstandard-compressed JSON lines with names for everything."""
    export_cache(DiskMaintenance(folder), tmp_path / "snapshot.zst")
    with zstandard.open(tmp_path / "snapshot.zst", "rt", encoding="utf-8") as file:
        header, *lines = map(json.loads, file)
    assert header == {"metaspo_cache_snapshot": 2}
    assert {line["key"]: line["text"] for line in lines} == {k: e.completion.text for k, e in ENTRIES.items()}


OLD_SNAPSHOT = bytes.fromhex(
    "28b52ffd04580d070026d032249035cd01ffebbb3bfd5f5119eec2eeed5635deb2b6ee5e949a2ce926848255939c9d081c2a00280028"
    "00691dee68eab543699d1c1b8c20451d48a5f3ce9e68c3158305b3d7b850d9204d7a71cd2551d256bbb9228791b69ec94219c828df13"
    "149cbd0e74fdbe1b7a0d25b49a9f520f3907e1755061b9e6950ee23690b3e9970dc2614f38d8b51dbe867adf028c4ced836ca2fb1ec4"
    "ec14b621d6a4ca264ef9bd8c959e0583c5219cc5ecaf6bebe9be3f3b1498dfa7c95006d1f3fbe6ec877eb1f91e255201e000f6d98806"
    "00e2393098966771b84685ebb5915a6d4a016db7a622"
)


async def test_a_snapshot_of_old_is_read(tmp_path: Path) -> None:
    """People publish snapshots: these bytes are read as this entry for ever."""
    (tmp_path / "old.zst").write_bytes(OLD_SNAPSHOT)
    assert import_cache(DiskMaintenance(tmp_path / "cache"), tmp_path / "old.zst").added == 1
    entries = {"d036256f29141c3eaf5ad6a5c58394e120381ec8720819009d66d1e8232ad2ae": make_entry("é")}
    assert await kept(tmp_path / "cache", entries) == entries


async def test_export_overwrites_nothing(folder: Path, tmp_path: Path) -> None:
    """A file that is there is left alone, and a failed export leaves none."""
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(StoreError, match="exists already"):
        export_cache(DiskMaintenance(folder), tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "..."
    with pytest.raises(StoreError, match=r"snapshot\.zst could not be written: No such file or directory\.$"):
        export_cache(DiskMaintenance(folder), tmp_path / "missing" / "snapshot.zst")
    with pytest.raises(StoreError, match="There is no cache in"):
        export_cache(DiskMaintenance(tmp_path / "nowhere"), tmp_path / "snapshot.zst")
    assert names_in(tmp_path) == {"cache", "thesis.tex"}


async def test_an_export_removes_what_a_killed_one_left_of_the_same_file(folder: Path, tmp_path: Path) -> None:
    """Not what somebody else writes at the moment, and no other file."""
    left, other = tmp_path / "answers[1].zst.0123abcd.part", tmp_path / "answers1.zst.0123abcd.part"
    written = tmp_path / "answers[1].zst.4567cdef.part"
    for path in (left, other, written):
        path.touch()
    with written.open("rb") as file:
        assert try_lock(file)
        export_cache(DiskMaintenance(folder), tmp_path / "answers[1].zst")
    assert names_in(tmp_path) == {"cache", "answers[1].zst", other.name, written.name}


async def test_a_draft_is_locked_while_it_is_written(folder: Path, tmp_path: Path) -> None:
    """So that nobody takes it for what a killed export left."""
    free: list[bool] = []

    class Watched(DiskMaintenance):
        def rows(self) -> Iterator[Row]:
            (draft,) = tmp_path.glob("*.part")
            with draft.open("rb") as file:
                free.append(try_lock(file))
            yield from super().rows()

    export_cache(Watched(folder), tmp_path / "answers.zst")
    assert free == [False]


def zipped(*lines: object) -> bytes:
    """A snapshot written by hand."""
    return zstandard.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


HEADER = {"metaspo_cache_snapshot": 1}
LINE = {
    "key": make_key(1),
    "text": "t",
    "finish_reason": "stop",
    "prompt_tokens": 1,
    "completion_tokens": 2,
    "cached_tokens": 0,
    "latency": 0.5,
    "server": "",
    "model": "m",
    "revision": "",
    "run": "",
    "created": 1.0,
}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "only the start"),
        (b"plain text", "is no snapshot"),
        (gzip.compress(b"{}\n", mtime=0), "is no snapshot"),
        (zipped(), "only the start"),
        (zipped([1]), "first line"),
        (zipped(LINE), "first line"),
        (zipped({"metaspo_cache_snapshot": 3}), "snapshot format 3"),
        (zipped(HEADER, {**LINE, "key": "../x"}), "after line 2.*key"),
        (zipped(HEADER, {**LINE, "key": "p12345" + make_key(1)}), "after line 2.*key"),
        (zipped(HEADER, {**LINE, "more": 1}), "fields"),
        (zipped(HEADER, {**LINE, "latency": "0"}), "fields"),
        (zipped(HEADER, LINE)[:-9], "the end is missing"),
        (zipped(HEADER, LINE, {**LINE, "text": "x" * 400_000})[:-1], "cut short after line 2.*whole copy"),
    ],
)
def test_bad_snapshot_is_refused_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    """What is no snapshot ends in a sentence that names the file."""
    (tmp_path / "snapshot.zst").write_bytes(content)
    with pytest.raises(StoreError, match=reason) as trouble:
        import_cache(DiskMaintenance(tmp_path / "cache"), tmp_path / "snapshot.zst")
    assert str(tmp_path / "snapshot.zst") in str(trouble.value)


@pytest.mark.parametrize(("chars", "reason"), [(1_000, "the end is missing"), (1_001, "line is too long")])
def test_a_line_that_never_ends_is_not_read_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chars: int, reason: str
) -> None:
    """A few bytes of a stranger's file unpack into more than there is memory."""
    monkeypatch.setattr("metaspo.cache.snapshot._LONGEST_LINE", 1_000)
    header = json.dumps(HEADER).encode() + b"\n"
    (tmp_path / "snapshot.zst").write_bytes(zstandard.compress(header + b"x" * chars))
    with pytest.raises(StoreError, match=reason):
        import_cache(DiskMaintenance(tmp_path / "cache"), tmp_path / "snapshot.zst")


async def test_cut_snapshot_brings_what_it_holds(tmp_path: Path) -> None:
    """Entries before the cut are imported, and the message says that the rest is missing."""
    entries = {make_key(n): make_entry(f"{n} {make_key(n)}") for n in range(2_000)}
    async with DiskStore(tmp_path / "here") as store, anyio.create_task_group() as group:
        for key, entry in entries.items():
            group.start_soon(store.put, key, entry)
    export_cache(DiskMaintenance(tmp_path / "here"), tmp_path / "snapshot.zst")
    whole = (tmp_path / "snapshot.zst").read_bytes()
    (tmp_path / "snapshot.zst").write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(StoreError, match="whole copy") as trouble:
        import_cache(DiskMaintenance(tmp_path / "there"), tmp_path / "snapshot.zst")
    found = await kept(tmp_path / "there", entries)
    assert len(found) >= 1_000
    assert found == {key: entries[key] for key in found}
    assert f"after line {len(found) + 1} " in str(trouble.value), "not an entry before the cut is left out"


def test_a_missing_cache_is_named(tmp_path: Path) -> None:
    """The tools make no cache where there is none."""
    for tool in (cache_info, verify_cache):
        with pytest.raises(StoreError, match="There is no cache in"):
            tool(DiskMaintenance(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()
    with pytest.raises(StoreError, match="There is no snapshot"):
        import_cache(DiskMaintenance(tmp_path / "cache"), tmp_path / "none.zst")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt_tokens", -1),
        ("completion_tokens", 10**12),
        ("cached_tokens", 10**6),
        ("latency", -1.0),
        ("created", 1e300),
        ("finish_reason", "abort"),
        ("finish_reason", ""),
    ],
)
def test_a_snapshot_with_impossible_values_is_refused_from_there_on(
    field: str, value: float | str, tmp_path: Path
) -> None:
    """Nobody can check a stranger's answers; what cannot be is not believed."""
    header = {"metaspo_cache_snapshot": SNAPSHOT_VERSION}
    good = {"key": make_key("a"), **entry_to_dict(make_entry("fine"))}
    bad = {"key": make_key("b"), **entry_to_dict(make_entry("bad")), field: value}
    lines = [json.dumps(line).encode() for line in (header, good, bad)]
    (tmp_path / "snapshot.zst").write_bytes(zstandard.compress(b"\n".join([*lines, b""])))
    there = DiskMaintenance(tmp_path / "there")
    with pytest.raises(StoreError, match="after line 3"):
        import_cache(there, tmp_path / "snapshot.zst")
    assert [row.key for row in there.rows()] == [make_key("a")]
