"""What the last session of a run is up to, or had come to when it ended: read from its journal, also meanwhile."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metaspo.engine.journal.barriers import EVENT as BARRIER
from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.runs.directory import RunDirectory

State = Literal["running", "broken off", "ended"]
Reached = tuple[int, int]
"""An iteration, and whether its outer loop has begun. Iteration 0 is the first prompts; the test splits come last."""

LOOP = re.compile(r"iter=(\d+)/(inner|outer)(/.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The last session in a run's directory.

    Attributes:
        state: "running": a process holds the directory; "broken off": it ended without finishing or saying why, as one
            that was killed does; "ended": it finished or stopped, and the run's summary is of it.
        number: from 1.
        since: when it began, in seconds since 1970.
        stage: how far it got, e.g. "iteration 1 of 3: outer loop".
        calls, dollars: what it has spent for sure: what it said with its last scorecard.
        seconds: from its beginning to the last line that it wrote.
    """

    state: State
    number: int
    since: float
    stage: str
    calls: int
    dollars: float
    seconds: float


def last_session(
    run: RunDirectory, *, running: bool, config: Mapping[str, Any], summary: Mapping[str, Any]
) -> Session | None:
    """The last session of a run; None if none has begun.

    Args:
        running: whether the directory was in use before what follows was read: else it might be of an earlier session.
        config, summary: its `config.json` and `summary.json`; {} where it has none.
    """
    reader = _Reader(config)
    for event in StoredJournal(run.journal) if run.journal.is_file() else ():
        reader.take(event)
    if not reader.number:
        return None
    # A session that ends in order writes a summary, which counts it; earlier versions did not count. One that was to
    # repeat a finished run may leave none, but that run is finished all the same.
    counted = summary.get("all_sessions", {}).get("sessions", reader.number if summary else 0)
    ended = reader.number <= counted or run.result.exists()
    return Session(
        state="running" if running or run.in_use else "ended" if ended else "broken off",
        number=reader.number,
        since=run.config.stat().st_mtime,  # every session writes it when it begins
        stage=reader.stage,
        calls=reader.spent.get("calls", 0),
        dollars=reader.spent.get("dollars", 0.0),
        seconds=reader.seconds,
    )


class _Reader:
    """Takes a journal's events one by one; its attributes are of the last session so far."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._iterations: int = config.get("iterations", 0)
        self._sources = sum(task.get("role") == "source" for task in config.get("tasks", ()))
        self._scored = 0
        self._reached: Reached = (0, 0)
        self.number = 0
        self.spent: Mapping[str, Any] = {}
        self.seconds = 0.0

    def take(self, event: Mapping[str, Any]) -> None:
        """The next event."""
        if event["event"] == "start":
            self.number += 1
            self._scored, self._reached, self.spent = 0, (0, 0), {}
        elif event["event"] == "spent":
            self.spent = event
        self._reached = max(self._reached, self._begun(event))
        self.seconds = event.get("t", 0.0)

    @property
    def stage(self) -> str:
        """As the run's observer is told."""
        iteration, outer = self._reached
        if not iteration:
            return "first prompts"
        if iteration > self._iterations:
            return "test splits"
        return f"iteration {iteration} of {self._iterations}: {'outer' if outer else 'inner'} loop"

    def _begun(self, event: Mapping[str, Any]) -> Reached:
        """What has begun when this happens: a barrier ends the inner loops, a selection the outer loop."""
        address: str = event["address"]
        if address.startswith("init/") and event["event"] == "score":
            self._scored += 1
            return (1, 0) if self._scored == self._sources else (0, 0)
        found = LOOP.fullmatch(address)
        if found is None:
            return 0, 0
        iteration, loop, within = int(found[1]), found[2], found[3]
        if loop == "inner":
            return iteration, int(event["event"] == BARRIER and not within)
        through = event["event"] == "select" and not within
        return (iteration + 1, 0) if through else (iteration, 1)
