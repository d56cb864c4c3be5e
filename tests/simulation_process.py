"""One process of a simulation, and how it can be killed: event loop, store and life."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio
from simulation_ledger import Ledger

from metaspo.backends.loops.virtual_time import VirtualTimeLoop
from metaspo.cache import Entry, Store, StoreError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
WRITES = "add_first"  # the store's function that writes a batch


class Process:
    """One session's life, as the outside sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.dead = False


class SimulationLoop(VirtualTimeLoop):
    """Does what others do in worker threads by itself, `write_seconds` later; or not at all once it is `dead`.

    So the store's own thread has no part in the order of events, and a kill can come in the middle of its work.
    """

    waits_for_sockets = False

    def __init__(self) -> None:
        super().__init__()
        self.write_seconds = 0.0
        self.dead = False

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """Call the function on this loop, later."""
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                if self.dead and getattr(func, "__name__", "") == WRITES:
                    raise sqlite3.OperationalError("the process was killed")
                future.set_result(func(*args))
            except sqlite3.Error as error:
                future.set_exception(error)

        self.call_later(self.write_seconds, work)
        return future


class SessionStore(Store):
    """One process's view of the store: what it had not written when it was killed is lost."""

    def __init__(self, store: Store, process: Process, ledger: Ledger, *, write_seconds: float) -> None:
        self._store = store
        self._process = process
        self._ledger = ledger
        self._write_seconds = write_seconds

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """As the store has it."""
        return await self._store.get_many(keys)

    async def put_many(self, entries: Mapping[str, Entry]) -> Mapping[str, Entry | StoreError]:
        """Written after a while, if the process still lives by then."""
        if self._write_seconds:
            await anyio.sleep(self._write_seconds)
        self._require_life()
        kept = await self._store.put_many(entries)
        self._require_life()
        for key, result in kept.items():
            if isinstance(result, Entry):
                self._ledger.keep(key)
        return kept

    async def aclose(self) -> None:
        """The store outlives the process."""

    def _require_life(self) -> None:
        if self._process.dead:
            raise StoreError("The process was killed.")


class RunFiles:
    """The files of run directories at one moment: what a dead process writes afterwards is undone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = {path: path.read_bytes() for path in self._there()}

    def restore(self) -> None:
        """Make the files what they were."""
        for path in self._there():
            if path not in self._kept:
                path.unlink()
        for path, content in self._kept.items():
            path.write_bytes(content)

    def _there(self) -> list[Path]:
        return [path for path in self._folder.glob("runs/*/*") if path.is_file()]
