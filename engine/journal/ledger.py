"""What a session has spent so far, to the last call, where a kill leaves it for the next session to read.

One record in memory that is shared with a file: writing it costs no system call, and it outlives the process, however
that ends. It does not outlive the machine, whose memory may reach the disk late; so it counts only on the boot that it
was written on, and else what the journal had announced does. Systems without a boot id, and file
systems without shared memory, have no ledger.
"""

import errno
import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path

from metaspo.engine.journal.events import Counts, Spent
from metaspo.engine.journal.faults import stopping_at_faults
from metaspo.scheduling import Cost

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
HEAD = struct.Struct("<B7x36sq")  # which record counts, the boot, the session's number
RECORD = struct.Struct("<8d")  # calls, tokens of prompts and of answers, dollars, unpriced; taken of the budget
UNSUPPORTED = (errno.ENODEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # as file systems over a network say
MOST = 2**63  # that a journal holds of anything
SIZE = HEAD.size + 2 * RECORD.size


class Ledger:
    """Of one session. Open it before the session's `start` is journaled, while its directory is held.

    Raises:
        RunStopped: if the file cannot be made.
    """

    def __init__(self, path: Path, *, session: int) -> None:
        self._path = path
        self._counts = 0
        self._shared: mmap.mmap | None = None
        with stopping_at_faults(path):
            path.unlink(missing_ok=True)
            if not (boot := _boot()):
                return
            self._shared = _shared_with(path)
            if self._shared is None:
                path.unlink()
                return
        HEAD.pack_into(self._shared, 0, 0, boot, session)

    def note(self, spent: Counts, taken: Cost) -> None:
        """What the session has spent, and what it can have taken out of the budget if it ends now."""
        if self._shared is None:
            return
        beside = 1 if self._counts != 1 else 2  # a kill in mid-record leaves the other one whole
        RECORD.pack_into(self._shared, HEAD.size + (beside - 1) * RECORD.size, *spent, *taken)
        self._shared[0] = self._counts = beside

    def close(self) -> None:
        """The session has said its last word in the journal; idempotent."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None
        with suppress(OSError):
            self._path.unlink()


def left_by(path: Path) -> tuple[int, Spent] | None:
    """The number of a session that was killed, and what it had spent; None where that is not known to the call."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) != SIZE:
        return None
    counts, boot, session = HEAD.unpack_from(content)
    if counts not in (1, 2) or boot != _boot():
        return None
    record = RECORD.unpack_from(content, HEAD.size + (counts - 1) * RECORD.size)
    if not all(0 <= number < MOST for number in record):  # damaged
        return None
    calls, prompt, completion, dollars, unpriced, taken_calls, taken_tokens, taken_dollars = record
    counts = int(calls), int(prompt), int(completion), dollars, int(unpriced)
    return session, Spent.of(counts, Cost(int(taken_calls), int(taken_tokens), taken_dollars))


def _shared_with(path: Path) -> mmap.mmap | None:
    """Memory that is shared with a new file; None where its file system has no such thing."""
    with path.open("w+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, SIZE)  # a full disk says so here, not as a signal later
            return mmap.mmap(file.fileno(), SIZE)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return None
            raise


def _boot() -> bytes:
    try:
        return BOOT_ID.read_bytes().strip()[:36]
    except OSError:
        return b""
