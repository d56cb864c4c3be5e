"""Tells one tracker of one run, in a thread that reads the run's journal: the run itself knows nothing of it.

What a tracker has been told is kept beside the run, so that a session that goes on goes on there, too.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from metaspo.engine.exchange.exported import exported_run
from metaspo.engine.exchange.targets import mlflow_versions
from metaspo.engine.journal.events import Event, Select
from metaspo.engine.journal.journal import event_in, read_lines
from metaspo.engine.journal.view import RunView
from metaspo.engine.project import file_name
from metaspo.engine.runs.directory import RunDirectory, write_json
from metaspo.engine.runs.identity import fingerprint_of
from metaspo.engine.track.tracker import Ending, Result, TrackedRun, Tracker, Version

EVERY: Final = 1.0  # seconds between two looks at the journal
LONGEST_PAUSE: Final = 60.0  # seconds after a failure


@dataclass(slots=True)
class _Told:
    """What a tracker has of the run: how many points and versions, its registered prompts, the result."""

    place: str
    run_id: str = ""
    points: int = 0
    versions: int = 0
    prompts: str = ""
    result: str = ""


class Following:
    """One tracker, from `start` on; after `end` it is told the rest, and `done` is called.

    A tracker that fails is told of once, and is told everything again when it works.
    """

    def __init__(
        self,
        tracker: Tracker,
        directory: RunDirectory,
        run: TrackedRun,
        *,
        weights: Mapping[str, float],
        sources: int = 0,
        say: Callable[[str], None],
        done: Callable[[], None],
    ) -> None:
        self.tracker = tracker
        self._directory = directory
        self._run = run
        self._weights, self._sources = weights, sources
        self._say = say
        self._done = done
        self._file = directory.path / "track" / f"{file_name(tracker.name).lower()}.json"
        self._told = _read(self._file, place=tracker.place)
        self._view = RunView(texts=True)
        self._offset = 0
        self._versions: list[Version] = []
        self._begun = self._has_failed = False
        self._pause, self._resting_until = EVERY, 0.0
        self._how: Ending = "interrupted"
        self._over = threading.Event()

    def start(self) -> None:
        """Begin. A thread that a tracker never gives back does not keep the process."""
        threading.Thread(target=self._follow, name=f"metaspo {self.tracker.name}", daemon=True).start()

    def end(self, how: Ending) -> None:
        """The session has ended; returns at once."""
        self._how = how
        self._over.set()

    def _follow(self) -> None:
        try:
            while not self._over.wait(EVERY):
                if time.monotonic() >= self._resting_until:
                    self._guarded(self._tell)
            self._guarded(self._tell_end)
        finally:
            self._done()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
            self._pause = EVERY
        except Exception as fault:  # noqa: BLE001 - whatever somebody else's tool raises must not stop the run
            self._resting_until = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if not self._has_failed:
                reason = " ".join(str(fault).split()) or type(fault).__name__
                self._say(f"{self.tracker.name} ({self.tracker.place}) is not told of this run for now: {reason}")
            self._has_failed = True

    def _tell(self) -> None:
        self._fold()
        points = self._view.history.points(self._weights, sources=self._sources)
        if len(points) < self._told.points:  # graded otherwise than before: see `RunView.history`
            self._told.points = 0
        if not self._told.result or points[self._told.points :] or self._versions[self._told.versions :]:
            self._begin()
        told = self._told
        new, versions = points[told.points :], self._versions[told.versions :]
        if new or versions:
            self.tracker.add(new, versions)
            told.points, told.versions = len(points), len(self._versions)
            self._save()

    def _begin(self) -> None:
        """Once a session, and not at all in one that only repeats what the tracker has to the end."""
        if self._begun:
            return
        run_id = self.tracker.begin(self._run, run_id=self._told.run_id)
        if run_id != self._told.run_id:
            self._told = _Told(self.tracker.place, run_id)
        self._begun = True
        self._save()

    def _tell_end(self) -> None:
        self._tell()
        result, prompts, digest = Result(), self._told.prompts, self._told.result
        if self._how == "finished":
            result, prompts = _result_of(self._directory, registered=self._told.prompts)
            digest = fingerprint_of([sorted(result.scores.items()), prompts])
        if digest == self._told.result:
            if digest and not self._begun:
                return
            result = Result(prompts=result.prompts)
        self._begin()
        self.tracker.end(self._how, result, calls=self._view.spent.calls)
        self._told.prompts, self._told.result = prompts, digest
        self._save()

    def _fold(self) -> None:
        while True:
            lines, self._offset = read_lines(self._directory.journal, self._offset)
            if not lines:
                return
            for event in filter(None, map(event_in, lines)):
                self._view.apply(event)
                self._note_versions(event)

    def _note_versions(self, event: Event) -> None:
        """A selection may have a new best prompt; what a later session repeats has none."""
        if not isinstance(event, Select):
            return
        for task, text in self._view.history.best_prompts.items():
            before = [version.text for version in self._versions if version.task == task]
            if text not in before[-1:]:
                calls = self._view.spent.calls
                self._versions.append(Version(task=task, number=len(before) + 1, text=text, calls=calls))

    def _save(self) -> None:
        self._file.parent.mkdir(exist_ok=True)
        write_json(self._file, asdict(self._told))


def _read(file: Path, *, place: str) -> _Told:
    """What a tracker has been told; nothing if it keeps its runs elsewhere now."""
    with suppress(OSError, ValueError, TypeError):
        told = _Told(**orjson.loads(file.read_bytes()))
        if told.place == place:
            return told
    return _Told(place)


def _result_of(directory: RunDirectory, *, registered: str) -> tuple[Result, str]:
    """What a finished run came to, and a digest of its prompts; without those if they are registered."""
    exported = exported_run(directory)
    scores = {
        f"test/{file_name(task.name)}/{when}": float(task.about[key])
        for task in exported.tasks
        for key, when in (("score_before", "before"), ("score", "after"))
        if key in task.about
    }
    scores |= {f"test/gain/{gain['role']}": gain["gain"] for gain in exported.about["gains"]}
    prompts = mlflow_versions(exported)
    digest = fingerprint_of([[prompt["name"], prompt["template"]] for prompt in prompts])
    return Result(scores=scores, prompts=() if digest == registered else prompts), digest
