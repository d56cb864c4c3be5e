"""What a round of either loop is made of: candidates are proposed, scored until they are out, and selected from."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from metaspo.engine.addresses import candidate_address
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.journal import events
from metaspo.engine.prompts import PromptError
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.optimizer import Unanswered, asker
from metaspo.engine.selection.pruning import CacheFirstGate, CandidateRun, note_rejection, score_with_pruning
from metaspo.engine.selection.race import ScoredPrompt
from metaspo.engine.selection.races import Races
from metaspo.engine.strategies import Ask, Level, NoProposal
from metaspo.scheduling import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round; each loop adds what its own is about.

    Attributes:
        address: where its candidates and its selection are.
    """

    context: RunContext
    iteration: int
    address: str
    recall: CacheFirstGate
    races: Races

    def ask(self, number: int, *, priority: Priority) -> Ask:
        """The optimizer, as the strategy sees it that proposes candidate `number`."""
        address = candidate_address(self.address, number)
        return asker(self.context, address, priority=priority, live=lambda: self.recall.done(number))

    async def proposal(
        self, number: int, proposing: Awaitable[str], *, check: Callable[[str], str], level: Level, rows: int
    ) -> str | None:
        """What a strategy proposes, journaled; None if it proposes nothing that can be used.

        Args:
            check: returns a prompt that can be used, raises `PromptError` for another one.
            rows: how many examples the candidate would have been scored on.
        """
        address = candidate_address(self.address, number)
        try:
            prompt = check(await proposing)
        except (NoProposal, PromptError) as reason:
            unusable = isinstance(reason, (Unanswered, PromptError))  # else there was nothing to learn from
            self.context.journal.write(events.Proposal(address=address, none=str(reason), unusable=unusable))
            self.context.observer.settled(base_calls=rows)
            self.races.ended(number)
            self.recall.done(number)
            return None
        self.context.journal.write(events.Proposal.of(prompt, level=level, address=address))
        return prompt

    async def score(
        self,
        number: int,
        prompt: str,
        nodes: Sequence[Evaluation],
        *,
        starts: Sequence[Scorecard],
        ranks: Sequence[Priority],
        rejects: Callable[[float], bool],
        finished: Callable[[Sequence[Scorecard]], None],
    ) -> list[Scorecard] | None:
        """Score a candidate on its nodes; None, with the reason in the journal, as soon as it is out.

        Args:
            starts: the cards of the prompts that candidates start from, node by node.
            ranks: the priority of what is asked first, node by node.
            rejects: whether a candidate that can reach so much at most is out.
            finished: is told the cards of a candidate that was scored to the end and met no refusal.
        """

        def scored(cards: Sequence[Scorecard]) -> None:
            if not any(card.invalid for card in cards):
                finished(cards)
                self.races.ended(number, ScoredPrompt.of(prompt, cards, place=number))

        prospect = self.races.enter(number, nodes, rejects=rejects)
        contest = CandidateRun(number=number, recall=self.recall, prospect=prospect, finished=scored)
        cards = await score_with_pruning(nodes, self.races.parts(number, starts, ranks), contest)
        if cards is None:
            self.races.ended(number)
            note_rejection(self.context, candidate_address(self.address, number), nodes, contest)
        return cards

    def note_selection(self, chosen: events.Select, *, raced_out: Sequence[int]) -> tuple[str, ...]:
        """Journal what was selected; the addresses of the candidates that statistics alone have dropped."""
        self.context.journal.write(replace(chosen, raced_out=raced_out) if self.races.raced else chosen)
        return tuple(candidate_address(self.address, number) for number in raced_out)
