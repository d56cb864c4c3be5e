"""The store of plain files: one for each answer, for folders on which SQLite's locks and log do not hold.

`FOLDER/answers-1/ab/abcd…` is the record of the key `abcd…`, the same bytes as in a database. A record is written
beside its place and then linked to it, which every file system with hard links does for the first one alone. So
machines may share a folder over the network, and two folders are joined by copying one into the other.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from metaspo.backends.paths import DRAFT_LIVES
from metaspo.cache.batched import MEMORY_BYTES, BatchedStore
from metaspo.cache.claims import Claims
from metaspo.cache.disk.claims import DiskClaims
from metaspo.cache.errors import explained
from metaspo.cache.key import KEY
from metaspo.cache.maintenance import Row, read_row
from metaspo.cache.record import FORMAT
from metaspo.cache.writer import Before, Items

ANSWERS = f"answers-{FORMAT}"
DRAFT = "draft-"


class FileStore(BatchedStore):
    """Keeps entries in a folder, a file each, for one event loop; any number of processes may use it at the same time.

    Who may read them is the umask's to say. A power cut may lose the last seconds of answers.
    """

    def __init__(self, folder: Path | str, *, memory_bytes: int = MEMORY_BYTES) -> None:
        """Make the folder if there is none. Raises `StoreError`."""
        self._folder = folder = Path(folder).expanduser()
        super().__init__(f"the cache in {folder}", memory_bytes=memory_bytes)
        with explained(folder):
            (folder / ANSWERS).mkdir(parents=True, exist_ok=True)
        self._claims = DiskClaims(folder)

    @property
    def claims(self) -> Claims:
        """By which processes agree who asks for what is not there: locks, where the file system has them."""
        return self._claims

    async def _fetch(self, keys: Sequence[str]) -> list[tuple[str, bytes]]:
        with explained(self._folder):
            return await asyncio.to_thread(_read_many, self._folder, keys)

    async def _commit(self, items: Items) -> Sequence[Before]:
        with explained(self._folder):
            return await asyncio.to_thread(_add_first, self._folder, items)

    async def _disconnect(self) -> None:
        self._claims.close()


class FileMaintenance:
    """Looks after a folder of plain files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def exists(self) -> bool:
        """Whether the folder holds answers, or did."""
        return (self._folder / ANSWERS).is_dir()

    def rows(self) -> Iterator[Row]:
        """All rows in the order of their keys."""
        with explained(self._folder):
            for path in self._paths():
                if not KEY.fullmatch(path.name):
                    yield Row(str(path), "", 0, None, "its name is not 64 hexadecimal digits")
                elif (record := _read(path)) is not None:  # else it was removed just now
                    yield read_row(str(path), path.name, record)

    def size(self) -> int:
        """Bytes of the files."""
        with explained(self._folder):
            return sum(stat.st_size for path in self._paths() if (stat := _stat(path)) is not None)

    def damage(self) -> tuple[str, ...]:
        """Nothing beside single files."""
        return ()

    def remove(self, rows: Sequence[Row]) -> None:
        """Delete files."""
        with explained(self._folder):
            for row in rows:
                Path(str(row.id)).unlink(missing_ok=True)

    def add(self, items: Sequence[tuple[str, bytes]]) -> int:
        """Add records where their keys have none."""
        with explained(self._folder):
            return sum(before is None for before in _add_first(self._folder, items))

    def close(self) -> None:
        """There is nothing to let go of."""

    def _paths(self) -> list[Path]:
        """Answers, and whatever else is there but the drafts that others write just now."""
        return sorted(path for path in (self._folder / ANSWERS).glob("*/*") if not _is_live_draft(path))


def _path(folder: Path, key: str) -> Path:
    return folder / ANSWERS / key[:2] / key


def _is_live_draft(path: Path) -> bool:
    """One that is old is left of a process that was killed."""
    if not path.name.startswith(DRAFT):
        return False
    stat = _stat(path)
    return stat is None or time.time() - stat.st_mtime < DRAFT_LIVES


def _stat(path: Path) -> os.stat_result | None:
    """None for what was removed just now."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _read_many(folder: Path, keys: Sequence[str]) -> list[tuple[str, bytes]]:
    return [(key, record) for key in keys if (record := _read(_path(folder, key))) is not None]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _add_first(folder: Path, items: Items) -> list[bytes | None]:
    """Add what is not there yet; for each item what was there before."""
    return [_add(_path(folder, key), record) for key, record in items]


def _add(path: Path, record: bytes) -> bytes | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{DRAFT}{os.urandom(8).hex()}")
    try:
        draft.write_bytes(record)
        os.link(draft, path)
    except FileExistsError:
        return _read(path)
    finally:
        draft.unlink(missing_ok=True)
    return None
