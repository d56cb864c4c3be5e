"""Processes that share a limit and a cap by a Redis or Valkey server, one of them killed again and again: how much of
the limit they use together, how often they are refused, and whether the cap holds. In real time."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

import anyio

from metaspo.bench.processes import ServerProcess, program, serving
from metaspo.bench.report import Report, Row
from metaspo.engine.errors import ConfigError

SAVED_UP = 1.0  # seconds of its limit that the model's server saves up
CAP_AT = 0.75  # of what the limit would let through in all is what may be spent
PERIOD = 30.0  # seconds a row


async def measure_machines(*, url: str = "", processes: int, per_minute: int, seconds: float, between: float) -> Report:
    """`url` of the server that they share; one of this machine's for the time being if left out.

    Raises `ConfigError` where there is none.
    """
    cap = round(per_minute / 60 * seconds * CAP_AT)
    limited = program("metaspo.bench.servers.limited_server", per_minute / 60, SAVED_UP)
    with _shared(url) as shared, serving(limited) as upstream:
        crowd = _Crowd([shared, upstream.url, str(per_minute), str(cap), f"bench-{os.getpid()}"])
        try:
            for _ in range(processes):
                crowd.add()
            while not _counts(upstream)[0]:  # noqa: ASYNC110 - programs are starting
                await anyio.sleep(0.1)
            killing = asyncio.create_task(crowd.kill_again_and_again(between))
            rows = await _watch(upstream, seconds, per_minute / 60)
            killing.cancel()
        finally:
            crowd.end()
        answered, _ = _counts(upstream)
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


@contextmanager
def _shared(url: str) -> Iterator[str]:
    """The URL of a Redis or Valkey server: one of our own where none is named."""
    if url:
        yield url
        return
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        raise ConfigError("neither redis-server nor valkey-server is installed: name a running one by --redis URL")
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        path = Path(folder) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--dir", folder, "--save", "", "--appendonly", "yes"]
        process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            while not path.exists():
                sleep(0.05)
            yield f"unix://{path}"
        finally:
            process.kill()
            process.wait()


class _Crowd:
    """The processes that ask.

    Attributes:
        kills: how many were killed so far.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._processes: list[subprocess.Popen[bytes]] = []
        self._started = 0
        self.kills = 0

    def add(self) -> None:
        """One more."""
        self._started += 1
        command = program("metaspo.bench.machines_worker", *self._arguments, self._started)
        self._processes.append(subprocess.Popen(command))  # noqa: S603 - our own words

    async def kill_again_and_again(self, between: float) -> None:
        """Until cancelled, always the one that has been there longest."""
        while True:
            await anyio.sleep(between)
            oldest = self._processes.pop(0)
            if oldest.poll() is None:
                oldest.kill()
                self.kills += 1
            oldest.wait()
            self.add()

    def end(self) -> None:
        """End them all."""
        for process in self._processes:
            process.kill()
            process.wait()


def _counts(upstream: ServerProcess) -> tuple[int, int]:
    """What the model's server has answered and refused so far."""
    answered, refused = map(int, upstream.told())
    return answered, refused


async def _watch(upstream: ServerProcess, seconds: float, per_second: float) -> list[Row]:
    rows: list[Row] = []
    began = perf_counter()
    before, at = (0, 0), began
    while at - began < seconds:
        await anyio.sleep(min(PERIOD, seconds - (at - began)))
        counts, now = _counts(upstream), perf_counter()
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
