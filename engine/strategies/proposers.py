"""Who proposes a round's prompts, as the loops see it: strategies that propose one at a time and searches alike."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from metaspo.backends.counted import counted
from metaspo.engine.addresses import candidate_address
from metaspo.engine.strategies.base import Ask, InnerContext, Malformed, OuterContext, Strategy, TaskView, Tried
from metaspo.engine.strategies.search import CallBound, RoundSize, Search, SearchContext

C = TypeVar("C")
Proposal = Callable[[Ask], Awaitable[str]]
"""One candidate on its way: its prompt, as soon as it is there. Raises `NoProposal`."""


class ProposalContext(SearchContext, Protocol):
    """One round of a loop as a proposer sees it: what a search sees, and what else one candidate may know.

    Attributes:
        address: the round's.
        tried: what was proposed in earlier rounds, oldest first, each once, and what came of it.
        iteration: the round's, from 1.
        show: how many failures of a task to show.
        system_prompt: the one that the tasks' user prompts were scored under.
        parents: what candidates start from, in turn: the system prompt, and the tasks under it.
        first_systems: the system prompts that the run began with.
        model, max_tokens: of the base model, and how long its answers may be.
    """

    @property
    def address(self) -> str: ...

    @property
    def tried(self) -> tuple[Tried, ...]: ...

    @property
    def iteration(self) -> int: ...

    @property
    def show(self) -> int: ...

    @property
    def system_prompt(self) -> str: ...

    @property
    def parents(self) -> tuple[tuple[str, tuple[TaskView, ...]], ...]: ...

    @property
    def first_systems(self) -> tuple[str, ...]: ...

    @property
    def model(self) -> str: ...

    @property
    def max_tokens(self) -> int: ...


class Proposer(Protocol):
    """What a loop asks for prompts."""

    def describe(self) -> str:
        """One line for the run's report."""
        ...

    def work(self, size: RoundSize, /) -> CallBound:
        """The most calls that proposing takes in one round; none where the loop is off."""
        ...

    async def proposals(self, context: ProposalContext, /) -> Sequence[Proposal]:
        """The round's candidates, at most `context.candidates`: each is scored as soon as it is there.

        Raises:
            NoProposal: when there are none at all.
        """
        ...


@dataclass(frozen=True, slots=True)
class OneByOne(Generic[C]):
    """A strategy that proposes one prompt at a time: all candidates of a round side by side.

    Attributes:
        candidate_context: what candidate `number` of a round may know.
    """

    strategy: Strategy[C]
    candidate_context: Callable[[ProposalContext, int, Ask], C]

    def describe(self) -> str:
        """As the strategy says."""
        return self.strategy.describe()

    def work(self, size: RoundSize, /) -> CallBound:
        """So many optimizer calls for each candidate."""
        return CallBound(base=0, optimizer=self.strategy.calls_optimizer * size.candidates)

    async def proposals(self, context: ProposalContext, /) -> list[Proposal]:
        """One for each candidate; the strategy begins when it is awaited."""
        return [partial(self._propose, context, number) for number in range(1, context.candidates + 1)]

    async def _propose(self, context: ProposalContext, number: int, ask: Ask) -> str:
        return await self.strategy.propose(self.candidate_context(context, number, ask))


@dataclass(frozen=True, slots=True)
class AllAtOnce:
    """A search: its candidates are there when it is over."""

    search: Search

    def describe(self) -> str:
        """As the search says."""
        return self.search.describe()

    def work(self, size: RoundSize, /) -> CallBound:
        """As the search says."""
        return self.search.work(size) if size.candidates else CallBound(base=0, optimizer=0)

    async def proposals(self, context: ProposalContext, /) -> list[Proposal]:
        """The usable prompts that it returns, each once, at most as many as the loop wants."""
        if not context.candidates:
            return []
        returned = dict.fromkeys(await self.search.search(context))
        usable = [prompt for prompt in returned if is_usable(prompt, context)]
        return [partial(given, prompt) for prompt in usable[: context.candidates]]


@dataclass(frozen=True, slots=True)
class Given:
    """Prompts that are there already, as candidates of a round."""

    prompts: Sequence[str]

    def describe(self) -> str:
        """That nobody wrote them."""
        return counted(len(self.prompts), "given prompt")

    def work(self, _size: RoundSize, /) -> CallBound:
        """None."""
        return CallBound(base=0, optimizer=0)

    async def proposals(self, context: ProposalContext, /) -> list[Proposal]:
        """As many as the round takes."""
        return [partial(given, prompt) for prompt in self.prompts[: context.candidates]]


def inner_context(context: ProposalContext, number: int, ask: Ask) -> InnerContext:
    """What candidate `number` of an inner round may know."""
    [task] = context.tasks
    return InnerContext(
        address=candidate_address(context.address, number),
        candidate=number,
        show=context.show,
        rng=context.rng(f"cand={number}"),
        system_prompt=context.system_prompt,
        task=task,
        ask=ask,
        tried=context.tried,
        model=context.model,
        max_tokens=context.max_tokens,
        usable=context.usable,
    )


def outer_context(context: ProposalContext, number: int, ask: Ask) -> OuterContext:
    """What candidate `number` of an outer round may know."""
    system_prompt, tasks = context.parents[(number - 1) % len(context.parents)]
    return OuterContext(
        address=candidate_address(context.address, number),
        candidate=number,
        show=context.show,
        rng=context.rng(f"cand={number}"),
        system_prompt=system_prompt,
        is_first=system_prompt in context.first_systems,
        tasks=tasks,
        ask=ask,
        tried=context.tried,
        model=context.model,
        max_tokens=context.max_tokens,
        usable=context.usable,
    )


def is_usable(prompt: str, context: SearchContext) -> bool:
    """Whether the loop could use the prompt."""
    try:
        context.usable(prompt)
    except Malformed:
        return False
    return True


async def given(prompt: str, _ask: Ask) -> str:
    """A candidate that is there already."""
    return prompt
