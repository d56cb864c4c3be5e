"""SPRIG: edits of a system prompt's components, on a beam, with a bandit that says which components to add.

Zhang et al., "SPRIG: Improving Large Language Model Performance by System Prompt Optimization", 2024
(arXiv 2410.14826): for each prompt of a beam of 10 add (every place x the 60 components of the highest UCB, in the
first step all there are), delete each component, swap each pair, replace each by 10 paraphrases; score all on the same
10 random train questions of each task; the 10 best are the next beam, whatever their parents scored. 25 steps.

Our readings:
- The library is our own: `sprig_components.toml` beside the components of the embedded proposer. None jailbreaks.
- Paraphrases come from the optimizer model, all of a component in one call, once a search.
- A round starts from the incumbent, each line a component. `start = "empty"` starts from no component, as published;
  an empty system prompt cannot be scored, so the incumbent's score stands for its own.
- The beam is scored again on each step's questions beside its edits, so that a gain is a difference on the same
  questions and not between an easy draw and a hard one.
- Small machines may cap the candidates of a step (`max_candidates`, drawn evenly from all edits) and the length of a
  prompt. With `paraphrases = 0` no optimizer model is needed.

The published counts take millions of calls. For some 600 on five tasks: steps = 3, beam = 2, add_candidates = 6,
questions = 4, paraphrases = 0, max_candidates = 8 (at most 560 calls under one user prompt of each task; under two,
max_candidates = 4 takes at most 640).
"""

from collections.abc import Callable, Sequence
from random import Random
from re import sub
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from metaspo.engine.gather import gather
from metaspo.engine.strategies.base import Level, Malformed, require_failures
from metaspo.engine.strategies.meta_prompts import read_analysis
from metaspo.engine.strategies.search import CallBound, RoundSize, SearchContext
from metaspo.engine.strategies.searching import ask_or_none, new_prompts
from metaspo.engine.strategies.sprig_edits import Edit, Prompt, edits, library, most_edits, promising, read, write
from metaspo.engine.strategies.texts import messages
from metaspo.engine.tasks.base import PLACEHOLDER

Move = tuple[str, Edit]  # the parent's text, and an edit of it


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Sprig:
    """Component edits on a beam.

    Attributes:
        questions: train examples of each task that a step scores on.
        add_candidates: components that a step tries to add; the first step tries all.
        paraphrases: of each component in the beam; 0 asks no optimizer model.
        max_candidates: edits scored in a step; None: all.
        longest: components in a prompt.
    """

    name: ClassVar[str] = "sprig"
    levels: ClassVar[frozenset[Level]] = frozenset({"system"})

    steps: int = Field(default=25, ge=1)
    beam: int = Field(default=10, ge=1)
    questions: int = Field(default=10, ge=1)
    add_candidates: int = Field(default=60, ge=0)
    paraphrases: int = Field(default=10, ge=0)
    start: Literal["incumbent", "empty"] = "incumbent"
    max_candidates: int | None = Field(default=None, ge=1)
    longest: int = Field(default=30, ge=1)

    def describe(self) -> str:
        """One line for the report."""
        by = ", rewords some through the optimizer model" if self.paraphrases else ""
        return f"adds, deletes and swaps components of a library{by}, and keeps the best {self.beam} of each step"

    def work(self, size: RoundSize, /) -> CallBound:
        """Every edit different and never scored before; the incumbent is scored already."""
        per_prompt = size.batch(self.questions)
        base = optimizer = 0
        parents, length = 1, 0 if self.start == "empty" else self.longest
        for step in range(1, self.steps + 1):
            count = len(library()) if step == 1 else min(self.add_candidates, len(library()))
            edited = parents * most_edits(up_to=length, arms=count, paraphrases=self.paraphrases, longest=self.longest)
            candidates = edited if self.max_candidates is None else min(edited, self.max_candidates)
            base += (candidates + (parents if step > 1 else 0)) * per_prompt
            optimizer += parents * length if self.paraphrases else 0
            parents, length = min(self.beam, candidates), min(self.longest, length + 1)
        return CallBound(base=base, optimizer=optimizer)

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The last beam. Raises `NoProposal`."""
        require_failures(context.tasks)
        incumbent = context.first[0].prompt
        beam: list[Prompt] = [() if self.start == "empty" else read(incumbent, longest=self.longest)]
        gains: list[list[float]] = [[] for _ in library()]
        rewordings: dict[str, Sequence[str]] = {}
        for step in range(1, self.steps + 1):
            if context.room == 0:
                break
            step_name = f"step={step}"
            await self._reword(context, beam, rewordings, step_name=step_name)
            count = len(library()) if step == 1 else self.add_candidates
            arms = promising(gains, count, rng=context.rng(f"{step_name}/components"))
            moves = [
                (incumbent if step == 1 else write(parent), edit)
                for parent in beam
                for edit in edits(parent, arms=arms, rewordings=rewordings, longest=self.longest)
            ]
            best = await self._step(context, moves, gains, step_name=step_name)
            if not best:
                break
            beam = best
        return new_prompts(context, [write(prompt) for prompt in beam if prompt])

    async def _step(
        self, context: SearchContext, moves: Sequence[Move], gains: Sequence[list[float]], *, step_name: str
    ) -> list[Prompt]:
        """Score a step's candidates beside their parents, credit the components; the best candidates."""
        if not moves:
            return []
        prompts: dict[str, Prompt] = {}
        for _, edit in moves:
            prompts.setdefault(write(edit.prompt), edit.prompt)
        candidates = self._drawn(list(prompts), rng=context.rng(f"{step_name}/candidates"))
        rows = context.sample(f"{step_name}/questions", per_task=self.questions)
        parents = dict.fromkeys(parent for parent, _ in moves)
        trials = await context.score(f"{step_name}/score", [*parents, *candidates], rows=rows)
        scores = {trial.prompt: trial.score for trial in trials}
        credit(gains, moves, scores)
        best = sorted((text for text in candidates if text in scores), key=lambda text: -scores[text])
        return [prompts[text] for text in best[: self.beam]]

    def _drawn(self, candidates: list[str], *, rng: Random) -> list[str]:
        if self.max_candidates is None or len(candidates) <= self.max_candidates:
            return candidates
        return [candidates[position] for position in sorted(rng.sample(range(len(candidates)), self.max_candidates))]

    async def _reword(
        self, context: SearchContext, beam: Sequence[Prompt], rewordings: dict[str, Sequence[str]], *, step_name: str
    ) -> None:
        """Ask for the rewordings of every component of the beam that has none yet."""
        if not self.paraphrases:
            return
        texts = dict.fromkeys(component.text for prompt in beam for component in prompt)
        missing = [text for text in texts if text not in rewordings]
        answers = await gather(
            ask_or_none(
                context,
                f"{step_name}/rephrase={number}",
                messages("sprig", "system", "rephrase", {"component": text, "count": str(self.paraphrases)}),
                rewordings_reader(text, self.paraphrases),
            )
            for number, text in enumerate(missing, 1)
        )
        rewordings.update((text, answer) for text, answer in zip(missing, answers, strict=True) if answer is not None)


def credit(gains: Sequence[list[float]], moves: Sequence[Move], scores: dict[str, float]) -> None:
    """Note for each arm what adding it gained and what deleting it cost, wherever child and parent were scored."""
    for parent, edit in moves:
        child = write(edit.prompt)
        if child not in scores or parent not in scores:
            continue
        change = scores[child] - scores[parent]
        if edit.added is not None:
            gains[edit.added].append(change)
        if edit.deleted is not None:
            gains[edit.deleted].append(-change)


def rewordings_reader(original: str, count: int) -> Callable[[str], list[str]]:
    """Reads up to `count` rewordings, one a line, out of an answer; the reader raises `Malformed` if there is none."""

    def read_lines(answer: str) -> list[str]:
        lines = (sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", line).strip() for line in read_analysis(answer).splitlines())
        rewordings = [line for line in dict.fromkeys(lines) if line not in ("", original) and PLACEHOLDER not in line]
        if not rewordings:
            raise Malformed("no rewording between <analysis> and </analysis>")
        return rewordings[:count]

    return read_lines
