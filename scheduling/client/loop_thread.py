"""An event loop in a thread of its own, and how other threads and loops give it work and wait for what comes of it."""

import asyncio
import concurrent.futures
import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, NamedTuple, TypeVar

from metaspo.backends.loops.event_loop import new_event_loop
from metaspo.scheduling.client.failures import CallFailed

T = TypeVar("T")
CLOSED = "This client is closed; make a new one."


class _Task(NamedTuple):
    """Work for the loop, who gets what comes of it, and the context that it is done in."""

    future: "concurrent.futures.Future[Any]"
    work: Coroutine[Any, Any, Any]
    context: Context


class LoopThread:
    """Runs a loop until it is stopped; work that comes later fails as closed."""

    def __init__(self, name: str) -> None:
        self.loop = new_event_loop()
        self._waiting: deque[_Task] = deque()
        self._waking = False
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it, at once; blocks."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def hand_over(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Do it soon, in a copy of the context here; what comes while the loop is being woken goes along. Cancelling
        the future ends the work."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._waiting.append(_Task(future, work, copy_context()))
        if not self._waking:
            self._waking = True
            try:
                self.loop.call_soon_threadsafe(self.take_over)
            except RuntimeError:  # closed meanwhile
                self._fail_left()
        return future

    def take_over(self) -> None:
        """Begin what was handed over. In the loop's thread."""
        self._waking = False  # before the queue is emptied: who comes now wakes the loop again
        while self._waiting:
            future, work, context = self._waiting.popleft()
            _settle(future, self.loop.create_task(work, context=context), self.loop)

    def stop(self) -> None:
        """End the thread; whoever still waits is told."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def stop_after(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it and end the thread, which nobody waits for."""
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self.loop.call_soon_threadsafe(self._stop_after, work)

    def is_current(self) -> bool:
        """Whether this is the thread, which cannot wait for itself."""
        return threading.current_thread() is self._thread

    def join(self) -> None:
        """Return when the thread has ended."""
        self._thread.join()

    def _stop_after(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._last = self.loop.create_task(work())
        self._last.add_done_callback(lambda _: self.loop.stop())

    def _live(self) -> None:
        self.loop.run_forever()
        while left := asyncio.all_tasks(self.loop):  # where closing was broken off
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))  # no task of its own
        self.loop.close()
        self._fail_left()

    def _fail_left(self) -> None:
        """There is no loop any more. Several threads may be at it."""
        self._waking = False  # before the queue is emptied: who comes now sees for himself that the loop is closed
        while True:
            try:
                left = self._waiting.popleft()
            except IndexError:
                return
            left.work.close()
            if left.future.set_running_or_notify_cancel():
                left.future.set_exception(CallFailed(CLOSED, kind="closed"))


def _settle(future: "concurrent.futures.Future[T]", task: "asyncio.Task[T]", loop: asyncio.AbstractEventLoop) -> None:
    """A future gets what comes of a task, and ends it where nobody waits any more."""

    def over(done: "asyncio.Task[T]") -> None:
        if not future.set_running_or_notify_cancel() and not done.cancelled():
            done.exception()  # seen, though nobody is left to tell
        elif done.cancelled():
            if not future.cancelled():
                future.set_exception(CallFailed(CLOSED, kind="closed"))
        elif (error := done.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(done.result())

    def left(waited: "concurrent.futures.Future[T]") -> None:
        if waited.cancelled() and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    task.add_done_callback(over)
    future.add_done_callback(left)


def wait_for(future: "concurrent.futures.Future[T]") -> T:
    """Block until it is there; who is interrupted waits no longer."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def result_of(future: "concurrent.futures.Future[T]") -> T:
    """Wait for it on the loop that runs here, asyncio's or trio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return await _result_under_trio(future)
    return await asyncio.wrap_future(future)


async def _result_under_trio(future: "concurrent.futures.Future[T]") -> T:
    trio: Any = sys.modules["trio"]  # that runs us
    token, done = trio.lowlevel.current_trio_token(), trio.Event()
    future.add_done_callback(lambda _: token.run_sync_soon(done.set))
    try:
        await done.wait()
    except BaseException:
        future.cancel()
        raise
    return future.result()
