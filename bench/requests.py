"""Time and memory of a gateway alone, as a program that embeds it uses one, while more and more requests go through it.

Every row is a process of its own, with a model that answers at once. At first that model answers nothing until the
queue has stopped growing, so that as much is queued as ever will be. A plain loop over the same requests and answers is
measured beside: what it takes is the caller's, not the gateway's.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import overload

import orjson

from metaspo.backends import Completion, Message, Reply, Request, Sampling
from metaspo.bench.instant import InstantModel
from metaspo.bench.measure import peak_memory, timed
from metaspo.bench.processes import measured_apart
from metaspo.bench.report import Report, Row
from metaspo.bench.workload import filler
from metaspo.cache import DiskStore, Entry, Store
from metaspo.cache.batched import MEMORY_BYTES
from metaspo.cache.disk.folder import SETTINGS as CACHE_SETTINGS
from metaspo.scheduling import Gateway, Lane, LaneSettings
from metaspo.scheduling.gateway import BATCH_WINDOW

REQUESTS = (10_000, 100_000)
FULL = (*REQUESTS, 1_000_000)
LANE = "model"
BATCH = 1_000  # requests that the stream's caller asks at once
BATCHES = 8  # of them under way together
SETTINGS = LaneSettings(concurrency=256, requests_per_minute=10**9, tokens_per_minute=10**12)
PAGES_MIB = int(CACHE_SETTINGS["sqlite_cache_size"]) * 4096 >> 20  # that SQLite holds of the file in memory at most
TICK = 0.002  # seconds between two looks at the queue
STILL = 20  # turns of the event loop without a new request: there are none to come before answers do
SYSTEM = Message("system", filler(150))
QUESTION = filler(120)
ANSWER = filler(40)


class Requests(Sequence[Request]):
    """So many different requests of about 1.2 KB, made when they are asked for: they take no memory themselves.

    `share`: how many in a row have one system prompt; all of them if that is 0.
    """

    def __init__(self, count: int, *, share: int = 0) -> None:
        self._numbers = range(count)
        self._share = share

    def __repr__(self) -> str:
        return f"<Requests {len(self)}>"

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Request: ...

    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...

    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        if isinstance(index, slice):
            return [_request(number, self._share) for number in self._numbers[index]]
        return _request(self._numbers[index], self._share)


class PatientModel(InstantModel):
    """Answers at once, but nothing before it is told to.

    Attributes:
        begin: set when it may answer.
    """

    def __init__(self) -> None:
        super().__init__(answer, name="patient")
        self.begin = asyncio.Event()

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """The answer, when the time has come."""
        await self.begin.wait()
        return await super().complete(request, time_limit=time_limit)


class ForgetfulStore(Store):
    """Keeps nothing: what memory is taken beside it is the gateway's."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """None of them."""
        return {}

    async def put_many(self, entries: Mapping[str, Entry]) -> Mapping[str, Entry]:
        """The entries themselves."""
        return entries

    async def aclose(self) -> None:
        """There is nothing to write."""


async def stream(gateway: Gateway, requests: Sequence[Request]) -> int:
    """Ask batch after batch, some of them at once, and keep no answer; how many there were."""
    answered = 0
    starts = iter(range(0, len(requests), BATCH))

    async def ask() -> None:
        nonlocal answered
        for start in starts:
            results = await gateway.complete_many(requests[start : start + BATCH], lane=LANE)
            answered += sum(isinstance(result, Completion) for result in results)

    await asyncio.gather(*(ask() for _ in range(BATCHES)))
    return answered


async def one_batch(gateway: Gateway, requests: Sequence[Request]) -> int:
    """Ask for all at once; how many answers there were."""
    results = await gateway.complete_many(requests, lane=LANE)
    return sum(isinstance(result, Completion) for result in results)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask a gateway.

    Attributes:
        on_disk: whether answers are stored there, or not at all.
        keeps: whether the caller gets all answers at once, and so has to hold them.
    """

    ask: Callable[[Gateway, Sequence[Request]], Awaitable[int]]
    on_disk: bool = True
    keeps: bool = False


ALONE = "no gateway"
WAYS = {
    "stream, no store": Way(stream, on_disk=False),
    "stream": Way(stream),
    "one batch": Way(one_batch, keeps=True),
}


@dataclass(slots=True)
class Seen:
    """What was seen of the requests: how many were queued at most, answered, and stored."""

    most_queued: int | None = None
    answered: int = 0
    stored: int | None = None


def measure_requests(counts: Sequence[int]) -> Report:
    """Every way of asking, with each number of requests."""
    rows: list[Row] = []
    for count in counts:
        alone = measured_apart(__name__, ALONE, count)
        rows.append(alone)
        for name, way in WAYS.items():
            row = measured_apart(__name__, name, count)
            rows.append({**row, "own MiB": _own(row, alone) if way.keeps else row["MiB over start"]})
    return Report(
        scenario="requests",
        title="More and more fresh requests through one gateway, on a model that answers at once",
        rows=rows,
        notes=(
            f"{ALONE}: a loop that makes the requests and their answers and keeps the answers.",
            f"stream: {BATCHES} batches of {BATCH:,} requests at a time, their answers dropped. one batch: a single "
            "`complete_many` of all requests, each of them made when it is asked for; the caller gets all answers.",
            "MiB over start: the most the process held beyond what it had imported. own MiB: that without the answers "
            f"that the caller holds, as measured in the row `{ALONE}`.",
            f"The store keeps up to {MEMORY_BYTES >> 20} MiB of recent answers, SQLite up to {PAGES_MIB} MiB of pages: "
            "memory grows until both are full, for some 30,000 requests.",
            f"most queued: in the lane, with a model that at first does not answer. A batch has {BATCH_WINDOW:,} "
            "requests under way, in flight or queued, before it waits for answers.",
        ),
    )


def one_row(name: str, count: int) -> Row:
    """Ask so many requests in one way, in this process. Raises `AssertionError` if an answer is missing."""
    seen = Seen()
    way = None if name == ALONE else WAYS[name]
    before = peak_memory()
    timing = timed(lambda: _answer_alone(count, seen) if way is None else asyncio.run(_ask(way, count, seen)))
    after = peak_memory()
    assert seen.answered == count, f"{seen.answered} of {count} requests were answered"
    return {
        "through": name,
        "requests": count,
        "cpu us/request": 1e6 * timing.cpu / count,
        "wall us/request": 1e6 * timing.wall / count,
        "MiB over start": (after - before) / 2**20,
        "own MiB": None,
        "most queued": seen.most_queued,
        "stored": seen.stored,
    }


def _own(row: Row, alone: Row) -> float:
    with_answers, answers = row["MiB over start"], alone["MiB over start"]
    assert isinstance(with_answers, float)
    assert isinstance(answers, float)
    return with_answers - answers


def _answer_alone(count: int, seen: Seen) -> None:
    model = PatientModel()

    async def answer_all() -> list[Completion]:
        model.begin.set()
        return [(await model.complete(request, time_limit=1.0)).completion for request in Requests(count)]

    seen.answered = len(asyncio.run(answer_all()))


async def _ask(way: Way, count: int, seen: Seen) -> None:
    model = PatientModel()
    lane = Lane(LANE, [model], SETTINGS)
    async with (
        _store(seen, on_disk=way.on_disk) as store,
        Gateway([lane], store=store) as gateway,
        asyncio.TaskGroup() as tasks,
    ):
        watch = tasks.create_task(_watch(gateway, model, seen))
        seen.answered = await way.ask(gateway, Requests(count))
        watch.cancel()


@asynccontextmanager
async def _store(seen: Seen, *, on_disk: bool) -> AsyncIterator[Store]:
    if not on_disk:
        yield ForgetfulStore()
        return
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        async with DiskStore(Path(folder) / "cache") as store:
            yield store
            seen.stored = store.statistics().written


async def _watch(gateway: Gateway, model: PatientModel, seen: Seen) -> None:
    """Let the model answer once nothing more is coming; note from time to time how much is queued."""
    seen.most_queued, still = 0, 0
    while not model.begin.is_set():
        await asyncio.sleep(0)
        queued = gateway.statistics().lanes[LANE].queued
        still = still + 1 if queued <= seen.most_queued else 0
        seen.most_queued = max(seen.most_queued, queued)
        if still == STILL:
            model.begin.set()
    while True:
        await asyncio.sleep(TICK)
        seen.most_queued = max(seen.most_queued, gateway.statistics().lanes[LANE].queued)


@lru_cache(maxsize=64)
def _system(group: int) -> Message:
    return Message("system", f"Prompt {group}: {SYSTEM.content}")


def _request(number: int, share: int) -> Request:
    system = _system(number // share) if share else SYSTEM
    return Request(
        model="bench",
        messages=(system, Message("user", f"Statement {number}: {QUESTION}")),
        sampling=Sampling(max_tokens=64),
    )


def answer(request: Request) -> str:
    """Another text for every request."""
    return f"{request.messages[-1].content[:18]}: {ANSWER}"


def main() -> None:
    """Measure one row (the arguments are its way and the number of requests) and print it as JSON."""
    name, count = sys.argv[1:]
    sys.stdout.buffer.write(orjson.dumps(one_row(name, int(count))))
