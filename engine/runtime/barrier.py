"""What still waits at a barrier: how long the base model stood idle while the last of a round were waited for.

A round's selection needs all of its candidates, and the outer loop all tasks' inner loops. From when the first of them
is through until the last one is, the base model may run out of work: these seconds are what a barrier costs.
"""

from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import anyio

from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.runtime.context import RunContext

T = TypeVar("T")


class Barrier:
    """Keeps the times; knows nothing of clocks. Times and idle seconds are readings of clocks that only go up."""

    def __init__(self, *, now: float) -> None:
        self._began = now
        self._first: tuple[float, float] | None = None

    def through(self, *, now: float, idle: float) -> None:
        """One participant is through; the first one starts the wait."""
        if self._first is None:
            self._first = (now, idle)

    def passed(self, address: str, *, now: float, idle: float) -> events.Barrier:
        """All are through."""
        first_now, first_idle = self._first or (now, idle)
        return events.Barrier(
            address=address,
            seconds=round(now - self._began, 3),
            waited=round(now - first_now, 3),
            idle=round(idle - first_idle, 3),
        )


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
    context.journal.write(barrier.passed(address, now=anyio.current_time(), idle=_idle_seconds(context)))
    return results


def _idle_seconds(context: RunContext) -> float:
    return context.gateway.statistics().lanes[context.base.lane].idle_seconds
