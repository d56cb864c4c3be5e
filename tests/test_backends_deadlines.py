"""One timer for many time limits."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends.http.deadlines import READ_FIRST, STOOD_STILL, Deadlines, TimeLimit
from metaspo.backends.loops.virtual_time import VirtualTimeLoop, run_virtual

Work = tuple[float, float]  # seconds that it takes, seconds that it may take


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=20))
def test_each_ends_with_its_work_or_at_its_limit(works: list[Work]) -> None:
    """Whatever the others do."""

    async def main() -> list[tuple[bool, float]]:
        deadlines = Deadlines(TimeLimit.expire)
        clock = asyncio.get_running_loop().time

        async def one(takes: float, may_take: float) -> tuple[bool, float]:
            try:
                with TimeLimit(may_take, deadlines):
                    await asyncio.sleep(takes)
            except TimeoutError:
                return False, clock()
            return True, clock()

        ends = await asyncio.gather(*(one(*work) for work in works))
        assert len(deadlines) == 0
        return ends

    for (takes, may_take), (whole, at) in zip(works, run_virtual(main()), strict=True):
        assert at == pytest.approx(min(takes, may_take))
        assert whole == (takes < may_take) or takes == pytest.approx(may_take)


@pytest.mark.virtual
async def test_one_timer_serves_all() -> None:
    """However many begin and end in time, the loop has one timer of theirs."""

    loop = asyncio.get_running_loop()
    timers = 0
    call_at = loop.call_at

    def counted(*args: object) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_at(*args)  # type: ignore[arg-type]

    loop.call_at = counted  # type: ignore[method-assign,assignment]
    deadlines = Deadlines(TimeLimit.expire)
    for _ in range(100):
        with TimeLimit(60.0, deadlines):
            pass
    assert timers == 1


async def cancelled_from_outside(work: Callable[[], Awaitable[None]]) -> None:
    """Start the work and cancel it a second later."""
    task = asyncio.ensure_future(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.virtual
async def test_a_task_that_somebody_else_cancels_stays_cancelled() -> None:
    """That is no time-out, not even when the limit passes at the same moment."""

    deadlines = Deadlines(TimeLimit.expire)

    async def within(seconds: float) -> None:
        with TimeLimit(seconds, deadlines):
            await asyncio.sleep(100)

    await cancelled_from_outside(lambda: within(10))
    await cancelled_from_outside(lambda: within(1 + 1e-12))


@pytest.mark.virtual
async def test_what_came_while_the_process_stood_still_is_read_before_its_time_is_over() -> None:
    """And what did not come is over then."""

    loop, came, deadlines = asyncio.get_running_loop(), asyncio.Event(), Deadlines(TimeLimit.expire)
    assert isinstance(loop, VirtualTimeLoop)

    def stand_still() -> None:
        loop.jump(100)
        came.set()

    async def read() -> None:
        with TimeLimit(10, deadlines):
            await came.wait()
            for _ in range(5):
                await asyncio.sleep(0)  # whoever reads takes some turns of the loop

    async def wait() -> None:
        with TimeLimit(10, deadlines):
            await asyncio.sleep(1e6)

    loop.call_later(1, stand_still)
    reading, waiting = asyncio.create_task(read()), asyncio.create_task(wait())
    await reading
    with pytest.raises(TimeoutError):
        await waiting
    assert loop.time() == pytest.approx(101 + READ_FIRST)


@pytest.mark.virtual
async def test_a_process_that_is_always_late_gives_up_all_the_same() -> None:
    """As one that has to share its core: each turn of its loop takes longer than it may be late."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)

    async def be_late() -> None:
        while True:
            loop.jump(5 * STOOD_STILL)
            await asyncio.sleep(0)

    late = asyncio.create_task(be_late())
    with pytest.raises(TimeoutError), TimeLimit(10, Deadlines(TimeLimit.expire)):
        await asyncio.sleep(1e6)
    assert loop.time() < 13
    late.cancel()


@pytest.mark.virtual
async def test_after_close_nothing_passes() -> None:
    """What was expected is forgotten, and no timer is left."""

    passed: list[str] = []
    deadlines = Deadlines(passed.append)
    deadlines.add("one", asyncio.get_running_loop().time() + 1)
    deadlines.close()
    await asyncio.sleep(10)
    assert passed == []


@pytest.mark.virtual
async def test_what_has_passed_has_passed_once_and_no_timer_is_left_behind() -> None:
    """One after the other; closing takes the last timer along, and beginning anew sets another."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_at = loop.call_at

    def noted(when: float, callback: Callable[..., object], *args: object, **more: None) -> asyncio.TimerHandle:
        timer = call_at(when, callback, *args)
        if "Deadlines" in repr(callback):
            timers.append(timer)
        return timer

    loop.call_at = noted  # type: ignore[method-assign,assignment]
    passed: list[tuple[str, float]] = []
    deadlines: Deadlines[str] = Deadlines(lambda item: passed.append((item, loop.time() - start)))
    start = loop.time()
    deadlines.add("late", start + 5)
    deadlines.add("early", start + 1)
    assert [timer.cancelled() for timer in timers] == [True, False]
    deadlines.add("gone", start + 3)
    deadlines.discard("gone")
    await asyncio.sleep(2)
    assert (passed, len(deadlines)) == ([("early", 1.0)], 1)
    await asyncio.sleep(10)
    assert (passed, len(deadlines)) == ([("early", 1.0), ("late", 5.0)], 0)
    deadlines.add("never", loop.time() + 1)
    deadlines.close()
    assert timers[-1].cancelled()
    deadlines.add("again", loop.time() + 1)
    await asyncio.sleep(2)
    assert [item for item, _ in passed] == ["early", "late", "again"]


@pytest.mark.virtual
async def test_a_timer_that_rings_a_little_early_rings_for_what_it_was_set_for() -> None:
    """As loops let it, by the resolution of their clock; what is due later is left for another one."""
    passed: list[str] = []
    deadlines = Deadlines(passed.append)
    start = asyncio.get_running_loop().time()
    deadlines.add("first", start + 1)
    deadlines.add("second", start + 2)
    deadlines._look(start + 1)
    assert passed == ["first"]
    await asyncio.sleep(2)
    assert passed == ["first", "second"]
