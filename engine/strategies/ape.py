"""APE: instructions induced from examples, and variations of the best ones.

Zhou et al., "Large Language Models Are Human-Level Prompt Engineers", ICLR 2023 (arXiv 2211.01910). Without resampling
it is the strategy of MetaSPO-APE (Choi, Baek and Hwang, NeurIPS 2025, and the authors' code).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from metaspo.backends import Message
from metaspo.backends.counted import counted
from metaspo.engine.gather import gather
from metaspo.engine.strategies.bandits import UpperConfidence
from metaspo.engine.strategies.base import Level, Malformed
from metaspo.engine.strategies.meta_prompts import ending_with, join_blocks, read_tag
from metaspo.engine.strategies.named_prompts import bare
from metaspo.engine.strategies.search import CallBound, RoundSize, SearchContext
from metaspo.engine.strategies.searching import BOTH_LEVELS, ask_or_none, new_prompts, prompt_reader, ranked, rule_slots
from metaspo.engine.strategies.selection import bandit_ranking, max_calls_of_ranking
from metaspo.engine.strategies.texts import messages, text
from metaspo.engine.tasks.base import PLACEHOLDER, Example
from metaspo.engine.tasks.named_prompts import NamedPrompts, PromptForm, slots_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Ape:
    """Induction from examples, then rounds of meaning-preserving variations of the best.

    Our readings. A user prompt is the induced instruction with the question's place and the answer rule added where it
    lacks them. The prompts that were there before compete to be varied, as in the `ape` of MetaSPO's authors, but are
    not returned. Prompts are scored only where something hangs on it: before a resampling, and at the end if there are
    more than the loop will look at or some were varied. The score is the task's metric, not the log-likelihood.

    Attributes:
        demos: question-answer pairs that an induction sees at level "user" (MetaSPO's code; APE has 5).
        demos_per_task: the same at level "system", of each task, shuffled together.
        inductions: how many instructions are induced; as many as the loop has candidates if None.
        resample: rounds of variations; 0 in MetaSPO-APE, where nothing is scored.
        top: how many of the best are varied in a round.
        variations: of each of them.
        select: "full" scores on all examples; "ucb" estimates: the best mean after `ucb_rounds` rounds, each of which
            scores the `ucb_width` prompts with the highest mean + c sqrt(ln t / n) on `ucb_examples` examples.
    """

    name: ClassVar[str] = "ape"
    levels: ClassVar[frozenset[Level]] = BOTH_LEVELS

    demos: int = Field(default=10, ge=1)
    demos_per_task: int = Field(default=5, ge=1)
    inductions: int | None = Field(default=None, ge=1)
    resample: int = Field(default=0, ge=0)
    top: int = Field(default=3, ge=1)
    variations: int = Field(default=3, ge=1)
    select: Literal["full", "ucb"] = "full"
    ucb_rounds: int = Field(default=5, ge=1)
    ucb_width: int = Field(default=50, ge=1)
    ucb_examples: int = Field(default=50, ge=1)
    c: float = Field(default=1.0, ge=0, allow_inf_nan=False)

    def describe(self) -> str:
        """One line for the report."""
        rounds = f", and varies the best in {counted(self.resample, 'round')}" if self.resample else ""
        return f"the optimizer model induces instructions from question-answer pairs{rounds} (APE)"

    def work(self, size: RoundSize, /) -> CallBound:
        """The most calls of a round: every prompt new and, where any is scored, all of them on all examples."""
        induced = self.inductions or size.candidates
        varied = self.resample * self.top * self.variations
        if not self.resample and induced <= size.candidates:
            return CallBound(base=0, optimizer=induced)
        base = (induced + varied) * size.rows
        if self.select == "ucb":
            sizes = [induced + self.top * self.variations * rounds for rounds in range(self.resample + 1)]
            base = min(base, sum(max_calls_of_ranking(size, prompts=prompts, policy=self._policy) for prompts in sizes))
        return CallBound(base=base, optimizer=induced + varied)

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """Induce, then vary. Raises `NoProposal` if no induction brought a prompt."""
        count = self.inductions or context.candidates
        induced = await gather(self._induce(context, f"induction={number}") for number in range(1, count + 1))
        proposals = new_prompts(context, [prompt for prompt in induced if prompt is not None])
        if not self.resample and len(proposals) <= context.candidates:
            return proposals
        first = [trial.prompt for trial in context.first]
        pool = await self._rank(context, "induced", [*first, *proposals] if self.resample else proposals)
        for number in range(1, self.resample + 1):
            if context.room == 0:
                break
            step = f"resample={number}"
            varied = await gather(
                self._vary(context, f"{step}/best={rank}/variation={variation}", prompt)
                for rank, prompt in enumerate(pool[: self.top], start=1)
                for variation in range(1, self.variations + 1)
            )
            new = [prompt for prompt in dict.fromkeys(varied) if prompt is not None and prompt not in pool]
            pool = await self._rank(context, step, [*pool, *new]) if new else pool
        return new_prompts(context, pool)

    async def _induce(self, context: SearchContext, step: str) -> str | None:
        per_task = self.demos if context.level == "user" else self.demos_per_task
        rows = context.sample(f"{step}/demos", per_task=per_task)
        shown = [task.train[row] for task, places in zip(context.tasks, rows, strict=True) for row in places]
        context.rng(f"{step}/order").shuffle(shown)
        if context.level == "system":
            request = messages("ape", "system", "induce", {"pairs": pairs(shown), **rule_slots(context, "ape")})
            return await ask_or_none(context, f"{step}/induce", request, induction_reader(context))
        [task] = context.tasks
        request = user_induction(shown, answer_rule=task.answer_rule, stated=task.states_rule)
        return await ask_or_none(context, f"{step}/induce", request, induction_reader(context))

    async def _vary(self, context: SearchContext, step: str, prompt: str) -> str | None:
        request = messages("ape", context.level, "vary", {"prompt": prompt})
        return await ask_or_none(context, f"{step}/vary", request, prompt_reader(context))

    async def _rank(self, context: SearchContext, step: str, prompts: list[str]) -> list[str]:
        if self.select == "ucb":
            return await bandit_ranking(context, step, prompts, self._policy(len(prompts)))
        return [trial.prompt for trial in ranked(await context.score(step, prompts))]

    def _policy(self, arms: int) -> UpperConfidence:
        return UpperConfidence(
            arms,
            rounds=self.ucb_rounds,
            width=self.ucb_width,
            examples=self.ucb_examples,
            c=self.c,
            clock="examples",
        )


def user_induction(examples: Sequence[Example], *, answer_rule: str, stated: bool = True) -> tuple[Message, ...]:
    """Asks for the instruction that explains a task's examples; the rule is put below it where it is to be stated."""
    below = text("ape", "user", "below" if stated else "below_unstated", {"answer_rule": answer_rule})
    return messages("ape", "user", "induce", {"pairs": pairs(examples), "below": below})


def bounded(messages: Sequence[Message], *, model: str, words: int) -> list[Message]:
    """The messages with whom the prompt is for, and how long it may be: strong writers write long ones."""
    return ending_with(text("ape", "user", "bounds", {"model": model, "words": str(words)}), messages)


def induction_reader(context: SearchContext) -> Callable[[str], str]:
    """Reads an induced prompt of the context's level out of an answer; the reader raises `Malformed`."""
    if context.level == "system":
        return prompt_reader(context)
    return lambda answer: context.usable(read_induced(answer, answer_rule=context.tasks[0].stated_rule))


def read_induced(answer: str, *, answer_rule: str) -> str:
    """The user prompt that an induced instruction makes. Raises `Malformed`."""
    return completed(read_tag(answer, "user_prompt"), answer_rule)


def named_induction(
    examples: Sequence[Example], *, form: PromptForm, first: NamedPrompts, name: str, answer_rule: str
) -> tuple[Message, ...]:
    """Asks for one of the prompts that a program names, the others being as the first ones are."""
    others = {other: prompt for other, prompt in first.texts.items() if other != name}
    places = " and ".join(f"{{{slot}}}" for slot in form.slots[name])
    slots = {
        "name": name,
        "others": str(NamedPrompts(others)) or "(none)",
        "pairs": pairs(examples),
        "places": f"It must hold {places}, each exactly once: the program puts in there what belongs there."
        if places
        else "It holds no places in braces.",
        "answer_rule": answer_rule,
    }
    return messages("ape", "user", "induce_named", slots)


def read_named_induced(answer: str, *, form: PromptForm, first: NamedPrompts, name: str) -> str:
    """The named prompt, with the places that it lacks below it. Raises `Malformed`."""
    written = read_tag(answer, "user_prompt")
    written = written if "question" in form.slots[name] else bare(written)
    missing = [f"{{{slot}}}" for slot in form.slots[name] if slot not in slots_in(written)]
    induced = "\n\n".join([written, *missing])
    try:
        return form.read(str(replace(first, texts={**first.texts, name: induced}))).texts[name]
    except ValueError as reason:
        raise Malformed(str(reason)) from reason


def pairs(examples: Iterable[Example]) -> str:
    """Questions with their answers, as the optimizer model sees them."""
    return join_blocks(
        [
            text("ape", "user", "pair", {"question": example.asked, "answers": " or ".join(example.answers)})
            for example in examples
        ]
    )


def completed(instruction: str, answer_rule: str) -> str:
    """The instruction with the question's place and the answer rule below it, as far as it lacks them."""
    parts = [instruction]
    parts += [] if PLACEHOLDER in instruction else [PLACEHOLDER]
    parts += [] if answer_rule in instruction else [answer_rule]
    return "\n\n".join(parts)
