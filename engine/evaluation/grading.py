"""How the answers of a split get their grades: at once, in a thread, or by a grader that asks a model."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

import anyio.to_thread

from metaspo.backends import RequestRejected
from metaspo.engine.evaluation.asking import Answered, Base, asking_of
from metaspo.engine.evaluation.calling import Asked, CodeRun, NotStored, Raised
from metaspo.engine.evaluation.scorecard import Outcome, Status, grade_answer, graded, ungraded
from metaspo.engine.gather import gather_many
from metaspo.engine.prompts import PromptPair
from metaspo.engine.tasks import Example, Metric, Task, UserMetric
from metaspo.engine.tasks.base import is_blocking
from metaspo.engine.tasks.errors import in_row
from metaspo.engine.tasks.graders import Grader, Ungraded, checked_grade, failed_on
from metaspo.scheduling import Priority

Take = Callable[[int, Outcome], None]
_ONE_AT_A_TIME: Final = threading.Lock()  # functions that nobody wrote for several threads


class Grading(Protocol):
    """A split's answers, on their way to outcomes; rows are positions of its examples."""

    async def grade(self, answers: Mapping[int, Answered], priority: Priority | None, take: Take) -> None:
        """Hand each row's outcome to `take`; without a priority only those that need no call.

        Raises `MetricError`, and what ends a run.
        """
        ...


def grading_of(base: Base, task: Task, examples: Sequence[Example]) -> Grading:
    """By the task's metric."""
    return (
        ByGrader(base, task, task.metric, examples) if isinstance(task.metric, Grader) else Alone(base, task, examples)
    )


async def outcomes_of(
    base: Base, task: Task, examples: Sequence[Example], answers: Mapping[int, Answered], *, priority: Priority | None
) -> dict[int, Outcome]:
    """The outcomes of answers, by row; without a priority those that need no call."""
    outcomes: dict[int, Outcome] = {}
    await grading_of(base, task, examples).grade(answers, priority, outcomes.__setitem__)
    return outcomes


def _reader(base: Base, task: Task, metric: Metric | None) -> Callable[[Answered, Example], Outcome]:
    """What turns an answer into its outcome; a `MetricError` of its names the task and the row."""
    read = partial(grade_answer, answer_format=task.answer_format, metric=metric, stop=base.model.sampling.stop)

    def named(answer: Answered, example: Example) -> Outcome:
        return in_row(task.name, example.where, read, answer, example)

    return named


class Alone:
    """A metric that needs nobody; in a thread what may take long."""

    def __init__(self, base: Base, task: Task, examples: Sequence[Example]) -> None:
        self._examples = examples
        self._own = isinstance(task.metric, UserMetric)
        self._in_thread = self._own or is_blocking(task.answer_format)
        self._grade = _reader(base, task, task.metric)

    async def grade(self, answers: Mapping[int, Answered], priority: Priority | None, take: Take) -> None:
        """See `Grading`."""
        if not self._in_thread:
            for row, answer in answers.items():
                take(row, self._grade(answer, self._examples[row]))
        elif answers:
            given_up = threading.Event()
            try:
                outcomes = await anyio.to_thread.run_sync(self._all, answers, given_up, abandon_on_cancel=True)
            finally:
                given_up.set()
            for row, outcome in outcomes.items():
                take(row, outcome)

    def _all(self, answers: Mapping[int, Answered], given_up: threading.Event) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        for row, answer in answers.items():
            with _ONE_AT_A_TIME if self._own else nullcontext():
                if given_up.is_set():
                    break
                outcomes[row] = self._grade(answer, self._examples[row])
        return outcomes


class ByGrader:
    """Each answer on its own, by as many calls as its grader makes."""

    def __init__(self, base: Base, task: Task, grader: Grader, examples: Sequence[Example]) -> None:
        self._base = base
        self._grader = grader
        self._examples = examples
        self._task = task.name
        self._read = _reader(base, task, None)
        first = PromptPair(base.system_prompt, task.user_prompt)
        self._stored = asking_of(replace(base, account=None), first, task, examples)
        self._first = asking_of(base, first, task, examples)
        self._references: dict[int, Outcome] = {}

    async def grade(self, answers: Mapping[int, Answered], priority: Priority | None, take: Take) -> None:
        """See `Grading`."""
        outcomes = {row: self._read(answer, self._examples[row]) for row, answer in answers.items()}
        if self._grader.against_first:
            await self._refer(outcomes, priority)
        await gather_many(self._one(row, outcome, priority, take) for row, outcome in outcomes.items())

    async def _refer(self, rows: Iterable[int], priority: Priority | None) -> None:
        """Get the answers under the first prompts, which are mostly there already."""
        missing = [row for row in rows if row not in self._references]
        if not missing:
            return
        answers = dict(await self._stored.recall(missing))
        if priority is not None:
            asked = [row for row in missing if row not in answers]
            answers |= zip(asked, await self._first.ask(asked, priority), strict=True)
        self._references |= {row: self._read(answer, self._examples[row]) for row, answer in answers.items()}

    async def _one(self, row: int, outcome: Outcome, priority: Priority | None, take: Take) -> None:
        if outcome.status is Status.FAILED:
            take(row, outcome)
            return
        example = self._examples[row]
        if self._grader.against_first:
            first = self._references.get(row)
            if first is None:
                return
            if first.status is Status.FAILED:
                take(
                    row,
                    ungraded(outcome, f"there is no answer under the first prompts to compare with: {first.reason}"),
                )
                return
            example = replace(example, answers=() if first.prediction is None else (first.prediction,))
        base, grader = self._base, self._grader
        model = base.judge or base.model
        asked = Asked(model=model, gateway=base.gateway, roles=model.roles, account=base.account, priority=priority)
        try:
            returned = await CodeRun(grader, asked).returned(outcome.prediction, example)
        except NotStored:
            return
        take(row, in_row(self._task, example.where, self._outcome, outcome, returned))

    def _outcome(self, outcome: Outcome, returned: object) -> Outcome:
        name, prediction = self._grader.name, outcome.prediction
        match returned:
            case RequestRejected() | Raised(reason=Ungraded()):
                return ungraded(outcome, returned.reason if isinstance(returned, Raised) else returned)
            case Raised():
                raise failed_on(name, prediction, returned) from returned.reason
        return graded(outcome, checked_grade(returned, name=name, prediction=prediction))
