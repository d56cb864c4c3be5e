"""What it costs a run to be looked at: short runs in pairs, one that somebody looks at and one that nobody does.

The page is served as `metaspo optimize --web` does, by a process beside the runs, and read as a browser reads it, by
another: every state, and the answers again whenever a better prompt is kept. Both go on all the time, so that a pair
differs in nothing but the looking: the CPU of a run's process also hangs on what else is at work on its cores.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import floor, sqrt
from pathlib import Path
from typing import Final

import aiohttp
import orjson

from metaspo.bench.instant import InstantModel
from metaspo.bench.measure import Timing, settled_heap, spread
from metaspo.bench.processes import program
from metaspo.bench.report import Report, Row
from metaspo.bench.workload import BASE, OPTIMIZER, answer, filler
from metaspo.cache import DiskStore
from metaspo.engine import Prepared, prepare
from metaspo.engine.api import optimize
from metaspo.engine.watch import serve_beside
from metaspo.scheduling import Gateway, Lane, LaneSettings

CONCURRENCY: Final = 20
TASKS, TRAIN, TEST, ITERATIONS = 2, 30, 30, 2
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where a disk that others use, too, disturbs no turn
NOBODY, LOOKED_AT = "nobody", "its page (--web)"


def measure_watching(*, turns: int, small: bool = False) -> Report:
    """So many pairs of runs on a model that answers at once; who is first changes from pair to pair."""
    timings: dict[str, list[Timing]] = {NOBODY: [], LOOKED_AT: []}
    with (
        tempfile.TemporaryDirectory(prefix="metaspo-bench-", dir=MEMORY if MEMORY.is_dir() else None) as name,
        serve_beside(Path(name), port=0) as address,
        _reader(address) as look_at,
    ):
        folder = Path(name)
        _turn(folder, look_at, "", number=0, small=small)  # what the first turn alone would pay for
        for turn in range(1, turns + 1):
            for who in list(timings)[:: 1 if turn % 2 else -1]:
                timings[who].append(_turn(folder, look_at, who, number=turn, small=small))
    notes = (
        "cpu: of the run's process, all its threads. Ratios are taken pair by pair, to the run that nobody looks at.",
        "The aim is 1.01. The interval is that of the ratios' median, 95%: only one that is narrow enough says so.",
    )
    rows = [_row(who, measured, timings[NOBODY]) for who, measured in timings.items()]
    return Report(scenario="watch", title="A run that is looked at (simulated model)", rows=rows, notes=notes)


def _turn(folder: Path, look_at: Callable[[str], None], who: str, *, number: int, small: bool) -> Timing:
    with tempfile.TemporaryDirectory(prefix=f"turn{number}-", dir=folder) as place:
        prepared = _prepared(Path(place), runs=folder, name=f"run{number}-{len(who)}", small=small)
        assert prepared.directory is not None
        look_at(prepared.directory.name if who == LOOKED_AT else "")
        timing = asyncio.run(_run(prepared))
        look_at("")
        return timing


async def _run(prepared: Prepared) -> Timing:
    settings = LaneSettings(concurrency=CONCURRENCY)
    lanes = [Lane(name, [InstantModel(answer)], settings) for name in ("base", "optimizer")]
    async with DiskStore(prepared.folder / "cache") as store, Gateway(lanes, store=store) as gateway:
        with settled_heap():
            cpu, wall = time.process_time(), time.perf_counter()
            await optimize(prepared, gateway=gateway)
            return Timing(time.process_time() - cpu, time.perf_counter() - wall)


@contextmanager
def _reader(address: str) -> Iterator[Callable[[str], None]]:
    """Somebody who reads the page of the run that is named, in a process of its own; of none for ""."""
    command = program(__name__, address)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        assert process.stdin is not None
        assert process.stdout is not None
        sent, heard = process.stdin, process.stdout

        def look_at(run: str) -> None:
            sent.write(f"{run}\n")
            sent.flush()
            heard.readline()

        look_at("")
        yield look_at
        sent.close()


def small_run(folder: Path) -> Prepared:
    """A run of a few hundred calls."""
    return _prepared(folder, runs=folder / "runs", name="bench", small=True)


def _prepared(folder: Path, *, runs: Path, name: str, small: bool) -> Prepared:
    """A run whose data stand in its config, so that whoever looks gets its answers, too."""
    nowhere = ["http://127.0.0.1:1/v1"]  # the gateway is the benchmark's own
    train, test = (4, 4) if small else (TRAIN, TEST)
    config = {
        "name": name,
        "iterations": 1 if small else ITERATIONS,
        "base": {"model": BASE, "endpoints": nowhere, "max_tokens": 128},
        "optimizer": {"model": OPTIMIZER, "endpoints": nowhere, "max_tokens": 1024},
        "cache": "cache",
        "runs": str(runs),
        "early_rejection": False,  # which would make the work depend on timing
        "tasks": [_task(f"task{number}", train=train, test=test) for number in range(1, TASKS + 1)],
    }
    return prepare(config, folder=folder, data_folder=folder)


def _task(name: str, *, train: int, test: int) -> dict[str, object]:
    return {
        "name": name,
        "role": "source",
        "train": _examples(f"{name}, train", train),
        "test": _examples(f"{name}, test", test),
        "answer": {"kind": "label", "labels": ["yes", "no"], "tag": "answer"},
        "metric": "accuracy",
        "user_prompt": f"{name}: say whether the statement is even, between <answer> and </answer>.\n{{question}}",
    }


def _examples(kind: str, count: int) -> list[dict[str, str]]:
    return [
        {"question": f"Statement {n} ({kind}): {filler(60)}", "answer": "yes" if n % 2 == 0 else "no"}
        for n in range(count)
    ]


def _row(who: str, turns: Sequence[Timing], alone: Sequence[Timing]) -> Row:
    cpu = spread(turn.cpu for turn in turns)
    ratios = sorted(turn.cpu / other.cpu for turn, other in zip(turns, alone, strict=True))
    low = max(0, floor(len(ratios) / 2 - 0.98 * sqrt(len(ratios))))  # as many lie below the median, 39 times in 40
    return {
        "looked at by": who,
        "pairs": len(ratios),
        "cpu s (least)": cpu.least,
        "cpu s (median)": cpu.middle,
        "cpu ratio (least to least)": cpu.least / spread(turn.cpu for turn in alone).least,
        "cpu ratio (median)": spread(ratios).middle,
        "from": ratios[low],
        "to": ratios[-1 - low],
    }


def main() -> None:
    """Read the page at an address of whichever run standard input names, a line each, until that ends."""
    asyncio.run(_read(sys.argv[1]))


async def _read(address: str) -> None:
    looking: asyncio.Future[None] | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        if looking is not None:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
        looking = asyncio.ensure_future(_look(address, run)) if (run := line.strip()) else None
        sys.stdout.write("\n")
        sys.stdout.flush()
    if looking is not None:
        looking.cancel()


async def _look(address: str, run: str) -> None:
    async with aiohttp.ClientSession(address, timeout=aiohttp.ClientTimeout(total=None)) as session:
        points = 0
        while True:  # a run that has not begun is not there yet
            with suppress(aiohttp.ClientError):
                async with session.get("/events", params={"run": run}, raise_for_status=True) as events:
                    kind = b""
                    async for line in events.content:
                        if line.startswith(b"event: "):
                            kind = line[7:].strip()
                        elif line.startswith(b"data: ") and kind == b"state":
                            now = len(orjson.loads(line[6:])["points"])
                            if now != points:
                                points = now
                                async with session.get("/answers", params={"run": run}) as answers:
                                    await answers.read()
            await asyncio.sleep(0.1)
