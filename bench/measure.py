"""Time and memory of code on a machine that others use too: contenders take turns, the least disturbed turn counts."""

import gc
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import median, stdev


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


def keep_to_core(number: int, process: int = 0) -> None:
    """From here on a process, this one for 0, runs on that core alone, where there are several and one can choose."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(process, {number})


@contextmanager
def settled_heap() -> Iterator[None]:
    """A heap without garbage, in which the collector passes over what a contender makes and not over what the
    benchmark holds besides. Where something was left alone before, it stays so."""
    left_alone = gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not left_alone:
            gc.unfreeze()


def timed(work: Callable[[], object]) -> Timing:
    """One turn on a settled heap."""
    with settled_heap():
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        return Timing(time.process_time() - cpu, time.perf_counter() - wall)


async def timed_async(work: Callable[[], Awaitable[object]]) -> Timing:
    """As `timed`, within a running event loop."""
    with settled_heap():
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
    ordered = sorted(values)
    return Spread(ordered[0], median(ordered))


def half_width(values: Sequence[float]) -> float:
    """Half of the 95% interval around the mean of at least two draws, by Student's law."""
    from scipy.special import stdtrit  # here: of many processes' CPU and memory that are measured, it is no part

    return float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / sqrt(len(values))


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes."""
    return _memory("VmHWM:")


def memory() -> int:
    """What this process holds now, in bytes; the most so far where the system does not tell."""
    return _memory("VmRSS:")


def _memory(field: str) -> int:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would tell of the parent what a child held before its program was loaded
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
