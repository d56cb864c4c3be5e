"""A gateway for programs that are not ours: from any thread and any event loop, in batches where they have some.

with Client([Lane("base", [OpenAICompatible(url)])], cache=".metaspo/cache") as client:
    completion = client.complete(request)
"""

import asyncio
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from contextvars import Context, copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, NoReturn, Self

from metaspo.backends import Completion, Request, RequestRejected
from metaspo.cache import PASSWORD, Entry, QuickReader, Store, open_store, request_key
from metaspo.scheduling.budget.account import Account
from metaspo.scheduling.budget.budget import UNLIMITED, Budget
from metaspo.scheduling.client.asked import in_batch, require_messages, require_request
from metaspo.scheduling.client.draws import DrawCounter
from metaspo.scheduling.client.end import close_at_exit, close_dropped, end_left, shut
from metaspo.scheduling.client.failures import CallFailed, call_failed
from metaspo.scheduling.client.loop_thread import CLOSED, LoopThread, result_of, wait_for
from metaspo.scheduling.events import Event
from metaspo.scheduling.gateway import Gateway
from metaspo.scheduling.lanes.call_record import OnCall
from metaspo.scheduling.lanes.lane import Lane, by_name
from metaspo.scheduling.open_files import make_room
from metaspo.scheduling.queue import Priority
from metaspo.scheduling.statistics import AccountStatistics

LOG = logging.getLogger(__name__)
HITS_KEPT = 256  # about as many answers, until they are counted
FORKED = (
    "This client was made before the process forked, and its event loop is not in the child: make one in each process."
)

FROM_WITHIN = (
    "This would wait for the client in the client's own thread, where on_event and on_call are called, for ever: do it "
    "in a thread of yours, or in a coroutine with acomplete or acomplete_many."
)


class _Hit(NamedTuple):
    """An answer that a caller found in its own thread, and that is to be counted; `context` is the caller's, where
    somebody is told of calls."""

    request: Request
    completion: Completion
    lane: str
    context: Context | None


class Answered(NamedTuple):
    """What came of one request of a batch: an answer, from the cache or not, or why there is none."""

    position: int
    answer: Completion | CallFailed
    from_cache: bool


class Client:
    """Completes requests for any thread and any loop: cached, deduplicated, within budget and limits.

    Owns an event loop in a daemon thread, with a `Gateway` in it. An answer that is in the cache is found in the
    caller's thread. Repeated requests at a temperature above 0 are different draws, the same ones in the next run, as
    long as that makes them as often. Use it in a `with`, or call `close`; an interpreter that ends closes it, too,
    and so does who drops it, with a `ResourceWarning`.
    """

    def __init__(
        self,
        lanes: Iterable[Lane],
        *,
        cache: str | Path | None = None,
        budget: Budget = UNLIMITED,
        run: str = "",
        on_event: Callable[[Event], None] | None = None,
        on_call: OnCall | None = None,
    ) -> None:
        """`cache`: a folder, a server's URL, or None for this client's memory alone. `run` is written beside each
        answer that it pays for. `on_event` is called in the client's thread, and so is `on_call`, with a record of
        every request (of answers found in the cache some hundred at a time). Raises `StoreError`, and `ValueError` for
        a cap in dollars where a lane has no prices, and for two lanes of one name."""
        self._lanes = by_name(lanes)
        if budget.dollars is not None:
            _require_prices(self._lanes.values())
        make_room(tuple(self._lanes.values()), warn=LOG.warning)
        self._cache = str(cache or "")
        self._account = Account(run, budget)
        self._on_event = on_event
        self._on_call = on_call
        self._process = os.getpid()
        self._draws = DrawCounter()
        self._hits: deque[_Hit] = deque()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = self._start_loop()
        self._opened = AsyncExitStack()
        self._dropped = weakref.finalize(self, close_dropped, self._process, self._thread, self._opened)
        self._dropped.atexit = False  # which is too late
        try:
            close_at_exit(self, self._thread)
            self._thread.run(self._open())
        except BaseException:
            self.close()
            raise

    def __copy__(self) -> Self:
        return self  # as who copies a program means it: its models go on being asked by one

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Client cannot be sent to another process: make one there, of the same lanes and cache.")

    def __repr__(self) -> str:
        return f"<Client lanes={list(self._lanes)} cache={'memory' if not self._cache else 'kept'}>"

    @property
    def closed(self) -> bool:
        """Whether it answers no more: it was closed, or the process is a fork of the one that made it."""
        return self._closed or self._process != os.getpid()

    @property
    def endpoints(self) -> dict[str, tuple[str, ...]]:
        """By lane, where it is asked: URLs, and the names of what has none."""
        return {
            lane.name: tuple(str(getattr(backend, "base_url", backend.name)) for backend in lane.every_backend)
            for lane in self._lanes.values()
        }

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
        out. Smaller priorities go first. Raises `CallFailed`; and `RuntimeError`, as all that blocks, in `on_event` and
        `on_call`, where it would wait for itself.
        """
        self._require_elsewhere()
        begun = self._begin(request, lane, draw, priority)
        return begun if isinstance(begun, Completion) else wait_for(begun)

    async def acomplete(
        self, request: Request, *, lane: str = "", draw: int | None = None, priority: Priority = ()
    ) -> Completion:
        """The same for a coroutine on any event loop, asyncio's or trio's; cancelled, it waits no longer."""
        begun = self._begin(request, lane, draw, priority)
        return begun if isinstance(begun, Completion) else await result_of(begun)

    def complete_many(
        self,
        requests: Iterable[Request],
        *,
        lane: str = "",
        priority: Priority = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Completion | CallFailed]:
        """Answer requests, by position; blocks. A request that can have no answer has its failure in its place; what
        stops them all (`final` or not) is raised. `progress` is told, by the caller's thread, how many are answered
        and of how many; if it raises, what is not answered yet is withdrawn. Raises `CallFailed`."""
        self._require_elsewhere()
        if progress is None:
            return wait_for(self._begin_many(requests, lane, priority))
        requests = in_batch(requests)
        answers: list[Completion | CallFailed | None] = [None] * len(requests)
        for done, each in enumerate(self.as_completed(requests, lane=lane, priority=priority), 1):
            answers[each.position] = each.answer
            progress(done, len(requests))
        return [answer for answer in answers if answer is not None]

    async def acomplete_many(
        self, requests: Iterable[Request], *, lane: str = "", priority: Priority = ()
    ) -> list[Completion | CallFailed]:
        """The same for a coroutine on any event loop."""
        return await result_of(self._begin_many(requests, lane, priority))

    def as_completed(
        self, requests: Iterable[Request], *, lane: str = "", priority: Priority = ()
    ) -> Iterator[Answered]:
        """The same, each answer as it comes; blocks in between. Who breaks off withdraws what is not answered yet."""
        self._require_elsewhere()
        told: SimpleQueue[Answered | None] = SimpleQueue()
        future = self._begin_many(requests, lane, priority, told.put)
        future.add_done_callback(lambda _: told.put(None))
        try:
            while (answered := told.get()) is not None:
                yield answered
            future.result()
        finally:
            future.cancel()

    def statistics(self) -> AccountStatistics:
        """What was done so far. Raises `CallFailed` once the client is closed."""
        self._require_elsewhere()
        self._require_usable()
        return self._thread.hand_over(self._count()).result()

    def close(self) -> None:
        """Fail what waits, let in what is paid for, close the backends and the cache; idempotent."""
        if self._process != os.getpid():
            return
        self._require_elsewhere()
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._dropped.detach()
            try:
                self._thread.run(self._shut())
            finally:
                self._thread.stop()

    # In the caller's thread

    def _begin(
        self, request: Request, lane: str, draw: int | None, priority: Priority
    ) -> "Completion | Future[Completion]":
        """The answer, if it is in the cache, or else what will have it."""
        self._require_usable()
        try:
            lane = self._lane_of(request, lane)
            asked = self._draws.take(request) if draw is None else replace(request, draw=draw)
            key = request_key(asked)
        except ValueError as error:
            raise call_failed(error) from error
        except (AttributeError, TypeError):
            require_messages([request])
            raise
        entry = self._reader.get(key)
        if entry is not None:
            context = copy_context() if self._on_call is not None else None
            self._hits.append(_Hit(asked, entry.completion, lane, context))
            if not len(self._hits) % HITS_KEPT:  # counted together, so that hits rarely wake the loop
                self._thread.hand_over(self._count())
            return entry.completion
        counted = draw is None and not request.draw
        return self._thread.hand_over(self._complete(asked, key, lane, priority, counted=counted))

    def _begin_many(
        self,
        requests: Iterable[Request],
        lane: str,
        priority: Priority,
        told: Callable[[Answered], None] | None = None,
    ) -> "Future[list[Completion | CallFailed]]":
        self._require_usable()
        requests = in_batch(requests)
        try:
            lanes = {self._lane_of(request, lane) for request in requests}
            if len(lanes) > 1:
                raise ValueError("the requests of one batch are for several lanes: hand over a batch for each")
            asked = [self._draws.take(request) for request in requests]
        except ValueError as error:
            raise call_failed(error) from error
        except (AttributeError, TypeError):
            require_messages(requests)
            raise
        counted = [not request.draw for request in requests]
        return self._thread.hand_over(self._complete_many(asked, counted, "".join(lanes), priority, told))

    def _lane_of(self, request: Request, named: str) -> str:
        require_request(request)
        if not named and len(self._lanes) == 1:
            return next(iter(self._lanes))
        name = named or request.model
        if name not in self._lanes:
            raise ValueError(f"there is no lane for {name!r}; the lanes are: {', '.join(sorted(self._lanes))}")
        return name

    def _require_usable(self) -> None:
        if self._process != os.getpid():
            raise CallFailed(FORKED, kind="closed")
        self._require_open()

    def _require_elsewhere(self) -> None:
        if self._thread.is_current():
            raise RuntimeError(FROM_WITHIN)

    def _require_open(self) -> None:
        if self._closed:
            raise CallFailed(CLOSED, kind="closed")

    # In the client's thread

    def _start_loop(self) -> LoopThread:
        return LoopThread("metaspo client")

    def _open_store(self) -> Store:
        return open_store(self._cache, password=os.environ.get(PASSWORD, ""))

    def _make_gateway(self, store: Store) -> Gateway:
        return Gateway(
            self._lanes.values(), store=store, on_event=self._on_event, on_call=self._on_call, many_programs=True
        )

    async def _open(self) -> None:
        store = self._open_store()
        self._opened.push_async_callback(store.aclose)
        self._reader = QuickReader(store)
        self._opened.callback(self._reader.close)
        self._opened.push_async_callback(end_left, self._thread)
        self._gateway = await self._opened.enter_async_context(self._make_gateway(store))

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
        self,
        requests: Sequence[Request],
        counted: Sequence[bool],
        lane: str,
        priority: Priority,
        told: Callable[[Answered], None] | None,
    ) -> list[Completion | CallFailed]:
        def tell(position: int, answer: Completion | RequestRejected, stored: bool) -> None:
            if told is not None:
                told(Answered(position, _to_caller(answer), stored))

        answers: Sequence[Completion | RequestRejected | None] = [None] * len(requests)
        try:
            self._require_open()
            if requests:
                answers = await self._gateway.complete_many(
                    requests,
                    lane=lane,
                    account=self._account,
                    priority=priority,
                    on_answer=None if told is None else tell,
                )
        except asyncio.CancelledError:
            raise
        except Exception as error:  # every kind of failure is one for the caller
            if isinstance(error, AttributeError | TypeError):
                require_messages(requests)
            raise call_failed(error) from error
        finally:
            for request, answer, ours in zip(requests, answers, counted, strict=True):
                if ours and not isinstance(answer, Completion):
                    self._draws.give_back(request)
        return [_to_caller(answer) for answer in answers]

    def _remember(self, key: str, request: Request, completion: Completion) -> None:
        self._reader.add(key, Entry(completion=completion, model=request.model, revision=request.revision))

    async def _count(self) -> AccountStatistics:
        while self._hits:
            self._count_hit(self._hits.popleft())
        return self._account.statistics()

    def _count_hit(self, hit: _Hit) -> None:
        count = partial(self._gateway.count_hits, ((hit.request, hit.completion),), lane=hit.lane)
        if hit.context is None:
            count(account=self._account)
        else:
            hit.context.run(count, account=self._account)

    async def _shut(self) -> None:
        await shut(self._opened)


def _require_prices(lanes: Iterable[Lane]) -> None:
    for lane in lanes:
        if lane.settings.prices is None:
            raise ValueError(
                f"budget.dollars: what the lane {lane.name} costs is not known, so its calls could not count against "
                "the cap: give its LaneSettings prices, or cap calls or tokens"
            )


def _to_caller(answer: Completion | RequestRejected | None) -> Completion | CallFailed:
    assert answer is not None
    return answer if isinstance(answer, Completion) else call_failed(answer)
