"""Looking after a cache: what is in it, whether it is sound, and removing parts of it.

All of it goes by what `Maintained` says, which is all that a store has to offer for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from metaspo.cache.base import Entry
from metaspo.cache.record import FORMAT, BadRecord, decode_entry


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `entry` is None if it is bad, and `problem` then says why.

    Attributes:
        id: what the store knows it by.
        key: "" if it could not be read.
        size: bytes of the stored record; 0 if it could not be read.
    """

    id: int | str
    key: str
    size: int
    entry: Entry | None
    problem: str = ""


def read_row(row_id: int | str, key: str, record: bytes) -> Row:
    """The row of a record."""
    try:
        return Row(row_id, key, len(record), decode_entry(key, record))
    except BadRecord as error:
        return Row(row_id, key, len(record), None, str(error))


class Maintained(Protocol):
    """All of a store at once, sound or not. All of it blocks, and raises `StoreError`."""

    def exists(self) -> bool:
        """Whether there is a cache to look after."""
        ...

    def rows(self) -> Iterator[Row]:
        """Every row; what cannot be read is reported, not skipped."""
        ...

    def size(self) -> int:
        """Bytes that it takes where it is kept."""
        ...

    def damage(self) -> tuple[str, ...]:
        """What is wrong beside single rows, a sentence each."""
        ...

    def remove(self, rows: Sequence[Row]) -> None:
        """Delete rows, and give their room back where that is possible."""
        ...

    def add(self, items: Sequence[tuple[str, bytes]]) -> int:
        """Add records where their keys have none; how many were added."""
        ...

    def close(self) -> None:
        """Let go; idempotent."""
        ...


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
        format: of its keys and records.
        size: bytes on disk, or in a server's memory.
        bad: rows that cannot be used; `verify_cache` lists them.
        groups: by model, revision and run, in alphabetical order.
    """

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
        damage: what else is wrong, a sentence each.
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


def cache_info(cache: Maintained) -> CacheInfo:
    """Count what is in the cache; reads all of it (about 10 us an entry). Raises `StoreError`."""
    groups: dict[tuple[str, str, str], EntryGroup] = {}
    bad = 0
    for row in cache.rows():
        if row.entry is None:
            bad += 1
        else:
            name = (row.entry.model, row.entry.revision, row.entry.run)
            groups[name] = _plus(groups.get(name), row.entry, row.size)
    return CacheInfo(
        format=FORMAT,
        size=cache.size(),
        entries=sum(group.entries for group in groups.values()),
        bad=bad,
        groups=tuple(group for _, group in sorted(groups.items())),
    )


def verify_cache(cache: Maintained) -> CacheCheck:
    """Decode every row and have the store look for damage. Raises `StoreError` if it cannot be read at all."""
    entries = 0
    bad: list[Row] = []
    for row in cache.rows():
        if row.entry is None:
            bad.append(row)
        else:
            entries += 1
    return CacheCheck(entries=entries, bad=tuple(bad), damage=cache.damage())


def prune_cache(cache: Maintained, what: PruneFilter, *, delete: bool = False) -> PruneReport:
    """Remove the entries that fit, if `delete`; otherwise only tell how many there are. Raises `StoreError`."""
    rows = [replace(row, entry=None) for row in cache.rows() if what.fits(row)]
    if delete:
        cache.remove(rows)
    return PruneReport(entries=len(rows), size=sum(row.size for row in rows), deleted=delete)


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
