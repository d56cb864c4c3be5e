"""What the last session of a run is up to, or had come to when it ended: read from its journal, also meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metaspo.engine.journal.view import RunView
from metaspo.engine.runs.directory import RunDirectory

State = Literal["running", "broken off", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The last session in a run's directory.

    Attributes:
        state: "running": a process holds the directory; "broken off": it ended without finishing or saying why, as one
            that was killed does; "ended": it finished or stopped, and the run's summary is of it.
        number: from 1.
        since: when it began, in seconds since 1970.
        stage: how far it got, e.g. "iteration 1 of 3: outer loop".
        calls, dollars: what it has spent for sure: what it said with its last scorecard. `unpriced` calls are not in
            the dollars.
        seconds: from its beginning to the last line that it wrote.
    """

    state: State
    number: int
    since: float
    stage: str
    calls: int
    dollars: float
    unpriced: int
    seconds: float


def session_of(
    run: RunDirectory, view: RunView, *, running: bool, config: Mapping[str, Any], summary: Mapping[str, Any]
) -> Session | None:
    """The last session of a run, by what was read of its journal; None if none has begun.

    Args:
        running: whether the directory was in use before what follows was read: else it might be of an earlier session.
        config, summary: its `config.json` and `summary.json`; {} where it has none.
    """
    if not view.sessions:
        return None
    # A session that ends in order writes a summary, which counts it. One that was to repeat a finished run may leave
    # none, but that run is finished all the same.
    counted = summary.get("all_sessions", {}).get("sessions", 0)
    ended = view.sessions <= counted or run.result.exists()
    return Session(
        state="running" if running or run.in_use else "ended" if ended else "broken off",
        number=view.sessions,
        since=view.start.wall or run.config.stat().st_mtime,  # written by every session when it begins
        stage=view.stage(
            iterations=None if config.get("train_calls") else config.get("iterations", 0),
            sources=sources_of(config),
            induced=_induced_of(config),
        ),
        calls=view.session.calls,
        dollars=view.session.dollars,
        unpriced=view.session.unpriced,
        seconds=view.seconds,
    )


def sources_of(config: Mapping[str, Any]) -> int:
    """How many source tasks a stored config has."""
    return sum(task.get("role") == "source" for task in config.get("tasks", ()))


def _induced_of(config: Mapping[str, Any]) -> int:
    """How many user prompts a run of a stored config induces at first."""
    outer = config.get("outer")
    table = outer if isinstance(outer, Mapping) else {}
    return sources_of(config) * int(table.get("induced", 0)) if table.get("under") == "induced" else 0


def weights_of(config: Mapping[str, Any]) -> dict[str, float]:
    """How much each task of a stored config counts in a mean over tasks."""
    return {task["name"]: task.get("weight", 1.0) for task in config.get("tasks", ())}


def found_so_far(view: RunView, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best prompts of a run without a result, and the scores that they were chosen by; None before its first round.

    `score` and `first` are means over the source tasks on their train splits, 0 to 1: not tested yet.
    """
    points, best = view.history.points(weights_of(config), sources=sources_of(config)), view.history.best_prompts
    if not points or not best:
        return None
    return {
        "first": points[0].score,
        "score": points[-1].score,
        "system_prompt": best.get("", config.get("system_prompt", "")),
        "user_prompts": {task: prompt for task, prompt in best.items() if task},
    }
