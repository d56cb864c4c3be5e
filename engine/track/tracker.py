"""What trackers are told of a run, and what each of them has to do with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from metaspo.engine.journal.history import Point

Ending = Literal["finished", "stopped", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run before anything of it is known but its config: flat, by dotted names."""

    name: str
    config: Mapping[str, str]
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A prompt that was the best of its kind for a while: number `number`, from 1, of a task, or of "" the system's."""

    task: str
    number: int
    text: str
    calls: int

    @property
    def kind(self) -> str:
        """What it is called there."""
        return f"user.{self.task}" if self.task else "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to.

    Attributes:
        scores: test scores, by names such as `test/TASK/after`.
        prompts: as `metaspo export --to mlflow` writes them, for a registry; none if they are registered already.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    prompts: Sequence[Mapping[str, Any]] = ()


class Tracker(Protocol):
    """A tool that keeps runs. All of it blocks, is called in one thread, and may raise whatever it likes."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def place(self) -> str:
        """Where it keeps runs: what is kept elsewhere is another run there."""
        ...

    def begin(self, run: TrackedRun, *, run_id: str) -> str:
        """Go on with the run of that id, or begin one (""); returns its id."""
        ...

    def add(self, points: Sequence[Point], versions: Sequence[Version]) -> None:
        """The score rose, or prompts were selected."""
        ...

    def end(self, how: Ending, result: Result, *, calls: int) -> None:
        """The session ends."""
        ...
