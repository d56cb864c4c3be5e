"""ProTeGi: textual gradients, a beam, and bandits that choose it on small samples.

Pryzant et al., "Automatic Prompt Optimization with 'Gradient Descent' and Beam Search", EMNLP 2023 (arXiv 2305.03495).
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from metaspo.backends.counted import counted
from metaspo.engine.gather import gather
from metaspo.engine.strategies.bandits import Policy, SuccessiveHalving, SuccessiveRejects, UpperConfidence
from metaspo.engine.strategies.base import Level
from metaspo.engine.strategies.meta_prompts import join_blocks, read_analysis
from metaspo.engine.strategies.search import CallBound, RoundSize, Rows, SearchContext, Trial, WrongAnswer
from metaspo.engine.strategies.searching import (
    BOTH_LEVELS,
    ask_or_none,
    case_block,
    new_prompts,
    prompt_reader,
    ranked,
    rule_slots,
)
from metaspo.engine.strategies.selection import bandit_ranking, max_calls_of_ranking, share
from metaspo.engine.strategies.texts import messages

ERRORS = 16  # on how many a parent's new prompts are compared
Select = Literal["ucb", "ucb-e", "halving", "rejects", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProTeGi:
    """Rounds of: find the errors of each prompt in the beam, reason, rewrite, paraphrase, choose the beam.

    A gradient is one reason why a prompt fails, found from a few of its errors; each is followed by rewriting the
    prompt, and what was rewritten, as well as the prompt itself, is paraphrased.

    Our readings. The first beam is the best of the prompts that are there. Sample sizes count different examples, an
    equal share of each task; one minibatch serves the whole beam. A prompt without errors on it is not expanded, and
    the search ends when no prompt is. Of equal prompts the one that was there before stays. What is returned is the
    last beam without the prompts that the search began with.

    Attributes:
        rounds: how often the beam is expanded and chosen again.
        beam: prompts that are kept.
        minibatch: examples on which errors are looked for.
        gradients: reasons for each prompt, each from a draw of errors of its own.
        errors: how many errors a reason is found from.
        rewrites: new prompts for each reason.
        paraphrases: of every rewritten prompt, and of the one it came from.
        cap: how many new prompts of one parent go on.
        cap_by: which, if there are more: "random", or "errors": of twice as many drawn at random the best on 16 of the
            parent's errors.
        select: how the beam is chosen. "ucb" and "ucb-e": the best means after `select_rounds` pulls; "halving" and
            "rejects": successive halving and successive rejects with a budget as large; "full": every example, which is
            the paper's exhaustive choice without its limit to the budget.
        select_rounds: pulls of UCB.
        select_width: prompts in a pull.
        select_examples: examples of a pull; the budget is the product of these three.
        c: how much UCB prefers prompts that were scored little.
    """

    name: ClassVar[str] = "protegi"
    levels: ClassVar[frozenset[Level]] = BOTH_LEVELS

    rounds: int = Field(default=6, ge=1)
    beam: int = Field(default=4, ge=1)
    minibatch: int = Field(default=64, ge=1)
    gradients: int = Field(default=4, ge=1)
    errors: int = Field(default=4, ge=1)
    rewrites: int = Field(default=1, ge=1)
    paraphrases: int = Field(default=2, ge=0)
    cap: int = Field(default=8, ge=1)
    cap_by: Literal["random", "errors"] = "random"
    select: Select = "ucb"
    select_rounds: int = Field(default=8, ge=1)
    select_width: int = Field(default=8, ge=1)
    select_examples: int = Field(default=32, ge=1)
    c: float = Field(default=1.0, ge=0, allow_inf_nan=False)

    def describe(self) -> str:
        """One line for the report."""
        return (
            f"the optimizer model follows textual gradients in {counted(self.rounds, 'round')}, "
            f"a beam of {self.beam} is chosen by {self.select} (ProTeGi)"
        )

    def work(self, size: RoundSize, /) -> CallBound:
        """The most calls of a round: every parent in every round brings as many new prompts as may go on."""
        rewritten = self.gradients * self.rewrites
        written = rewritten + self.paraphrases * (rewritten + 1)
        new = min(self.cap, written)
        tried = min(2 * self.cap, written) if self.cap_by == "errors" and written > self.cap else 0
        on_errors = min(size.rows, ERRORS * size.nodes)
        base = everything = optimizer = 0
        parents = 1 if size.level == "system" else self.beam
        for number in range(1, self.rounds + 1):
            optimizer += parents * (self.gradients + written)
            everything += parents * (new * size.rows + max(0, tried - new) * on_errors)
            base += parents * tried * on_errors
            if number > 1:
                base += parents * size.batch(share(self.minibatch, size.tasks))
            prompts = parents * (new + 1)
            if self.select != "full":
                base += max_calls_of_ranking(size, prompts=prompts, policy=self._policy)
            parents = min(self.beam, prompts)
        return CallBound(base=everything if self.select == "full" else min(base, everything), optimizer=optimizer)

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The last beam, best first. Raises `NoProposal` if nothing new is in it."""
        beam = [trial.prompt for trial in context.first[: self.beam]]
        for number in range(1, self.rounds + 1):
            if context.room == 0:
                break
            step = f"round={number}"
            rows = context.sample(f"{step}/minibatch", per_task=share(self.minibatch, len(context.tasks)))
            expanded = await gather(
                self._expand(context, f"{step}/parent={rank}", prompt, rows)
                for rank, prompt in enumerate(beam, start=1)
            )
            if all(parent is None for parent, _ in expanded):
                break
            capped = await gather(
                self._capped(context, f"{step}/parent={rank}/cap", written, parent)
                for rank, (parent, written) in enumerate(expanded, start=1)
                if parent is not None
            )
            new = {prompt: None for written in capped for prompt in written if prompt not in beam}
            if new:
                beam = (await self._choose(context, f"{step}/select", [*beam, *new]))[: self.beam]
        return new_prompts(context, beam)

    async def _expand(
        self, context: SearchContext, step: str, prompt: str, rows: Rows
    ) -> tuple[Trial | None, list[str]]:
        """A parent and its new prompts; None if it makes no errors that could be learnt from."""
        trials = await context.score(f"{step}/minibatch", [prompt], rows=rows)
        if not trials or not trials[0].wrong:
            return None, []
        [parent] = trials
        chains = [
            *(self._descend(context, f"{step}/gradient={number}", parent) for number in range(1, self.gradients + 1)),
            self._paraphrase(context, step, prompt),
        ]
        written = [text for chain in await gather(chains) for text in chain if text != prompt]
        return parent, list(dict.fromkeys(written))

    async def _capped(self, context: SearchContext, step: str, prompts: list[str], parent: Trial) -> list[str]:
        if len(prompts) <= self.cap:
            return prompts
        if self.cap_by == "random":
            return context.rng(step).sample(prompts, self.cap)
        tried = context.rng(step).sample(prompts, min(2 * self.cap, len(prompts)))
        errors = context.rng(f"{step}/errors").sample(parent.wrong, min(ERRORS, len(parent.wrong)))
        trials = await context.score(step, tried, rows=_rows(context, errors))
        return [trial.prompt for trial in ranked(trials)[: self.cap]]

    async def _descend(self, context: SearchContext, step: str, parent: Trial) -> list[str]:
        """One gradient: a reason, its rewrites and their paraphrases."""
        wrong = context.rng(f"{step}/errors").sample(parent.wrong, min(self.errors, len(parent.wrong)))
        slots = {"prompt": parent.prompt, "failures": join_blocks([case_block(error) for error in wrong])}
        reason = await _ask(context, f"{step}/reason", "reason", slots, read_analysis)
        if reason is None:
            return []
        slots |= {"reason": reason, **rule_slots(context, "protegi")}
        rewritten = await gather(
            self._rewrite(context, f"{step}/step={number}", slots) for number in range(1, self.rewrites + 1)
        )
        return [prompt for prompts in rewritten for prompt in prompts]

    async def _rewrite(self, context: SearchContext, step: str, slots: dict[str, str]) -> list[str]:
        """One new prompt and its paraphrases."""
        prompt = await _ask(context, f"{step}/rewrite", "rewrite", slots, prompt_reader(context))
        return [] if prompt is None else [prompt, *await self._paraphrase(context, step, prompt)]

    async def _paraphrase(self, context: SearchContext, step: str, prompt: str) -> list[str]:
        paraphrased = await gather(
            _ask(
                context,
                f"{step}/variation={number}/paraphrase",
                "paraphrase",
                {"prompt": prompt},
                prompt_reader(context),
            )
            for number in range(1, self.paraphrases + 1)
        )
        return [text for text in paraphrased if text is not None]

    async def _choose(self, context: SearchContext, step: str, prompts: list[str]) -> list[str]:
        if self.select != "full":
            return await bandit_ranking(context, step, prompts, self._policy(len(prompts)))
        return [trial.prompt for trial in ranked(await context.score(step, prompts))]

    def _policy(self, arms: int) -> Policy:
        budget = self.select_rounds * self.select_width * self.select_examples
        if self.select == "halving":
            return SuccessiveHalving(arms, budget=budget, keep=self.beam)
        if self.select == "rejects":
            return SuccessiveRejects(arms, budget=budget, keep=self.beam)
        return UpperConfidence(
            arms,
            rounds=self.select_rounds,
            width=self.select_width,
            examples=self.select_examples,
            c=self.c,
            bonus="ucb-e" if self.select == "ucb-e" else "ucb",
        )


def _rows(context: SearchContext, wrong: Sequence[WrongAnswer]) -> Rows:
    """The examples that were answered wrongly."""
    return tuple(
        tuple(sorted({task.train.index(error.failure.example) for error in wrong if error.task == task.name}))
        for task in context.tasks
    )


async def _ask(
    context: SearchContext, step: str, name: str, slots: dict[str, str], read: Callable[[str], str]
) -> str | None:
    return await ask_or_none(context, step, messages("protegi", context.level, name, slots), read)
