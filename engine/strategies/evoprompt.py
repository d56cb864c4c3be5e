"""EvoPrompt: a population of prompts that the optimizer model crosses and mutates.

Guo et al., "Connecting Large Language Models with Evolutionary Algorithms Yields Powerful Prompt Optimizers", ICLR 2024
(arXiv 2309.08532): the genetic algorithm and differential evolution with their counts; the texts are our own. Theirs
are a population of 10, 10 generations, and evolution calls at temperature 0.5 (ours: the optimizer's temperature).

Our readings:
- The first population are the prompts that the loop has and the newest ones of earlier rounds, as many as fit, scored
  in this round. "para_topk" keeps the better half of a population of them and fills up with paraphrases of these, in
  turn; "topk" keeps all and fills up only what is missing.
- Every prompt is scored on all train rows. A child is scored as soon as it is there, all children of a generation
  side by side: the best so far, which differential evolution grafts onto, is that of the generation before.
- An answer that cannot be used is a child that was not born; where the others are too few, parents are drawn twice.

With `population = 0` (the loop's `candidates`) and one generation this evolves the kept user prompts in the inner
loop and past system prompts in the outer loop: our reading of MetaSPO with EvoPrompt in its place, whose recipe was not
published.
"""

from collections.abc import Sequence
from random import Random
from typing import ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from metaspo.engine.gather import gather
from metaspo.engine.strategies.base import Level, require_failures
from metaspo.engine.strategies.search import CallBound, RoundSize, SearchContext, Trial
from metaspo.engine.strategies.searching import (
    BOTH_LEVELS,
    new_prompts,
    propose_and_score,
    ranked,
    rule_slots,
)
from metaspo.engine.strategies.texts import messages, text

T = TypeVar("T")

Initial = Literal["para_topk", "topk"]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Evolution:
    """A population of prompts that lives for some generations.

    Attributes:
        population: how many prompts live at a time; 0: as many as the loop's `candidates`; at least `smallest`.
    """

    levels: ClassVar[frozenset[Level]] = BOTH_LEVELS
    smallest: ClassVar[int]

    population: int = Field(default=10, ge=0)
    generations: int = Field(default=10, ge=1)
    initial: Initial = "para_topk"

    def work(self, size: RoundSize, /) -> CallBound:
        """The first population and as many children in each generation; of past prompts to score the most there can be,
        `members - 1`, after which the dropped ones are replaced by paraphrases."""
        members = self._members(size.candidates)
        first, children = (members - 1) + (members - self._kept(members)), members * self.generations
        return CallBound(base=size.rows * (first + children), optimizer=members - 1 + children)

    def _members(self, candidates: int) -> int:
        return max(self.smallest, self.population or candidates)

    def _kept(self, members: int) -> int:
        """How many of the prompts that are there may be in the first population."""
        return (members + 1) // 2 if self.initial == "para_topk" else members

    async def _first_population(self, context: SearchContext) -> list[Trial]:
        members = self._members(context.candidates)
        there = list(context.first)[:members]
        scored_before = {trial.prompt for trial in context.first}
        past = [prompt for prompt in context.past if prompt not in scored_before]
        newest = past[max(0, len(past) - (members - len(there))) :]
        scored = await context.score("initial/past", newest) if newest else []
        kept = ranked([*there, *scored])[: self._kept(members)]
        paraphrases = await gather(
            propose_and_score(
                context,
                f"initial/paraphrase={number + 1}",
                "paraphrase",
                messages(
                    "evoprompt",
                    context.level,
                    "paraphrase",
                    {"prompt": kept[number % len(kept)].prompt, **_rules(context)},
                ),
            )
            for number in range(members - len(kept))[: context.room]
        )
        return ranked([*kept, *paraphrases])


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EvoPromptGA(Evolution):
    """The genetic algorithm.

    Each generation draws a pool of as many parents as the population has, then two of the pool for every child; one
    call crosses them over and mutates the outcome. The best of old and new survive.

    Attributes:
        selection: "roulette" fills the pool by shares of the summed score; "random" takes two of the population;
            "tournament" takes the better of two drawn, for each parent.
    """

    name: ClassVar[str] = "evoprompt-ga"
    smallest: ClassVar[int] = 2

    selection: Literal["roulette", "tournament", "random"] = "roulette"

    def describe(self) -> str:
        """One line for the report."""
        return f"a population of prompts evolves: crossed over, mutated, the best of old and new survive ({self.name})"

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The last population. Raises `NoProposal`."""
        require_failures(context.tasks)
        members = self._members(context.candidates)
        population = await self._first_population(context)
        for generation in range(1, self.generations + 1):
            pairs = self._pairs(population, members, rng=context.rng(f"gen={generation}/parents"))[: context.room]
            children = await gather(
                propose_and_score(
                    context,
                    f"gen={generation}/child={number}",
                    "evolve",
                    messages("evoprompt", context.level, "ga", {"one": first, "other": second, **_rules(context)}),
                )
                for number, (first, second) in enumerate(pairs, 1)
            )
            population = ranked([*population, *children])[:members]
            if context.room == 0:
                break
        return new_prompts(context, [trial.prompt for trial in population])

    def _pairs(self, population: Sequence[Trial], count: int, *, rng: Random) -> list[tuple[str, str]]:
        """The parents of every child."""
        pool = roulette(population, count, rng=rng) if self.selection == "roulette" else population
        pairs = []
        for _ in range(count):
            if self.selection == "tournament":
                first, second = (max(draw(pool, 2, rng=rng), key=_score) for _ in range(2))
            else:
                first, second = draw(pool, 2, rng=rng)
            pairs.append((first.prompt, second.prompt))
        return pairs


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EvoPromptDE(Evolution):
    """Differential evolution.

    For every member, one call mutates where two others differ, grafts that onto a third and crosses the outcome with
    the member; the child takes the member's place only if it scores strictly higher.

    Attributes:
        donor_random: the third is drawn, too, instead of being the best so far.
    """

    name: ClassVar[str] = "evoprompt-de"
    smallest: ClassVar[int] = 4

    donor_random: bool = False

    def describe(self) -> str:
        """One line for the report."""
        return f"a population of prompts evolves: differences of two are grafted onto the best ({self.name})"

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The last population. Raises `NoProposal`."""
        require_failures(context.tasks)
        population = await self._first_population(context)
        if len(population) > 1:
            for generation in range(1, self.generations + 1):
                population = await self._next(context, population, step=f"gen={generation}")
                if context.room == 0:
                    break
        return new_prompts(context, [trial.prompt for trial in ranked(population)])

    async def _next(self, context: SearchContext, population: Sequence[Trial], *, step: str) -> list[Trial]:
        """Each member, or its child if that is better."""
        best = max(population, key=_score)  # the first of equals

        async def challenge(position: int) -> Trial | None:
            others = [*population[:position], *population[position + 1 :]]
            child = f"{step}/child={position + 1}"
            a, b, c = draw(others, 3, rng=context.rng(f"{child}/donors"))
            donor = c if self.donor_random else best
            slots = {"one": a.prompt, "other": b.prompt, "donor": donor.prompt, "member": population[position].prompt}
            return await propose_and_score(
                context,
                child,
                "evolve",
                messages("evoprompt", context.level, "de", {**slots, **_rules(context)}),
            )

        children = await gather(challenge(position) for position in range(len(population))[: context.room])
        unborn = [None] * (len(population) - len(children))
        return [
            child if child is not None and child.score > member.score else member
            for member, child in zip(population, [*children, *unborn], strict=True)
        ]


def draw(pool: Sequence[T], count: int, *, rng: Random) -> list[T]:
    """`count` different places of the pool; with repeats if it has too few."""
    return rng.sample(pool, count) if len(pool) >= count else rng.choices(pool, k=count)


def roulette(population: Sequence[Trial], count: int, *, rng: Random) -> list[Trial]:
    """`count` draws with repeats, each by its share of the summed score; all alike if every score is 0."""
    weights = [trial.score for trial in population]
    return rng.choices(population, weights=weights if any(weights) else None, k=count)


def _rules(context: SearchContext) -> dict[str, str]:
    return {"rules": text("evoprompt", context.level, "rules", rule_slots(context))}


def _score(trial: Trial) -> float:
    return trial.score
