"""What a run came to task by task, before and after in one row: the columns of every table of it, wherever shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from metaspo.engine.evaluation.test_score import (
    ANSWER_TOKENS,
    DOLLARS,
    PROMPT_TOKENS,
    ScoreRow,
    TestScore,
    dollars,
    percent,
)
from metaspo.engine.money import whole
from metaspo.engine.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task's test split under its best prompts, 0 to 1; None where there is no such side.

    What is counted of a side stands in a tuple: before and after where there are both, nothing where it is not known.

    Attributes:
        worse, better: examples whose grade fell or rose; -1 where grades are not known.
    """

    task: str
    role: str
    metric: str
    before: float | None = None
    after: float | None = None
    before_interval: Interval | None = None
    after_interval: Interval | None = None
    examples: int = 0
    worse: int = -1
    better: int = -1
    malformed: tuple[int, ...] = field(default=())
    failed: tuple[int, ...] = field(default=())
    prompt_tokens: tuple[float, ...] = field(default=())
    answer_tokens: tuple[float, ...] = field(default=())
    dollars_per_thousand: tuple[float, ...] = field(default=())

    @property
    def change(self) -> float | None:
        """After minus before."""
        return None if self.before is None or self.after is None else self.after - self.before

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "change": self.change}


COLUMNS: Mapping[str, Callable[[TaskRow], str]] = {
    "task": lambda row: row.task,
    "role": lambda row: row.role,
    "metric": lambda row: row.metric,
    "before": lambda row: percent(row.before, row.before_interval),
    "after": lambda row: percent(row.after, row.after_interval),
    "change": lambda row: "" if row.change is None else f"{100 * row.change:+z.1f}",
    "worse": lambda row: "" if row.worse < 0 else f"{row.worse}",
    "better": lambda row: "" if row.better < 0 else f"{row.better}",
    "malformed": lambda row: " → ".join(map(str, row.malformed)),
    "failed": lambda row: " → ".join(map(str, row.failed)),
    PROMPT_TOKENS: lambda row: " → ".join(map(whole, row.prompt_tokens)),
    ANSWER_TOKENS: lambda row: " → ".join(map(whole, row.answer_tokens)),
    DOLLARS: lambda row: " → ".join(map(dollars, row.dollars_per_thousand)),
}
"""Heads and texts, in the order in which tables have them."""
SHORT = ("task", "role", "before", "after", "change", "worse", "better")
"""Those of a table that is to fit a screen."""


def cost_sentence(rows: Sequence[TaskRow]) -> str:
    """What the prompts after cost a call beside those before, as a mean over the tasks; "" where that is not known."""
    tokens = _means([row.prompt_tokens for row in rows])
    if tokens is None:
        return ""
    sentence = f"A question with its prompts has {_tokens(whole(tokens[1]))}, {whole(tokens[0])} before"
    prices = _means([row.dollars_per_thousand for row in rows])
    if prices is not None and any(prices):
        sentence += f"; a thousand calls cost {dollars(prices[1])}, {dollars(prices[0])} before"
    return f"{sentence}{_difference(tokens, prices)}."


def _difference(tokens: tuple[float, float], prices: tuple[float, float] | None) -> str:
    """What a thousand calls take more, or less; "" where that is no whole token."""
    more = 1_000 * (tokens[1] - tokens[0])
    if abs(more) < 1:
        return ""
    said = [f"{_tokens(f'{abs(more):,.0f}')} {'more' if more > 0 else 'less'}"]
    if prices is not None and (paid := prices[1] - prices[0]):
        said.append(f"{dollars(abs(paid))} {'more' if paid > 0 else 'less'}")
    return f": {' and '.join(said)} a thousand calls"


def _tokens(count: str) -> str:
    return f"{count} token{'' if count == '1' else 's'}"


def _means(sides: Sequence[tuple[float, ...]]) -> tuple[float, float] | None:
    """Of the tasks that have both sides; None where there are none."""
    both = [side for side in sides if len(side) == len(("before", "after"))]
    return (fmean(side[0] for side in both), fmean(side[1] for side in both)) if both else None


def task_rows(tests: Sequence[ScoreRow]) -> tuple[TaskRow, ...]:
    """A row for each task, in their order; further kept prompts of a task are left out."""
    first = {(row.task, row.stage): row for row in tests if row.prompt == 0}
    rows = (
        _row(first.get((task, "before")), first.get((task, "after"))) for task in dict.fromkeys(r.task for r in tests)
    )
    return tuple(row for row in rows if row is not None)


def _row(before: ScoreRow | None, after: ScoreRow | None) -> TaskRow | None:
    sides = [side for side in (before, after) if side]
    if not sides:
        return None
    worse, better = _moved(before, after)
    return TaskRow(
        task=sides[0].task,
        role=sides[0].role,
        metric=sides[0].metric,
        before=before.score if before else None,
        after=after.score if after else None,
        before_interval=before.interval if before else None,
        after_interval=after.interval if after else None,
        examples=sides[0].examples,
        worse=worse,
        better=better,
        malformed=tuple(side.malformed for side in sides),
        failed=tuple(side.failed for side in sides),
        prompt_tokens=tuple(side.prompt_tokens for side in sides if side.prompt_tokens is not None),
        answer_tokens=tuple(side.answer_tokens for side in sides if side.answer_tokens is not None),
        dollars_per_thousand=tuple(
            side.dollars_per_thousand for side in sides if side.dollars_per_thousand is not None
        ),
    )


def _moved(before: ScoreRow | None, after: ScoreRow | None) -> tuple[int, int]:
    """How many examples got worse and better; -1 where unknown: without grades, or with those of others."""
    if not (isinstance(before, TestScore) and isinstance(after, TestScore)) or len(before.grades) != len(after.grades):
        return -1, -1
    pairs = [(a, b) for a, b in zip(before.grades, after.grades, strict=True) if a is not None and b is not None]
    return sum(new < old for old, new in pairs), sum(new > old for old, new in pairs)
