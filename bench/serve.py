"""CPU time of one request to `metaspo serve`, fresh and cached, beside a bare aiohttp.web server that always says the
same; the server is a process of its own, and only its CPU time counts. They take turns."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

import aiohttp
import orjson

from metaspo.bench.clients import chat_messages, make_requests
from metaspo.bench.in_flight import AT_ONCE, run_all
from metaspo.bench.measure import Timing, spread
from metaspo.bench.overhead import fast_server
from metaspo.bench.processes import ServerProcess, program, serving
from metaspo.bench.report import Report, Row
from metaspo.bench.served import BARE, MODEL, OURS

WARM_UP = 256
FRESH, CACHED = "metaspo serve, fresh", "metaspo serve, cached"


def measure_serve(*, calls: int, turns: int) -> Report:
    """The servers in turns."""
    timings: dict[str, list[Timing]] = {BARE: [], FRESH: [], CACHED: []}
    with fast_server() as upstream:
        for _ in range(turns):
            with served(BARE, upstream) as server:
                asyncio.run(_ask(server, WARM_UP, start=0))
                timings[BARE].append(asyncio.run(_ask(server, calls, start=WARM_UP)))
            with served(OURS, upstream) as server:
                asyncio.run(_ask(server, WARM_UP, start=0))
                for kind in (FRESH, CACHED):
                    timings[kind].append(asyncio.run(_ask(server, calls, start=WARM_UP)))
    rows = [_row(name, measured, timings[BARE], calls) for name, measured in timings.items()]
    notes = [
        f"{calls:,} chats of 1.2 KB each from {AT_ONCE} connections; ratios are taken turn by turn.",
        "fresh: key, cache miss, single flight, queue, HTTP to a server that answers at once, store on disk.",
    ]
    return Report(scenario="serve", title="Server's CPU per request", rows=rows, notes=notes)


@contextmanager
def served(name: str, upstream: str) -> Iterator[ServerProcess]:
    """One of the servers of `served`, in a process of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder,
        serving(server_command(name, upstream, port=0, folder=folder)) as server,
    ):
        yield server


def server_command(name: str, upstream: str, *, port: int, folder: str) -> list[str]:
    """Starts the same on a port, or any that is free for 0, with its cache in a folder."""
    return program("metaspo.bench.served", name, upstream, port, folder)


def use(server: ServerProcess) -> tuple[float, int]:
    """CPU seconds so far, and bytes of memory now."""
    cpu, memory = server.told()
    return float(cpu), int(memory)


async def _ask(server: ServerProcess, calls: int, *, start: int) -> Timing:
    """Seconds for so many chats, no two alike."""
    bodies = [
        orjson.dumps(
            {"model": MODEL, "messages": chat_messages(request), "max_tokens": 64, "temperature": 0, "stream": False}
        )
        for request in make_requests(calls, start=start)
    ]
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def post(body: bytes) -> None:
            async with session.post(f"{server.url}/chat/completions", data=body) as answer:
                answer.raise_for_status()
                await answer.read()

        (cpu, _), wall = use(server), perf_counter()
        await run_all(post, bodies)
        wall = perf_counter() - wall
        return Timing(use(server)[0] - cpu, wall)


def _row(name: str, turns: Sequence[Timing], bare: Sequence[Timing], calls: int) -> Row:
    cpu = [1e6 * turn.cpu / calls for turn in turns]
    return {
        "server": name,
        "cpu us (least)": spread(cpu).least,
        "cpu us (median)": spread(cpu).middle,
        "requests/s (median)": calls / spread(turn.wall for turn in turns).middle,
        "cpu ratio (median)": spread(turn.cpu / other.cpu for turn, other in zip(turns, bare, strict=True)).middle,
    }
