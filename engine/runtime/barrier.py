"""What still waits at a barrier: how long the base model stood idle while the last of a round were waited for.

A round's selection needs all of its candidates, and the outer loop all tasks' inner loops. From when the first of them
is through until the last one is, the base model may run out of work: these seconds are what a barrier costs.
"""

from collections.abc import Coroutine, Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import anyio

from metaspo.engine.gather import gather
from metaspo.engine.runtime.context import RunContext

T = TypeVar("T")
EVENT = "barrier"


@dataclass(frozen=True, slots=True, kw_only=True)
class BarrierWait:
    """One barrier. All in seconds.

    Attributes:
        seconds: from the beginning of the round until all were through.
        waited: of these, since the first was through.
        idle: of the seconds waited, those in which the base model's lane had free slots and nothing queued.
    """

    seconds: float
    waited: float
    idle: float


class Barrier:
    """Keeps the times; knows nothing of clocks. Times and idle seconds are readings of clocks that only go up."""

    def __init__(self, *, now: float) -> None:
        self._began = now
        self._first: tuple[float, float] | None = None

    def through(self, *, now: float, idle: float) -> None:
        """One participant is through; the first one starts the wait."""
        if self._first is None:
            self._first = (now, idle)

    def passed(self, *, now: float, idle: float) -> BarrierWait:
        """All are through."""
        first_now, first_idle = self._first or (now, idle)
        return BarrierWait(seconds=now - self._began, waited=now - first_now, idle=idle - first_idle)


async def gather_timed(context: RunContext, address: str, coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """As `gather`; journals the wait."""
    pending = list(coroutines)
    barrier = Barrier(now=anyio.current_time())

    async def passing(coroutine: Coroutine[Any, Any, T]) -> T:
        result = await coroutine
        barrier.through(now=anyio.current_time(), idle=_idle_seconds(context))
        return result

    try:
        results = await gather(map(passing, pending))
    finally:
        for coroutine in pending:
            coroutine.close()  # those that a cancellation kept from starting
    wait = barrier.passed(now=anyio.current_time(), idle=_idle_seconds(context))
    context.journal.write(EVENT, address, {name: round(seconds, 3) for name, seconds in asdict(wait).items()})
    return results


def _idle_seconds(context: RunContext) -> float:
    return context.gateway.statistics().lanes[context.base.lane].idle_seconds
