"""Whether two mathematical expressions are equal, asked of a process that can be ended."""

import json
import os
import selectors
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

_WORKER: Final = Path(__file__).with_name("math_worker.py")
_START_SECONDS: Final = 120.0
_WALL: Final = 10  # seconds of waiting for each second of CPU time, on a machine that is busy with something else


class Equivalence:
    """Compares expressions under a limit of CPU time each; each pair is compared once.

    The library works in a process of its own, started at the first comparison: one that takes too long is ended by the
    operating system, whatever it is doing, and the next comparison starts another. Blocks while it compares.
    """

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._verdicts: dict[tuple[str, str], bool] = {}
        self._lock = threading.Lock()  # comparisons come from threads, so that no event loop waits for one
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[[subprocess.Popen[bytes]], Equivalence] | None = None

    def equal(self, answer: str, prediction: str) -> bool:
        """Whether a prediction is what the right answer is; False also where it was not found out in time."""
        pair = (answer, prediction)
        with self._lock:
            if pair not in self._verdicts:
                self._verdicts[pair] = self._compare(*pair)
            return self._verdicts[pair]

    def close(self) -> None:
        """End the process, if there is one."""
        self._process = None
        if self._end is not None:
            self._end()

    def _compare(self, answer: str, prediction: str) -> bool:
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps([answer, prediction, self._seconds]).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            reply = ""
        else:
            reply = _line(process, seconds=self._seconds * _WALL)
        if not reply:
            self.close()
        return reply == "1"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a file of this package
                [sys.executable, "-I", str(_WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._end = weakref.finalize(self, _ended, self._process)  # before the interpreter takes its pipes apart
            if not _line(self._process, seconds=_START_SECONDS):
                self.close()
                raise RuntimeError(f"the process that compares expressions did not start: {sys.executable} {_WORKER}")
        return self._process


def _ended(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError), process:  # which waits, and closes pipes
        process.kill()


def _line(process: subprocess.Popen[bytes], *, seconds: float) -> str:
    """The next line of the process, "" where it ended or says nothing in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(seconds):
            return ""
    return os.read(process.stdout.fileno(), 64).decode().strip()
