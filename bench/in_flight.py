"""Asking for much at once: as many tasks as may be in flight, each asking one thing after the other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

AT_ONCE = 64
T = TypeVar("T")


async def run_all(ask: Callable[[T], Awaitable[object]], items: Iterable[T], *, at_once: int = AT_ONCE) -> None:
    """Ask for every item, so many in flight."""
    rest = iter(items)

    async def worker() -> None:
        for item in rest:
            await ask(item)

    await asyncio.gather(*(worker() for _ in range(at_once)))
