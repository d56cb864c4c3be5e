"""What stores that outlive the process have in common: entries in memory in front of them, and writes in batches."""

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from metaspo.backends.loops.closing import to_the_end
from metaspo.cache.base import Entry, Store, StoreError
from metaspo.cache.errors import bad_entry
from metaspo.cache.lru import RecentEntries
from metaspo.cache.record import BadRecord, decode_entry
from metaspo.cache.writer import BatchWriter, Before, Items

MEMORY_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """What a store did since it was opened.

    Attributes:
        memory_hits, store_hits, misses: keys asked for, by where they were found.
        written: answers that this store was the first to keep.
        waiting: answers on their way.
        remembered: entries in memory.
    """

    memory_hits: int
    store_hits: int
    misses: int
    written: int
    waiting: int
    remembered: int


class BatchedStore(Store):
    """A store by three methods: fetch records, commit records, disconnect. For one event loop."""

    def __init__(self, where: str, *, memory_bytes: int) -> None:
        """`where`: what messages call it, such as "the cache in DIR"."""
        self._where = where
        self._recent = RecentEntries(memory_bytes)
        self._writer = BatchWriter(where, self._commit, self._recent)
        self._memory_hits = self._store_hits = self._misses = 0
        self._closed = False
        self._closing = asyncio.Lock()

    @abstractmethod
    async def _fetch(self, keys: Sequence[str]) -> Iterable[tuple[str, bytes | BadRecord]]:
        """The records there are under different keys. Raises `StoreError`."""

    @abstractmethod
    async def _commit(self, items: Items) -> Sequence[Before]:
        """Add what is not there yet; for each item what was there before. Raises `StoreError`."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Let go; called once, after the last commit."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._where} {self.statistics()}>"

    def statistics(self) -> StoreStatistics:
        """Counts since opening."""
        return StoreStatistics(
            memory_hits=self._memory_hits,
            store_hits=self._store_hits,
            misses=self._misses,
            written=self._writer.written,
            waiting=self._writer.waiting,
            remembered=len(self._recent),
        )

    def unwritten(self) -> dict[str, Entry]:
        """Answers that were put and are not stored yet; after an `aclose` that failed, those that were lost to it."""
        return self._writer.unwritten()

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries there are. Raises `StoreError`.

        Finds what is stored: an answer that is still on its way there may yet turn out to be another process's.
        """
        self._require_open()
        entries = self._recent.get_many(keys)
        missing = [key for key in keys if key not in entries]
        self._memory_hits += len(keys) - len(missing)
        if missing:
            missing = list(dict.fromkeys(missing))
            fetched = self._decode(await self._fetch(missing))
            self._store_hits += len(fetched)
            self._misses += len(missing) - len(fetched)
            entries.update(fetched)
        return entries

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        """Keep entries; returns for each the canonical one once it is stored, or why it could not be kept.

        What is cancelled is still written. What failed is kept in memory and written with the next. Raises
        `StoreError` after `aclose`.
        """
        self._require_open()
        known = self._recent.get_many(entries)
        new = {key: entry for key, entry in entries.items() if key not in known}
        return known | (await self._writer.put_many(new) if new else {})

    async def aclose(self) -> None:
        """Write what is pending and let go; idempotent. Raises `StoreError` if answers could not be written."""
        closed, self._closed = self._closed, True
        await to_the_end(self._wait_for_closing() if closed else self._close())

    async def _close(self) -> None:
        async with self._closing:
            try:
                await self._writer.aclose()
            finally:
                await self._disconnect()

    async def _wait_for_closing(self) -> None:
        async with self._closing:
            pass

    def _decode(self, records: Iterable[tuple[str, bytes | BadRecord]]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        good: list[tuple[str, bytes]] = []
        for key, record in records:
            try:
                if isinstance(record, BadRecord):
                    raise record
                entries[key] = decode_entry(key, record)
            except BadRecord as error:
                raise bad_entry(self._where, key, str(error)) from error
            good.append((key, record))
        self._recent.add_many(good)
        return entries

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError(f"This store of {self._where} is closed; open it anew.")
