"""How long a run still takes: a range that the truth lies in, whatever is dropped on the way."""

import asyncio
from math import inf
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import rest_is_slow
from world import World, make_config, make_task

from metaspo.backends import Simulated
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.engine import Observer, Prepared
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.runs.session import make_context
from metaspo.engine.runs.time_cap import TimeCap
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.runtime.time_left import TimeLeft, spoken
from metaspo.scheduling import BudgetExhausted, Gateway, Lane, LaneSettings


class Moments(Observer):
    """Keeps when planned calls were settled, in seconds from the beginning."""

    def __init__(self) -> None:
        self.plan = 0
        self.settled: list[tuple[float, int]] = []

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self.plan = base_calls + optimizer_calls

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        self.settled.append((asyncio.get_running_loop().time(), base_calls + optimizer_calls))


def moments(seed: int, *, width: int, optimizer_seconds: float) -> Moments:
    """A run with early rejection, on virtual time."""
    seen = Moments()
    answer = World(seed, malformed=0.1).answer

    async def session() -> None:
        base = Simulated(answer, latency=lambda _, rng: rng.expovariate(1.0), seed=seed)
        writer = Simulated(answer, latency=lambda _, rng: optimizer_seconds * rng.uniform(0.5, 1.5), seed=seed)
        lanes = [
            Lane("base", [base], LaneSettings(concurrency=width)),
            Lane("optimizer", [writer], LaneSettings(concurrency=8)),
        ]
        config = make_config({"inner": {"candidates": 3, "keep": 3}, "outer": {"candidates": 6}, "iterations": 2})
        tasks = tuple(make_task(name, train=20, test=20) for name in ("a", "b"))
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            prepared = Prepared(config=config, tasks=tasks, folder=Path())
            context = make_context(prepared, gateway, LaneNames(), journal=MemoryJournal(), observer=seen, name="timed")
            await run(context)

    run_virtual(session())
    return seen


@pytest.mark.parametrize("optimizer_seconds", rest_is_slow([2.0, 10.0]))
@pytest.mark.parametrize("width", rest_is_slow([4, 16]))
@pytest.mark.whole
def test_what_is_left_lies_within_the_range_four_times_in_five_at_least(width: int, optimizer_seconds: float) -> None:
    seen = moments(3, width=width, optimizer_seconds=optimizer_seconds)
    end, inside, said = seen.settled[-1][0], 0, 0
    left, waiting = TimeLeft(), list(seen.settled)
    left.begin(seen.plan, now=0.0)
    for now in (end * step / 40 for step in range(1, 40)):
        while waiting and waiting[0][0] <= now:
            moment, calls = waiting.pop(0)
            left.settle(calls, now=moment)
        if (seconds := left.seconds(now=now)) is not None:
            said += 1
            inside += seconds[0] <= end - now <= seconds[1]
    assert said > 30
    assert inside >= 0.8 * said


def test_nothing_is_said_before_anything_is_known_and_nothing_is_left_at_the_end() -> None:
    left = TimeLeft()
    assert left.seconds(now=100.0) is None
    left.begin(10, now=0.0)
    assert left.seconds(now=100.0) is None
    left.settle(5, now=1.0)
    assert left.seconds(now=1.5) is None
    assert left.seconds(now=10.0) is not None
    left.settle(5, now=20.0)
    assert left.seconds(now=20.0) == (0.0, 0.0)


def test_more_calls_of_the_optimizer_than_were_planned_stand_for_none_of_the_base_model() -> None:
    left = TimeLeft()
    left.begin(100, 10, now=0.0)
    for moment in (1.0, 2.0):
        left.settle(40, 8, now=moment)
    assert (left.settled, left.planned) == (90, 110)
    left.settle(20, now=3.0)
    assert left.settled == left.planned


def test_what_was_in_the_cache_says_nothing_of_how_fast_others_are() -> None:
    """As where a run is continued: what it had asked before is settled in a moment."""
    left = TimeLeft()
    left.begin(10_000, now=0.0)
    for moment in (1.0, 2.0):
        left.found += 3_000
        left.settle(3_000, now=moment)
    assert left.seconds(now=4.0) is None
    for moment in range(4, 16):
        left.settle(10, now=float(moment))
    low, high = left.seconds(now=15.0) or (0.0, 0.0)
    assert low < 388 < high


def test_a_range_whose_ends_are_more_than_tenfold_apart_is_not_said() -> None:
    left = TimeLeft()
    left.begin(1_000_000, now=0.0)
    for moment, calls in ((1.0, 900), (40.0, 1), (79.0, 1)):
        left.settle(calls, now=moment)
    assert left.seconds(now=80.0) is None, "a speed that has fallen by a factor of many"
    for moment in range(80, 300):
        left.settle(20, now=float(moment))
    low, high = left.seconds(now=300.0) or (0.0, 1e9)
    assert high <= 10 * low


@given(st.lists(st.tuples(st.floats(0.0, 50.0), st.integers(0, 200)), max_size=80), st.floats(0.0, 1e4))
def test_the_range_is_one_whatever_happens(steps: list[tuple[float, int]], after: float) -> None:
    left, now = TimeLeft(), 0.0
    left.begin(5000, now=now)
    for wait, calls in steps:
        now += wait
        left.settle(calls, now=now)
    seconds = left.seconds(now=now + after)
    if seconds is not None:
        assert 0.0 <= seconds[0] <= seconds[1] < float("inf")
    assert spoken(seconds).endswith(("left", "left unknown"))


def test_a_long_run_keeps_no_more_than_it_needs() -> None:
    left = TimeLeft()
    left.begin(10**6, now=0.0)
    for moment in range(200_000):
        left.settle(1, now=float(moment))
    low, high = left.seconds(now=200_000.0) or (0.0, 0.0)
    assert low < 800_000 < high
    assert len(left._times) < 2000


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (None, "time left unknown"),
        ((1.0, 50.0), "under a minute left"),
        ((100.0, 110.0), "2 min left"),
        ((40.0, 400.0), "1 to 7 min left"),
        ((3600.0, 9000.0), "1.0 to 2.5 h left"),
        ((86400.0, 864000.0), "1.0 to 10.0 days left"),
    ],
)
def test_the_range_in_words(seconds: tuple[float, float] | None, says: str) -> None:
    assert spoken(seconds) == says


@pytest.mark.parametrize(
    ("stops", "says"),
    [
        (inf, ""),
        (1000.0 + 60_000, ""),
        (1000.0 + 28_800, ", stops in 8.0 h at about 55%"),
        (1000.0 + 600, ", stops in 10 min at about 11%"),
        (1000.0, ", stops in 0 min at about 10%"),
        (900.0, ", stops in 0 min at about 10%"),
    ],
)
def test_a_cap_on_time_is_said_where_it_comes_first(stops: float, says: str) -> None:
    """With how far the run gets until then: a tenth is done, and the rest takes 16 hours or so."""
    seconds = (50_000.0, 65_200.0)
    assert spoken(seconds, stops_in=stops - 1000.0, done=0.1) == spoken(seconds) + says
    assert spoken(None, stops_in=0.0, done=0.0) == spoken(None), "nothing is known"
    assert spoken((0.0, 0.0), stops_in=-1.0, done=1.0) == spoken((0.0, 0.0)), "nothing is left"


def test_a_cap_on_time_stands_behind_the_time_left() -> None:
    left = TimeLeft()
    left.begin(100_000, now=0.0)
    for moment in range(1, 1001):
        left.settle(1, now=float(moment))
    left.stops = 2000.0
    words = left.words(now=1000.0)
    assert words.startswith(spoken(left.seconds(now=1000.0)))
    assert words.endswith(", stops in 17 min at about 2%")
    left.stops = 1e6
    assert left.words(now=1000.0) == spoken(left.seconds(now=1000.0))


@pytest.mark.virtual
async def test_what_goes_on_is_ended_when_its_hours_are_over() -> None:
    """And what has ended by then is not; of two caps the one that is over first holds."""
    with TimeCap.of(1.0).kept():
        await anyio.sleep(3599.0)
    for hours, more in ((0.5, None), (0.5, 2.0), (2.0, 0.5)):
        began = anyio.current_time()
        cap = min(TimeCap.of(hours), TimeCap.of(more))
        with pytest.raises(BudgetExhausted, match=r"the 0\.5 hours of this start"), cap.kept():
            await anyio.sleep(7200.0)
        assert anyio.current_time() == began + 1800.0
    with TimeCap.of(None).kept():
        await anyio.sleep(80_000.0)
