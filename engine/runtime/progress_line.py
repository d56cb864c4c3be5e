"""How a run goes in one line of a terminal: what programs that ask for nothing else show."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from metaspo.engine.runtime.observer import Observer
from metaspo.engine.runtime.time_left import TimeLeft

EVERY = 0.25  # seconds between two drawings


class ProgressLine(Observer):
    """Draws how far a run is, at most four times a second."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._left = TimeLeft()
        self._drawn: float | None = None
        self._stage = ""
        self._best: float | None = None

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self._left.begin(base_calls, optimizer_calls, now=self._clock())

    def stops_in(self, seconds: float) -> None:
        self._left.stops = self._clock() + seconds

    def stage(self, name: str) -> None:
        self._stage = name
        self._draw()

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        now = self._clock()
        self._left.settle(base_calls, optimizer_calls, now=now)
        if self._drawn is None or now - self._drawn >= EVERY:
            self._draw()

    def found(self, calls: int) -> None:
        self._left.found = calls

    def new_best(self, *, score: float, address: str) -> None:
        self._best = max(score, self._best or 0.0)

    def warn(self, text: str) -> None:
        self.end()
        super().warn(text)

    def finished(self) -> None:
        self._left.settled, self._stage = self._left.planned, "done"
        self._draw()

    def end(self) -> None:
        """Leave the line, if there is one, for what comes after it."""
        if self._drawn is not None:
            self._stream.write("\n")
            self._stream.flush()
        self._drawn = None

    def _draw(self) -> None:
        self._drawn = now = self._clock()
        left = self._left
        share = f"{left.settled / left.planned:.0%}" if left.planned else "0%"
        best = "" if self._best is None else f"; best {self._best:.1%}"
        time_left = "" if self._stage == "done" else f"  {left.words(now=now)}"
        text = f"metaspo {share}{time_left}  {self._stage}{best}"
        self._stream.write(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}")
        self._stream.flush()


@contextmanager
def shown_to(observer: Observer | None) -> Iterator[Observer]:
    """Who is told how a run goes: whoever is given, else a line of the terminal, if standard error is one."""
    if observer is not None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield observer or Observer()
        return
    line = ProgressLine(sys.stderr)
    try:
        yield line
    finally:
        line.end()
