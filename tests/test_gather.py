"""Many coroutines side by side by plain tasks: results by position, failures as they are, nothing left behind."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import anyio
import pytest

from metaspo.engine.gather import gather, gather_many


async def after(seconds: float, value: str, ended: list[str]) -> str:
    try:
        await asyncio.sleep(seconds)
    finally:
        ended.append(value)
    return value


@pytest.mark.virtual
async def test_results_come_by_position_and_none_for_none() -> None:
    ended: list[str] = []
    assert await gather_many(after(seconds, str(seconds), ended) for seconds in (3, 1, 2)) == ["3", "1", "2"]
    assert ended == ["1", "2", "3"]
    assert await gather_many([]) == []


@pytest.mark.virtual
async def test_the_first_failure_ends_the_others_and_is_raised_as_it_is() -> None:
    ended: list[str] = []

    async def failing() -> str:
        await asyncio.sleep(1)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await gather_many([after(5, "a", ended), failing(), failing(), after(5, "b", ended)])
    assert sorted(ended) == ["a", "b"]
    assert asyncio.get_running_loop().time() < 5


@pytest.mark.virtual
@pytest.mark.parametrize("gathering", [gather, gather_many])
async def test_a_failure_keeps_the_cause_and_the_context_it_was_raised_with(
    gathering: Callable[[Iterable[Coroutine[Any, Any, None]]], Awaitable[list[None]]],
) -> None:
    """By which a user finds the line of code that failed, however deep in a run it is called."""
    cause, context = KeyError("of the user's code"), LookupError("while that was handled")

    async def failing() -> None:
        try:
            raise context
        except LookupError:
            raise ValueError("told") from cause

    async def nested() -> None:
        await gathering([failing()])

    with pytest.raises(ValueError, match="told") as failed:
        await gathering([nested()])
    assert (failed.value.__cause__, failed.value.__context__) == (cause, context)


@pytest.mark.virtual
@pytest.mark.parametrize("by_scope", [True, False])
async def test_who_keeps_going_when_cancelled_is_so_again_until_it_has_ended(by_scope: bool) -> None:
    """By a scope around it or by its task's end, and the wait is over when all have ended."""
    awaited: list[int] = []

    async def stubborn() -> None:
        for number in range(5):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                awaited.append(number)

    if by_scope:
        with anyio.move_on_after(1):
            await gather_many([stubborn(), stubborn()])
    else:
        task = asyncio.create_task(gather_many([stubborn(), stubborn()]))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sorted(awaited) == sorted([*range(5), *range(5)])
    assert asyncio.get_running_loop().time() < 2
    await asyncio.sleep(1)  # nothing of the cancellation is left over
