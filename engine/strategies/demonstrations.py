"""Demonstrations as a part of a user prompt: what it was answered rightly is shown before its question.

Any strategy of the inner loop may have them (`inner.demonstrations`): one candidate of each round is the best user
prompt with right answers of its own, drawn from the train split; nothing is asked for it. Drawn anew in each round and
kept where they are worth it, they are bootstrapped as in Khattab et al., "DSPy" (arXiv 2310.03714).

Whatever strategy shows them, and at either level: an example is never answered with its own answer shown
(`worked_examples.without_own`), or it would be scored on copying.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from metaspo.engine.strategies.base import Ask, NoProposal
from metaspo.engine.strategies.drawn_examples import draw_right
from metaspo.engine.strategies.proposers import OneByOne, Proposal, ProposalContext, Proposer
from metaspo.engine.strategies.search import CallBound, RoundSize
from metaspo.engine.strategies.worked_examples import join_user, split_user


@dataclass(frozen=True, slots=True)
class WithDemonstrations:
    """A proposer in whose rounds the last candidate is the best user prompt with up to `size` right answers."""

    proposer: Proposer
    size: int

    def describe(self) -> str:
        """One line for the run's report."""
        return f"{self.proposer.describe()}; one candidate of a round shows up to {self.size} right answers"

    def work(self, size: RoundSize, /) -> CallBound:
        """Of the candidates but one; a search returns as many as ever, and the last is left out."""
        fewer = isinstance(self.proposer, OneByOne) or size.candidates == 1
        return self.proposer.work(replace(size, candidates=max(0, size.candidates - 1)) if fewer else size)

    async def proposals(self, context: ProposalContext, /) -> Sequence[Proposal]:
        """The proposer's own, and the one with demonstrations as the last."""
        if not context.candidates:
            return await self.proposer.proposals(context)
        return [*await self._written(context), partial(self._demonstrated, context)]

    async def _written(self, context: ProposalContext) -> Sequence[Proposal]:
        if context.candidates == 1:
            return []
        try:
            return (await self.proposer.proposals(context))[: context.candidates - 1]
        except NoProposal as reason:
            return [partial(_none, reason)]

    async def _demonstrated(self, context: ProposalContext, _ask: Ask) -> str:
        [task] = context.tasks
        shown = draw_right(task, size=self.size, rng=context.rng("demonstrations"))
        if not shown:
            raise NoProposal("no right answer that could be shown as a demonstration")
        return join_user(shown, split_user(task.user_prompt)[1])


async def _none(reason: NoProposal, _ask: Ask) -> str:
    raise reason
