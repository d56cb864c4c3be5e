"""An event loop whose clock jumps: hours of waiting in seconds of work, and the same order of events every time.

The loop asks its selector to wait for the next timer; this one's selector moves the clock there instead. Whatever takes
its time only from the loop (sleeps, time limits, the simulated models) runs unchanged on it.
"""

import asyncio
import math
import selectors
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

THREAD_WAIT = 60.0  # real seconds that a standstill waits for worker threads, or for sockets when no timer is left
SOCKET_WAIT = 0.01  # real seconds that open sockets get before the clock jumps
STANDSTILL_WAIT = 1.0  # real seconds before a standstill with no known thread is called a deadlock
TASKS_SHOWN = 20


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set, no thread is out: the program would wait for ever. Says what is waiting."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Starts at time 0 and jumps to the next timer whenever nothing is ready.

    While worker threads are out (`run_in_executor`, `anyio.to_thread`) the clock stands and they are waited for in real
    time. Open sockets are polled before every jump. Raises `Deadlock` from the run when nothing is left to wait for.
    """

    waits_for_sockets = True  # false where all of them are this process's own, and what was sent is there at once

    def __init__(self) -> None:
        self._now = 0.0
        self._executor_calls = 0
        selector = _JumpingSelector(self)
        super().__init__(selector)
        selector.own_descriptors = len(selector.get_map())

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock forward; always by at least the smallest step that a float can show."""
        self._now = max(self._now + seconds, math.nextafter(self._now, math.inf))

    def threads_out(self) -> int:
        """Worker threads that hold a job of this loop and will wake it when they are done."""
        return self._executor_calls + self._anyio_threads_out()

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """As in asyncio; the call is counted until its result is back."""
        future = super().run_in_executor(executor, func, *args)
        self._executor_calls += 1
        future.add_done_callback(self._executor_call_done)
        return future

    if sys.version_info >= (3, 12):

        async def shutdown_default_executor(self, timeout: float | None = None) -> None:
            """As in asyncio; the joining thread is counted, or its time limit would be jumped to."""
            self._executor_calls += 1
            try:
                await super().shutdown_default_executor(timeout)
            finally:
                self._executor_calls -= 1
    else:

        async def shutdown_default_executor(self) -> None:
            """As in asyncio; the joining thread is counted."""
            self._executor_calls += 1
            try:
                await super().shutdown_default_executor()
            finally:
                self._executor_calls -= 1

    def _executor_call_done(self, _: "asyncio.Future[Any]") -> None:
        self._executor_calls -= 1

    def _anyio_threads_out(self) -> int:
        # anyio starts its own threads and puts each back on a list of idle ones from within the loop; there is no
        # public way to count them, so its worker threads are recognized by the attributes they carry.
        if threading.active_count() == 1:
            return 0
        out = 0
        for thread in threading.enumerate():
            idle = getattr(thread, "idle_workers", None)
            if idle is not None and getattr(thread, "loop", None) is self:
                out += thread not in idle and not getattr(thread, "stopping", False)
        return out


class _JumpingSelector(selectors.DefaultSelector):
    """Polls; and when nothing is ready, moves the loop's clock instead of waiting."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop
        self.own_descriptors = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and len(self.get_map()) == self.own_descriptors:
            return []  # what wakes the loop from threads has nothing to wake
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        threads = self._loop.threads_out()
        sockets = self._loop.waits_for_sockets and len(self.get_map()) > self.own_descriptors
        wait = real_wait(threads=threads, sockets=sockets, timer=timeout is not None)
        if wait > 0:
            ready = super().select(wait)
            if ready:
                return ready
        if timeout is None:
            raise Deadlock(_standstill(self._loop, threads))
        self._loop.jump(timeout)
        return []


def real_wait(*, threads: int, sockets: bool, timer: bool) -> float:
    """Real seconds to wait for outside events at a standstill, before the clock jumps or a deadlock is declared."""
    if threads or (sockets and not timer):
        return THREAD_WAIT
    if sockets:
        return SOCKET_WAIT
    return 0.0 if timer else STANDSTILL_WAIT


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fresh `VirtualTimeLoop`. Raises what it raises, or `Deadlock`."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def _standstill(loop: VirtualTimeLoop, threads: int) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    lines = [f"  {task.get_name()}: {_where(task)}" for task in tasks[:TASKS_SHOWN]]
    if len(tasks) > TASKS_SHOWN:
        lines.append(f"  and {len(tasks) - TASKS_SHOWN} more")
    out = f" ({threads} worker threads never came back)" if threads else ""
    return f"at {loop.time():g} virtual seconds nothing is left that could wake {len(tasks)} tasks{out}:\n" + "\n".join(
        lines
    )


def _where(task: "asyncio.Task[Any]") -> str:
    """The chain of coroutines a task waits in, outermost first."""
    names: list[str] = []
    waiting: Any = task.get_coro()
    while (code := getattr(waiting, "cr_code", None)) is not None:
        frame = waiting.cr_frame
        names.append(f"{code.co_qualname}:{frame.f_lineno if frame else '?'}")
        waiting = waiting.cr_await
    return " > ".join(names) or repr(task)
