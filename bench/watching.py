"""What it costs a run to be looked at: the same run alone and with a page of it, in turns.

The page is read as a browser reads it, by a process of its own: every state, and the answers again whenever a better
prompt is kept. It is served as `metaspo optimize --web` does, beside the run; and within the run's own process, for
comparison. Another program that shares the machine makes a run dearer, too, whatever it does: one that starts as
a page's does, and looks at nothing, says by how much.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import orjson

from metaspo.backends import Backend, Simulated
from metaspo.bench.instant import InstantModel
from metaspo.bench.measure import Timing, settled_heap, spread
from metaspo.bench.report import Report, Row
from metaspo.bench.workload import BASE, OPTIMIZER, answer, filler
from metaspo.cache import DiskStore
from metaspo.engine import Prepared, prepare
from metaspo.engine.api import optimize
from metaspo.engine.watch import serve_beside, serve_watch
from metaspo.scheduling import Gateway, Lane, LaneSettings

LATENCY = 0.05  # seconds of the simulated model
CONCURRENCY = 20  # of its calls: 400 answers a second
TASKS, TRAIN, TEST, ITERATIONS = 2, 30, 30, 2
TURNS = 5
MEMORY = Path("/dev/shm")  # noqa: S108 - where a disk that others use, too, disturbs no turn
READS = "from metaspo.bench.watching import main; main()"
STARTS = "import sys, metaspo.bench.watching; sys.stdin.read()"
NO_PAGE, WITHIN, BESIDE = "nobody", "a page within its process", "its page (--web)"
OTHER = "nobody, beside another program"


def measure_watching(*, turns: int = TURNS, small: bool = False) -> Report:
    """Runs in turns: alone, with a page of their own, with a page of another process."""
    rows: list[Row] = []
    models: dict[str, Callable[[], Backend]] = {
        f"a model of {CONCURRENCY / LATENCY:.0f} answers a second": lambda: Simulated(answer, latency=LATENCY),
        "a model that answers at once": lambda: InstantModel(answer),
    }
    for model, make in models.items():
        timings: dict[str, list[Timing]] = {NO_PAGE: [], WITHIN: [], BESIDE: [], OTHER: []}
        _turn(make(), NO_PAGE, small=small)  # what the first turn alone would pay for
        for turn in range(turns):
            names = list(timings)
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                timings[name].append(_turn(make(), name, small=small))
        rows += [_row(model, name, measured, timings[NO_PAGE]) for name, measured in timings.items()]
    notes = (
        "cpu: of the run's process, all its threads. Ratios are taken turn by turn, to the run that nobody looks at.",
        "The aim is at most 1.01 times what the run takes beside another program, which starts and looks at nothing.",
        "Wall ratios say something only where nobody else is at work.",
    )
    return Report(scenario="watch", title="A run that is looked at (simulated model)", rows=rows, notes=notes)


def _turn(model: Backend, page: str, *, small: bool) -> Timing:
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        prepared = _prepared(Path(folder), small=small)
        return asyncio.run(_run(prepared, model, page))


async def _run(prepared: Prepared, model: Backend, page: str) -> Timing:
    assert prepared.directory is not None
    runs = prepared.directory.path.parent
    settings = LaneSettings(concurrency=CONCURRENCY)
    lanes = [Lane(name, [model], settings) for name in ("base", "optimizer")]
    async with (
        _page(page, runs) as address,
        DiskStore(prepared.folder / "cache") as store,
        Gateway(lanes, store=store) as gateway,
    ):
        with _reader(address, prepared.directory.name), settled_heap():
            cpu, wall = time.process_time(), time.perf_counter()
            await optimize(prepared, gateway=gateway)
            return Timing(time.process_time() - cpu, time.perf_counter() - wall)


@asynccontextmanager
async def _page(page: str, runs: Path) -> AsyncIterator[str]:
    """The page's address; "" for none."""
    if page == NO_PAGE:
        yield ""
    elif page == OTHER:
        with _program([sys.executable, "-P", "-c", STARTS]):
            yield ""
    elif page == WITHIN:
        async with serve_watch(runs, port=0) as address:
            yield address
    else:
        with serve_beside(runs, port=0) as address:
            yield address


@contextmanager
def _reader(address: str, run: str) -> Iterator[None]:
    """Somebody who reads the page, if there is one, in a process of its own."""
    if not address:
        yield
        return
    with _program([sys.executable, "-P", "-c", READS, address, run]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield


@contextmanager
def _program(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program that goes on until its standard input ends, with the block."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
        assert process.stdin is not None
        yield process
        process.stdin.close()


def small_run(folder: Path) -> Prepared:
    """A run of a few hundred calls."""
    return _prepared(folder, small=True)


def _prepared(folder: Path, *, small: bool) -> Prepared:
    """A run whose data stand in its config, so that whoever looks gets its answers, too."""
    nowhere = ["http://127.0.0.1:1/v1"]  # the gateway is the benchmark's own
    train, test = (4, 4) if small else (TRAIN, TEST)
    config = {
        "name": "bench",
        "iterations": 1 if small else ITERATIONS,
        "base": {"model": BASE, "endpoints": nowhere, "max_tokens": 128},
        "optimizer": {"model": OPTIMIZER, "endpoints": nowhere, "max_tokens": 1024},
        "cache": "cache",
        "runs": "runs",
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


def _row(model: str, name: str, turns: Sequence[Timing], alone: Sequence[Timing]) -> Row:
    walls = [turn.wall / other.wall for turn, other in zip(turns, alone, strict=True)]
    return {
        "what": model,
        "looked at by": name,
        "wall s (median)": spread(turn.wall for turn in turns).middle,
        "cpu s (median)": spread(turn.cpu for turn in turns).middle,
        "wall ratio (least)": spread(walls).least,
        "wall ratio (median)": spread(walls).middle,
        "cpu ratio (median)": spread(turn.cpu / other.cpu for turn, other in zip(turns, alone, strict=True)).middle,
    }


def main() -> None:
    """Read a run's page, of an address, until standard input ends."""
    address, run = sys.argv[1:]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    asyncio.run(_read(address, run))


async def _read(address: str, run: str) -> None:
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    reading = asyncio.ensure_future(_look(address, run))
    await asyncio.wait((ended, reading), return_when=asyncio.FIRST_COMPLETED)
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading


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
