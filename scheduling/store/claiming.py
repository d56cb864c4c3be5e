"""Who asks: of all processes that share a store, one asks a question, and the others wait for its answer.

The first in a lane's queue is claimed when its turn has come, so that processes with the same work share it between
them. Cases: the claim is ours, and the call is made; the answer has come into the store since it was looked for; the
claim is another process's, and the flight is put aside, without a slot, until its answer is there or the claim is
free, because that process has failed, or was killed. Who claims pays.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from metaspo.backends import Completion
from metaspo.cache import LocalClaims, Store, StoreError, at_once
from metaspo.scheduling.lanes.flight import Flight, State
from metaspo.scheduling.lanes.single_flight import FlightTable
from metaspo.scheduling.store.writer import completions_in

POLL = 0.25
"""Seconds between two looks at what other processes ask."""

RENEWALS = 3
"""How often a claim is renewed while its lease lasts."""


class Claimer:
    """Claims the questions of one gateway. A task of its own runs while there is something to wait for or to renew."""

    def __init__(self, store: Store, flights: FlightTable) -> None:
        self._store = store
        self._claims = store.claims
        self._local = store.claims if store.local and isinstance(store.claims, LocalClaims) else None
        self._flights = flights
        self._ours: set[str] = set()
        self._asked: set[str] = set()  # whose claims are on their way; cut off, nobody knows whether they are ours
        self._claiming: dict[str, Flight] = {}
        self._elsewhere: dict[str, Flight] = {}
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        flights.on_drop = self._dropped

    def __repr__(self) -> str:
        return f"<Claimer ours={len(self._ours)} elsewhere={len(self._elsewhere)}>"

    def claim(self, flight: Flight) -> State | None:
        """None if the flight's call may be made now, else where the flight is instead; its lane hears of it again."""
        if self._claims is None or flight.key in self._ours:
            return None
        if self._local is None:
            self._claiming[flight.key] = flight
            self._wake()
            return State.CLAIMING
        if not self._local.claim(flight.key):
            self._elsewhere[flight.key] = flight
            self._wake()
            return State.ELSEWHERE
        self._ours.add(flight.key)
        return self._look_again(flight) if self._local.contested else None

    async def aclose(self) -> None:
        """Give back what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._claims is not None:
            self._claims.release(self._ours | self._asked)

    def _look_again(self, flight: Flight) -> State | None:
        try:
            stored = at_once(completions_in(self._store, (flight.key,)))
        except StoreError as error:
            self._flights.fail(flight, error)
            return State.OVER
        if flight.key not in stored:
            return None
        self._answer(flight, stored[flight.key])
        return State.OVER

    def _wake(self) -> None:
        self._news.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="claims")

    async def _work(self) -> None:
        assert self._claims is not None
        lease, clock = self._claims.lease, asyncio.get_running_loop().time
        period = min(POLL, lease / RENEWALS) if lease is not None else POLL
        polled = renewed = clock()
        claiming: dict[str, Flight] = {}
        try:
            while self._claiming or self._elsewhere or (lease is not None and self._ours):
                self._news.clear()
                claiming, self._claiming = self._claiming, {}
                if clock() >= polled + POLL:
                    claiming = {**self._elsewhere, **claiming}
                    polled = clock()
                if claiming:
                    await self._settle(claiming)
                if lease is not None and clock() >= renewed + lease / RENEWALS:
                    renewed = clock()
                    await self._renew()
                with suppress(TimeoutError):
                    async with asyncio.timeout(period):
                        await self._news.wait()
        except Exception as mistake:  # in here or in a store, which must not leave anybody waiting for ever
            for flight in {**claiming, **self._claiming, **self._elsewhere}.values():
                self._fail(flight, mistake)
            raise
        finally:
            self._task = None

    async def _renew(self) -> None:
        assert self._claims is not None
        with suppress(StoreError):  # who looks up or stores something is told; at worst a question is asked twice
            await self._claims.renew(list(self._ours))

    async def _settle(self, flights: Mapping[str, Flight]) -> None:
        """Claim what may be claimed by now, and see what has been answered."""
        assert self._claims is not None
        self._asked = set(flights)
        try:
            ours = await self._claims.claim_many(flights)
            self._ours |= ours
            self._asked.clear()
            look_up = [key for key in flights if self._claims.contested or key not in ours]
            stored = await completions_in(self._store, look_up) if look_up else {}
        except StoreError as error:
            for flight in flights.values():
                self._fail(flight, error)
            return
        for key, flight in flights.items():
            if not self._waits(flight):
                self._release_unless_asked(key)
            elif key in stored:
                self._move(flight, State.OVER)
                self._answer(flight, stored[key])
            elif key in ours:
                self._elsewhere.pop(key, None)
                self._move(flight, State.QUEUED)
            else:
                self._elsewhere[key] = flight
                self._move(flight, State.ELSEWHERE)

    def _fail(self, flight: Flight, error: Exception) -> None:
        if self._waits(flight):
            self._move(flight, State.OVER)
            self._flights.fail(flight, error)

    def _waits(self, flight: Flight) -> bool:
        return flight.state in (State.CLAIMING, State.ELSEWHERE)

    def _move(self, flight: Flight, state: State) -> None:
        flight.home.claimed(flight, state, asyncio.get_running_loop().time())

    def _answer(self, flight: Flight, completion: Completion) -> None:
        flight.home.count_hit(flight, completion)
        self._flights.finish(flight, completion)

    def _release_unless_asked(self, key: str) -> None:
        if self._flights.get(key) is None:
            self._dropped(key)

    def _dropped(self, key: str) -> None:
        """A flight is over: its answer is stored, or there will be none."""
        if self._task is not None:  # else nothing waits
            self._claiming.pop(key, None)
            self._elsewhere.pop(key, None)
        if key in self._ours and self._claims is not None:
            self._ours.discard(key)
            self._claims.release((key,))
