"""One prompt pair on one test split."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from metaspo.backends import Usage
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.money import whole
from metaspo.engine.statistics import Interval, Labels, SplitGrades, score_interval
from metaspo.engine.tasks import MacroF1, TaskRole
from metaspo.engine.tasks.shown import listed

Stage = Literal["before", "after", "given"]
PROMPT_TOKENS, ANSWER_TOKENS, DOLLARS = "prompt tokens", "answer tokens", "$ per 1,000 calls"
OF_COST = (ANSWER_TOKENS, DOLLARS, PROMPT_TOKENS)  # the columns that a narrow table does without, the first first


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """What a table says of one prompt pair on one task's test split.

    Attributes:
        stage: "before" is the first prompts, "after" the optimized ones, "given" those of an evaluation.
        prompt: 0 for a task's best (or only) user prompt, 1 for the next, …
        score: the metric over the answered examples, 0 to 1; None if none was answered.
        malformed, failed: how many examples ended so.
        cut, empty, broken: how many of the malformed ones were cut off at max_tokens, had no text, and are no answers
            since a program of the user's raised.
        interval: 95%, of the score with other examples of the task; None if none was answered.
        weight: how much the task counts in a mean over tasks.
        prompt_tokens: of one question with its prompts, the mean over the answers, as the server counts them.
        answer_tokens: the same of the answer.
        dollars_per_thousand: what a thousand such calls cost with their answers, with nothing cached at the provider.
            All three are None where they are not known.
    """

    task: str
    role: TaskRole
    metric: str
    stage: Stage
    prompt: int
    score: float | None
    examples: int = 0
    malformed: int = 0
    cut: int = 0
    empty: int = 0
    broken: int = 0
    failed: int = 0
    interval: Interval | None = None
    weight: float = 1.0
    prompt_tokens: float | None = None
    answer_tokens: float | None = None
    dollars_per_thousand: float | None = None

    @property
    def answers(self) -> int:
        """Of the model, in whatever form."""
        return self.examples - self.failed - self.broken

    @property
    def formless(self) -> int:
        """Those of them that are not in the form asked for."""
        return self.malformed - self.broken


SCORE_COLUMNS: Mapping[str, Callable[[ScoreRow], str]] = {
    "task": lambda row: row.task,
    "role": lambda row: row.role,
    "metric": lambda row: row.metric,
    "stage": lambda row: row.stage,
    "prompt": lambda row: str(row.prompt + 1),
    "score": lambda row: percent(row.score, row.interval),
    "examples": lambda row: str(row.examples),
    "malformed": lambda row: str(row.malformed),
    "failed": lambda row: str(row.failed),
    PROMPT_TOKENS: lambda row: whole(row.prompt_tokens),
    ANSWER_TOKENS: lambda row: whole(row.answer_tokens),
    DOLLARS: lambda row: dollars(row.dollars_per_thousand),
}
"""Heads and texts of every table with a row for each prompt pair, on a terminal and on a page."""


def percent(score: float | None, interval: Interval | None) -> str:
    """A score and, where it is known, its interval: "61.0% (57–65)"."""
    if score is None:
        return "–"
    return f"{score:.1%}" + (f" ({100 * interval.low:.0f}–{100 * interval.high:.0f})" if interval else "")


def dollars(amount: float | None) -> str:
    """An amount that may be small; "–" for none."""
    return "–" if amount is None else f"${amount:,.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestScore(ScoreRow):
    """One prompt pair on one task's test split.

    Attributes:
        grades: per example 0 to 1, None where no answer could be had; in the order of the split.
        labels: where the score is macro-F1, per example the right label and the predicted one, as `grades` are; else
            empty.
        unanswered: the examples without an answer, and why, those of one reason together.
        repeats: per example the position of the first one with the same question; empty where all differ.
    """

    __test__ = False  # not a test class

    system: str
    user: str
    grades: tuple[float | None, ...]
    labels: tuple[Labels | None, ...] = ()
    repeats: tuple[int, ...] = ()
    unanswered: str = ""

    @property
    def row(self) -> ScoreRow:
        """Without its prompts and grades."""
        return ScoreRow(**{field.name: getattr(self, field.name) for field in fields(ScoreRow)})

    @classmethod
    def of(cls, card: Scorecard, *, role: TaskRole, metric: str, stage: Stage, prompt: int = 0) -> "TestScore":
        """The row of a scorecard."""
        grades = tuple(outcome.grade for outcome in card.outcomes)
        labels = _labels(card) if metric == MacroF1().name else ()
        repeats = _repeats([outcome.example.content for outcome in card.outcomes])
        answered = any(grade is not None for grade in grades)
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
            cut=card.cut,
            empty=card.empty,
            broken=card.broken,
            failed=card.failed,
            grades=grades,
            interval=score_interval(labels or grades, repeats) if answered else None,
            weight=card.weight,
            labels=labels,
            repeats=repeats,
            unanswered=card.unanswered,
            **_cost(card),
        )

    def split_grades(self, *, questions: Sequence[str] = (), task: str = "", seed: int = 0) -> SplitGrades:
        """The row as figures are made of it.

        Args:
            questions: what tells questions apart between rows; the positions of the examples do if left out.
            task: the task's name among those that the figure is of; its own if left out.
        """
        return SplitGrades(
            task=task or self.task,
            grades=self.labels or self.grades,
            questions=questions or self.repeats,
            seed=seed,
            prompt=self.prompt,
            weight=self.weight,
        )


def _labels(card: Scorecard) -> tuple[Labels | None, ...]:
    return tuple(
        None if outcome.grade is None else (outcome.example.answers[0], outcome.prediction) for outcome in card.outcomes
    )


def _cost(card: Scorecard) -> dict[str, float | None]:
    """What a call of the pair takes, by the answers that there are."""
    usages = [outcome.usage for outcome in card.outcomes if outcome.usage is not None]
    if not usages:
        return {}
    every = Usage(sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages))
    return {
        "prompt_tokens": every.prompt_tokens / len(usages),
        "answer_tokens": every.completion_tokens / len(usages),
        "dollars_per_thousand": 1_000 * card.prices.dollars(every) / len(usages) if card.prices else None,
    }


def _repeats(questions: Sequence[str]) -> tuple[int, ...]:
    first: dict[str, int] = {}
    positions = tuple(first.setdefault(question, position) for position, question in enumerate(questions))
    return positions if len(first) < len(questions) else ()


def unreadable(rows: Iterable[ScoreRow]) -> str:
    """A sentence where a tenth of the answers or more were cut off before they were in the form asked for, or nine
    tenths of a task's are not in it at all; else ""."""
    rows = tuple(rows)
    cut, answers = sum(row.cut for row in rows), sum(row.answers for row in rows)
    if cut and 10 * cut >= answers:
        return f"{cut:,} of {answers:,} answers were cut off and are not in the form asked for: raise [base] max_tokens"
    formless, asked = Counter[str](), Counter[str]()
    for row in rows:  # a task may have several user prompts
        formless[row.task] += row.formless
        asked[row.task] += row.answers
    bad = [task for task, count in formless.items() if count and 10 * count >= 9 * asked[task]]
    if not bad:
        return ""
    malformed, answers = sum(formless[task] for task in bad), sum(asked[task] for task in bad)
    empty = sum(row.empty for row in rows if row.task in bad)
    whose = "" if len(bad) == len(formless) else f" to {listed(bad)}"
    of_them = f" ({empty:,} of them empty)" if empty else ""
    return (
        f"{malformed:,} of {answers:,} answers{whose} are not in the form asked for{of_them}: see to the answer "
        "format, to [base] max_tokens and to the server's chat template, after whose change another [base] revision "
        "asks anew"
    )
