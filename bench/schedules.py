"""Two usual ways to do a run's work, to compare metaspo's with. Both spread evaluations over replicas in turn."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle

import anyio

from metaspo.backends import Backend, RateLimited, Request
from metaspo.bench.work import Stage, Unit
from metaspo.engine.gather import gather

TIME_LIMIT = 3600.0
BATCH = 50  # of the reference: a whole train split
OPTIMIZER_AT_ONCE = 64

Schedule = Callable[["Asker", Sequence[Stage]], Awaitable[None]]


class Asker:
    """Sends requests straight to backends, and again after the wait that a refusal names."""

    def __init__(self, servers: Sequence[Backend], optimizer: Backend, *, at_once: int) -> None:
        """`at_once`: evaluations that "gather with a semaphore" keeps in flight."""
        self.at_once = at_once
        self._servers = cycle(servers)
        self._optimizer = optimizer

    async def evaluate(self, request: Request) -> None:
        """Ask the next replica."""
        await next(self._servers).complete(request, time_limit=TIME_LIMIT)

    async def optimize(self, request: Request) -> None:
        """Ask the optimizer model until it lets the call through."""
        while True:
            try:
                await self._optimizer.complete(request, time_limit=TIME_LIMIT)
                return
            except RateLimited as refusal:
                await anyio.sleep(refusal.retry_after or 1.0)


async def one_by_one(asker: Asker, stages: Sequence[Stage]) -> None:
    """As the reference implementation does: one candidate after the other, its optimizer calls one by one, its
    evaluations in batches of 50 with a barrier after each."""
    for stage in stages:
        for unit in stage:
            for call in unit.optimizer:
                await asker.optimize(call)
            for start in range(0, len(unit.evaluations), BATCH):
                await gather(map(asker.evaluate, unit.evaluations[start : start + BATCH]))


async def with_barriers(asker: Asker, stages: Sequence[Stage]) -> None:
    """As asynchronous programs often do: everything of one kind at once under a semaphore, then a barrier: all
    analyses, all rewrites, all evaluations of a loop."""
    slots = anyio.Semaphore(asker.at_once)
    optimizer_slots = anyio.Semaphore(OPTIMIZER_AT_ONCE)

    async def evaluate(request: Request) -> None:
        async with slots:
            await asker.evaluate(request)

    async def optimize(request: Request) -> None:
        async with optimizer_slots:
            await asker.optimize(request)

    for stage in stages:
        for step in range(max(map(_depth, stage))):
            await gather(optimize(unit.optimizer[step]) for unit in stage if step < _depth(unit))
        await gather(evaluate(request) for unit in stage for request in unit.evaluations)


def _depth(unit: Unit) -> int:
    return len(unit.optimizer)
