"""Caches as files to share or to move: JSON lines, compressed with Zstandard (`.jsonl.zst`).

The first line is `{"metaspo_cache_snapshot": 2}`; every other one is an object with the key of an entry, behind its
place in a database if it has one, and its fields. In version 1 none has.
There is no request in it, and no credential. The same entries in the same order give the same bytes.
"""

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from metaspo.backends.chat.reply import whole_reason
from metaspo.backends.file_lock import try_lock
from metaspo.backends.paths import why_unreadable
from metaspo.cache.base import Entry, StoreError
from metaspo.cache.maintenance import Maintained, Row
from metaspo.cache.place import ROW_NAME, key_of_row, row_name
from metaspo.cache.record import BadRecord, dump_json, encode_entry, entry_from_dict, entry_to_dict, load_json

SNAPSHOT_VERSION = 2
_MARK = "metaspo_cache_snapshot"
_BATCH = 200
_LONGEST_LINE = 64 * 2**20
_MAX_TOKENS = 10_000_000
_LONGEST_CALL = 1e7  # seconds
_LATEST = 1e11  # seconds since 1970
_PIECE = 2**10
"""Bytes unpacked at a time: even a file made to burst becomes 32 MiB of them at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written to a snapshot; `bad` rows were left out because they cannot be read."""

    entries: int
    bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What a snapshot brought.

    Attributes:
        added: entries that were not there before.
        kept: entries of which there was one before, which stays.
    """

    added: int
    kept: int


def export_cache(cache: Maintained, target: Path) -> ExportReport:
    """Write everything that can be read to a new file, which appears when it is complete. Raises `StoreError`.

    What an export to the same file left unfinished when it was killed is removed.
    """
    if target.exists():
        raise StoreError(f"{target} exists already: name a new file for the snapshot.")
    _remove_drafts(target)
    draft = target.with_name(f"{target.name}.{os.urandom(4).hex()}.part")
    try:
        report = _write(draft, cache.rows())
        draft.rename(target)
    except OSError as error:
        raise StoreError(f"The snapshot {target} could not be written: {why_unreadable(error)}.") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return report


def import_cache(cache: Maintained, source: Path) -> ImportReport:
    """Add the entries of a snapshot that are not there yet; the cache is made if there is none. Raises `StoreError`.

    Importing twice is importing once. Of a snapshot that is cut short, what comes before the cut is imported.
    """
    added = total = 0
    for batch in _batches(_read(source)):
        added += cache.add(batch)
        total += len(batch)
    return ImportReport(added=added, kept=total - added)


def _remove_drafts(target: Path) -> None:
    """Remove drafts of a file that nobody writes any more: a process that ends has lost its lock."""
    for draft in target.parent.glob(f"{glob.escape(target.name)}.{8 * '[0-9a-f]'}.part"):
        with suppress(OSError), draft.open("rb") as file:
            if try_lock(file):
                draft.unlink()


def _write(path: Path, rows: Iterable[Row]) -> ExportReport:
    entries = bad = 0
    packer = zstandard.ZstdCompressor(write_checksum=True)
    with path.open("xb") as raw:
        with suppress(OSError):  # a file system without locks: nobody removes what is left there
            try_lock(raw)
        with packer.stream_writer(raw, closefd=False) as file:
            file.write(dump_json({_MARK: SNAPSHOT_VERSION}) + b"\n")
            for row in rows:
                if row.entry is None:
                    bad += 1
                else:
                    file.write(dump_json({"key": row_name(row.key), **entry_to_dict(row.entry)}) + b"\n")
                    entries += 1
    return ExportReport(entries=entries, bad=bad)


def _batches(items: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Items in lists, the last one perhaps empty; what came before an error is not held back by it."""
    batch: list[tuple[str, bytes]] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == _BATCH:
                yield batch
                batch = []
    except StoreError:
        if batch:
            yield batch
        raise
    yield batch


def _read(path: Path) -> Iterator[tuple[str, bytes]]:
    """The entries of a snapshot as keys and records."""
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                content = load_json(line)
                if number == 1:
                    _check_header(path, content)
                else:
                    key, entry = _from_line(content)
                    yield key, encode_entry(key, entry)
        if not number:
            raise BadRecord("nothing is in it")
    except FileNotFoundError as error:
        raise StoreError(f"There is no snapshot {path}.") from error
    except (OSError, zstandard.ZstdError, BadRecord) as error:
        raise _bad_snapshot(path, number, error) from error


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Unpacked lines. Raises `ZstdError` for what is not zstd, `BadRecord` if the end is missing."""
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    rest = b""
    while piece := file.read(_PIECE):
        *lines, rest = (rest + unpacker.decompress(piece)).split(b"\n")
        yield from lines
        if len(rest) > _LONGEST_LINE:
            raise BadRecord("its next line is too long for an entry")
    if rest or not unpacker.eof:
        raise BadRecord("the end is missing")


def _bad_snapshot(path: Path, lines: int, error: Exception) -> StoreError:
    if lines <= 1:
        return StoreError(
            f"{path} is no snapshot, or only the start of one ({error}): "
            "name a whole file that `metaspo cache export` wrote."
        )
    return StoreError(
        f"{path} is damaged or cut short after line {lines} ({error}): what comes before is imported; "
        "get a whole copy and import it again."
    )


def _check_header(path: Path, content: object) -> None:
    if not isinstance(content, dict) or _MARK not in content:
        raise BadRecord("its first line is not that of a snapshot")
    if content[_MARK] not in (1, SNAPSHOT_VERSION):
        raise StoreError(
            f"{path} has snapshot format {content[_MARK]}, this metaspo reads format {SNAPSHOT_VERSION}: "
            "use the version of metaspo that wrote it."
        )


def _from_line(content: object) -> tuple[str, Entry]:
    fields = dict(content) if isinstance(content, dict) else {}
    name = fields.pop("key", None)
    entry = entry_from_dict(fields)
    if not isinstance(name, str) or not ROW_NAME.fullmatch(name):
        raise BadRecord("its key is not 64 hexadecimal digits")
    if (impossible := _impossible(entry)) is not None:
        raise BadRecord(impossible)
    return key_of_row(name), entry


def _impossible(entry: Entry) -> str | None:
    """What no server ever answered, in words; None if there is no such thing: a stranger is believed no further."""
    usage, latency = entry.completion.usage, entry.completion.latency
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    if min(counts) < 0 or max(counts) > _MAX_TOKENS:
        return f"its tokens are {', '.join(map(str, counts))}"
    if not whole_reason(entry.completion.finish_reason):
        return f"its answer ended for {entry.completion.finish_reason!r:.40}, so that it may be half of one"
    if usage.cached_tokens > usage.prompt_tokens:
        return f"{usage.cached_tokens} of its {usage.prompt_tokens} prompt tokens were cached"
    if not 0 <= latency <= _LONGEST_CALL or not 0 <= entry.created <= _LATEST:
        return f"its call took {latency:g} s, and was made {entry.created:g} s after 1970"
    return None
