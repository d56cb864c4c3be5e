"""Outcomes and scorecards: what a prompt pair's answers are worth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from metaspo.backends import CONTENT_FILTER, Completion, RequestRejected, Usage
from metaspo.engine.cut_tags import with_cut_tag
from metaspo.engine.prompts import PromptPair
from metaspo.engine.tasks import Failure, TaskError
from metaspo.engine.tasks.base import AnswerFormat, Example, Grade, Metric
from metaspo.engine.tasks.formats.tagged import Tagged
from metaspo.engine.tasks.programs import Broken
from metaspo.scheduling import Prices


class Status(StrEnum):
    """How one example ended."""

    SCORED = "scored"
    MALFORMED = "malformed"
    FAILED = "failed"


class Outcome(NamedTuple):
    """One example under one prompt pair.

    Attributes:
        text: the model's answer, "" when there is none.
        prediction: the answer in canonical form; None unless scored.
        grade: 0 to 1; a malformed answer counts as wrong, a failed one has no grade.
        reason: why there is no answer, for a failed one.
        feedback: what the grader says of the answer, if anything.
        cut: whether it is malformed, and cut off where the answer had to end (max_tokens).
        broken: whether there is no answer since a program of the user's raised; `feedback` says what.
        usage: the tokens of the call that brought the answer, from the cache or not; None if there is none.
    """

    example: Example
    status: Status
    text: str = ""
    prediction: str | None = None
    grade: float | None = None
    reason: str = ""
    feedback: str = ""
    cut: bool = False
    broken: bool = False
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """All outcomes of one prompt pair on one split of one task.

    Attributes:
        score: the metric over all examples that were answered, 0 to 1; None if none was.
        weight: how much the task counts in a mean over tasks.
        prices: of the model that answered; None if they are not known.
    """

    task: str
    pair: PromptPair
    outcomes: tuple[Outcome, ...]
    score: float | None
    weight: float = 1.0
    prices: Prices | None = None

    @property
    def _statuses(self) -> list[Status]:
        return [outcome.status for outcome in self.outcomes]

    @property
    def malformed(self) -> int:
        """Answers that were not in the answer format."""
        return self._statuses.count(Status.MALFORMED)

    @property
    def cut(self) -> int:
        """Those of them that were cut off at max_tokens."""
        return sum(outcome.cut for outcome in self.outcomes)

    @property
    def broken(self) -> int:
        """Those of them that are none, since a program of the user's raised."""
        return sum(outcome.broken for outcome in self.outcomes)

    @property
    def empty(self) -> int:
        """Those of them that had no text."""
        malformed = (outcome for outcome in self.outcomes if outcome.status is Status.MALFORMED)
        return sum(not outcome.broken and not outcome.text.strip() for outcome in malformed)

    @property
    def failed(self) -> int:
        """Examples for which no answer could be had."""
        return self._statuses.count(Status.FAILED)

    @property
    def invalid(self) -> str:
        """Why the pair cannot be selected: an example was refused under it, which is not the same as a wrong answer."""
        return refusal_in(self.outcomes)

    @property
    def unanswered(self) -> str:
        """Every example without an answer, and why not: those of one reason together, all of them by the first."""
        rows: dict[str, list[str]] = {}
        for outcome in self.outcomes:
            if outcome.status is Status.FAILED:
                rows.setdefault(outcome.reason, []).append(outcome.example.where)
        if len(rows) == 1 and 1 < self.failed == len(self.outcomes):
            return f"{self.outcomes[0].example.where}, like all {self.failed} examples: {next(iter(rows))}"
        return "; ".join(f"{', '.join(where)}: {reason}" for reason, where in rows.items())

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What a strategy may learn from: every answered example that is not fully right, in the split's order."""
        return tuple(
            Failure(
                example=outcome.example,
                response=outcome.text,
                prediction=outcome.prediction,
                feedback=outcome.feedback,
            )
            for outcome in self.outcomes
            if outcome.grade is not None and outcome.grade < 1
        )

    @property
    def right(self) -> tuple[tuple[Example, str], ...]:
        """What was answered fully rightly, with the answers, in the split's order."""
        return tuple((outcome.example, outcome.text) for outcome in self.outcomes if outcome.grade == 1)


def refusal_in(outcomes: Iterable[Outcome | None]) -> str:
    """The first example that the server refused, and why; "" if there is none."""
    for outcome in outcomes:
        if outcome is not None and outcome.status is Status.FAILED:
            return f"{outcome.example.where}: {outcome.reason}"
    return ""


def grade_answer(
    answer: Completion | RequestRejected | Broken,
    example: Example,
    *,
    answer_format: AnswerFormat,
    metric: Metric | None,
    stop: Sequence[str] = (),
) -> Outcome:
    """Turn one answer into its outcome, ungraded without a metric; `stop` are the strings that may have ended it."""
    if isinstance(answer, RequestRejected):
        return Outcome(example=example, status=Status.FAILED, reason=str(answer))
    if isinstance(answer, Broken):
        score = metric.grade(None, example).score if metric else None
        return Outcome(example=example, status=Status.MALFORMED, grade=score, feedback=answer.reason, broken=True)
    if answer.finish_reason == CONTENT_FILTER:
        return Outcome(
            example=example, status=Status.FAILED, reason="the provider's content filter withheld the answer"
        )
    text, closing = answer.text, answer_format.closing if isinstance(answer_format, Tagged) else ""
    if stop or answer.rest or closing not in text:
        text = with_cut_tag(answer, stop, tag=answer_format.tag if isinstance(answer_format, Tagged) else "")
    prediction = answer_format.parse(text)
    status = Status.MALFORMED if prediction is None else Status.SCORED
    score, feedback = None, ""
    if metric is not None:
        grade = metric.grade(prediction, example)
        score, feedback = grade.score, grade.feedback
    cut = prediction is None and answer.finish_reason == "length"
    # As a tuple: by its names it takes three times as long, for every answer.
    return tuple.__new__(Outcome, (example, status, text, prediction, score, "", feedback, cut, False, answer.usage))


def graded(outcome: Outcome, grade: Grade) -> Outcome:
    """The outcome with its grade; of a program that raised, what it raised is the feedback."""
    return outcome._replace(grade=grade.score, feedback=outcome.feedback or grade.feedback)


def ungraded(outcome: Outcome, why: object) -> Outcome:
    """The outcome of an answer of which nothing tells what it is worth: that is no wrong answer."""
    return outcome._replace(status=Status.FAILED, prediction=None, reason=f"no grade: {why}")


def require_answers(cards: Sequence[Scorecard]) -> None:
    """Raises `TaskError` where nothing can go on under first prompts: it names every example without an answer.

    A program that fails on every example is no bad prompt's fault either.
    """
    for card in cards:
        if card.outcomes and all(outcome.broken for outcome in card.outcomes):
            first = card.outcomes[0]
            raise TaskError(f"task '{card.task}': on every train example {first.feedback} ({first.example.where})")
    faults = [f"task '{card.task}': {card.unanswered}" for card in cards if card.invalid]
    if not faults:
        return
    if any(outcome.text for card in cards for outcome in card.outcomes if outcome.status is Status.FAILED):
        raise TaskError(
            f"answers under the first prompts already cannot be graded. {'. '.join(faults)}. Mend what grades them "
            "(the rubric, the function, another model in [judge], or another `revision` there after its server has "
            "changed: what it said is in the cache), or take these examples out of the data"
        )
    if all(outcome.status is Status.FAILED for card in cards for outcome in card.outcomes):
        raise TaskError(
            f"the server refuses every example under the first prompts already. {'. '.join(faults)}. That is hardly "
            "the data's fault: see to what the config says of the model (max_tokens, temperature, extra) and to the "
            "server's context; `metaspo check CONFIG` asks for one example of each task"
        )
    raise TaskError(
        f"the server refuses examples under the first prompts already. {'. '.join(faults)}. Take them out of the "
        "data (max_question_chars leaves out long ones), raise the server's context, or start the run again if the "
        "server had trouble of its own"
    )


def score_of_answered(outcomes: Sequence[Outcome], *, metric: Metric) -> float | None:
    """The metric over the examples that were answered; None if none was."""
    answered = [(outcome, outcome.grade) for outcome in outcomes if outcome.grade is not None]
    if not answered:
        return None
    tally = metric.tally([outcome.example.answers for outcome, _ in answered])
    for outcome, grade in answered:
        tally.add(outcome.prediction, outcome.example.answers, grade)
    return tally.bound
