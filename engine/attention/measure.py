"""Attention to the system prompt under a run's first and optimized prompts, over the same examples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from metaspo.backends import Message
from metaspo.backends.counted import counted
from metaspo.engine.errors import ConfigError
from metaspo.engine.evaluation.test_score import Stage
from metaspo.engine.prompts import render
from metaspo.engine.runs.reopened import ReopenedRun
from metaspo.engine.statistics import Comparison, MeanScore, SplitGrades, compare, mean_score
from metaspo.engine.strategies.worked_examples import without_own
from metaspo.engine.tasks import Example, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STAGES: Final[tuple[Stage, ...]] = ("before", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Where one answer's attention goes.

    Attributes:
        system, user: the share of each layer (row) and head (column) that goes to the text of the system prompt, and of
            the user prompt with the question; the mean over the answer's tokens. What is left goes to the template's
            marks and to the answer so far.
        length: which share of all tokens before the answer the system prompt has.
    """

    system: "NDArray[np.float64]"
    user: "NDArray[np.float64]"
    length: float


class Attender(Protocol):
    """A model whose attention can be seen."""

    def shares(self, messages: Sequence[Message], *, system: str, tokens: int) -> Shares:
        """Of a greedy answer of so many tokens at most; `system` is the system prompt's text in the messages."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionReport:
    """What a measurement came to; shares are 0 to 1.

    Attributes:
        before, after: mean over layers, heads and examples, then over tasks, with an interval over examples.
        compared: the difference, example by example.
        heads: stage -> share of each layer and head to the system prompt, the mean over all examples.
        users: stage -> mean share to the user prompt.
        lengths: stage -> the system prompt's mean share of the tokens.
    """

    run: str
    model: str
    examples: int
    tasks: tuple[str, ...]
    before: MeanScore
    after: MeanScore
    compared: Comparison
    heads: dict[Stage, list[list[float]]]
    users: dict[Stage, float]
    lengths: dict[Stage, float]

    @property
    def sentence(self) -> str:
        """What it comes to, for people."""
        change, low, high = (
            100 * figure
            for figure in (self.compared.difference, self.compared.interval.low, self.compared.interval.high)
        )
        return (
            f"While it answers, the model gives {_shown(self.before)} of its attention to the first system prompt and "
            f"{_shown(self.after)} to the optimized one: {change:+z.1f} points (95% interval {low:+z.1f} to "
            f"{high:+z.1f}; {counted(self.examples, 'example')} of {counted(len(self.tasks), 'task')}). Of the "
            f"tokens they are {self.lengths['before']:.0%} and {self.lengths['after']:.0%}."
        )

    def layers(self, stage: Stage) -> list[float]:
        """The mean over heads, layer by layer."""
        return [sum(row) / len(row) for row in self.heads[stage]]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "run": self.run,
            "model": self.model,
            "tasks": list(self.tasks),
            "examples": self.examples,
            "before": _plain(self.before),
            "after": _plain(self.after),
            "difference": {
                "share": self.compared.difference,
                "low": self.compared.interval.low,
                "high": self.compared.interval.high,
                "p": self.compared.p,
            },
            "user_prompt": dict(self.users),
            "share_of_tokens": dict(self.lengths),
            "layers": {stage: self.layers(stage) for stage in STAGES},
            "heads": dict(self.heads),
            "sentence": self.sentence,
        }


def measure_attention(
    run: ReopenedRun,
    attender: Attender,
    *,
    model: str,
    examples: int,
    tokens: int,
    done: Callable[[int, int], None] = lambda _done, _of: None,
) -> AttentionReport:
    """Have a model answer a run's examples under both prompts and see where its attention goes.

    Args:
        examples: of each task at most, of its test split, or of its train split where it has none.
        tokens: of an answer at most.
        done: is told how many of how many answers are done.

    Raises:
        ConfigError: for a run whose prompts are the ones that it began with, or that has no example to ask.
    """
    if run.system_prompts["before"] == run.system_prompts["after"]:
        raise ConfigError(
            f"{run.run.name}: its system prompt is the one that it began with; there is nothing to compare"
        )
    answered_at_once = [task for task in run.tasks if task.program is None]
    asked = [(task, example) for task in answered_at_once for example in (task.test or task.train)[:examples]]
    if not asked:
        raise ConfigError(f"{run.run.name}: no task has an example that is answered by one call")
    seen: dict[Stage, list[Shares]] = {stage: [] for stage in STAGES}
    for number, (task, example) in enumerate(asked):
        for stage, pair in run.pairs(task).items():
            messages = render(without_own(pair, example.question), example, roles=run.config.roles)
            seen[stage].append(attender.shares(messages, system=pair.system, tokens=tokens))
        done(number + 1, len(asked))
    return _report(run, model, asked, seen)


def _report(
    run: ReopenedRun, model: str, asked: Sequence[tuple[Task, Example]], seen: dict[Stage, list[Shares]]
) -> AttentionReport:
    splits = {stage: _splits(asked, shares) for stage, shares in seen.items()}
    names = ("the optimized system prompt", "the first one")
    return AttentionReport(
        run=run.run.name,
        model=model,
        examples=len(asked),
        tasks=tuple(dict.fromkeys(task.name for task, _ in asked)),
        before=mean_score(splits["before"]),
        after=mean_score(splits["after"]),
        compared=compare(splits["after"], splits["before"], names=names, seeds_matter=False),
        heads={stage: _mean([each.system for each in shares]) for stage, shares in seen.items()},
        users={stage: sum(float(each.user.mean()) for each in shares) / len(shares) for stage, shares in seen.items()},
        lengths={stage: sum(each.length for each in shares) / len(shares) for stage, shares in seen.items()},
    )


def _splits(asked: Sequence[tuple[Task, Example]], shares: Sequence[Shares]) -> list[SplitGrades]:
    """Each example's share, task by task."""
    values: dict[str, list[tuple[str, float]]] = {}
    for (task, example), each in zip(asked, shares, strict=True):
        values.setdefault(task.name, []).append((example.question, float(each.system.mean())))
    return [
        SplitGrades(task=task, grades=[share for _, share in rows], questions=[question for question, _ in rows])
        for task, rows in values.items()
    ]


def _mean(shares: "Sequence[NDArray[np.float64]]") -> list[list[float]]:
    mean: list[list[float]] = (sum(shares[1:], start=shares[0]) / len(shares)).tolist()
    return mean


def _shown(score: MeanScore) -> str:
    return f"{score.score:.1%} ({100 * score.over_examples.low:.1f}–{100 * score.over_examples.high:.1f})"


def _plain(score: MeanScore) -> dict[str, float]:
    return {"share": score.score, "low": score.over_examples.low, "high": score.over_examples.high}
