"""One prompt pair on one test split."""

from dataclasses import dataclass, fields
from typing import Literal

from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.statistics import Interval, macro_f1_interval, score_interval
from metaspo.engine.tasks import MacroF1, TaskRole

Stage = Literal["before", "after", "given"]


# What every table of scores shows, on a terminal and on a page: whose score it is, and what is counted beside it.
WHOSE = ("task", "role", "metric")
COUNTS = ("malformed", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """What a table says of one prompt pair on one task's test split.

    Attributes:
        stage: "before" is the first prompts, "after" the optimized ones, "given" those of an evaluation.
        prompt: 0 for a task's best (or only) user prompt, 1 for the next, …
        score: the metric over the answered examples, 0 to 1; None if none was answered.
        malformed, failed: how many examples ended so.
        interval: 95%, of the score with other examples of the task; None if none was answered.
        weight: how much the task counts in a mean over tasks.
    """

    task: str
    role: TaskRole
    metric: str
    stage: Stage
    prompt: int
    score: float | None
    examples: int = 0
    malformed: int = 0
    failed: int = 0
    interval: Interval | None = None
    weight: float = 1.0

    def texts(self, *columns: str) -> list[str]:
        """Fields in words."""
        return [str(getattr(self, column)) for column in columns]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestScore(ScoreRow):
    """One prompt pair on one task's test split.

    Attributes:
        grades: per example 0 to 1, None where no answer could be had; in the order of the split.
    """

    __test__ = False  # not a test class

    system: str
    user: str
    grades: tuple[float | None, ...]

    @property
    def row(self) -> ScoreRow:
        """Without its prompts and grades."""
        return ScoreRow(**{field.name: getattr(self, field.name) for field in fields(ScoreRow)})

    @classmethod
    def of(cls, card: Scorecard, *, role: TaskRole, metric: str, stage: Stage, prompt: int = 0) -> "TestScore":
        """The row of a scorecard."""
        return cls(
            task=card.task,
            role=role,
            metric=metric,
            stage=stage,
            prompt=prompt,
            system=card.pair.system,
            user=card.pair.user,
            score=card.score,
            examples=len(card.outcomes),
            malformed=card.malformed,
            failed=card.failed,
            grades=tuple(outcome.grade for outcome in card.outcomes),
            interval=_interval(card, metric),
            weight=card.weight,
        )


def _interval(card: Scorecard, metric: str) -> Interval | None:
    """By the mean of the grades, but for macro-F1, which is none."""
    answered = [(outcome, outcome.grade) for outcome in card.outcomes if outcome.grade is not None]
    if not answered:
        return None
    if metric == MacroF1().name:
        return macro_f1_interval([(outcome.example.answers[0], outcome.prediction) for outcome, _ in answered])
    return score_interval([grade for _, grade in answered])
