"""The live page served by a process of its own beside the runs: looking at them takes nothing from theirs."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metaspo.engine.watch.server import address_of, bind, serving
from metaspo.engine.watch.stream import EVERY

SERVES = "from metaspo.engine.watch.beside import main; main()"
LAST_LOOK = 2 * EVERY  # seconds after the runs' end in which those who look are told how they ended
NICE = 10  # the page waits where it and a run want the same core
LIMIT = 3.0  # seconds in which the process has to end then


@contextmanager
def serve_beside(folder: Path, *, port: int | None = None) -> Iterator[str]:
    """As `serve_watch`, by another process while the block goes on; whoever comes before it is ready waits.

    Raises:
        ConfigError: if the port that was asked for cannot be had.
    """
    with bind(port) as listening:
        listening.listen()
        number, address = listening.fileno(), address_of(listening)
        command = [sys.executable, "-P", "-c", SERVES, str(number), str(folder.absolute())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(number,))  # noqa: S603 - our own words
    try:
        yield address
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    """Serve a folder of runs on an open socket until standard input ends, as it does however the runs' process ends.

    Ctrl-C is for the runs: the page shows how they stop.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    number, folder = sys.argv[1:]
    with socket.socket(fileno=int(number)) as listening:
        asyncio.run(_serve(Path(folder), listening))


async def _serve(folder: Path, listening: socket.socket) -> None:
    async with serving(folder, listening):
        await asyncio.to_thread(sys.stdin.read)
        await asyncio.sleep(LAST_LOOK)
