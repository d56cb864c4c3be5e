"""What a comparison comes to: one result a cell, as plain data for files and tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.optimize.result import RunReport, RunResult
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.studies.adapt import Curve
from metaspo.engine.studies.grid import Cell
from metaspo.scheduling import AccountStatistics, LaneUse


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """One method on one domain under one seed.

    Attributes:
        tests: the final prompts on the test splits; a source task's best user prompt first.
        transferred: the same prompts with other models, by `model_label`.
        generalized: the system prompt on target tasks under several user prompts each.
        adapted: user prompts of target tasks adapted under the system prompt, curve by curve.
        result: of the optimization; None for a fixed prompt.
        answers: how many it took with an empty cache: from the cache or not, each once.
        optimizer_answers: how many of them the optimizer model gave; 0 where it shares the base model's lane.
        train_calls: base calls on train splits of the optimization, as `RunResult` counts them; 0 for a fixed prompt.
        worth: what all of them cost, in dollars, as if the cache had been empty; `unpriced_worth` are not in it.
        calls, dollars, seconds: what this session spent on it; `unpriced` calls are not in the dollars.
        stopped: why it has no scores; "" if it has.
    """

    method: str
    domain: str
    seed: int
    system_prompt: str
    tests: tuple[TestScore, ...] = ()
    transferred: dict[str, tuple[TestScore, ...]] = field(default_factory=dict)
    generalized: tuple[TestScore, ...] = ()
    adapted: tuple[Curve, ...] = ()
    result: RunResult | None = None
    answers: int = 0
    optimizer_answers: int = 0
    train_calls: int = 0
    worth: float = 0.0
    unpriced_worth: int = 0
    calls: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    stopped: str = ""

    @classmethod
    def unfinished(cls, cell: Cell, reason: str) -> Self:
        """Of a cell that has to stop."""
        return cls(method=cell.method.name, domain=cell.domain, seed=cell.seed, system_prompt="", stopped=reason)

    @classmethod
    def scored(cls, cell: Cell, system_prompt: str, tests: Iterable[TestScore]) -> Self:
        """Of a fixed prompt."""
        name, tests = cell.method.name, tuple(tests)
        return cls(method=name, domain=cell.domain, seed=cell.seed, system_prompt=system_prompt, tests=tests)

    @classmethod
    def optimized(cls, cell: Cell, report: RunReport, names: LaneNames, *, searches: int) -> Self:
        """Of a run; `searches`: of so many cells whose search is the same, and counted in each for its share."""
        found = report.result
        result = replace(
            cls.scored(cell, found.system_prompt, (row for row in found.tests if row.stage == "after")),
            result=found,
            train_calls=round(found.train_calls / searches),
        )
        return result.with_usage(report.usage, names)._with_share(report.search, names, searches=searches)

    def with_usage(self, usage: AccountStatistics, names: LaneNames) -> Self:
        """With what more was asked, by whom."""
        total = usage.total
        optimizer = usage.lanes.get(names.optimizer) if names.optimizer != names.base else None
        judge = usage.lanes.get(names.judge) if names.judge not in (names.base, names.optimizer) else None
        return replace(
            self,
            answers=self.answers + _answers(total) - (_answers(judge) if judge else 0),
            optimizer_answers=self.optimizer_answers + (_answers(optimizer) if optimizer else 0),
            worth=self.worth + total.dollars + total.dollars_saved - total.dollars_repeated + total.dollars_joined,
            unpriced_worth=self.unpriced_worth
            + (total.unpriced + total.unpriced_saved - total.unpriced_repeated + total.unpriced_joined),
            calls=self.calls + total.calls,
            dollars=self.dollars + total.dollars,
            unpriced=self.unpriced + total.unpriced,
        )

    def _with_share(self, search: AccountStatistics, names: LaneNames, *, searches: int) -> Self:
        """Without what of a search is counted in other cells; what was asked now is asked, and counted, once anyway."""
        if searches == 1:
            return self
        none = replace(self, answers=0, optimizer_answers=0, worth=0.0, unpriced_worth=0)
        total, others = none.with_usage(search, names), 1 - 1 / searches
        return replace(
            self,
            answers=self.answers - round(total.answers * others),
            optimizer_answers=self.optimizer_answers - round(total.optimizer_answers * others),
            worth=self.worth - total.worth * others,
            unpriced_worth=self.unpriced_worth - round(total.unpriced_worth * others),
        )

    def on_targets(self) -> Self:
        """With its rows as those of the target tasks that they are, in a cell that optimized on these."""

        def targets(rows: Sequence[TestScore]) -> tuple[TestScore, ...]:
            return tuple(replace(row, role="target") for row in rows)

        transferred = {model: targets(rows) for model, rows in self.transferred.items()}
        return replace(self, tests=targets(self.tests), transferred=transferred)


def _answers(use: LaneUse) -> int:
    """As if the cache had been empty: what was asked twice counts once."""
    return use.calls + use.hits + use.joined - use.repeated
