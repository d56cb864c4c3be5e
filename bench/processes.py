"""Python programs in processes of their own: what one leaves in memory is no part of the next, nor its time.

A measurement prints a row. A server prints its port, and then what it tells of itself for each line on its standard
input; it ends with that.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import orjson

from metaspo.bench.report import Row

LIMIT = 7200.0  # seconds for one measurement


def program(module: str, *arguments: str | float) -> list[str]:
    """The command that calls a module's `main` with these arguments."""
    return [sys.executable, "-P", "-c", f"from {module} import main; main()", *map(str, arguments)]


def measured_apart(module: str, *arguments: str | int) -> Row:
    """The row that a new process prints, as JSON, when it calls the module's `main` with these arguments.

    Raises `subprocess.SubprocessError` if it fails, or takes more than two hours.
    """
    command = program(module, *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=LIMIT)  # noqa: S603  # our own words
    row: Row = orjson.loads(done.stdout)
    return row


class ServerProcess:
    """A server that runs."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own
        self.pid = self._process.pid
        self.url = f"http://127.0.0.1:{int(self._line())}/v1"

    def told(self) -> list[str]:
        """What it tells of itself now, word by word."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._line().split()

    def end(self) -> None:
        """Close its standard input, and wait for its end."""
        self._process.communicate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self.end()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode()


@contextmanager
def serving(command: Sequence[str]) -> Iterator[ServerProcess]:
    """A server while the block goes on."""
    server = ServerProcess(command)
    try:
        yield server
    finally:
        server.end()


@contextmanager
def held_port() -> Iterator[int]:
    """A port of the loopback that the system gives nobody else meanwhile, though no server listens there.

    One may, again and again, if it sets SO_REUSEADDR, as those of asyncio do.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
