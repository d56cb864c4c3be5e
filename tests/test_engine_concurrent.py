"""`gather`: results by position, the first failure as it is, nothing left running."""

import asyncio

import anyio
import pytest

from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.engine.gather import both, gather


async def after(seconds: float, result: int) -> int:
    await anyio.sleep(seconds)
    return result


async def broken(seconds: float, error: Exception) -> int:
    await anyio.sleep(seconds)
    raise error


def test_results_come_by_position_whichever_is_first() -> None:
    assert run_virtual(gather([after(3, 0), after(1, 1), after(2, 2)])) == [0, 1, 2]


@pytest.mark.virtual
async def test_all_run_side_by_side() -> None:
    started = anyio.current_time()
    await gather(after(5, n) for n in range(10))
    assert anyio.current_time() - started == pytest.approx(5)


def test_nothing_gathers_to_nothing() -> None:
    assert run_virtual(gather([])) == []


@pytest.mark.virtual
async def test_the_first_failure_is_raised_as_it_is_and_cancels_the_rest() -> None:
    finished: list[int] = []

    async def slow() -> int:
        await anyio.sleep(10)
        finished.append(1)
        return 1

    with pytest.raises(KeyError, match="first"):
        await gather([slow(), broken(1, KeyError("first")), broken(2, KeyError("second"))])
    assert anyio.current_time() < 5
    assert finished == []


def test_a_failure_within_a_gather_within_a_gather_comes_out_unwrapped() -> None:
    async def inner() -> list[int]:
        return await gather([after(1, 1), broken(1, LookupError("deep"))])

    with pytest.raises(LookupError, match="deep"):
        run_virtual(gather([inner()]))


@pytest.mark.virtual
async def test_a_cancellation_from_outside_reaches_every_coroutine() -> None:
    ended: list[int] = []

    async def noted(number: int) -> None:
        try:
            await anyio.sleep(100)
        finally:
            ended.append(number)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await gather(noted(n) for n in range(3))
    assert sorted(ended) == [0, 1, 2]


def test_both_keeps_which_is_which() -> None:
    async def text() -> str:
        return "text"

    assert run_virtual(both(after(2, 7), text())) == (7, "text")
