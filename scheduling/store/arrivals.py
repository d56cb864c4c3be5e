"""Single requests on their way in: those of one turn of the event loop are looked up in the store together.

A look-up of its own for every request costs more than all else of a call before it is sent. The first one of a turn
waits for no others, as there mostly are none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from metaspo.backends import Completion, Request
from metaspo.cache import StoreError, at_once
from metaspo.scheduling.lanes.lane_state import LaneState
from metaspo.scheduling.lanes.single_flight import SingleWaiter
from metaspo.scheduling.queue import Priority


class Arrival(NamedTuple):
    """A request, with its key, where it goes to, and who waits for it."""

    key: str
    request: Request
    lane: LaneState
    waiter: SingleWaiter
    priority: Priority


class Arrivals:
    """Hands each its answer out of the store, or admits it to its lane. Whoever gave up meanwhile is passed over."""

    def __init__(
        self,
        look_up: Callable[[Sequence[str]], Awaitable[Mapping[str, Completion]]],
        admit: Callable[[Arrival], None],
    ) -> None:
        self._look_up = look_up
        self._admit = admit
        self._arrived: list[Arrival] = []
        self._others_wait = False  # of this turn

    def __repr__(self) -> str:
        return f"<Arrivals {len(self._arrived)}>"

    def add(self, arrival: Arrival) -> None:
        """Settle it at once if it is the first of its turn of the loop, else after it with all others; for a store on
        the spot."""
        if self._others_wait:
            self._arrived.append(arrival)
            return
        self._others_wait = True
        asyncio.get_running_loop().call_soon(self.settle_arrived)
        at_once(self.settle((arrival,)))

    def settle_arrived(self) -> None:
        """Settle now what else has come in this turn."""
        self._others_wait = False
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        try:
            at_once(self.settle(arrived))
        except BaseException as mistake:  # in here or in a store, which must not leave anybody waiting for ever
            for arrival in arrived:
                _fail(arrival, mistake)
            raise

    async def settle(self, arrivals: Sequence[Arrival]) -> None:
        """Look them up. What goes wrong is told to those whom it concerns."""
        try:
            stored = await self._look_up(list(dict.fromkeys(arrival.key for arrival in arrivals)))
        except StoreError as error:
            if len(arrivals) > 1:  # one entry may be damaged, of which the others know nothing
                for arrival in arrivals:
                    await self.settle((arrival,))
            else:
                _fail(arrivals[0], error)
            return
        for arrival in arrivals:
            if arrival.waiter.future.done():
                continue
            if arrival.key in stored:
                arrival.waiter.future.set_result(stored[arrival.key])
                continue
            try:
                self._admit(arrival)
            except Exception as error:  # noqa: BLE001 - it is for whoever waits
                _fail(arrival, error)


def _fail(arrival: Arrival, error: BaseException) -> None:
    if not arrival.waiter.future.done():
        arrival.waiter.future.set_exception(error)
