"""The store of a cache folder: read on the event loop, written by one worker thread at a time."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from metaspo.cache.batched import MEMORY_BYTES, BatchedStore
from metaspo.cache.claims import Claims
from metaspo.cache.disk.claims import DiskClaims
from metaspo.cache.disk.database import add_first, open_cache
from metaspo.cache.disk.folder import BUSY_TIMEOUT, connect
from metaspo.cache.disk.reader import DiskReader
from metaspo.cache.errors import explained
from metaspo.cache.record import BadRecord
from metaspo.cache.writer import Before, Items

_READ_TIMEOUT = 5.0
"""Seconds a read may hold the event loop: reads wait for nobody except while a crashed process's log is recovered."""


class DiskStore(BatchedStore):
    """Keeps entries in a folder, for one event loop; several processes may use the folder at the same time.

    Opening makes the folder if need be, and takes some milliseconds. Use it as `async with DiskStore(folder) as store`
    or call `aclose`. A power cut may lose the last seconds of answers, a killed process none that was kept. A look-up
    does not suspend: a thousand keys hold the loop for about 10 ms.
    """

    local = True

    def __init__(
        self, folder: Path | str, *, memory_bytes: int = MEMORY_BYTES, busy_timeout: float = BUSY_TIMEOUT
    ) -> None:
        """Open the folder. `busy_timeout`: seconds to wait for other processes that write. Raises `StoreError`."""
        self._folder = folder = Path(folder).expanduser()
        super().__init__(f"the cache in {folder}", memory_bytes=memory_bytes)
        self._cache = open_cache(folder, busy_timeout=busy_timeout)
        self._cache.close()  # this thread's connection; the writer's thread opens its own
        self._reader = DiskReader(connect(folder, busy_timeout=_READ_TIMEOUT))
        self._claims = DiskClaims(folder)
        # One thread for all commits: a connection belongs to a thread, and opening one costs as much as ten puts.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache-writer")

    @property
    def folder(self) -> Path:
        """Where its database is."""
        return self._folder

    @property
    def claims(self) -> Claims:
        """By which processes agree who asks for what is not there."""
        return self._claims

    async def _fetch(self, keys: Sequence[str]) -> list[tuple[str, bytes | BadRecord]]:
        with explained(self._folder):
            records = self._reader.by_keys(keys)
            for some in self._reader.neighbours(used=self._memory_hits):
                self._recent.add_many(some)
        return records

    async def _commit(self, items: Items) -> Sequence[Before]:
        with explained(self._folder):
            return await asyncio.get_running_loop().run_in_executor(self._thread, add_first, self._cache, items)

    async def _disconnect(self) -> None:
        self._claims.close()
        self._reader.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._cache.close)
        self._thread.shutdown()
