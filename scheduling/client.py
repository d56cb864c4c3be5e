"""A gateway for programs that are not ours: from any thread and any event loop, in batches where they have some.

with Client([Lane("base", [OpenAICompatible(url)])], cache=".metaspo/cache") as client:
    completion = client.complete(request)
"""

import asyncio
import atexit
import concurrent.futures
import logging
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from metaspo.backends import Completion, Request, RequestRejected
from metaspo.backends.event_loop import new_event_loop
from metaspo.cache import PASSWORD, Entry, QuickReader, open_store, request_key
from metaspo.scheduling.account import Account
from metaspo.scheduling.budget import UNLIMITED, Budget
from metaspo.scheduling.draws import DrawCounter
from metaspo.scheduling.events import Event
from metaspo.scheduling.failures import CallFailed, call_failed
from metaspo.scheduling.gateway import Gateway
from metaspo.scheduling.lane import Lane
from metaspo.scheduling.open_files import make_room
from metaspo.scheduling.queue import Priority
from metaspo.scheduling.statistics import AccountStatistics

T = TypeVar("T")
LOG = logging.getLogger(__name__)
HITS_KEPT = 256  # about as many answers, until they are counted
CLOSED = "This client is closed; make a new one."
FORKED = (
    "This client was made before the process forked, and its event loop is not in the child: make one in each process."
)


class _Hit(NamedTuple):
    """An answer that a caller found in its own thread, and that is to be counted."""

    request: Request
    completion: Completion
    lane: str


class _Task(NamedTuple):
    """Work for the client's loop, and who gets what comes of it."""

    future: "concurrent.futures.Future[Any]"
    work: Coroutine[Any, Any, Any]


class Client:
    """Completes requests for any thread and any loop: cached, deduplicated, within budget and limits.

    Owns an event loop in a daemon thread, with a `Gateway` in it. An answer that is in the cache is found in the
    caller's thread. Repeated requests at a temperature above 0 are different draws, the same ones in the next run, as
    long as that makes them as often. Use it in a `with`, or call `close`; an interpreter that ends closes it, too.
    """

    def __init__(
        self,
        lanes: Iterable[Lane],
        *,
        cache: str | Path = "",
        budget: Budget = UNLIMITED,
        run: str = "",
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        """`cache`: a folder, a server's URL, or "" for this client's memory alone. `run` is written beside each answer
        that it pays for. `on_event` is called in the client's thread. Raises `StoreError`."""
        self._lanes = {lane.name: lane for lane in lanes}
        make_room(tuple(self._lanes.values()), warn=LOG.warning)
        self._cache = str(cache)
        self._account = Account(run, budget)
        self._on_event = on_event
        self._process = os.getpid()
        self._draws = DrawCounter()
        self._hits: deque[_Hit] = deque()
        self._waiting: deque[_Task] = deque()
        self._waking = False
        self._closing = threading.Lock()
        self._closed = False
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="metaspo client", daemon=True)
        self._thread.start()
        self._opened = AsyncExitStack()
        try:
            self._run(self._open())
        except BaseException:
            self.close()
            raise
        _close_at_exit(self)

    def __repr__(self) -> str:
        return f"<Client lanes={list(self._lanes)} cache={'memory' if not self._cache else 'kept'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def complete(
        self, request: Request, *, lane: str = "", draw: int | None = None, priority: Priority = ()
    ) -> Completion:
        """Answer one request; blocks. For many at once `complete_many` is much cheaper.

        `lane`: the only one, or that named as the model, if left out. `draw`: which sample is meant, counted if left
        out. Smaller priorities go first. Raises `CallFailed`.
        """
        found, future = self._begin(request, lane, draw, priority)
        if future is None:
            assert found is not None
            return found
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def acomplete(
        self, request: Request, *, lane: str = "", draw: int | None = None, priority: Priority = ()
    ) -> Completion:
        """The same for a coroutine on any event loop, asyncio's or trio's; cancelled, it waits no longer."""
        found, future = self._begin(request, lane, draw, priority)
        if future is None:
            assert found is not None
            return found
        return await _result_of(future)

    def complete_many(
        self, requests: Sequence[Request], *, lane: str = "", priority: Priority = ()
    ) -> list[Completion | CallFailed]:
        """Answer requests, by position; blocks. A request that can have no answer has its failure in its place; what
        stops them all (`final` or not) is raised. Raises `CallFailed`."""
        future = self._begin_many(requests, lane, priority)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def acomplete_many(
        self, requests: Sequence[Request], *, lane: str = "", priority: Priority = ()
    ) -> list[Completion | CallFailed]:
        """The same for a coroutine on any event loop."""
        return await _result_of(self._begin_many(requests, lane, priority))

    def statistics(self) -> AccountStatistics:
        """What was done so far. Raises `CallFailed` once the client is closed."""
        self._require_usable()
        future: concurrent.futures.Future[AccountStatistics] = concurrent.futures.Future()
        self._hand_over(future, self._count())
        return future.result()

    def close(self) -> None:
        """Fail what waits, let in what is paid for, close the backends and the cache; idempotent."""
        if self._process != os.getpid():
            return
        with self._closing:
            if self._closed:
                return
            self._closed = True
            try:
                self._run(self._shut())
            finally:
                self._stop_loop()

    # In the caller's thread

    def _begin(
        self, request: Request, lane: str, draw: int | None, priority: Priority
    ) -> "tuple[Completion | None, concurrent.futures.Future[Completion] | None]":
        """The answer, if it is in the cache, or else who will have it."""
        self._require_usable()
        try:
            lane = lane or self._lane_of(request)
            asked = self._draws.take(request) if draw is None else replace(request, draw=draw)
            key = request_key(asked)
        except ValueError as error:
            raise call_failed(error) from error
        entry = self._reader.get(key)
        if entry is not None:
            self._hits.append(_Hit(asked, entry.completion, lane))
            if not len(self._hits) % HITS_KEPT:  # counted together, so that hits rarely wake the loop
                self._hand_over(concurrent.futures.Future(), self._count())
            return entry.completion, None
        future: concurrent.futures.Future[Completion] = concurrent.futures.Future()
        counted = draw is None and not request.draw
        self._hand_over(future, self._complete(asked, key, lane, priority, counted=counted))
        return None, future

    def _begin_many(
        self, requests: Sequence[Request], lane: str, priority: Priority
    ) -> "concurrent.futures.Future[list[Completion | CallFailed]]":
        self._require_usable()
        try:
            asked = [self._draws.take(request) for request in requests]
            if not lane and asked:
                lane = self._lane_of(asked[0])
                if any(self._lane_of(request) != lane for request in asked):
                    raise ValueError("the requests of one batch are for several lanes: hand over a batch for each")
        except ValueError as error:
            raise call_failed(error) from error
        future: concurrent.futures.Future[list[Completion | CallFailed]] = concurrent.futures.Future()
        counted = [not request.draw for request in requests]
        self._hand_over(future, self._complete_many(asked, counted, lane, priority))
        return future

    def _lane_of(self, request: Request) -> str:
        if len(self._lanes) == 1:
            return next(iter(self._lanes))
        if request.model in self._lanes:
            return request.model
        raise ValueError(f"there is no lane for {request.model!r}; the lanes are: {', '.join(sorted(self._lanes))}")

    def _require_usable(self) -> None:
        if self._process != os.getpid():
            raise CallFailed(FORKED, kind="closed")
        self._require_open()

    def _require_open(self) -> None:
        if self._closed:
            raise CallFailed(CLOSED, kind="closed")

    def _hand_over(self, future: "concurrent.futures.Future[T]", work: Coroutine[Any, Any, T]) -> None:
        """Have the client's loop do it; those who come while it is being woken go along."""
        self._waiting.append(_Task(future, work))
        if not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._take_over)
            except RuntimeError:  # closed meanwhile
                self._fail_left()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # In the client's thread

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._take_over()  # what came too late, or is left where closing was broken off, is cancelled and told
        while left := asyncio.all_tasks(self._loop):
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))  # no task of its own
        self._loop.close()
        self._fail_left()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

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

    async def _open(self) -> None:
        store = open_store(self._cache, password=os.environ.get(PASSWORD, ""))
        self._opened.push_async_callback(store.aclose)
        self._reader = QuickReader(store)
        self._opened.callback(self._reader.close)
        self._opened.push_async_callback(self._end_left)
        gateway = Gateway(self._lanes.values(), store=store, on_event=self._on_event, many_programs=True)
        self._gateway = await self._opened.enter_async_context(gateway)

    def _take_over(self) -> None:
        self._waking = False  # before the queue is emptied: who comes now wakes the loop again
        while self._waiting:
            future, work = self._waiting.popleft()
            _settle(future, self._loop.create_task(work), self._loop)

    async def _complete(
        self, request: Request, key: str, lane: str, priority: Priority, *, counted: bool
    ) -> Completion:
        try:
            self._require_open()
            completion = await self._gateway.complete(request, lane=lane, account=self._account, priority=priority)
        except BaseException as error:
            if counted:
                self._draws.give_back(request)
            if isinstance(error, asyncio.CancelledError):
                raise
            raise call_failed(error) from error
        self._remember(key, request, completion)
        return completion

    async def _complete_many(
        self, requests: Sequence[Request], counted: Sequence[bool], lane: str, priority: Priority
    ) -> list[Completion | CallFailed]:
        answers: Sequence[Completion | RequestRejected | None] = [None] * len(requests)
        try:
            self._require_open()
            if requests:
                answers = await self._gateway.complete_many(
                    requests, lane=lane, account=self._account, priority=priority
                )
        except asyncio.CancelledError:
            raise
        except Exception as error:  # every kind of failure is one for the caller
            raise call_failed(error) from error
        finally:
            for request, answer, ours in zip(requests, answers, counted, strict=True):
                if ours and not isinstance(answer, Completion):
                    self._draws.give_back(request)
        return [answer if isinstance(answer, Completion) else _failure(answer) for answer in answers]

    def _remember(self, key: str, request: Request, completion: Completion) -> None:
        self._reader.add(key, Entry(completion=completion, model=request.model, revision=request.revision))

    async def _count(self) -> AccountStatistics:
        while self._hits:
            hit = self._hits.popleft()
            self._gateway.count_hits((hit.completion,), witness=hit.request, lane=hit.lane, account=self._account)
        return self._account.statistics()

    async def _end_left(self) -> None:
        """The gateway is closed: whoever waits for it is told so."""
        self._take_over()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*left, return_exceptions=True)

    async def _shut(self) -> None:
        try:
            await self._opened.aclose()
        finally:
            await self._loop.shutdown_default_executor()


def _failure(answer: RequestRejected | None) -> CallFailed:
    assert answer is not None
    return call_failed(answer)


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


async def _result_of(future: "concurrent.futures.Future[T]") -> T:
    """Wait for a future on the loop that runs here."""
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


def _close_at_exit(client: Client) -> None:
    """Before the interpreter's own pools of threads are shut, which keep answers: `atexit` comes too late."""
    register: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)
    reference = weakref.ref(client)

    def close() -> None:
        if (left := reference()) is not None:
            left.close()

    register(close)
