"""How long the event loop is held while answers come in and are kept: the lag that a program around the gateway feels.

A observer sleeps for a millisecond again and again and notes how much later it wakes; a gateway beside it answers
requests of a simulated model at a given rate: with the answers kept in memory, kept on disk, and with no requests.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from metaspo.backends import Message, Request, Simulated
from metaspo.bench.measure import settled_heap
from metaspo.bench.report import Report, Row
from metaspo.cache import DiskStore, MemoryStore, Store
from metaspo.scheduling import Gateway, Lane, LaneSettings

TICK = 0.001
ANSWER = "The answer is " + "forty-two, and so on. " * 25  # about 600 characters
LATENCY = 0.05  # seconds of the simulated model


def measure_lag(*, rate: int, seconds: float) -> Report:
    """Lag at about `rate` fresh answers a second, over so many seconds for each row."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        stores: dict[str, Callable[[], Store] | None] = {
            "no requests": None,
            "answers kept in memory": MemoryStore,
            "answers kept on disk": lambda: DiskStore(Path(folder) / "cache"),
        }
        for name, make in stores.items():
            with settled_heap():
                lags, answered = asyncio.run(_watch(make, rate=rate, seconds=seconds))
            rows.append({"what": name, "answers/s": answered / seconds, **_quantiles(lags)})
    notes = (f"The model is simulated: {LATENCY * 1e3:.0f} ms for each answer of {len(ANSWER)} characters.",)
    return Report(scenario="lag", title="Lag of the event loop", rows=rows, notes=notes)


async def _watch(make: Callable[[], Store] | None, *, rate: int, seconds: float) -> tuple[list[float], int]:
    """The lags of the observer's ticks, and how many answers came meanwhile."""
    if make is None:
        return await _ticks(asyncio.sleep(seconds)), 0
    store = make()
    model = Simulated(lambda _request: ANSWER, latency=LATENCY)
    lane = Lane("model", [model], LaneSettings(concurrency=max(1, round(rate * LATENCY))))
    requests = [
        Request(model="m", messages=(Message("user", f"question {number}"),)) for number in range(round(rate * seconds))
    ]
    try:
        async with Gateway([lane], store=store) as gateway:
            lags = await _ticks(gateway.complete_many(requests, lane="model"))
    finally:
        await store.aclose()
    return lags, len(model.calls)


async def _ticks(work: Awaitable[object]) -> list[float]:
    """How much later than asked for a sleeper wakes, in seconds, until the work is done."""
    done, lags = asyncio.ensure_future(work), []
    while not done.done():
        started = time.perf_counter()
        await asyncio.sleep(TICK)
        lags.append(time.perf_counter() - started - TICK)
    await done
    return lags


def _quantiles(lags: list[float]) -> dict[str, float]:
    ordered = sorted(lags)
    return {
        "lag p50 ms": 1e3 * ordered[len(ordered) // 2],
        "lag p99 ms": 1e3 * ordered[int(len(ordered) * 0.99)],
        "lag max ms": 1e3 * ordered[-1],
    }
