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
from metaspo.engine.strategies.meta_prompts import Level
from metaspo.engine.strategies.search import CallBound, RoundSize, SearchContext, Trial
from metaspo.engine.strategies.searching import BOTH_LEVELS, new_prompts, propose_and_score, ranked, require_failures
from metaspo.engine.strategies.texts import messages, text

T = TypeVar("T")

Initial = Literal["para_topk", "topk"]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EvoPromptGA:
    """The genetic algorithm.

    Each generation draws a pool of as many parents as the population has, then two of the pool for every child; one
    call crosses them over and mutates the outcome. The best of old and new survive.

    Attributes:
        population: how many prompts live at a time; 0: as many as the loop's `candidates`; at least 2.
        selection: "roulette" fills the pool by shares of the summed score; "random" takes two of the population;
            "tournament" takes the better of two drawn, for each parent.
    """

    name: ClassVar[str] = "evoprompt-ga"
    levels: ClassVar[frozenset[Level]] = BOTH_LEVELS

    population: int = Field(default=10, ge=0)
    generations: int = Field(default=10, ge=1)
    initial: Initial = "para_topk"
    selection: Literal["roulette", "tournament", "random"] = "roulette"

    def describe(self) -> str:
        """One line for the report."""
        return f"a population of prompts evolves: crossed over, mutated, the best of old and new survive ({self.name})"

    def work(self, size: RoundSize, /) -> CallBound:
        """The first population and as many children in each generation."""
        return _work(size, members=self._members(size.candidates), generations=self.generations, initial=self.initial)

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The last population. Raises `NoProposal`."""
        require_failures(context)
        members = self._members(context.candidates)
        population = await _first_population(context, members=members, initial=self.initial)
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

    def _members(self, candidates: int) -> int:
        return max(2, self.population or candidates)

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
class EvoPromptDE:
    """Differential evolution.

    For every member, one call mutates where two others differ, grafts that onto a third and crosses the outcome with
    the member; the child takes the member's place only if it scores strictly higher.

    Attributes:
        population: how many prompts live at a time; 0: as many as the loop's `candidates`; at least 4.
        donor_random: the third is drawn, too, instead of being the best so far.
    """

    name: ClassVar[str] = "evoprompt-de"
    levels: ClassVar[frozenset[Level]] = BOTH_LEVELS

    population: int = Field(default=10, ge=0)
    generations: int = Field(default=10, ge=1)
    initial: Initial = "para_topk"
    donor_random: bool = False

    def describe(self) -> str:
        """One line for the report."""
        return f"a population of prompts evolves: differences of two are grafted onto the best ({self.name})"

    def work(self, size: RoundSize, /) -> CallBound:
        """The first population and a child of each member in each generation."""
        return _work(size, members=self._members(size.candidates), generations=self.generations, initial=self.initial)

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The last population. Raises `NoProposal`."""
        require_failures(context)
        population = await _first_population(context, members=self._members(context.candidates), initial=self.initial)
        if len(population) > 1:
            for generation in range(1, self.generations + 1):
                population = await self._next(context, population, step=f"gen={generation}")
                if context.room == 0:
                    break
        return new_prompts(context, [trial.prompt for trial in ranked(population)])

    def _members(self, candidates: int) -> int:
        return max(4, self.population or candidates)

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


async def _first_population(context: SearchContext, *, members: int, initial: Initial) -> list[Trial]:
    there = list(context.first)[:members]
    scored_before = {trial.prompt for trial in context.first}
    past = [prompt for prompt in context.past if prompt not in scored_before]
    newest = past[max(0, len(past) - (members - len(there))) :]
    scored = await context.score("initial/past", newest) if newest else []
    kept = ranked([*there, *scored])[: _kept(members, initial)]
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


def _kept(members: int, initial: Initial) -> int:
    """How many of the prompts that are there may be in the first population."""
    return (members + 1) // 2 if initial == "para_topk" else members


def _rules(context: SearchContext) -> dict[str, str]:
    slots = {"answer_rule": context.tasks[0].answer_rule} if context.level == "user" else {}
    return {"rules": text("evoprompt", context.level, "rules", slots)}


def _score(trial: Trial) -> float:
    return trial.score


def _work(size: RoundSize, *, members: int, generations: int, initial: Initial) -> CallBound:
    """With the most past prompts to score: `members - 1`, after which the dropped ones are replaced by paraphrases."""
    first = (members - 1) + (members - _kept(members, initial))
    return CallBound(base=size.rows * (first + members * generations), optimizer=members - 1 + members * generations)
