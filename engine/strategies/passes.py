"""Several rewritings of a first system prompt before it is scored.

A first system prompt ("You are a helpful assistant.") says nothing yet, and one rewriting mends little of what a first
round shows: with few rows that is too little to be told from luck. So what a candidate is written from is shown again
under what was just written. Once a system prompt was adopted one rewriting is enough: more gather lines that are idle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from metaspo.backends import Message
from metaspo.engine.addresses import join
from metaspo.engine.strategies.base import Ask, Malformed, NoProposal, OuterContext, OuterStrategy

T = TypeVar("T")
NUMBERED = "pass="


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
        return f"{self.strategy.describe()}; {self.passes} times from the first system prompt"

    async def propose(self, context: OuterContext, /) -> str:
        """What the last pass that brings a usable prompt has written; what the first has is for the loop to judge.

        Raises `NoProposal` where the first brings none.
        """
        passes = range(1, self.passes + 1) if context.is_first else (1,)
        prompt = context.system_prompt
        for number in passes:
            again = replace(context, system_prompt=prompt, ask=_of_pass(context.ask, number))
            try:
                proposed = await self.strategy.propose(again)
                prompt = proposed if number == 1 else context.usable(proposed)
            except (NoProposal, Malformed):
                if number == 1:
                    raise
                break
        return prompt


def _of_pass(ask: Ask, number: int) -> Ask:
    """The same calls, those of a further pass at addresses of their own, whatever a strategy calls its steps."""

    async def asked(step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        plain = number == 1 and not step.startswith(NUMBERED)
        return await ask(step if plain else join(f"{NUMBERED}{number}", step), messages, parse)

    return asked
