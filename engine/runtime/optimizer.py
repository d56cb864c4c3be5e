"""Optimizer calls as a strategy makes them: each has an address, is read strictly, and is drawn again if malformed."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

from metaspo.backends import CONTENT_FILTER, Completion, Message, Request, RequestRejected
from metaspo.engine.addresses import draw_at, join
from metaspo.engine.config.models import Model
from metaspo.engine.cut_tags import with_cut_tag
from metaspo.engine.journal import events
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.strategies import Malformed, NoProposal, Unfit
from metaspo.engine.strategies.meta_prompts import ending_with
from metaspo.scheduling import Priority
from metaspo.scheduling.log_context import logging_about

ONLY_THOUGHT = "it thought for all of its {tokens} tokens and did not get to answer: give it more max_tokens"
WITHHELD = "the provider's content filter withheld the answer"

T = TypeVar("T")


class Unanswered(NoProposal):
    """The optimizer was asked for a proposal and gave no answer that can be used."""


class Refused(Unanswered):
    """Its server refused to answer."""


class OptimizerCalls:
    """The optimizer as a strategy sees it at one candidate's address, see `Ask`.

    Each call is one draw at `address/step`; a malformed answer is drawn again under the next draw index, at most
    `redraws` times, the request followed by what was wrong if the strategy wants that said. A refusal by the server
    ends the candidate, with the reason on record.
    """

    def __init__(
        self, context: RunContext, address: str, *, priority: Priority, live: Callable[[], None] | None = None
    ) -> None:
        """`live` is called before a call that the cache cannot answer, if anybody waits to know."""
        self._context = context
        self._address = address
        self._priority = priority
        self._live = live
        self._steps = count()

    async def __call__(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        """See `Ask`."""
        context, model = self._context, self._context.optimizer
        priority = priorities.chained(self._priority, step=next(self._steps))
        if model is None:
            raise NoProposal("the strategy asks for an optimizer model and the config has no [optimizer]")
        address = join(self._address, step)
        fault = again = ""
        for attempt in range(context.config.redraws + 1):
            draw = draw_at(context.config.seed, address, attempt=attempt)
            request = model.request(tuple(ending_with(again, messages) if again else messages), draw=draw)
            if self._live is not None and not await context.gateway.lookup_many([request]):
                self._live()
            context.observer.optimizer_asked()
            try:
                with logging_about(address=address):
                    answer = await self._answer(request, model, priority)
                parsed = parse(with_cut_tag(answer, model.sampling.stop))
            except RequestRejected as error:
                raise Refused(f"{step}: the optimizer refused: {error}") from error
            except Malformed as error:
                again, fault = error.again, _fault(answer, model.sampling.max_tokens) or str(error)
                unfit = isinstance(error, Unfit) or None
                context.journal.write(events.Malformed(address=address, attempt=attempt, why=fault, unfit=unfit))
                continue
            finally:
                context.observer.optimizer_answered()
            self._note(step, attempts=attempt + 1, parsed=parsed)
            return parsed
        raise Unanswered(f"{step}: malformed {context.config.redraws + 1} times, the last time: {fault}")

    async def _answer(self, request: Request, model: Model, priority: Priority) -> Completion:
        context, priority = self._context, priorities.beside_others(priority, model.turn)
        return await context.gateway.complete(request, lane=model.lane, account=context.account, priority=priority)

    def _note(self, step: str, *, attempts: int, parsed: object) -> None:
        """An answer that can be used."""
        text = parsed if isinstance(parsed, str) else None
        self._context.settled(optimizer_calls=1)
        self._context.journal.write(
            events.OptimizerAnswered(address=self._address, step=step, attempts=attempts, text=text)
        )


def _fault(answer: Completion, limit: int | None) -> str:
    """What kept an answer from being one, where that was not its form; "" otherwise."""
    if answer.finish_reason == CONTENT_FILTER:
        return WITHHELD
    return ONLY_THOUGHT.format(tokens=limit) if answer.only_thought else ""
