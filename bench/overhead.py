"""CPU time of one call: metaspo's whole gateway beside bare aiohttp and other clients, on one fast local server.

The server and each client are processes of their own, the server on core 0 and the client on core 1 where cores can be
chosen; clients take turns. CPU time is all of the client's process, threads that write the cache included.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

import orjson

from metaspo.bench.clients import AT_ONCE, CLIENTS, NEEDS
from metaspo.bench.measure import spread
from metaspo.bench.report import Report, Row

CALLS = 4_000
TURNS = 5
BARE = "bare aiohttp + orjson"
LIMIT = 300.0  # seconds for one client


def overhead(*, calls: int = CALLS, turns: int = TURNS) -> Report:
    """Every client that is installed, in turns."""
    names = [name for name in CLIENTS if find_spec(NEEDS.get(name, "metaspo")) is not None]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with fast_server() as url:
        for _ in range(turns):
            for name in names:
                found[name].append(_measure(name, url, calls))
    bare = [one["cpu"] for one in found[BARE]]
    rows = [_row(name, [one["cpu"] for one in found[name]], [one["wall"] for one in found[name]], bare) for name in names]
    cached = found["metaspo"]
    rows.insert(
        names.index("metaspo") + 1,
        _row("metaspo, cached", [one["cached cpu"] for one in cached], [one["cached wall"] for one in cached], bare),
    )
    missing = sorted(set(CLIENTS) - set(names))
    notes = [
        f"{calls:,} calls of 1.2 KB each, {AT_ONCE} in flight; ratios are taken turn by turn.",
        "metaspo: key, cache miss, single flight, queue, limits, HTTP, store on disk. The aim is a ratio of at most 2.",
    ]
    if missing:
        notes.append(f"Not installed: {', '.join(missing)} (pip install 'metaspo[peers]').")
    return Report(scenario="overhead", title="CPU per call", rows=rows, notes=notes)


@contextmanager
def fast_server() -> Iterator[str]:
    """The base URL of a running `fast_server`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "metaspo.bench.fast_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(process.pid, {0})
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.communicate()


def _measure(name: str, url: str, calls: int) -> dict[str, float]:
    command = [sys.executable, "-m", "metaspo.bench.clients", name, url, str(calls)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=LIMIT)  # noqa: S603  # our own words
    found: dict[str, float] = orjson.loads(done.stdout)
    return found


def _row(name: str, cpu: Sequence[float], wall: Sequence[float], bare: Sequence[float]) -> Row:
    return {
        "client": name,
        "cpu us (least)": spread(cpu).least,
        "cpu us (median)": spread(cpu).middle,
        "wall us (median)": spread(wall).middle,
        "cpu ratio (least)": spread(cpu).least / spread(bare).least,
        "cpu ratio (median)": spread(one / other for one, other in zip(cpu, bare, strict=True)).middle,
    }
