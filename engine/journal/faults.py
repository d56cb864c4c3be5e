"""What becomes of a run whose files cannot be written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metaspo.scheduling import RunStopped


@contextmanager
def stopping_at_faults(path: Path) -> Iterator[None]:
    """Turn a fault of the file system into a `RunStopped` that names the file."""
    try:
        yield
    except OSError as error:
        raise RunStopped(f"{path} cannot be written: {error.strerror}. See to its disk, or set `runs`.") from error
