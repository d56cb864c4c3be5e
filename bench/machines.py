"""Processes that share a limit and a cap by a Redis or Valkey server, one of them killed again and again: how much of
the limit they use together, how often they are refused, and whether the cap holds. In real time."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import anyio

from metaspo.bench.report import Report, Row
from metaspo.engine.errors import ConfigError

PROCESSES, PER_MINUTE, SECONDS, BETWEEN = 8, 6_000, 180.0, 10.0
SAVED_UP = 1.0  # seconds of its limit that the model's server saves up
CAP_AT = 0.75  # of what the limit would let through in all is what may be spent
PERIOD = 30.0  # seconds a row
WORKER = "from metaspo.bench.machines_worker import main; main()"
SERVER = "from metaspo.bench.limited_server import main; main()"


async def measure_machines(
    *, url: str = "", processes: int = PROCESSES, per_minute: int = PER_MINUTE, seconds: float = SECONDS,
    between: float = BETWEEN,
) -> Report:  # fmt: skip
    """`url` of the server that they share; one of this machine's for the time being if left out.

    Raises `ConfigError` where there is none.
    """
    cap = round(per_minute / 60 * seconds * CAP_AT)
    async with _shared(url) as shared, _limited(per_minute / 60) as upstream:
        crowd = _Crowd([shared, upstream.url, str(per_minute), str(cap), f"bench {os.getpid()}".replace(" ", "-")])
        try:
            for _ in range(processes):
                await crowd.add()
            while not (await upstream.counts())[0]:  # noqa: ASYNC110 - programs are starting
                await anyio.sleep(0.1)
            killing = asyncio.create_task(crowd.kill_again_and_again(between))
            rows = await _watch(upstream, seconds, per_minute / 60)
            killing.cancel()
        finally:
            await crowd.end()
        answered, _ = await upstream.counts()
    return Report(
        scenario="machines",
        title="Processes under one limit and one cap",
        rows=rows,
        parameters={
            "processes": processes,
            "requests a minute": per_minute,
            "kills": crowd.kills,
            "cap on calls": cap,
            "answered in all": answered,
        },
        notes=[
            f"The model's server lets {per_minute / 60:g} requests a second through, and saves up {SAVED_UP:g} s.",
            f"A process is killed every {between:g} s, and another one started.",
        ],
    )


class _Limited:
    """The model's server."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self._process = process

    async def counts(self) -> tuple[int, int]:
        """Answered and refused so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        answered, refused = (await self._process.stdout.readline()).split()
        return int(answered), int(refused)


@asynccontextmanager
async def _limited(per_second: float) -> AsyncIterator[_Limited]:
    process = await _python(SERVER, str(per_second), str(SAVED_UP))
    try:
        assert process.stdout is not None
        yield _Limited(process, int(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _shared(url: str) -> AsyncIterator[str]:
    """The URL of a Redis or Valkey server: one of our own where none is named."""
    if url:
        yield url
        return
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise ConfigError("neither redis-server nor valkey-server is installed: name a running one by --redis URL")
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        path = Path(folder) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--dir", folder, "--save", "", "--appendonly", "yes"]
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(program, *options, stdout=quiet, stderr=quiet)
        try:
            while not path.exists():  # noqa: ASYNC110 - another process makes it
                await anyio.sleep(0.05)
            yield f"unix://{path}"
        finally:
            process.kill()
            await process.wait()


class _Crowd:
    """The processes that ask.

    Attributes:
        kills: how many were killed so far.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._processes: list[asyncio.subprocess.Process] = []
        self._started = 0
        self.kills = 0

    async def add(self) -> None:
        """One more."""
        self._started += 1
        self._processes.append(await _python(WORKER, *self._arguments, str(self._started)))

    async def kill_again_and_again(self, between: float) -> None:
        """Until cancelled, always the one that has been there longest."""
        while True:
            await anyio.sleep(between)
            oldest = self._processes.pop(0)
            if oldest.returncode is None:
                oldest.send_signal(signal.SIGKILL)
                self.kills += 1
            await oldest.wait()
            await self.add()

    async def end(self) -> None:
        """End them all."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _python(program: str, *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", program, *arguments, stdin=pipe, stdout=pipe
    )


async def _watch(upstream: _Limited, seconds: float, per_second: float) -> list[Row]:
    rows: list[Row] = []
    began = perf_counter()
    before, at = (0, 0), began
    while at - began < seconds:
        await anyio.sleep(min(PERIOD, seconds - (at - began)))
        counts, now = await upstream.counts(), perf_counter()
        rate = (counts[0] - before[0]) / (now - at)
        rows.append(
            {
                "seconds": now - began,
                "answered/s": rate,
                "share of the limit": rate / per_second,
                "refused (429)": counts[1] - before[1],
                "answered in all": counts[0],
            }
        )
        before, at = counts, now
    return rows
