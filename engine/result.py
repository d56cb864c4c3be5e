"""What a run comes to."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from metaspo.engine.scoring import Scorecard
from metaspo.engine.statistics import Interval, Optimism, macro_f1_interval, score_interval
from metaspo.engine.tasks import MacroF1, TaskRole
from metaspo.scheduling import AccountStatistics

Stage = Literal["before", "after", "given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestScore:
    """One prompt pair on one task's test split.

    Attributes:
        stage: "before" is the first prompts, "after" the optimized ones, "given" those of an evaluation.
        prompt: 0 for a task's best (or only) user prompt, 1 for the next, …
        score: the metric over the answered examples, 0 to 1; None if none was answered.
        malformed, failed: how many examples ended so.
        grades: per example 0 to 1, None where no answer could be had; in the order of the split.
        interval: 95%, of the score with other examples of the task; None if none was answered.
        weight: how much the task counts in a mean over tasks.
    """

    __test__ = False  # not a test class

    task: str
    role: TaskRole
    metric: str
    stage: Stage
    prompt: int
    system: str
    user: str
    score: float | None
    examples: int
    malformed: int
    failed: int
    grades: tuple[float | None, ...]
    interval: Interval | None = None
    weight: float = 1.0

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
    answered = [graded for outcome in card.outcomes if (graded := outcome.graded)]
    if not answered:
        return None
    if metric == MacroF1().name:
        return macro_f1_interval([(graded.answers[0], graded.prediction) for graded in answered])
    return score_interval([outcome.grade for outcome in card.outcomes if outcome.grade is not None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """After minus before on test splits, on the examples answered under both, with a 95% interval.

    Scores here are mean grades per example, 0 to 1, averaged over tasks: the metric itself for accuracy, exact match
    and token-F1, the share of right answers for macro-F1.

    Attributes:
        tasks: how many tasks it is the mean of, each with its weight.
        interval: of the gain with other examples of these tasks.
        over_tasks: of the gain with other tasks of this kind; None for a single task.
        before_interval, after_interval: of the scores by themselves, with other examples of these tasks. That these
            overlap says nothing: the gain is of pairs.
    """

    role: TaskRole
    tasks: int
    before: float
    after: float
    interval: Interval
    over_tasks: Interval | None = None
    before_interval: Interval | None = None
    after_interval: Interval | None = None

    @property
    def gain(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def verdict(self) -> str:
        """A plain sentence: whether the gain can be told from noise."""
        if self.interval.low > 0:
            return "better: the interval lies above zero"
        if self.interval.high < 0:
            return "worse: the interval lies below zero"
        return "not distinguishable from noise: the interval holds zero"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A finished run: a function of config, data, seed and the models' answers, and of nothing else.

    Attributes:
        system_prompt: the optimized one.
        user_prompts: per source task the kept user prompts, best first.
        train_before, train_after: the incumbent's mean score over the source tasks' train splits.
        strategies: one line each on who proposed the prompts.
        raced_out: addresses of the candidates that were dropped on statistical evidence alone (`racing`).
        optimism: how much of the system prompt's train score, in the round that chose it, is luck at most; None if
            the first one was kept.
    """

    name: str
    seed: int
    first_system_prompt: str
    system_prompt: str
    user_prompts: dict[str, tuple[str, ...]]
    train_before: float
    train_after: float
    tests: tuple[TestScore, ...]
    gains: tuple[Gain, ...]
    strategies: dict[str, str]
    raced_out: tuple[str, ...] = ()
    optimism: Optimism | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data, as `result.json` holds it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A finished run: its result, and what it took this time.

    Attributes:
        directory: the run directory, None if the run was kept in memory only.
        seconds: wall time of this session; one that finds everything in the cache takes next to none.
    """

    result: RunResult
    usage: AccountStatistics
    seconds: float
    directory: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """Given prompts on given tasks, and what scoring them took."""

    scores: tuple[TestScore, ...]
    usage: AccountStatistics
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
