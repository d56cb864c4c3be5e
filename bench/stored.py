"""CPU of a fresh request on caches that hold more and more answers already: what a gateway costs after so many.

To get there by requests would take hours. The answers are put in a few at a time in the order of their keys, in so many
rounds, which leaves the pages of the index as full as answers do that come one by one.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import orjson

from metaspo.bench.instant import InstantModel
from metaspo.bench.measure import settled_heap
from metaspo.bench.processes import measured_apart
from metaspo.bench.report import Report, Row
from metaspo.bench.requests import BATCH, BATCHES, LANE, SETTINGS, Requests, answer, stream
from metaspo.cache import DiskStore, Entry, request_key
from metaspo.cache.database import ROWS_PER_STATEMENT, batched, open_cache
from metaspo.cache.record import encode_entry
from metaspo.scheduling import Gateway, Lane

WARM = 2 * BATCH  # requests before those that count
COUNTED = BATCHES * BATCH
ROUND = 250_000  # answers that are put in at a time


def measure_stored(sizes: Sequence[int], *, turns: int) -> Report:
    """A stream of requests on caches of each size, in turns."""
    seen: dict[int, list[Row]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        for size in sizes:
            fill(Path(folder) / str(size), size)
        for turn in range(turns):
            for size, rows in seen.items():
                rows.append(measured_apart(__name__, str(Path(folder) / str(size)), size + turn * (WARM + COUNTED)))
    return Report(
        scenario="requests on a cache",
        title="Fresh requests through one gateway, on a model that answers at once and caches that hold so much",
        rows=[_row(size, rows, seen[sizes[0]]) for size, rows in seen.items()],
        notes=(
            f"A turn is {COUNTED:,} requests in batches of {BATCH:,}, {BATCHES} at a time, after {WARM:,} that do not "
            "count; each is a process of its own, and leaves its answers.",
            "ratio: to the first row's, turn by turn, median. writing: CPU of the thread that keeps the answers.",
        ),
    )


def fill(folder: Path, count: int) -> None:
    """Put so many answers into a new cache, as if the first requests of the benchmark had been asked."""
    requests = Requests(count)
    reply = asyncio.run(InstantModel(answer).complete(requests[0], time_limit=1.0))
    entry = Entry(completion=reply.completion, model="bench", revision="", run="", created=time.time())
    cache = open_cache(folder)
    for start in range(0, count, ROUND):
        keys = sorted(request_key(requests[number]) for number in range(start, min(start + ROUND, count)))
        with cache.transact():
            for some in batched(keys, ROWS_PER_STATEMENT):
                cache.add_missing([(key, encode_entry(key, entry)) for key in some])
    cache.close()


def one_turn(folder: Path, first: int) -> Row:
    """CPU of requests from a number on, in this process."""
    return asyncio.run(_ask(folder, first))


async def _ask(folder: Path, first: int) -> Row:
    lane = Lane(LANE, [InstantModel(answer)], SETTINGS)
    requests = Requests(first + WARM + COUNTED)
    async with DiskStore(folder) as store, Gateway([lane], store=store) as gateway:
        await stream(gateway, requests[first : first + WARM])
        with settled_heap():
            cpu, loop = time.process_time(), time.thread_time()
            await stream(gateway, requests[first + WARM :])
            cpu, loop = time.process_time() - cpu, time.thread_time() - loop
        written = store.statistics().written
    assert written == WARM + COUNTED, f"{written} requests were new"
    return {"cpu": 1e6 * cpu / COUNTED, "writing": 1e6 * (cpu - loop) / COUNTED}


def _row(size: int, turns: Sequence[Row], first: Sequence[Row]) -> Row:
    def of(turns: Sequence[Row], figure: str) -> list[float]:
        return [float(str(turn[figure])) for turn in turns]

    ratios = [mine / its for mine, its in zip(of(turns, "cpu"), of(first, "cpu"), strict=True)]
    return {
        "cache holds": size,
        "cpu us/request, least": min(of(turns, "cpu")),
        "median": median(of(turns, "cpu")),
        "ratio": median(ratios),
        "writing, median": median(of(turns, "writing")),
    }


def main() -> None:
    """Measure one turn (the arguments are the cache's folder and the number of the first request) and print it."""
    folder, first = sys.argv[1:]
    sys.stdout.buffer.write(orjson.dumps(one_turn(Path(folder), int(first))))
