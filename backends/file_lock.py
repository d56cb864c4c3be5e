"""A lock between processes that the operating system drops when its holder dies, however it dies."""

import fcntl
from typing import IO, Any


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file until it is closed, for its process alone or with others that share it.

    False if somebody else has it. Raises `OSError` on a file system without locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
