"""GEPA: a pool of prompts, changed by reflection on a few answers, with the parents that are best at something.

Agrawal et al., "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning" (arXiv 2507.19457). Each step
draws a parent from the Pareto front (for each example the prompts that do best on it; what others replace everywhere is
left out; the more examples a prompt is best on, the likelier it is drawn), shows the optimizer model the parent's
wrong answers on a minibatch, with what graders say, and lets it write a new prompt. Only if that does better on the
minibatch, it is scored on all rows and joins the pool. After a step that brought a prompt, two prompts of the front are
merged once.

Our readings:
- A round is about one text, a user prompt or the system prompt; the loops around it turn from one to the other, where
  the published search turns from component to component. So a merge, there an exchange of components, is written by the
  optimizer model, and joins the pool if on a minibatch it is no worse than the better of the two.
- The rows that candidates are compared on are the train rows that the loops look at (`rows`), so none are kept out.
- A minibatch has its examples from all tasks in equal shares, at least one of each.
- A minibatch without a wrong answer, which has been answered already and costs nothing, is drawn again, a few times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import ClassVar, Final

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from metaspo.backends import Message
from metaspo.engine.strategies.base import Level, require_failures
from metaspo.engine.strategies.meta_prompts import join_blocks
from metaspo.engine.strategies.search import CallBound, RoundSize, Rows, SearchContext, Trial
from metaspo.engine.strategies.searching import (
    BOTH_LEVELS,
    ask_or_none,
    case_block,
    new_prompts,
    prompt_reader,
    ranked,
    rule_slots,
)
from metaspo.engine.strategies.selection import share
from metaspo.engine.strategies.texts import messages, text

DRAWS: Final = 10  # of a minibatch in which something is wrong


@dataclass(frozen=True, slots=True)
class FrontPrompt:
    """A prompt of the front, and on how many examples nobody does better."""

    trial: Trial
    best_on: int


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Gepa:
    """Reflective evolution over a Pareto front.

    Attributes:
        steps: reflections in a round.
        minibatch: examples that a step looks at, of all tasks together.
        merges: of two prompts of the front, at most so many in a round.
    """

    name: ClassVar[str] = "gepa"
    levels: ClassVar[frozenset[Level]] = BOTH_LEVELS

    steps: int = Field(default=10, ge=1)
    minibatch: int = Field(default=3, ge=1)
    merges: int = Field(default=5, ge=0)

    def describe(self) -> str:
        """One line for the report."""
        return (
            "the optimizer model reflects on a few wrong answers of a prompt that is best at something and rewrites "
            "it; what does better on these joins the pool, whose prompts are merged (GEPA)"
        )

    def work(self, size: RoundSize, /) -> CallBound:
        """Every step and every merge brings a prompt that is scored on all rows."""
        prompts = self.steps + self._most_merges
        return CallBound(base=prompts * size.rows, optimizer=prompts)

    @property
    def _most_merges(self) -> int:
        return min(self.merges, self.steps)

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The pool's new prompts, best first. Raises `NoProposal`."""
        require_failures(context.tasks)
        pool = list(context.first)
        merged: set[frozenset[str]] = set()
        for number in range(1, self.steps + 1):
            if context.room == 0:
                break
            step = f"step={number}"
            child = await self._reflect(context, pool, step=step)
            if child is None:
                continue
            pool.append(child)
            if len(merged) < self._most_merges and context.room != 0:
                both = await self._merge(context, pool, merged, step=f"{step}/merge")
                pool += [] if both is None else [both]
        return new_prompts(context, [trial.prompt for trial in ranked(pool)])

    async def _reflect(self, context: SearchContext, pool: Sequence[Trial], *, step: str) -> Trial | None:
        """A child of a prompt of the front that is better than it on a minibatch, scored on all rows."""
        parent = drawn(front(pool), rng=context.rng(f"{step}/parent"))
        rows, seen = await self._look(context, parent, step=step)
        if seen is None:
            return None
        cases = join_blocks([case_block(case) for case in seen.wrong])
        request = _request(context, "reflect", {"prompt": parent.prompt, "cases": cases})
        prompt = await ask_or_none(context, f"{step}/reflect", request, prompt_reader(context))
        if prompt is None or any(prompt == trial.prompt for trial in pool):
            return None
        tried = await context.score(f"{step}/try", [prompt], rows=rows)
        if not tried or tried[0].score <= seen.score:
            return None
        return next(iter(await context.score(f"{step}/score", [prompt])), None)

    async def _look(self, context: SearchContext, parent: Trial, *, step: str) -> tuple[Rows, Trial | None]:
        """A minibatch that the parent gets something wrong on, and how it does there; None if none was drawn."""
        rows: Rows = ()
        for draw in range(1, DRAWS + 1):
            rows = context.sample(f"{step}/minibatch={draw}", per_task=share(self.minibatch, len(context.tasks)))
            seen = await context.score(f"{step}/look={draw}", [parent.prompt], rows=rows)
            if seen and seen[0].wrong:
                return rows, seen[0]
        return rows, None

    async def _merge(
        self, context: SearchContext, pool: Sequence[Trial], merged: set[frozenset[str]], *, step: str
    ) -> Trial | None:
        """One prompt out of two of the front, each pair once; scored on all rows if no worse than both on a few."""
        pairs = [
            (first.trial, second.trial)
            for first, second in combinations(front(pool), 2)
            if frozenset((first.trial.prompt, second.trial.prompt)) not in merged
        ]
        if not pairs:
            return None
        first, second = context.rng(f"{step}/pair").choice(pairs)
        merged.add(frozenset((first.prompt, second.prompt)))
        slots = {
            "first": first.prompt,
            "second": second.prompt,
            "first_alone": str(_alone(first, second)),
            "second_alone": str(_alone(second, first)),
        }
        prompt = await ask_or_none(context, f"{step}/write", _request(context, "merge", slots), prompt_reader(context))
        if prompt is None or any(prompt == trial.prompt for trial in pool):
            return None
        rows = context.sample(f"{step}/minibatch", per_task=share(self.minibatch, len(context.tasks)))
        old = await context.score(f"{step}/look", [first.prompt, second.prompt], rows=rows)
        tried = await context.score(f"{step}/try", [prompt], rows=rows)
        if not tried or tried[0].score < max((trial.score for trial in old), default=0.0):
            return None
        return next(iter(await context.score(f"{step}/score", [prompt])), None)


def front(pool: Sequence[Trial]) -> list[FrontPrompt]:
    """The prompts that are best on some example and that others do not replace on all of these, in the pool's order.

    Those that score worst are looked at first, ties from the end of the pool.
    """
    grades = [trial.grades for trial in pool]
    best = [
        {number for number, of in enumerate(grades) if of[example] == max(each[example] for each in grades)}
        for example in range(len(grades[0]))
    ]
    for number in sorted(range(len(pool)), key=lambda number: (pool[number].score, -number)):
        if all(len(those) > 1 for those in best if number in those):
            best = [those - {number} for those in best]
    counts = [sum(number in those for those in best) for number in range(len(pool))]
    return [FrontPrompt(trial, count) for trial, count in zip(pool, counts, strict=True) if count]


def drawn(prompts: Sequence[FrontPrompt], *, rng: Random) -> Trial:
    """One of them, in proportion to the examples that it is best on."""
    return rng.choices([each.trial for each in prompts], [each.best_on for each in prompts])[0]


def _alone(trial: Trial, other: Trial) -> int:
    return sum(mine > theirs for mine, theirs in zip(trial.grades, other.grades, strict=True))


def _request(context: SearchContext, step: str, slots: dict[str, str]) -> tuple[Message, ...]:
    level = context.level
    level_texts = {"kind": text("gepa", level, "kind", {}), "rules": text("gepa", level, "rules", rule_slots(context))}
    return messages("gepa", level, step, {**slots, **level_texts})
