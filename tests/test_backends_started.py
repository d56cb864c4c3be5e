"""What a server of our own is promised whatever it serves: it ends when it is told to, or is made to."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from metaspo.backends import LocalServerFailed, OpenAICompatible, Reply, Request
from metaspo.backends.managed.started import StartedServer

DEAF = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: pathlib.Path(sys.argv[1]).touch())
signal.alarm(10)
print("ready", flush=True)
while True:
    signal.pause()
"""


class Deaf(StartedServer):
    """Its process hears that it is to end, and goes on."""

    def __init__(self, told: Path) -> None:
        super().__init__(stop_limit=0.2)
        self._told = told
        self.processes: list[Process] = []

    @property
    def name(self) -> str:
        return "deaf"

    @property
    def log_path(self) -> Path:
        return self._told.with_suffix(".log")

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        raise NotImplementedError

    async def _launch(self) -> OpenAICompatible:
        self._process = process = await anyio.open_process(
            [sys.executable, "-S", "-c", DEAF, str(self._told)], stdin=subprocess.DEVNULL, stderr=None
        )
        self.processes.append(process)
        assert process.stdout is not None
        await process.stdout.receive()
        return OpenAICompatible("http://127.0.0.1:9/v1", name=self.name)


async def test_a_process_that_does_not_end_when_it_is_asked_to_is_made_to(tmp_path: Path) -> None:
    """It was asked first."""
    server = Deaf(tmp_path / "told")
    await server.start()
    await server.aclose()
    (process,) = server.processes
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "told").exists()
    assert not server.is_running


class Slow(Deaf):
    """Looks for its files for long, and puts them away again before it gives up."""

    def __init__(self, told: Path) -> None:
        super().__init__(told)
        self.begun = anyio.Event()
        self.given_up = False

    async def _launch(self) -> OpenAICompatible:
        self.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
            self.given_up = True
        raise AssertionError


async def test_a_server_that_was_closed_as_it_started_has_given_up_by_then(tmp_path: Path) -> None:
    """Who waited for it is told."""
    server = Slow(tmp_path / "told")
    start = asyncio.create_task(server.start())
    await server.begun.wait()
    await server.aclose()
    assert server.given_up
    with pytest.raises(LocalServerFailed, match="closed while its server started"):
        await start


class Noted(OpenAICompatible):
    """Tells whether it was closed."""

    closed = False

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


class Mortal(Deaf):
    """Its process ends when it is told to."""

    def __init__(self, told: Path) -> None:
        super().__init__(told)
        self.clients: list[Noted] = []

    async def _launch(self) -> OpenAICompatible:
        self._process = process = await anyio.open_process(["sleep", "10"], stdin=subprocess.DEVNULL)
        self.processes.append(process)
        self.clients.append(Noted("http://127.0.0.1:9/v1", name=self.name))
        return self.clients[-1]


async def test_connections_are_closed_with_their_server_or_as_it_is_started_again(tmp_path: Path) -> None:
    server = Mortal(tmp_path / "told")
    await server.start()
    server.processes[0].kill()
    await server.processes[0].wait()
    await server.start()
    assert [client.closed for client in server.clients] == [True, False]
    await server.aclose()
    assert [client.closed for client in server.clients] == [True, True]
    assert [process.returncode for process in server.processes] == [-signal.SIGKILL, -signal.SIGTERM]
