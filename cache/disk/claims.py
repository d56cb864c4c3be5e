"""Claims in a cache folder: locks on single bytes of a file, which the system drops with their process.

A claim costs two system calls, nothing is written for it, and none is left behind by a process that was killed. The
file itself holds one byte for each time that it was opened, by which everybody notices that others came.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Collection
from pathlib import Path

from metaspo.cache.disk.folder import FILE

CLAIMS_FILE = f"{FILE}-claims"
_PRESENCE = 2**62
"""The byte that everybody locks together with the others; the first 15 digits of keys are the bytes below 2**60."""

_HAS_OPEN_FILE_LOCKS = hasattr(fcntl, "F_OFD_SETLK")
"""Linux has locks that belong to an open file, as claims do; elsewhere they belong to the whole process."""

_NO_CLAIM = (errno.EAGAIN, errno.EACCES)
_FLOCK = struct.Struct("hhqqi4x")  # type, from where, start, length, process


class DiskClaims:
    """The claims of one store. Where a file system has no locks, every claim is granted."""

    lease = None

    def __init__(self, folder: Path) -> None:
        """Nothing is made before the first claim."""
        self._path = folder / CLAIMS_FILE
        self._file = -1
        self._size = self._path.stat().st_size if self._path.exists() else 0
        self.contested = False

    def claim(self, key: str) -> bool:
        """Claim a key; whether it is ours."""
        try:
            if self._file < 0:
                self._open()
            elif not self.contested:
                self.contested = os.lseek(self._file, 0, os.SEEK_END) != self._size
        except OSError:  # a folder that may only be read, say: then nobody can claim anything
            return True
        return self._lock(_byte_of(key), fcntl.F_WRLCK)

    async def claim_many(self, keys: Collection[str]) -> set[str]:
        """Claim keys; returns those that are ours. Does not suspend."""
        return {key for key in keys if self.claim(key)}

    async def renew(self, keys: Collection[str]) -> None:
        """They last as long as the process."""

    def release(self, keys: Collection[str]) -> None:
        """Give claims back."""
        for key in keys:
            self._lock(_byte_of(key), fcntl.F_UNLCK)

    def close(self) -> None:
        """Give all claims back; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        """Announce ourselves, then see whether others are here, or were since this store was opened."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._lock(_PRESENCE, fcntl.F_RDLCK)
        os.write(self._file, b".")
        before, self._size = self._size, os.fstat(self._file).st_size
        self.contested = self._size != before + 1 or self._others_are_here()

    def _others_are_here(self) -> bool:
        if not _HAS_OPEN_FILE_LOCKS:
            return True
        request = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _PRESENCE, 1, 0)
        answer = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, request)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def _lock(self, byte: int, kind: int) -> bool:
        if self._file < 0:
            return True
        try:
            if _HAS_OPEN_FILE_LOCKS:
                fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))
            else:
                modes = {fcntl.F_UNLCK: fcntl.LOCK_UN, fcntl.F_RDLCK: fcntl.LOCK_SH, fcntl.F_WRLCK: fcntl.LOCK_EX}
                fcntl.lockf(self._file, modes[kind] | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            return error.errno not in _NO_CLAIM
        return True


def _byte_of(key: str) -> int:
    return int(key[:15], 16)
