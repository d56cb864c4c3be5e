"""Run coroutines side by side and collect their results by position."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import anyio

T = TypeVar("T")
U = TypeVar("U")


async def gather(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once; results in the order given, whichever finishes first.

    The first failure cancels the rest and is raised as it is, not wrapped in a group: callers handle a stop of the
    run or a user's mistake where they would without concurrency.
    """
    pending = list(coroutines)
    results: dict[int, T] = {}
    failure: BaseException | None = None

    async def collect(position: int, coroutine: Coroutine[Any, Any, T]) -> None:
        results[position] = await coroutine

    try:
        async with anyio.create_task_group() as group:
            for position, coroutine in enumerate(pending):
                group.start_soon(collect, position, coroutine)
    except BaseExceptionGroup as failures:
        failure = first_leaf(failures)
    finally:
        for coroutine in pending:
            coroutine.close()  # those that a cancellation kept from starting
    try:
        if failure is not None:
            raise failure  # out here, where neither its cause nor its context is touched
    finally:
        del failure
    return [results[position] for position in range(len(pending))]


async def gather_many(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """As `gather`, for a quarter of its cost each: by plain tasks, for many that shield nothing from cancellation.

    Cancelled, they are so again at every turn until they have ended, whatever they do with it; of several failures the
    first by position is raised.
    """
    import asyncio  # what only plans a run never gathers

    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        while left := [task for task in tasks if not task.done()]:
            for task in left:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        failures = [error for task in tasks if not task.cancelled() and (error := task.exception())]
    if failures:
        raise failures[0]
    return [task.result() for task in tasks]


def gatherer(*, watched: bool) -> Callable[[Iterable[Coroutine[Any, Any, T]]], Awaitable[list[T]]]:
    """How evaluations are gathered: where they are watched, as tasks that a cancelled scope reaches at once."""
    return gather if watched else gather_many


def first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure inside a group, however deep."""
    for inner in group.exceptions:
        return first_leaf(inner) if isinstance(inner, BaseExceptionGroup) else inner
    raise AssertionError("a group is never empty")


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Two coroutines side by side, of different results; fails as `gather` does."""
    results: dict[str, Any] = {}

    async def keep(name: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        results[name] = await coroutine

    await gather([keep("first", first), keep("second", second)])
    return results["first"], results["second"]
