"""What a session of a run came to, in numbers: `summary.json`, and the tables that are printed from it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from metaspo.engine.journal import Journal, read_journal
from metaspo.engine.result import RunReport, RunResult
from metaspo.engine.run_directory import RunDirectory
from metaspo.scheduling import Account, AccountStatistics


def report_data(report: RunReport) -> dict[str, Any]:
    """A finished run as plain data, in the shape of its directory's files."""
    summary = summarize(report.result, report.usage, seconds=report.seconds, stopped="")
    directory = report.directory
    if directory:
        summary["all_sessions"] = all_sessions(read_journal(RunDirectory(directory).journal))
    return {
        "name": directory.name if directory else report.result.name,
        "directory": str(directory) if directory else "",
        "result": report.result.as_json(),
        "summary": summary,
    }


SPENT = ("calls", "prompt_tokens", "completion_tokens", "dollars")


def note_spending(journal: Journal, account: Account, *, seconds: float) -> None:
    """Journal what a session has spent so far."""
    total = account.statistics().total
    journal.write("spent", "", {**{name: getattr(total, name) for name in SPENT}, "seconds": round(seconds, 3)})


def all_sessions(events: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What all sessions of a journal spent together: the last that each said of itself before the next one started.

    A session says it with every scorecard and at its end; of one that was killed, the calls after its last scorecard
    are not known.
    """
    sessions: list[Mapping[str, Any]] = []
    for event in events:
        if event["event"] == "start":
            sessions.append(dict.fromkeys((*SPENT, "seconds"), 0))
        elif event["event"] == "spent" and sessions:
            sessions[-1] = event
    return {"sessions": len(sessions), **{name: sum(one[name] for one in sessions) for name in (*SPENT, "seconds")}}


def summarize(result: RunResult | None, usage: AccountStatistics, *, seconds: float, stopped: str) -> dict[str, Any]:
    """Plain data for `summary.json`.

    Args:
        result: None for a session that did not get to the end.
        seconds: wall time of the session.
        stopped: why it did not, "" if it was interrupted or finished.
    """
    summary: dict[str, Any] = {
        "finished": result is not None,
        "stopped": stopped,
        "seconds": round(seconds, 3),
        "usage": asdict(usage),
    }
    if result is not None:
        summary["scores"] = [
            {
                "task": row.task,
                "role": row.role,
                "metric": row.metric,
                "stage": row.stage,
                "prompt": row.prompt,
                "score": row.score,
                "examples": row.examples,
                "malformed": row.malformed,
                "failed": row.failed,
            }
            for row in result.tests
        ]
        summary["gains"] = [{**asdict(gain), "gain": gain.gain, "verdict": gain.verdict} for gain in result.gains]
    return summary
