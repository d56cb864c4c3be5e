"""A node: one prompt pair on one split of one task, on its way from questions to a scorecard."""

from collections.abc import Callable, Mapping, Sequence

from metaspo.engine.evaluation.asking import Answered, Base, asking_of
from metaspo.engine.evaluation.grading import grading_of
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, refusal_in, score_of_answered
from metaspo.engine.gather import gatherer
from metaspo.engine.journal import events
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.tasks import Example, Task
from metaspo.engine.tasks.graders import Grader
from metaspo.scheduling import Priority
from metaspo.scheduling.log_context import logging_about

CHUNK = 16  # rows asked as one batch where bounds are watched: small enough to bite, large enough to cost little
Part = tuple[Priority, Sequence[int]]


class Evaluation:
    """Gathers outcomes: from the cache by `recall`, from the model by `ask`; `card` is there when none is missing."""

    def __init__(
        self, context: RunContext, pair: PromptPair, task: Task, *, examples: Sequence[Example], address: str
    ) -> None:
        self.task = task
        self._context = context
        self.pair = pair
        self._examples = examples
        self._address = address
        self._outcomes: list[Outcome | None] = [None] * len(examples)
        self._missing = len(examples)
        self._tally = task.metric.tally([example.answers for example in examples])
        base = Base(
            gateway=context.gateway,
            model=context.base,
            roles=context.config.roles,
            account=context.account,
            judge=context.judge,
            system_prompt=context.config.system_prompt,
        )
        self._asking = asking_of(base, pair, task, examples)
        self._grading = grading_of(base, task, examples)
        self._ungraded: dict[int, Answered] = {}  # of which the cache has the answer and not the grade

    @property
    def missing(self) -> int:
        """How many examples have no outcome yet."""
        return self._missing

    @property
    def refusal(self) -> str:
        """The first example that the server refused, and why; "" if there is none: such a pair cannot be selected."""
        return refusal_in(self._outcomes)

    @property
    def bound(self) -> float:
        """The best score still within reach."""
        return self._tally.bound

    def outcome(self, row: int) -> Outcome | None:
        """The outcome of one example, if it has one."""
        return self._outcomes[row]

    async def recall(self) -> None:
        """Take what the cache has; calls nothing."""
        with logging_about(address=self._address):
            answers = await self._asking.recall()
            await self._keep(answers, None)
        self._ungraded = {row: answer for row, answer in answers.items() if self._outcomes[row] is None}

    async def ask(self, parts: Sequence[Part], *, on_answers: Callable[[], None] | None = None) -> None:
        """Ask for what is missing.

        Args:
            parts: positions of the examples in the order in which they are best asked, each part with its priority.
            on_answers: is called whenever some examples were answered, so that the bound may have sunk.
        """
        missing = [(priority, [row for row in rows if self._outcomes[row] is None]) for priority, rows in parts]
        size = CHUNK if on_answers or isinstance(self.task.metric, Grader) else len(self._examples)
        with logging_about(address=self._address):
            await gatherer(watched=on_answers is not None)(
                self._ask(priority, rows[start : start + size], on_answers)
                for priority, rows in missing
                for start in range(0, len(rows), size)
            )

    async def _ask(self, priority: Priority, rows: Sequence[int], on_answers: Callable[[], None] | None) -> None:
        asked = [row for row in rows if row not in self._ungraded] if self._ungraded else rows
        answers = dict(zip(asked, await self._asking.ask(asked, priority), strict=True))
        if self._ungraded:
            answers |= {row: self._ungraded[row] for row in rows if row not in answers}
        await self._keep(answers, priority)
        if on_answers is not None:
            on_answers()

    async def _keep(self, answers: Mapping[int, Answered], priority: Priority | None) -> None:
        """An answer is graded here, and nowhere else: graders may be slow, cost something, or be a user's."""
        before = self._missing
        fresh = {row: answer for row, answer in answers.items() if self._outcomes[row] is None}
        await self._grading.grade(fresh, priority, self._take)
        self._context.settled(base_calls=before - self._missing)

    def _take(self, row: int, outcome: Outcome) -> None:
        if self._outcomes[row] is not None:  # while it was graded somebody was faster
            return
        self._outcomes[row] = outcome
        self._missing -= 1
        if outcome.grade is not None:
            self._tally.add(outcome.prediction, self._examples[row].answers, outcome.grade)

    def card(self) -> Scorecard:
        """The scorecard, once every example has an outcome; journals it."""
        whole = tuple(filter(None, self._outcomes))
        if len(whole) < len(self._outcomes):
            raise AssertionError(f"{self._address}: a scorecard was asked for before its answers were there")
        invalid = refusal_in(whole)
        card = Scorecard(
            task=self.task.name,
            pair=self.pair,
            outcomes=whole,
            score=score_of_answered(whole, metric=self.task.metric) if invalid else self._tally.bound,
            weight=self.task.weight,
            prices=self._context.base.prices,
        )
        self._context.note_spending()  # first: who reads of the score knows what it took
        self._context.journal.write(
            events.Score(
                address=self._address,
                task=card.task,
                score=card.score,
                examples=len(whole),
                malformed=card.malformed,
                failed=card.failed,
                invalid=invalid or None,
            )
        )
        return card


async def score(
    context: RunContext, pair: PromptPair, task: Task, *, examples: Sequence[Example], address: str, priority: Priority
) -> Scorecard:
    """Answer every example under the pair, in the order of the split."""
    node = Evaluation(context, pair, task, examples=examples, address=address)
    await node.ask([(priority, range(len(examples)))])
    return node.card()
