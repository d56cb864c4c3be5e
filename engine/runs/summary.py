"""What a session of a run came to, in numbers: `summary.json`, and the tables that are printed from it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from metaspo.backends.counted import counted
from metaspo.engine.evaluation.test_score import ScoreRow
from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.proposals import Proposals
from metaspo.engine.journal.system_search import SystemSearch
from metaspo.engine.journal.view import AllSessions, Barriers, RunView
from metaspo.engine.money import show_dollars
from metaspo.engine.optimize.result import VERSION, Gain, RunReport, RunResult
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.records import read_as
from metaspo.scheduling import AccountStatistics, BudgetExhausted, LaneUse

USE_COLUMNS: Mapping[str, Callable[[LaneUse], str]] = {
    "calls": lambda use: f"{use.calls:,}",
    "from cache": lambda use: f"{use.hits + use.joined:,}",
    "tokens in": lambda use: f"{use.prompt_tokens:,}",
    "tokens out": lambda use: f"{use.completion_tokens:,}",
    "dollars": lambda use: show_dollars(use.dollars, unpriced=use.unpriced),
    "saved by cache": lambda use: show_dollars(use.dollars_saved, unpriced=use.unpriced_saved),
    "retries": lambda use: f"{use.retries:,}",
}
"""Heads and texts of every table with a row for each model, on a terminal and on a page, after the model's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A session's numbers; what an older version did not write is as it is here.

    Attributes:
        stopped: why the session did not get to the end; "" if it was interrupted or finished.
        cap: which one of [budget] stopped it: "calls", "tokens", "dollars" or "hours"; "" if none did.
        seconds: its wall time.
        scores, gains, optimism: of the result, where there is one.
        all_sessions, barriers, proposals, system_search, optimism_estimate: by the journal. They may depend on how the
            run went, and so are in no result; there are none of a run that is kept in memory only.
    """

    version: int = 0
    finished: bool = False
    stopped: str = ""
    cap: str = ""
    seconds: float = 0.0
    usage: AccountStatistics
    scores: tuple[ScoreRow, ...] = ()
    gains: tuple[Gain, ...] = ()
    optimism: str = ""
    all_sessions: AllSessions = field(default_factory=AllSessions)
    barriers: Barriers = field(default_factory=Barriers)
    proposals: Proposals = field(default_factory=Proposals)
    system_search: SystemSearch = field(default_factory=SystemSearch)
    optimism_estimate: str = ""

    @classmethod
    def of(
        cls,
        result: RunResult | None,
        usage: AccountStatistics,
        *,
        seconds: float,
        stop: Exception | None = None,
        view: RunView,
    ) -> "RunSummary":
        """Of a session that ends; `result` is None if it did not get to the end."""
        return cls(
            version=VERSION,
            finished=result is not None,
            stopped=str(stop or ""),
            cap=stop.cap if isinstance(stop, BudgetExhausted) else "",
            seconds=round(seconds, 3),
            usage=usage,
            scores=tuple(test.row for test in result.tests) if result else (),
            gains=result.gains if result else (),
            optimism=result.optimism.sentence if result and result.optimism else "",
            all_sessions=view.all_sessions,
            barriers=view.barriers,
            proposals=view.proposals,
            system_search=view.trials.search,
            optimism_estimate=view.optimism,
        )

    @property
    def together(self) -> str:
        """What all sessions took, in a sentence; "" where there is one."""
        spent = self.all_sessions
        if spent.sessions < 2 and not spent.at_least:
            return ""
        who = "All sessions together: at least" if spent.at_least else f"All {spent.sessions} sessions together:"
        dollars = show_dollars(spent.dollars, unpriced=spent.unpriced)
        calls = counted(spent.calls, "call")
        if spent.set_aside:
            calls += f" (a budget counts up to {spent.set_aside:,} more, whose answers nobody saw)"
        more = " (lines of the journal are damaged or missing)" if spent.at_least else ""
        return f"{who} {calls}, {dollars}, {spent.seconds:,.1f} s{more}."

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "RunSummary":
        """Of plain data, of any version. Raises `ValueError` that names the first field that cannot be read."""
        return read_as(cls, data)

    def as_json(self) -> dict[str, Any]:
        """Plain data, as `summary.json` holds it."""
        gains = [{**asdict(gain), "gain": gain.gain, "verdict": gain.verdict} for gain in self.gains]
        return {
            **asdict(self),
            "gains": gains,
            "proposals": self.proposals.as_json(),
            "system_search": self.system_search.as_json(),
        }


def report_data(report: RunReport) -> dict[str, Any]:
    """A finished run as plain data, in the shape of its directory's files."""
    directory = RunDirectory(report.directory) if report.directory else None
    view = RunView.of(StoredJournal(directory.journal) if directory else ())
    return {
        "name": directory.name if directory else report.result.name,
        "directory": str(directory.path) if directory else "",
        "result": report.result.as_json(),
        "summary": RunSummary.of(report.result, report.usage, seconds=report.seconds, view=view).as_json(),
    }
