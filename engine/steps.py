"""The steps of a run: generate and analyze (through `asker`), and score. Each has an address."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from metaspo.backends import Message, RequestRejected
from metaspo.engine.address import draw_at, join
from metaspo.engine.prompts import PromptPair, render
from metaspo.engine.scope import Scope
from metaspo.engine.scoring import Scorecard, judge, total
from metaspo.engine.strategies.base import Ask, Malformed, NoProposal
from metaspo.engine.tasks import Example, Task
from metaspo.scheduling import Priority

T = TypeVar("T")


async def score(
    scope: Scope,
    pair: PromptPair,
    task: Task,
    *,
    examples: Sequence[Example],
    address: str,
    priority: Priority,
) -> Scorecard:
    """Answer every example under the pair and journal what it came to."""
    requests = [scope.base.request(render(pair, example.question, roles=scope.config.roles)) for example in examples]
    answers = await scope.gateway.complete_many(
        requests, lane=scope.base.lane, account=scope.account, priority=priority
    )
    outcomes = tuple(
        judge(answer, example, answer_format=task.answer_format, metric=task.metric)
        for answer, example in zip(answers, examples, strict=True)
    )
    card = Scorecard(task=task.name, pair=pair, outcomes=outcomes, score=total(outcomes, metric=task.metric))
    scope.watcher.settled(base_calls=len(requests))
    scope.journal.write(
        "score",
        address,
        {
            "task": task.name,
            "score": card.score,
            "examples": len(outcomes),
            "malformed": card.malformed,
            "failed": card.failed,
            **({"invalid": card.invalid} if card.invalid else {}),
        },
    )
    return card


def asker(scope: Scope, address: str, *, priority: Priority) -> Ask:
    """The optimizer as a strategy sees it at one candidate's address.

    Each call is one draw at `address/step`; a malformed answer is drawn again under the next draw index, at most
    `redraws` times. A refusal by the server ends the candidate, with the reason on record.
    """

    async def ask(step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        model = scope.optimizer
        if model is None:
            raise NoProposal("the strategy asks for an optimizer model and the config has no [optimizer]")
        place = join(address, step)
        fault = ""
        for attempt in range(scope.config.redraws + 1):
            draw = draw_at(scope.config.seed, place, attempt=attempt)
            request = model.request(tuple(messages), draw=draw)
            try:
                answer = await scope.gateway.complete(
                    request, lane=model.lane, account=scope.account, priority=priority
                )
                parsed = parse(answer.text)
            except RequestRejected as error:
                raise NoProposal(f"{step}: the optimizer refused: {error}") from error
            except Malformed as error:
                fault = str(error)
                scope.journal.write("malformed", place, {"attempt": attempt, "why": fault})
                continue
            scope.watcher.settled(optimizer_calls=1)
            scope.journal.write(step, address, {"attempts": attempt + 1})
            return parsed
        raise NoProposal(f"{step}: malformed {scope.config.redraws + 1} times, the last time: {fault}")

    return ask
