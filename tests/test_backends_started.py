"""What a server of our own is promised whatever it serves: it ends when it is told to, or is made to."""

import signal
import subprocess
import sys
from pathlib import Path

import anyio
from anyio.abc import Process

from metaspo.backends import OpenAICompatible, Reply, Request
from metaspo.backends.started import StartedServer

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
