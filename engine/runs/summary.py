"""What a session of a run came to, in numbers: `summary.json`, and the tables that are printed from it."""

from dataclasses import asdict
from typing import Any

from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.view import RunView
from metaspo.engine.optimize.result import RunReport, RunResult
from metaspo.engine.runs.directory import RunDirectory
from metaspo.scheduling import AccountStatistics


def report_data(report: RunReport) -> dict[str, Any]:
    """A finished run as plain data, in the shape of its directory's files."""
    summary = summarize(report.result, report.usage, seconds=report.seconds, stopped="")
    directory = report.directory
    if directory:
        summary |= of_journal(RunDirectory(directory))
    return {
        "name": directory.name if directory else report.result.name,
        "directory": str(directory) if directory else "",
        "result": report.result.as_json(),
        "summary": summary,
    }


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
                "interval": asdict(row.interval) if row.interval else None,
            }
            for row in result.tests
        ]
        summary["gains"] = [{**asdict(gain), "gain": gain.gain, "verdict": gain.verdict} for gain in result.gains]
        summary["optimism"] = result.optimism.sentence if result.optimism else ""
    return summary


def of_journal(directory: RunDirectory) -> dict[str, Any]:
    """What a summary takes from the journal: things that may depend on how the run went, and so are in no result."""
    view = RunView.of(StoredJournal(directory.journal))
    return {
        "all_sessions": asdict(view.all_sessions),
        "barriers": asdict(view.barriers),
        "optimism_estimate": view.optimism,
        "proposals": view.proposals.as_json(),
    }
