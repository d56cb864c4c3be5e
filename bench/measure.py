"""Time and memory of code on a machine that others use too: contenders take turns, the least disturbed turn counts."""

import gc
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one turn: `cpu` over all threads of the process, `wall` on the clock."""

    cpu: float
    wall: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The least and the middle of several measurements."""

    least: float
    middle: float


def timed(work: Callable[[], object]) -> Timing:
    """One turn, from a heap that was just collected."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Timing(time.process_time() - cpu, time.perf_counter() - wall)


async def timed_async(work: Callable[[], Awaitable[object]]) -> Timing:
    """As `timed`, within a running event loop."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await work()
    return Timing(time.process_time() - cpu, time.perf_counter() - wall)


def take_turns(contenders: Mapping[str, Callable[[], object]], *, turns: int) -> dict[str, list[Timing]]:
    """Every contender once, then all again: what disturbs one turn disturbs its neighbours as much."""
    timings: dict[str, list[Timing]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, work in contenders.items():
            timings[name].append(timed(work))
    return timings


def spread(values: Iterable[float]) -> Spread:
    """Least and median."""
    found = sorted(values)
    return Spread(found[0], median(found))


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
