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
from metaspo.cache.disk.database import ROWS_PER_STATEMENT, batched, open_cache
from metaspo.cache.place import row_name
from metaspo.cache.record import encode_entry
from metaspo.scheduling import Gateway, Lane

WARM = 2 * BATCH  # requests before those that count
COUNTED = BATCHES * BATCH
ROUND = 250_000  # answers that are put in at a time
SHARES = (500, 0)  # requests with one system prompt, as candidates are asked, and all of them


def measure_stored(sizes: Sequence[int], *, turns: int) -> Report:
    """A stream of requests on caches of each size and kind, in turns."""
    seen: dict[tuple[int, int], list[Row]] = {(share, size): [] for share in SHARES for size in sizes}
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        for share, size in seen:
            fill(Path(folder) / f"{share}-{size}", size, share=share)
        for turn in range(turns):
            for (share, size), rows in seen.items():
                path, first = Path(folder) / f"{share}-{size}", size + turn * (WARM + COUNTED)
                rows.append(measured_apart(__name__, str(path), first, share))
    return Report(
        scenario="requests on a cache",
        title="Fresh requests through one gateway, on a model that answers at once and caches that hold so much",
        rows=[_row(share, size, rows, seen[share, sizes[0]]) for (share, size), rows in seen.items()],
        notes=(
            f"A turn is {COUNTED:,} requests in batches of {BATCH:,}, {BATCHES} at a time, after {WARM:,} that do not "
            "count; each is a process of its own, and leaves its answers.",
            "ratio: to its kind's first row, turn by turn, median. writing: CPU of the thread that keeps the answers.",
        ),
    )


def fill(folder: Path, count: int, *, share: int) -> None:
    """Put so many answers into a new cache, as if the first requests of the benchmark had been asked."""
    requests = Requests(count, share=share)
    reply = asyncio.run(InstantModel(answer).complete(requests[0], time_limit=1.0))
    entry = Entry(completion=reply.completion, model="bench", revision="", run="", created=time.time())
    cache = open_cache(folder)
    for start in range(0, count, ROUND):
        numbers = range(start, min(start + ROUND, count))
        keys = sorted((request_key(requests[number]) for number in numbers), key=row_name)
        with cache.transact():
            for some in batched(keys, ROWS_PER_STATEMENT):
                cache.add_missing([(key, encode_entry(key, entry)) for key in some])
    cache.close()


def one_turn(folder: Path, first: int, *, share: int) -> Row:
    """CPU of requests from a number on, in this process."""
    return asyncio.run(_ask(folder, first, share))


async def _ask(folder: Path, first: int, share: int) -> Row:
    lane = Lane(LANE, [InstantModel(answer)], SETTINGS)
    requests = Requests(first + WARM + COUNTED, share=share)
    async with DiskStore(folder) as store, Gateway([lane], store=store) as gateway:
        await stream(gateway, requests[first : first + WARM])
        with settled_heap():
            cpu, loop = time.process_time(), time.thread_time()
            await stream(gateway, requests[first + WARM :])
            cpu, loop = time.process_time() - cpu, time.thread_time() - loop
        written = store.statistics().written
    assert written == WARM + COUNTED, f"{written} requests were new"
    return {"cpu": 1e6 * cpu / COUNTED, "writing": 1e6 * (cpu - loop) / COUNTED}


def _row(share: int, size: int, turns: Sequence[Row], first: Sequence[Row]) -> Row:
    def of(turns: Sequence[Row], figure: str) -> list[float]:
        return [float(str(turn[figure])) for turn in turns]

    ratios = [mine / its for mine, its in zip(of(turns, "cpu"), of(first, "cpu"), strict=True)]
    return {
        "one system prompt": f"{share} requests" if share else "all",
        "cache holds": size,
        "cpu us/request, least": min(of(turns, "cpu")),
        "median": median(of(turns, "cpu")),
        "ratio": median(ratios),
        "writing, median": median(of(turns, "writing")),
    }


def main() -> None:
    """Measure one turn (the arguments: the cache's folder, the first request's number, how many share a system prompt)
    and print it."""
    folder, first, share = sys.argv[1:]
    sys.stdout.buffer.write(orjson.dumps(one_turn(Path(folder), int(first), share=int(share))))
