"""Weights & Biases: scores over calls, prompts as versioned artifacts. WANDB_MODE=offline keeps them on this disk."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

import wandb

from metaspo.engine.journal.history import Point
from metaspo.engine.project import file_name
from metaspo.engine.track.tracker import Ending, Result, TrackedRun, Version

EXIT_CODES: Final[Mapping[Ending, int]] = {"finished": 0, "stopped": 1, "interrupted": 130}


class Wandb:
    """One run of one project."""

    name: Final = "Weights & Biases"

    def __init__(self, project: str) -> None:
        self.place = project
        self._run: Any = None
        self._of = ""

    def begin(self, run: TrackedRun, *, run_id: str) -> str:
        """See `Tracker`."""
        self._of, run_id = run.name, run_id or uuid4().hex[:12]
        self._run = wandb.init(
            project=self.place,
            id=run_id,
            name=run.name,
            resume="allow",
            dir=str(run.folder / "track"),
            config=dict(run.config),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        self._run.define_metric("calls")
        self._run.define_metric("*", step_metric="calls")
        return run_id

    def add(self, points: Sequence[Point], versions: Sequence[Version]) -> None:
        """See `Tracker`."""
        for point in points:
            self._run.log({"calls": point.calls, "train_score": point.score, "dollars": point.dollars})
        for version in versions:
            artifact = wandb.Artifact(
                file_name(f"{self._of}-{version.kind}"), type="prompt", metadata={"calls": version.calls}
            )
            with artifact.new_file("prompt.txt", encoding="utf-8") as file:
                file.write(version.text)
            self._run.log_artifact(artifact, aliases=["latest", f"metaspo-{version.number}"])

    def end(self, how: Ending, result: Result, *, calls: int) -> None:
        """See `Tracker`."""
        self._run.summary.update(dict(result.scores))
        self._run.finish(exit_code=EXIT_CODES[how])
