"""What a run comes to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from metaspo.backends.counted import counted
from metaspo.engine.evaluation.answers import example_data, outcome_data
from metaspo.engine.evaluation.scorecard import Outcome
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.statistics import Interval, Optimism
from metaspo.engine.tasks import TaskRole
from metaspo.scheduling import AccountStatistics

VERSION = 1  # of `result.json` and `summary.json`; older ones say none, and lack what came later


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """After minus before on test splits, on the examples answered under both, with a 95% interval.

    Scores here are each task's metric on these examples, 0 to 1, averaged over tasks. They are of the prompts that this
    one run found: what another seed would find, only other seeds can tell.

    Attributes:
        tasks: how many tasks it is the mean of, each with its weight.
        interval: of the gain with other examples of these tasks.
        over_tasks: of the gain with other tasks of this kind; None for a single task.
        before_interval, after_interval: of the scores by themselves, with other examples of these tasks. That these
            overlap says nothing: the gain is of pairs.
        p: how likely a gain of at least this size, or a loss, is if both are equally good on these tasks.
    """

    role: TaskRole
    tasks: int
    before: float
    after: float
    interval: Interval
    over_tasks: Interval | None = None
    before_interval: Interval | None = None
    after_interval: Interval | None = None
    p: float | None = None

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

    @property
    def points(self) -> str:
        """The gain with its interval, in words."""
        low, high = 100 * self.interval.low, 100 * self.interval.high
        return f"{100 * self.gain:+z.1f} points (95% interval {low:+z.1f} to {high:+z.1f})"

    @property
    def sentence(self) -> str:
        """All of it for people."""
        tasks = counted(self.tasks, "unseen target task" if self.role == "target" else "source task")
        return f"Mean over {tasks}: {self.before:.1%} → {self.after:.1%}, {self.points}: {self.verdict}."


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardScore:
    """What a guard's train split came to, 0 to 1: of the first system prompt, and of the one that the run ended with.

    Attributes:
        floor: the lowest score that a selected system prompt might have.
    """

    task: str
    before: float
    after: float
    floor: float

    @property
    def sentence(self) -> str:
        """The same for people."""
        kept = f"{self.before:.1%} → {self.after:.1%}" if self.after != self.before else f"{self.after:.1%} as before"
        return f"Guard {self.task}: {kept} on its train examples (at least {max(self.floor, 0.0):.1%} was wanted)."


def untested_sentence(result: Mapping[str, Any]) -> str:
    """That a result says nothing of other examples than those it was found on; "" if it does."""
    if result.get("tests", True):
        return ""
    return (
        "Nothing was scored on a test split: what the prompts are worth on other examples than those they were chosen "
        "by is not known."
    )


def chosen_sentence(result: Mapping[str, Any]) -> str:
    """What a result's gain on train examples is worth, in words; "" if there is none, or luck had no part in it."""
    luck = result.get("user_luck")
    if not luck or (after := result["train_after"]) <= (before := result["train_before"]):
        return ""
    points, chosen = f"about {100 * luck:.1f} points", "the luck of having been chosen there"
    share = f"of which {points} are {chosen}" if luck < after - before else f"no more than {chosen} brings ({points})"
    return f"On the train examples that user prompts were chosen by: {before:.1%} → {after:.1%}, {share}."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A finished run: a function of config, data, seed and the models' answers, and of nothing else.

    Attributes:
        system_prompt: the optimized one.
        user_prompts: per source task the kept user prompts, best first.
        train_before, train_after: mean over the source tasks' train splits, of the first prompts and of the best found.
        strategies: one line each on who proposed the prompts.
        raced_out: addresses of the candidates that were dropped on statistical evidence alone (`racing`).
        first_user_prompts: that each source task started from; {} in results of earlier versions.
        optimism: how much of the system prompt's train score, in the round that chose it, is luck at most; None if
            the first one was kept.
        user_luck: about how much of what the best user prompts have gained there is luck; None if a score is no mean
            over examples, and in results of earlier versions.
        train_calls: base calls on train splits, each counted once, and of candidates dropped early those spared, too: a
            function of the run like the rest; 0 in results of earlier versions.
        guards: what became of each guard.
        ended_early: why the loops ended before their iterations were over (`stop_below`), and what going on would cost.
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
    user_luck: float | None = None
    first_user_prompts: dict[str, str] = field(default_factory=dict)
    train_calls: int = 0
    ended_early: str = ""
    guards: tuple[GuardScore, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain data, as `result.json` holds it."""
        return {"version": VERSION, **asdict(replace(self, tests=())), "tests": tuple(map(_test_as_json, self.tests))}


def _test_as_json(test: TestScore) -> dict[str, Any]:
    """As `asdict` has it, which would copy grade by grade."""
    per_example = {"grades": test.grades, "labels": test.labels, "repeats": test.repeats}
    return {**asdict(replace(test, grades=(), labels=(), repeats=())), **per_example}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A finished run: its result, and what it took this time.

    Attributes:
        search: what `usage` was when the loops were over, before the test splits of what they found.
        directory: the run directory, None if the run was kept in memory only.
        seconds: wall time of this session; one that finds everything in the cache takes next to none.
    """

    result: RunResult
    usage: AccountStatistics
    search: AccountStatistics
    seconds: float
    directory: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """Given prompts on given tasks, and what scoring them took; `answers` by task, in the order of the split."""

    scores: tuple[TestScore, ...]
    usage: AccountStatistics
    seconds: float
    answers: dict[str, tuple[Outcome, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        answers = {
            task: [{**example_data(outcome.example), "answer": outcome_data(outcome)} for outcome in outcomes]
            for task, outcomes in self.answers.items()
        }
        return {**asdict(replace(self, answers={})), "answers": answers}
