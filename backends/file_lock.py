"""A lock between processes that the operating system drops when its holder dies, however it dies."""

import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import anyio


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file until it is closed, for its process alone or with others that share it.

    False if somebody else has it. Raises `OSError` on a file system without locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def file_lock(path: Path, *, poll: float = 0.2) -> AsyncIterator[None]:
    """Hold `path` exclusively, waiting for other processes; looks again every `poll` seconds. Raises `OSError`."""
    with path.open("ab") as file:
        while not try_lock(file):  # noqa: ASYNC110 - another process has no event to set
            await anyio.sleep(poll)
        yield
