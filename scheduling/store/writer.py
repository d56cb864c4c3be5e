"""A gateway's dealings with its store: looking answers up, and keeping new ones, those of one moment together."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import isawaitable
from typing import TypeVar

from metaspo.backends import Completion
from metaspo.cache import Entry, Store, StoreError
from metaspo.scheduling.budget.account import Account
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.lanes.flight import Flight
from metaspo.scheduling.lanes.single_flight import FlightTable

T = TypeVar("T")
Landed = list[tuple[Flight, Account]]  # flights that came home, and who paid for them


class StoreWriter:
    """Keeps answers and hands them to those who wait, who get none before it is kept."""

    def __init__(self, store: Store, flights: FlightTable, *, wall_clock: Callable[[], float]) -> None:
        self._store = store
        self._flights = flights
        self._wall_clock = wall_clock
        self._entries: dict[str, Entry] = {}  # of the answers of this turn of the loop
        self._landed: Landed = []
        self._batches: dict[asyncio.Task[Mapping[str, Entry | StoreError]], Landed] = {}
        # Answers that came while a store was being asked, which may have missed them; empty for a store on the spot.
        self._lookups = 0
        self._fresh: dict[str, Completion] = {}

    def __repr__(self) -> str:
        return f"<StoreWriter batches={len(self._batches)} of {self._store!r}>"

    async def look_up(self, keys: Sequence[str]) -> dict[str, Completion]:
        """The answers there are. Raises `StoreError`."""
        self._lookups += 1
        try:
            stored = await completions_in(self._store, keys)
            if self._fresh:
                stored.update((key, self._fresh[key]) for key in keys if key in self._fresh)
        finally:
            self._lookups -= 1
            if not self._lookups:
                self._fresh.clear()
        return stored

    def keep(self, flight: Flight, payer: Account, completion: Completion) -> None:
        """Store an answer together with the others of this turn of the loop; then the flight is over."""
        if not self._landed:
            asyncio.get_running_loop().call_soon(self._put_landed)
        request = flight.request
        self._entries[flight.key] = Entry(completion, request.model, request.revision, payer.name, self._wall_clock())
        self._landed.append((flight, payer))

    async def aclose(self, *, grace: float) -> None:
        """Wait for what is on its way to the store for `grace` seconds at most."""
        self._put_landed()
        if self._batches:
            await asyncio.wait(list(self._batches), timeout=grace)
        left = list(self._batches)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _put_landed(self) -> None:
        if not self._landed:
            return
        batch, self._landed = self._landed, []
        entries, self._entries = self._entries, {}
        task = asyncio.get_running_loop().create_task(_put(self._store, entries))
        self._batches[task] = batch
        task.add_done_callback(self._put_done)

    def _put_done(self, task: "asyncio.Task[Mapping[str, Entry | StoreError]]") -> None:
        batch = self._batches.pop(task)
        now = asyncio.get_running_loop().time()
        error: BaseException | None
        if task.cancelled():
            error = RunStopped("The gateway was closed before an answer was kept.")
        else:
            error = task.exception()
        returned: object = {} if error is not None else task.result()
        kept: Mapping[str, object] = returned if isinstance(returned, Mapping) else {}
        for flight, payer in batch:
            result = error or kept.get(flight.key)
            flight.home.stored()
            if not isinstance(result, Entry):
                mute = StoreError(f"The store did not say what it kept: {self._store!r}.")
                self._flights.fail(flight, result if isinstance(result, BaseException) else mute)
                continue
            payer.tally(flight.home.name).store_seconds += now - flight.since
            if self._lookups:
                self._fresh[flight.key] = result.completion
            self._flights.finish(flight, result.completion)


async def completions_in(store: Store, keys: Sequence[str]) -> dict[str, Completion]:
    """The answers that a store has. Raises `StoreError`, also where a store of someone's own returns something else."""
    reading = store.get_many(keys)
    if not isawaitable(reading):
        raise StoreError(f"The store's get_many must be a coroutine function: {store!r}.")
    entries = await _of_store("get_many", reading)
    try:
        return {key: entry.completion for key, entry in entries.items()}
    except AttributeError as error:
        raise StoreError(f"The store's get_many must return a dict of keys and entries: {store!r}.") from error


async def _put(store: Store, entries: Mapping[str, Entry]) -> Mapping[str, Entry | StoreError]:
    """What the store kept; within a task, whatever a store of someone's own does."""
    keeping = store.put_many(entries)
    if not isawaitable(keeping):
        raise StoreError(f"The store's put_many must be a coroutine function: {store!r}.")
    return await _of_store("put_many", keeping)


async def _of_store(method: str, coming: Awaitable[T]) -> T:
    """What a store's method returns; what one of someone's own raises, as a `StoreError`."""
    try:
        return await coming
    except StoreError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise StoreError(f"The store's {method} raised a CancelledError, and nobody had cancelled it.") from error
    except Exception as error:
        raise StoreError(f"The store's {method} failed: {type(error).__name__}: {error}.") from error
