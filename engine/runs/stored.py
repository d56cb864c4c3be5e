"""What a run's directory says of the run, as plain data and as records."""

import shlex
from dataclasses import asdict
from pathlib import Path

from metaspo.engine.evaluation.task_rows import TaskRow, task_rows
from metaspo.engine.evaluation.test_score import ScoreRow
from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.view import RunView
from metaspo.engine.project import KEPT, project_folder
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.files import Data, read_json, tests_of, unreadable
from metaspo.engine.runs.going_on import going_on
from metaspo.engine.runs.status import found_so_far, session_of
from metaspo.engine.runs.summary import RunSummary


def run_data(run: RunDirectory) -> Data:
    """Everything a run's directory says of it."""
    running = run.in_use
    parts: Data = {part: read_json(run, part=part) for part in ("config", "result", "summary", "safety")}
    again = {}
    if not (parts["result"] or running):
        command, hindered = going_on(run)
        again = {"goes_on_with": command, "hindered": hindered}
    return {"name": run.name, "directory": str(run.path), "running": running, **again, **parts}


def shown_data(run: RunDirectory) -> Data:
    """The same with its tasks in rows, and by its whole journal how far its last session is or was, and what it has
    found where it has no result."""
    data = run_data(run)
    view = RunView.of(StoredJournal(run.journal))
    session = session_of(run, view, running=data["running"], config=data["config"], summary=data["summary"])
    return {
        **data,
        "session": asdict(session) if session else None,
        "so_far": None if data["result"] else found_so_far(view, data["config"]),
        "tasks": [row.as_json() for row in rows_of(data)],
    }


def summary_of(data: Data) -> RunSummary | None:
    """The last session's numbers, if it has any. Raises `RunDirectoryError`."""
    try:
        return RunSummary.read(data["summary"]) if data["summary"] else None
    except ValueError as error:
        raise unreadable(Path(data["directory"]) / "summary.json", error) from None


def called(data: Data) -> str:
    """What finds a run from where one stands: its name, or its path where it is kept elsewhere than in the project."""
    folder = Path(data["directory"])
    at_hand = project_folder() / KEPT / "runs"
    return data["name"] if folder.resolve().parent == at_hand.resolve() else shlex.quote(str(folder))


def safety_sentences(data: Data, *, short: bool = False) -> list[str]:
    """Of a finished run that found another system prompt: what `metaspo safety` came to, or that nobody has asked."""
    result = data["result"]
    if not result or result["system_prompt"] == result.get("first_system_prompt"):
        return []
    sides = data.get("safety", {}).get("sides", [])
    told = (
        [str(side.get("sentence", "")) for side in sides if isinstance(side, dict)] if isinstance(sides, list) else []
    )
    checked = [f"Safety: {sentence}" for sentence in told if sentence]
    name = called(data) if data.get("directory") else "RUN"
    what = "" if short else "whether it makes the model refuse less or more, "
    return checked or [f"Not checked for safety: {what}`metaspo safety {name}` tells."]


def rows_of(data: Data) -> tuple[TaskRow, ...]:
    """A run's tasks, by its result where that says what each example was worth, else by its summary."""
    tests: tuple[ScoreRow, ...] = tests_of(data["result"])
    if not tests and (summary := summary_of(data)):
        tests = summary.scores
    return task_rows(tests)
