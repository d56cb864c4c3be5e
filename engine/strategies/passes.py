"""Several rewritings of a first system prompt before it is scored.

A first system prompt ("You are a helpful assistant.") says nothing yet, and one rewriting mends little of what a first
round shows: with few rows that is too little to be told from luck. So what a candidate is written from is shown again
beside what was just written, and it is said that these answers are older: else they look as if nobody followed it.
Once a system prompt was adopted one rewriting is enough: more gather lines that are idle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from metaspo.backends import Message
from metaspo.engine.addresses import join
from metaspo.engine.strategies.base import Ask, Malformed, NoProposal, OuterContext, OuterStrategy
from metaspo.engine.strategies.meta_prompts import ending_with
from metaspo.engine.strategies.texts import META, text

T = TypeVar("T")
ABOVE = "pass="


@dataclass(frozen=True, slots=True)
class InPasses:
    """A strategy whose candidates from a first system prompt are rewritten so often, from the same tasks' failures."""

    strategy: OuterStrategy
    passes: int

    @property
    def name(self) -> str:
        """The strategy's."""
        return self.strategy.name

    @property
    def calls_optimizer(self) -> int:
        """Of a candidate from a first system prompt, as every one may be."""
        return self.passes * self.strategy.calls_optimizer

    def describe(self) -> str:
        """One line for the report."""
        return f"{self.strategy.describe()}; {self.passes} times in a row while the first prompt is the best"

    async def propose(self, context: OuterContext, /) -> str:
        """What the last pass that brings a usable prompt has written; what the first has is for the loop to judge.

        Raises `NoProposal` where the first brings none.
        """
        if not context.is_first:
            return await self.strategy.propose(context)
        prompt = await self.strategy.propose(replace(context, ask=_of_pass(context.ask, 1)))
        older = text(META, "blocks", "older", {"system_prompt": context.system_prompt})
        for number in range(2, self.passes + 1):
            again = replace(context, system_prompt=prompt, ask=_of_pass(context.ask, number, told=older))
            try:
                prompt = context.usable(await self.strategy.propose(again))
            except (NoProposal, Malformed):
                break
        return prompt


def _of_pass(ask: Ask, number: int, *, told: str = "") -> Ask:
    """The same calls, `told` at their end, at addresses that no other pass has, whatever a strategy calls its steps.

    A further pass's number follows the step's name; each pass's stands above one that could be taken for numbered.
    """

    async def asked(step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        if step[-1:].isdigit() or step.startswith(ABOVE):
            step = join(f"{ABOVE}{number}", step)
        elif number > 1:
            step = f"{step}{number}"
        return await ask(step, ending_with(told, messages) if told else messages, parse)

    return asked
