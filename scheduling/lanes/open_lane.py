"""A lane of an open gateway on its event loop: makes the calls and looks that `LaneState` decides on, and wakes it.

There is no task per waiting request and nothing polls. Every change (a request came, an answer, an endpoint is back)
schedules one run of `_pump`, which starts what may start now and sets one timer for whatever is due next. A call that
is out is one task, the backend's own coroutine. These are plain asyncio tasks and timers, because a task group and a
cancel scope per call would cost half as much as the call itself.

What becomes of a call is booked when its task is over, in a turn of the event loop that does nothing else: doing one
thing for all answers that came together costs a tenth less than doing everything for one after the other. An answer is
handed over to be kept; the slot is free before that.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from math import inf, isfinite
from typing import Any

from metaspo.backends import (
    Backend,
    BackendBroken,
    BackendError,
    Completion,
    LimitHints,
    Reply,
    Startable,
    TransientError,
    Usage,
)
from metaspo.backends.http.deadlines import READ_FIRST, STOOD_STILL
from metaspo.backends.loops.closing import close_all
from metaspo.scheduling import events
from metaspo.scheduling.budget.account import Account
from metaspo.scheduling.lanes.endpoints import Endpoint, Health
from metaspo.scheduling.lanes.flight import Call, Flight, State
from metaspo.scheduling.lanes.lane import Lane
from metaspo.scheduling.lanes.lane_state import LaneState
from metaspo.scheduling.lanes.single_flight import FlightTable
from metaspo.scheduling.lanes.surroundings import Surroundings
from metaspo.scheduling.log_context import context_about
from metaspo.scheduling.statistics import LaneStatistics

PROBE_LIMIT = 10.0  # seconds

# Of a completion's fields and of hints; every call pays for looking.
_KINDS: tuple[Any, ...] = (str, str, Usage, (int, float), str, str, str, (LimitHints, type(None)))
_COUNTS = (int, int, int)

Claim = Callable[[Flight], State | None]
Keep = Callable[[Flight, Account, Completion], None]
Listener = Callable[[events.Event], None]


class OpenLane:
    """Drives one lane, from when it is made to `aclose`."""

    def __init__(
        self,
        lane: Lane,
        flights: FlightTable,
        *,
        claim: Claim,
        keep: Keep,
        listener: Listener | None,
        many_programs: bool = False,
    ) -> None:
        """`claim` says whether a call may be made; `keep` stores an answer that an account paid for, and ends the
        flight; `many_programs` as `Surroundings` has it."""
        self._loop = asyncio.get_running_loop()
        self._keep = keep
        self._listener = listener
        self._time_limit = lane.settings.time_limit
        self._calls: dict[asyncio.Task[Reply], Call] = {}
        self._looks: set[asyncio.Task[Mapping[str, float]]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = inf
        self._awake = False
        self._has_read = False  # after it stood still: not again before it was in time, or looked for calls that hang
        self._context = context_about(lane=lane.name)  # what is done here is done for no run in particular
        around = Surroundings(flights, self._emit, self._wake, claim, many_programs)
        now = self._loop.time()
        state = LaneState(lane.name, lane.backends, lane.settings, around, standby=lane.standby, now=now)
        self.state = lane.state = state
        self._backends = lane.every_backend

    def __repr__(self) -> str:
        return f"<OpenLane {self.state}>"

    def statistics(self) -> LaneStatistics:
        """The lane now."""
        return self.state.statistics(self._loop.time())

    async def aclose(self, *, grace: float) -> None:
        """Fail what waits, let answers that are paid for come in for `grace` seconds, if nobody has waited for them as
        long before, end everything else."""
        self.state.unanswered.close(self._loop.time())
        for look in self._looks:
            look.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)
        if awaited := [task for task, call in self._calls.items() if not call.funds.account.overdue]:
            await asyncio.wait(awaited, timeout=grace)
        left = list(self._calls)
        for call in left:
            call.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self.state.closed = True
        if self._timer is not None:
            self._timer.cancel()
        await close_all(backend.aclose() for backend in self._backends)

    def _wake(self) -> None:
        """Something changed: see soon what may start."""
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._pump)

    def _ring(self) -> None:
        self._pump(rings=True)

    def _pump(self, *, rings: bool = False) -> None:
        now, state = self._loop.time(), self.state
        reads_first = now > self._rings_at + STOOD_STILL and not self._has_read
        if reads_first:
            state.look_for_late_at(now + READ_FIRST)
        if rings:
            self._has_read, self._timer, self._rings_at = reads_first, None, inf
        try:
            for endpoint in state.tick(now):
                self._look_at(endpoint)
            self._awake = False
            while (call := state.next_start(now)) is not None:
                self._launch(call, now)
        except BaseException as mistake:  # in here, which must not leave anybody waiting for ever
            self._awake = False
            state.unanswered.fail_waiting(mistake, now)
            raise
        if (wake_at := state.wake_at()) < self._rings_at:
            self._set_timer(wake_at)

    def _set_timer(self, when: float) -> None:
        """Ring then; it may ring too early, which does no harm."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = self._loop.call_at(when, self._ring), when

    def _launch(self, call: Call, now: float) -> None:
        backend = call.endpoint.backend
        try:
            work = backend.complete(call.flight.request, time_limit=self._time_limit)
            if not asyncio.iscoroutine(work):
                raise TypeError(f"`complete` must be `async def`, and gave a {type(work).__name__} at once")
        except Exception as bug:  # noqa: BLE001 - a mistake in the backend, which is for those who wait
            self.state.unanswered.failed(call, _as_told(backend, bug), now)
            return
        task = self._loop.create_task(work, context=self._context.copy())
        call.cancel = task.cancel
        self._calls[task] = call
        task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[Reply]") -> None:
        """A call has ended, in whatever way."""
        call, now, state = self._calls.pop(task), self._loop.time(), self.state
        try:
            if task.cancelled() and task.cancelling():
                state.unanswered.cancelled(call, now)
            elif (error := _why_no_reply(call.endpoint.backend, task)) is not None:
                state.unanswered.failed(call, error, now)
            else:
                reply = task.result()
                payer = state.landed(call, reply, now)
                if payer is not None:
                    self._keep(call.flight, payer, reply.completion)
        except BaseException as mistake:  # in here, which must not leave anybody waiting for ever
            state.unanswered.broken(call, mistake, now)
            raise

    def _look_at(self, endpoint: Endpoint) -> None:
        look = self._loop.create_task(_look(endpoint, endpoint.health), context=self._context.copy())
        self._looks.add(look)
        look.add_done_callback(partial(self._looked, endpoint, endpoint.health))

    def _looked(self, endpoint: Endpoint, was: Health, look: "asyncio.Task[Mapping[str, float]]") -> None:
        self._looks.discard(look)
        if look.cancelled():
            return
        error = look.exception()
        if error is None:
            self.state.looks.went_well(endpoint, was, look.result(), self._loop.time())
        else:
            self.state.looks.failed(endpoint, was, error, self._loop.time())
        self._wake()
        if error is not None and not isinstance(error, BackendError):
            raise error  # a mistake in the backend, for the loop to tell

    def _emit(self, event: events.Event) -> None:
        if self._listener is not None:
            # a listener that raises must not disturb the lane
            self._loop.call_soon(self._listener, event, context=self._context)


def _why_no_reply(backend: Backend, task: "asyncio.Task[Reply]") -> BaseException | None:
    """Why a call that has ended brought no answer; None where it did."""
    if task.cancelled():
        return _broken(backend, "raised a CancelledError, and nobody had cancelled its call")
    if (error := task.exception()) is not None:
        return _as_told(backend, error)
    reply: object = task.result()
    if not isinstance(reply, Reply):
        return _broken(backend, f"returned a {type(reply).__name__}, and must return a metaspo.backends.Reply")
    completion: object = reply.completion
    if not (isinstance(completion, Completion) and all(map(isinstance, (*completion, reply.hints), _KINDS))):
        holds = "no Completion with texts, a Usage and a latency in seconds, or hints that are no LimitHints"
        return _broken(backend, f"returned a Reply that holds {holds}")
    usage = completion.usage
    if not all(map(isinstance, usage, _COUNTS)) or min(usage) < 0:
        return _broken(backend, f"returned a {usage}: its counts must be whole numbers from 0 on")
    if not isfinite(completion.latency):
        return _broken(backend, f"returned a Completion whose latency is {completion.latency}, and must be seconds")
    return None


def _as_told(backend: Backend, error: BaseException) -> BaseException:
    """What a backend raised, to those who wait: they hear whose mistake it is."""
    if isinstance(error, BackendError) or not isinstance(error, Exception):
        return error
    broken = _broken(
        backend,
        f"raised {type(error).__name__}: {error} (what may pass it raises as a metaspo.backends.TransientError, what "
        "concerns one request as a RequestRejected)",
    )
    broken.__cause__ = error
    return broken


def _broken(backend: Backend, what: str) -> BackendBroken:
    kind = type(backend)
    return BackendBroken(f"The backend {backend.name} ({kind.__module__}.{kind.__qualname__}) {what}.")


async def _look(endpoint: Endpoint, health: Health) -> Mapping[str, float]:
    """Ask an endpoint that is up for its gauges, start a cold one, and any that may have to be started again; probe all
    but the cold."""
    backend = endpoint.backend
    if health is Health.UP:
        return await backend.load()
    if isinstance(backend, Startable):
        await backend.start()  # however long: no probe that ran out would see it come up
    if health is Health.COLD:
        return {}  # no clock ran: neither a call's time limit nor the lane's patience
    try:
        async with asyncio.timeout(PROBE_LIMIT):
            await backend.probe()
    except TimeoutError:
        raise TransientError(f"{backend.name} did not answer a probe.") from None
    return {}
