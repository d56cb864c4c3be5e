"""A lock between processes that the operating system drops when its holder dies, however it dies."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import anyio

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@asynccontextmanager
async def file_lock(path: Path, *, poll: float = 0.2) -> AsyncIterator[None]:
    """Hold `path` exclusively, waiting for other processes; looks again every `poll` seconds. Raises `OSError`."""
    with path.open("ab") as file:
        while True:
            try:
                _try_lock(file)
            except (BlockingIOError, PermissionError):
                await anyio.sleep(poll)
            else:
                break
        yield
