"""Whose turn it is on a lane.

There is no task per waiting request and nothing polls. Every change (a request came, a limit passed, an endpoint is
back, a slot is free) schedules one run of `_pump`, which starts what may start now and, if the rate limit is what holds
the first request back, sets one timer for when it no longer does. These are plain asyncio tasks and timers, because a
task group and a cancel scope per call would cost half as much as the call itself.
"""

import asyncio
from collections.abc import Callable

from metaspo.scheduling.calls import Calls
from metaspo.scheduling.endpoints import Endpoints
from metaspo.scheduling.flight import Flight, State
from metaspo.scheduling.funding import Funding
from metaspo.scheduling.idle import IdleClock
from metaspo.scheduling.pace import Pace
from metaspo.scheduling.queue import PriorityQueue
from metaspo.scheduling.recovery import Recovery, duration
from metaspo.scheduling.settings import LaneSettings

UNKEPT = 8  # answers that may be on their way to the store beside a full lane; in wider lanes, one for each slot


class Dispatcher:
    """Starts the first in a lane's queue as soon as it may go.

    Attributes:
        idle: runs while there are free slots and nothing in the queue.
    """

    idle: IdleClock

    def __init__(
        self,
        settings: LaneSettings,
        *,
        queue: PriorityQueue[Flight],
        endpoints: Endpoints,
        pace: Pace,
        funding: Funding,
        broken: Callable[[BaseException], None],
    ) -> None:
        """`broken` is told of a mistake in here, which must not leave anybody waiting for ever."""
        self._patience = settings.patience
        self._queue = queue
        self._endpoints = endpoints
        self._pace = pace
        self._funding = funding
        self._broken = broken
        self._awake = False
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Dispatcher queued={len(self._queue)} awake={self._awake}>"

    def open(self, calls: Calls, recovery: Recovery) -> None:
        """Take part in a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._calls = calls
        self._recovery = recovery
        self.idle = IdleClock(self._loop.time())

    def close(self) -> None:
        """Wake up no more by itself."""
        if self._timer is not None:
            self._timer.cancel()

    def wake(self) -> None:
        """Something changed: see soon what may start."""
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._awake = False
        now = self._loop.time()
        try:
            while (flight := self._choose(now)) is not None:
                self._calls.launch(flight, now)
            self._calls.filled = self._calls.in_flight
        except BaseException as error:
            self._broken(error)
            raise

    def _choose(self, now: float) -> Flight | None:
        """Take the first flight out of the queue if it may go now, and give it an endpoint."""
        limited = False
        while self._has_room() and (flight := self._queue.first()) is not None:
            if flight.cost is None and not self._funding.reserve(flight):
                if flight.state is State.PARKED and flight.ticket is not None:
                    self._queue.remove(flight.ticket)
                continue
            wait = self._pace.wait(flight, now)
            if wait > self._patience:
                self._recovery.give_up(f"its rate limit is used up for the next {duration(wait)}")
                break
            if wait > 0:
                limited = True
                self._wake_at(now + wait)
                break
            flight.endpoint = self._endpoints.pick(flight.request)
            if flight.endpoint is None:
                if self._endpoints.none_up():
                    self._recovery.failing(now)
                break
            self._pace.note_limited(False, now)
            self.idle.note(False, now)
            return self._queue.pop()
        self._pace.note_limited(limited, now)
        self.idle.note(not self._queue and self._has_room(), now)
        return None

    def _has_room(self) -> bool:
        """Whether a slot is free, and few enough answers would be lost if the process were killed: those in flight and
        those that the store has not kept yet."""
        limit = self._pace.most_in_flight
        in_flight = self._calls.in_flight
        if in_flight + self._recovery.kept_slots >= limit:
            return False
        return in_flight + self._calls.unkept < limit + max(limit, UNKEPT)

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self.wake)
