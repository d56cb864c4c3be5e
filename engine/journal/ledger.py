"""What a session has spent so far, to the last call, where a kill leaves it for the next session to read.

One record in memory that is shared with a file: writing it costs no system call, and it outlives the process, however
that ends. It does not outlive the machine, whose memory may reach the disk late; so it counts only on the boot that it
was written on, and else what the journal had announced does. Systems without a boot id, and file
systems without shared memory, have no ledger. Each record has a checksum, of the boot and the session's number as well.
"""

import errno
import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from metaspo.engine.journal.events import Counts, Spent
from metaspo.engine.journal.faults import stopping_at_faults
from metaspo.engine.journal.warn import Warn
from metaspo.scheduling import Cost

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
HEAD = struct.Struct("<B7x36sq")  # which record counts, the boot, the session's number
RECORD = struct.Struct("<8d")  # calls, tokens of prompts and of answers, dollars, unpriced; taken of the budget
UNSUPPORTED = (errno.ENODEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # as file systems over a network say
SUM = struct.Struct("<I")  # CRC-32 of the head but for its first byte, and of the record before it
MOST = 2**63  # that a journal holds of anything
OLD_SIZE = HEAD.size + 2 * RECORD.size  # without checksums, as earlier versions left it
SIZE = OLD_SIZE + 2 * SUM.size


class Ledger:
    """Of one session. Open it before the session's `start` is journaled, while its directory is held.

    Raises:
        RunStopped: if the file cannot be made.
    """

    def __init__(self, path: Path, *, session: int) -> None:
        self._path = path
        self._counts = self._sealed = 0
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
        self._sealed = crc32(self._shared[1 : HEAD.size])

    def note(self, spent: Counts, taken: Cost) -> None:
        """What the session has spent, and what it can have taken out of the budget if it ends now."""
        if self._shared is None:
            return
        beside = 1 if self._counts != 1 else 2  # a kill in mid-record leaves the other one whole
        record = RECORD.pack(*spent, *taken)
        sealed = record + SUM.pack(crc32(record, self._sealed))
        start = HEAD.size + (beside - 1) * len(sealed)
        self._shared[start : start + len(sealed)] = sealed
        self._shared[0] = self._counts = beside

    def close(self) -> None:
        """The session has said its last word in the journal; idempotent."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None
        with suppress(OSError):
            self._path.unlink()


def left_by(path: Path, *, warn: Warn) -> tuple[int, Spent] | None:
    """The number of a session that was killed, and what it had spent; None where that is not known to the call, and a
    warning where damage is why."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not any(content[HEAD.size :]):  # killed before it spent anything
        return None
    if (record := _record(content)) is None:
        warn(
            f"{path}: damaged: the calls of the session that was killed since its last line in the journal are in no "
            "sum, and [budget] counts all that it had announced; raise its caps if they stop this too early"
        )
        return None
    _, boot, session = HEAD.unpack_from(content)
    if boot != _boot():
        return None
    calls, prompt, completion, dollars, unpriced, taken_calls, taken_tokens, taken_dollars = record
    counts = int(calls), int(prompt), int(completion), dollars, int(unpriced)
    return session, Spent.of(counts, Cost(int(taken_calls), int(taken_tokens), taken_dollars))


def _record(content: bytes) -> tuple[float, ...] | None:
    """The numbers of the record that counts; None where they are damaged."""
    counts, sealed = content[0], len(content) != OLD_SIZE
    if not counts and not any(content[(HEAD.size + len(content)) // 2 :]):
        counts = 1  # killed when the first record was written, and nothing said yet that it counts
    if counts not in (1, 2) or len(content) not in (SIZE, OLD_SIZE):
        return None
    start = HEAD.size + (counts - 1) * (RECORD.size + sealed * SUM.size)
    end = start + RECORD.size
    if sealed and SUM.unpack_from(content, end) != (crc32(content[start:end], crc32(content[1 : HEAD.size])),):
        return None
    numbers = RECORD.unpack_from(content, start)
    return numbers if all(0 <= number < MOST for number in numbers) else None


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
