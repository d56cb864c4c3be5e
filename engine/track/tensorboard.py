"""TensorBoard's files of events, by tensorboardX: scores over calls, prompts as texts."""

import time
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from typing import Final

from tensorboardX import SummaryWriter

from metaspo.engine.journal.history import Point
from metaspo.engine.track.tracker import Ending, Result, TrackedRun, Version


class TensorBoard:
    """A folder, with one for each run in it; each session writes a file of its own there."""

    name: Final = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self.place = str(folder)
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def begin(self, run: TrackedRun, *, run_id: str) -> str:
        """See `Tracker`."""
        suffix = f".{time.time_ns()}"  # the writer's own name tells no two of a second apart
        self._writer = SummaryWriter(logdir=str(self._folder / run.name), filename_suffix=suffix, write_to_disk=True)
        if not run_id:
            config = "\n".join(f"{key} = {value}" for key, value in run.config.items())
            self._opened.add_text("config", _as_it_stands(config), 0)
        return run.name

    def add(self, points: Sequence[Point], versions: Sequence[Version]) -> None:
        """See `Tracker`."""
        for point in points:
            self._opened.add_scalar("train_score", point.score, point.calls)
            self._opened.add_scalar("dollars", point.dollars, point.calls)
        for version in versions:
            self._opened.add_text(f"prompt/{version.kind}", _as_it_stands(version.text), version.calls)
        self._opened.flush()

    def end(self, how: Ending, result: Result, *, calls: int) -> None:
        """See `Tracker`."""
        for name, score in result.scores.items():
            self._opened.add_scalar(name, score, calls)
        self._opened.close()

    @property
    def _opened(self) -> SummaryWriter:
        assert self._writer is not None, "begun first"
        return self._writer


def _as_it_stands(text: str) -> str:
    """A text in Markdown, which is what texts are there: lists, tags and stars of a prompt are no markup."""
    return indent(text, " " * 4, lambda line: True)
