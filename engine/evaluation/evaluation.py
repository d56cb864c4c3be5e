"""A node: one prompt pair on one split of one task, on its way from questions to a scorecard."""

from collections.abc import Callable, Iterable, Sequence

import anyio

from metaspo.backends import Completion, RequestRejected
from metaspo.engine.evaluation.scorecard import Outcome, Scorecard, Status, grade_answer, total
from metaspo.engine.gather import gather
from metaspo.engine.journal.spending import note_spending
from metaspo.engine.prompts import PromptPair, render
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.tasks import Example, Graded, Task
from metaspo.scheduling import Priority

CHUNK = 16  # rows asked as one batch where bounds are watched: small enough to bite, large enough to cost little
Part = tuple[Priority, Sequence[int]]


class Evaluation:
    """Gathers outcomes: from the cache by `recall`, from the model by `ask`; `card` is there when none is missing."""

    def __init__(
        self, context: RunContext, pair: PromptPair, task: Task, *, examples: Sequence[Example], address: str
    ) -> None:
        self.task = task
        self._scope = context
        self._pair = pair
        self._examples = examples
        self._address = address
        self._answers = [example.answers for example in examples]
        self._outcomes: list[Outcome | None] = [None] * len(examples)
        roles = context.config.roles
        self._requests = [context.base.request(render(pair, example.question, roles=roles)) for example in examples]

    @property
    def missing(self) -> int:
        """How many examples have no outcome yet."""
        return self._outcomes.count(None)

    @property
    def refusal(self) -> str:
        """The first example that the server refused, and why; "" if there is none: such a pair cannot be selected."""
        for outcome in self._outcomes:
            if outcome is not None and outcome.status is Status.FAILED:
                return f"{outcome.example.where}: {outcome.reason}"
        return ""

    @property
    def bound(self) -> float:
        """The best score still within reach."""
        graded: list[Graded | None] = [None if outcome is None else outcome.graded for outcome in self._outcomes]
        return self.task.metric.best_case(graded, self._answers)

    def outcome(self, row: int) -> Outcome | None:
        """The outcome of one example, if it has one."""
        return self._outcomes[row]

    async def recall(self) -> None:
        """Take what the cache has; calls nothing."""
        context = self._scope
        found = await context.gateway.lookup_many(self._requests, lane=context.base.lane, account=context.account)
        self._keep(found.items())

    async def ask(self, parts: Sequence[Part], *, heard: Callable[[], None] | None = None) -> None:
        """Ask for what is missing.

        Args:
            parts: positions of the examples in the order in which they are best asked, each part with its priority.
            heard: is called whenever some examples were answered, so that the bound may have sunk.
        """
        missing = [(priority, [row for row in rows if self._outcomes[row] is None]) for priority, rows in parts]
        size = len(self._examples) if heard is None else CHUNK
        await gather(
            self._ask(priority, rows[start : start + size], heard)
            for priority, rows in missing
            for start in range(0, len(rows), size)
        )

    async def _ask(self, priority: Priority, rows: Sequence[int], heard: Callable[[], None] | None) -> None:
        context = self._scope
        answers = await context.gateway.complete_many(
            [self._requests[row] for row in rows], lane=context.base.lane, account=context.account, priority=priority
        )
        self._keep(zip(rows, answers, strict=True))
        if heard is not None:
            heard()

    def _keep(self, answers: Iterable[tuple[int, Completion | RequestRejected]]) -> None:
        before = self.missing
        for row, answer in answers:
            self._outcomes[row] = grade_answer(
                answer, self._examples[row], answer_format=self.task.answer_format, metric=self.task.metric
            )
        self._scope.observer.settled(base_calls=before - self.missing)

    def card(self) -> Scorecard:
        """The scorecard, once every example has an outcome; journals it."""
        whole = tuple(outcome for outcome in self._outcomes if outcome is not None)
        if len(whole) < len(self._outcomes):
            raise AssertionError(f"{self._address}: a scorecard was asked for before its answers were there")
        card = Scorecard(
            task=self.task.name,
            pair=self._pair,
            outcomes=whole,
            score=total(whole, metric=self.task.metric),
            weight=self.task.weight,
        )
        self._scope.journal.write("score", self._address, _row(card))
        note_spending(self._scope.journal, self._scope.account, seconds=anyio.current_time() - self._scope.started)
        return card


async def score(
    context: RunContext, pair: PromptPair, task: Task, *, examples: Sequence[Example], address: str, priority: Priority
) -> Scorecard:
    """Answer every example under the pair, in the order of the split."""
    node = Evaluation(context, pair, task, examples=examples, address=address)
    await node.ask([(priority, range(len(examples)))])
    return node.card()


def _row(card: Scorecard) -> dict[str, object]:
    row: dict[str, object] = {
        "task": card.task,
        "score": card.score,
        "examples": len(card.outcomes),
        "malformed": card.malformed,
        "failed": card.failed,
    }
    return {**row, "invalid": card.invalid} if card.invalid else row
