"""`metaspo serve` under many clients at once for a long time, while the model's server behind it, or it itself, is
killed again and again: what its memory does, what clients see, what was paid for twice."""

import asyncio
import random
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import aiohttp
import anyio
import orjson

from metaspo.bench.defaults import Victim
from metaspo.bench.processes import ServerProcess, held_port, program
from metaspo.bench.report import Report, Row
from metaspo.bench.serve import server_command, use
from metaspo.bench.served import MODEL, OURS, SLOTS
from metaspo.bench.servers.mortal_server import DIGEST
from metaspo.bench.workload import filler

DOWN = 1.0  # seconds that a killed server is away
REPEATED = 0.3  # of all questions were asked before
MEMORY_OF = 1_000  # questions back that are asked again
PERIODS = 10  # rows of the report


@dataclass(slots=True)
class _Seen:
    """What the clients saw so far."""

    statuses: Counter[int] = field(default_factory=Counter)
    asked: int = 0


async def measure_soak(*, clients: int, seconds: float, between: float, victim: Victim = "model") -> Report:
    """So many clients for so long; the model's server, or metaspo's own, is killed every `between` seconds."""
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder, held_port() as port, held_port() as own:
        paid = Path(folder) / "paid"
        model, server = _Model(port, paid), _Server(f"http://127.0.0.1:{port}/v1", folder, port=own)
        mortal: _Mortal = model if victim == "model" else server
        await model.start()
        await server.start()
        enough = asyncio.Event()
        killing = asyncio.create_task(mortal.kill_again_and_again(between, enough))
        try:
            rows = await _soak(server, clients, seconds)
        finally:
            enough.set()
            await killing
            await model.end()
            await server.end()
        digests = paid.read_bytes()
    times = Counter(digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST))
    return Report(
        scenario="soak",
        title="metaspo serve, for a long time",
        rows=rows,
        parameters={
            "clients, one question after the other": clients,
            "of their questions asked before": REPEATED,
            f"kills of {'the model' if victim == 'model' else 'metaspo'}'s server": mortal.kills,
            "paid for": times.total(),
            "paid for again": times.total() - len(times),
            "under way at kills, at most": mortal.kills * mortal.lost_at_a_kill,
        },
    )


async def _soak(server: "_Server", clients: int, seconds: float) -> list[Row]:
    seen, began = _Seen(), perf_counter()
    rows: list[Row] = []
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        asking = [asyncio.create_task(_ask(session, server.url, seen, client)) for client in range(clients)]
        for period in range(PERIODS):
            before = seen.asked
            await asyncio.sleep(began + seconds * (period + 1) / PERIODS - perf_counter())
            cpu, memory = await server.use()
            rows.append(
                {
                    "seconds": perf_counter() - began,
                    "requests/s": (seen.asked - before) / (seconds / PERIODS),
                    "answered": seen.statuses[200],
                    "not answered": seen.statuses.total() - seen.statuses[200],
                    "cpu s": cpu,
                    "memory MiB": memory / 2**20,
                }
            )
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return rows


async def _ask(session: aiohttp.ClientSession, url: str, seen: _Seen, client: int) -> None:
    draws = random.Random(client)
    while True:
        again = seen.asked > MEMORY_OF and draws.random() < REPEATED
        number = seen.asked - draws.randrange(1, MEMORY_OF) if again else seen.asked
        seen.asked += 1
        question = {"role": "user", "content": f"Statement {number}: {filler(120)}"}
        body = {"model": MODEL, "messages": [question], "max_tokens": 64, "temperature": 0}
        seen.statuses[await _post(session, url, orjson.dumps(body))] += 1


async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> int:
    """The status of an answer; a client whose server is gone asks it again until it is back."""
    while True:
        try:
            async with session.post(url, data=body) as answer:
                await answer.read()
                return answer.status
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(DOWN / 2)


class _Mortal(ABC):
    """A server that is killed again and again.

    Attributes:
        kills: how often so far.
        lost_at_a_kill: answers that each can take along, at most.
    """

    kills = 0
    lost_at_a_kill: int

    @abstractmethod
    async def start(self) -> None:
        """Return when it listens."""

    @abstractmethod
    async def end(self) -> None:
        """Kill it."""

    async def kill_again_and_again(self, between: float, enough: asyncio.Event) -> None:
        """Until that is enough; it is there in the end."""
        while True:
            with anyio.move_on_after(between):
                await enough.wait()
                return
            await self.end()
            self.kills += 1
            await asyncio.sleep(DOWN)
            await self.start()


class _Model(_Mortal):
    """The model's."""

    lost_at_a_kill = SLOTS

    def __init__(self, port: int, paid: Path) -> None:
        self._command = program("metaspo.bench.servers.mortal_server", port, str(paid))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        assert self._process.stdout is not None
        await self._process.stdout.readline()

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class _Server(_Mortal):
    """Metaspo's, at one port and with one cache."""

    lost_at_a_kill = 2 * SLOTS  # as many again are on their way to the cache, at most

    def __init__(self, upstream: str, folder: str, *, port: int) -> None:
        self._command = server_command(OURS, upstream, port=port, folder=folder)
        self._served: ServerProcess | None = None
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"

    async def start(self) -> None:
        self._served = await asyncio.to_thread(ServerProcess, self._command)

    async def end(self) -> None:
        served, self._served = self._served, None
        if served is not None:
            served.kill()

    async def use(self) -> tuple[float, int]:
        """CPU seconds and bytes of memory of the one that is there."""
        while (served := self._served) is None:  # noqa: ASYNC110 - a process is starting
            await asyncio.sleep(DOWN / 10)
        return use(served)
