"""Batched writing: answers wait in memory while those before them are committed at once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice

from metaspo.backends.counted import counted
from metaspo.cache.base import Entry, StoreError
from metaspo.cache.errors import bad_entry
from metaspo.cache.lru import RecentEntries
from metaspo.cache.record import BadRecord, decode_entry, encode_entry

Items = Sequence[tuple[str, bytes]]
Before = bytes | BadRecord | None
"""What was stored under a key before: a record, something that is none, or nothing."""

Commit = Callable[[Items], Awaitable[Sequence[Before]]]
"""Adds what is not there yet; for each item what was there before. Raises `StoreError`; all can then be tried again."""

BATCH = 100
"""Answers per commit at most; those who wait for them are all woken in one turn of the loop."""

GATHER = 0.005
"""Seconds between two commits, so that answers which come fast share them; a lone answer is written at once."""


class _Waiter:
    """Somebody who waits for some answers to be kept."""

    __slots__ = ("done", "missing", "results")

    def __init__(self, missing: int, done: "asyncio.Future[None]") -> None:
        self.missing = missing
        self.done = done
        self.results: dict[str, Entry | StoreError] = {}

    def resolve(self, key: str, result: Entry | StoreError) -> None:
        """One of them is kept, or is not and why."""
        self.results[key] = result
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)


class _Write:
    """An answer on its way to the store, and who waits for it."""

    __slots__ = ("data", "entry", "waiters")

    def __init__(self, entry: Entry, data: bytes) -> None:
        self.entry = entry
        self.data = data
        self.waiters: list[_Waiter] = []

    def resolve(self, key: str, result: Entry | StoreError) -> None:
        """Tell everyone who waits."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter.resolve(key, result)


class BatchWriter:
    """Commits one batch at a time, in the order of the puts.

    A task of its own runs only while there is something to write; `aclose` waits for it. What a failed commit held
    stays here and is tried again with the next put, and at last by `aclose`.
    """

    def __init__(self, where: str, commit: Commit, recent: RecentEntries) -> None:
        self._where = where
        self._commit = commit
        self._recent = recent
        self._writes: dict[str, _Write] = {}
        self._task: asyncio.Task[None] | None = None
        self._committed = -GATHER  # when the last commit was, on the loop's clock
        self._failure: StoreError | None = None
        self.written = 0

    @property
    def waiting(self) -> int:
        """Number of answers that are not stored yet."""
        return len(self._writes)

    def unwritten(self) -> dict[str, Entry]:
        """The answers that are not stored yet."""
        return {key: write.entry for key, write in self._writes.items()}

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        """Write entries where there are none; returns those stored, or why not. Cancelling only ends the waiting."""
        waiter = _Waiter(len(entries), asyncio.get_running_loop().create_future())
        for key, entry in entries.items():
            write = self._writes.get(key)
            if write is None:
                try:
                    write = self._writes[key] = _Write(entry, encode_entry(key, entry))
                except BadRecord as error:
                    waiter.resolve(key, StoreError(f"An answer of {entry.model} cannot be kept: {error}."))
                    continue
            write.waiters.append(waiter)
        if waiter.missing:
            self._start()
            await waiter.done
        return waiter.results

    async def aclose(self) -> None:
        """Write what is waiting, once. Raises `StoreError` if that fails, and gives up on it."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._writes:
            await asyncio.wait([self._start()])
        if self._failure is not None:
            raise StoreError(
                f"{counted(len(self._writes), 'answer is', 'answers are')} not kept. {self._failure}"
            ) from self._failure

    def _start(self) -> asyncio.Task[None]:
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=f"cache writer of {self._where}")
        return self._task

    async def _drain(self) -> None:
        self._failure = None
        clock = asyncio.get_running_loop().time
        try:
            while self._writes:
                wait = self._committed + GATHER - clock()
                if wait > 0 and len(self._writes) < BATCH:
                    await asyncio.sleep(wait)
                await self._write(dict(islice(self._writes.items(), BATCH)))
                self._committed = clock()
        except StoreError as error:
            self._fail(error)
        except BaseException:
            self._fail(StoreError(f"Writing to {self._where} was broken off."))
            raise
        finally:
            self._task = None

    async def _write(self, batch: Mapping[str, _Write]) -> None:
        stored_before = await self._commit([(key, write.data) for key, write in batch.items()])
        kept: list[tuple[str, bytes]] = []
        for (key, write), before in zip(batch.items(), stored_before, strict=True):
            del self._writes[key]
            if (record := self._settle(key, write, before)) is not None:
                kept.append((key, record))
        self._recent.add_many(kept)

    def _settle(self, key: str, write: _Write, before: Before) -> bytes | None:
        """Hand the canonical entry to those who wait for it; returns its record, None if it cannot be read."""
        try:
            if isinstance(before, BadRecord):
                raise before
            kept = write.entry if before is None else decode_entry(key, before)
        except BadRecord as error:
            write.resolve(key, bad_entry(self._where, key, str(error)))
            return None
        self.written += before is None
        write.resolve(key, kept)
        return write.data if before is None else before

    def _fail(self, error: StoreError) -> None:
        """Tell everyone who waits, and keep the answers for the next try."""
        self._failure = error
        for key, write in self._writes.items():
            write.resolve(key, error)
