"""Looking after a cache folder: what is in it, whether it is sound, and removing parts of it."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from metaspo.cache.base import Entry
from metaspo.cache.database import FILE, FORMAT, connect, explained
from metaspo.cache.rows import Row, read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryGroup:
    """The entries of one model that one run paid for.

    Attributes:
        run: "" for entries that were stored outside a run.
        size: bytes of the stored records.
        prompt_tokens, cached_tokens, completion_tokens: sums of what the answers cost when they were asked for;
            `cached_tokens` is part of `prompt_tokens`.
    """

    model: str
    revision: str
    run: str
    entries: int
    size: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheInfo:
    """What is in a cache.

    Attributes:
        size: bytes on disk.
        bad: rows that cannot be used; `verify_cache` lists them.
        groups: by model, revision and run, in alphabetical order.
    """

    folder: Path
    format: int
    size: int
    entries: int
    bad: int
    groups: tuple[EntryGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCheck:
    """What is wrong with a cache.

    Attributes:
        entries: rows that are sound.
        bad: rows that are not.
        damage: what SQLite finds wrong with the file.
    """

    entries: int
    bad: tuple[Row, ...]
    damage: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.bad and not self.damage


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneFilter:
    """Which entries to remove: those that fit all that is given.

    Attributes:
        before: seconds since 1970; entries stored earlier.
        bad: remove the rows that cannot be used instead; goes with nothing else.
    """

    model: str | None = None
    run: str | None = None
    before: float | None = None
    bad: bool = False

    def __post_init__(self) -> None:
        """Raises `ValueError` for a filter that says nothing, or two things that exclude each other."""
        chosen = [value for value in (self.model, self.run, self.before) if value is not None]
        if bool(chosen) == self.bad:
            raise ValueError("Say what to remove: either a model, a run or an age, or bad rows.")

    def fits(self, row: Row) -> bool:
        """Whether the row is to be removed."""
        if self.bad or row.entry is None:
            return self.bad and row.entry is None
        return self._fits_entry(row.entry)

    def _fits_entry(self, entry: Entry) -> bool:
        return (
            (self.model is None or entry.model == self.model)
            and (self.run is None or entry.run == self.run)
            and (self.before is None or entry.created < self.before)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What was removed, or would be. `size` in bytes of records."""

    entries: int
    size: int
    deleted: bool


def cache_info(folder: Path) -> CacheInfo:
    """Count what is in the cache; reads all of it (about 10 us an entry). Raises `StoreError`."""
    groups: dict[tuple[str, str, str], EntryGroup] = {}
    bad = 0
    with closing(connect(folder, salvage=True)) as connection, explained(folder):
        for row in read_rows(connection):
            if row.entry is None:
                bad += 1
            else:
                name = (row.entry.model, row.entry.revision, row.entry.run)
                groups[name] = _plus(groups.get(name), row.entry, row.size)
        size = sum(path.stat().st_size for path in folder.glob(f"{FILE}*"))
    return CacheInfo(
        folder=folder,
        format=FORMAT,
        size=size,
        entries=sum(group.entries for group in groups.values()),
        bad=bad,
        groups=tuple(group for _, group in sorted(groups.items())),
    )


def verify_cache(folder: Path) -> CacheCheck:
    """Decode every row and let SQLite check its file. Raises `StoreError` if it cannot be read at all."""
    with closing(connect(folder, salvage=True)) as connection, explained(folder):
        entries = 0
        bad: list[Row] = []
        for row in read_rows(connection):
            if row.entry is None:
                bad.append(row)
            else:
                entries += 1
        return CacheCheck(entries=entries, bad=tuple(bad), damage=_damage(connection))


def prune_cache(folder: Path, what: PruneFilter, *, delete: bool = False) -> PruneReport:
    """Remove the entries that fit, if `delete`; otherwise only tell how many there are. Raises `StoreError`.

    The file gets smaller unless somebody is using the cache at the moment; the room is then used for new entries.
    """
    with closing(connect(folder, write=delete)) as connection, explained(folder):
        rows = [(row.rowid, row.size) for row in read_rows(connection) if what.fits(row)]
        if delete:
            _delete(connection, [rowid for rowid, _ in rows])
    return PruneReport(entries=len(rows), size=sum(size for _, size in rows), deleted=delete)


def _plus(group: EntryGroup | None, entry: Entry, size: int) -> EntryGroup:
    usage = entry.completion.usage
    return EntryGroup(
        model=entry.model,
        revision=entry.revision,
        run=entry.run,
        entries=1 + (group.entries if group else 0),
        size=size + (group.size if group else 0),
        prompt_tokens=usage.prompt_tokens + (group.prompt_tokens if group else 0),
        cached_tokens=usage.cached_tokens + (group.cached_tokens if group else 0),
        completion_tokens=usage.completion_tokens + (group.completion_tokens if group else 0),
    )


def _damage(connection: sqlite3.Connection) -> tuple[str, ...]:
    try:
        findings = [str(text) for (text,) in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        return (str(error),)
    return () if findings == ["ok"] else tuple(findings)


def _delete(connection: sqlite3.Connection, rowids: Iterable[int]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("DELETE FROM Cache WHERE rowid = ?", ((rowid,) for rowid in rowids))
    connection.execute("COMMIT")
    with suppress(sqlite3.OperationalError):  # somebody else is reading: the file keeps its size
        connection.execute("VACUUM")
