"""TextGrad-style search: feedback on every example, one update from all of it, taken back if validation falls.

Yuksekgonul et al., "TextGrad: Automatic 'Differentiation' via Text", 2024 (arXiv 2406.07496), its prompt optimization:
forward on a batch of 3, a backward call for each example, one update call that sees all feedback, the old prompt again
if the validation score falls; 3 epochs of 4 steps. Sequential by nature: a step needs the prompt of the one before.
The texts are our own.

Our readings:
- In the outer loop a batch holds 3 examples of each task. An epoch goes through a shuffled train split without repeats
  (and round again where that is too short).
- Only wrong answers get feedback: on a right one there is nothing to say. A batch without them changes nothing.
- The train split of a source task is small and the loop selects on all of it, so by default all of it validates;
  `validation` sets examples aside for that.
- A version is measured only to decide on its revert: with `revert = false` no validation is scored.
"""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from random import Random
from typing import ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from metaspo.backends import Message
from metaspo.engine.gather import gather
from metaspo.engine.strategies.base import Level, require_failures
from metaspo.engine.strategies.meta_prompts import join_blocks, read_analysis
from metaspo.engine.strategies.search import CallBound, RoundSize, Rows, SearchContext, WrongAnswer
from metaspo.engine.strategies.searching import (
    BOTH_LEVELS,
    ask_or_none,
    case_block,
    new_prompts,
    prompt_reader,
    rule_slots,
)
from metaspo.engine.strategies.texts import messages, text


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TextGrad:
    """Textual gradient descent.

    Attributes:
        batch: examples of each task in a step.
        validation: examples of each task kept out of the batches, to validate on; None: all train rows do both.
        revert: keep a new version only if its validation score is not below that of the present one.
        constraints: sentences that every version must obey, shown in the update call.
        momentum: how many of the latest steps the update call sees: the version and what was said of it; 0: none.
    """

    name: ClassVar[str] = "textgrad"
    levels: ClassVar[frozenset[Level]] = BOTH_LEVELS

    batch: int = Field(default=3, ge=1)
    epochs: int = Field(default=3, ge=1)
    steps: int = Field(default=4, ge=1)
    validation: int | None = Field(default=None, ge=1)
    revert: bool = True
    constraints: tuple[str, ...] = ()
    momentum: int = Field(default=0, ge=0)

    def describe(self) -> str:
        """One line for the report."""
        kept = "kept unless validation falls" if self.revert else "always kept"
        return f"the optimizer model comments on each wrong answer of a small batch and revises the prompt, {kept}"

    def work(self, size: RoundSize, /) -> CallBound:
        """Every step finds its batch all wrong. The first prompt is scored already; so is one validated on all rows."""
        updates = self.epochs * self.steps
        forward = 0 if self.revert and self.validation is None else (updates - 1) * size.batch(self.batch)
        check = size.rows if self.validation is None else size.batch(self.validation)
        feedback = min(self.batch * size.tasks, size.rows)
        return CallBound(base=forward + (updates * check if self.revert else 0), optimizer=updates * (feedback + 1))

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """The versions that were kept, the latest first. Raises `NoProposal`."""
        require_failures(context.tasks)
        aside = _set_aside(context, self.validation)
        prompt, score = context.first[0].prompt, context.first[0].score
        if self.revert and aside is not None:
            score = next((trial.score for trial in await context.score("validate", [prompt], rows=aside)), 0.0)
        kept: list[str] = []
        past: list[str] = []
        for step_name, rows in self._steps(context, aside):
            if context.room == 0:
                break
            version = await self._update(context, prompt, rows, past, step_name=step_name)
            if version is None or version == prompt:
                continue
            if self.revert:
                checked = await context.score(f"{step_name}/validate", [version], rows=aside)
                if not checked or checked[0].score < score:
                    continue
                score = checked[0].score
            prompt = version
            kept.append(prompt)
        return new_prompts(context, reversed(kept))

    def _steps(self, context: SearchContext, aside: Rows | None) -> Iterator[tuple[str, Rows]]:
        """Place and batch of every step."""
        for epoch in range(1, self.epochs + 1):
            batches = _batches(context, aside, size=self.batch, rng=context.rng(f"epoch={epoch}/batches"))
            for step in range(1, self.steps + 1):
                yield f"epoch={epoch}/step={step}", next(batches)

    async def _update(
        self, context: SearchContext, prompt: str, rows: Rows, past: list[str], *, step_name: str
    ) -> str | None:
        """One step's new version; None if nothing was wrong or nothing came back. Adds the step to `past`."""
        forward = await context.score(f"{step_name}/forward", [prompt], rows=rows)
        wrong = forward[0].wrong if forward else ()
        answers = await gather(
            ask_or_none(
                context,
                f"{step_name}/feedback={number}",
                _feedback_request(context, prompt, case),
                read_analysis,
            )
            for number, case in enumerate(wrong, 1)
        )
        feedback = join_blocks([_tagged("feedback", answer) for answer in answers if answer is not None])
        if not feedback:
            return None
        request = self._update_request(context, prompt, feedback, past)
        past.append(_tagged("version", f"{prompt}\n\n{feedback}"))
        return await ask_or_none(context, f"{step_name}/update", request, prompt_reader(context))

    def _update_request(
        self, context: SearchContext, prompt: str, feedback: str, past: Sequence[str]
    ) -> tuple[Message, ...]:
        level = context.level
        versions = join_blocks(past[max(0, len(past) - self.momentum) :])
        listed = "\n".join(f"- {constraint}" for constraint in self.constraints)
        slots = {
            "kind": text("textgrad", level, "kind", {}),
            "prompt": prompt,
            "feedback": feedback,
            "history": text("textgrad", level, "history", {"versions": versions}) if versions else "",
            "constraints": text("textgrad", level, "constraints", {"constraints": listed}) if listed else "",
            "rules": text("textgrad", level, "rules", rule_slots(context)),
        }
        return messages("textgrad", level, "update", slots)


def _set_aside(context: SearchContext, count: int | None) -> Rows | None:
    """Rows to validate on; of a task's rows at least one is left for the batches. None: all rows."""
    if count is None:
        return None
    drawn = context.sample("validation", per_task=count)
    return tuple(rows[: max(1, len(task.train) - 1)] for rows, task in zip(drawn, context.tasks, strict=True))


def _batches(context: SearchContext, aside: Rows | None, *, size: int, rng: Random) -> Iterator[Rows]:
    """Batch after batch, each task's rows in an order of this epoch's own; no row twice in a batch."""
    orders = []
    for position, task in enumerate(context.tasks):
        taken = set(aside[position]) if aside is not None else set()
        order = [row for row in range(len(task.train)) if row not in taken] or list(range(len(task.train)))
        rng.shuffle(order)
        orders.append((cycle(order), min(size, len(order))))
    while True:
        yield tuple(tuple(islice(rows, count)) for rows, count in orders)


def _feedback_request(context: SearchContext, prompt: str, case: WrongAnswer) -> tuple[Message, ...]:
    slots = {"kind": text("textgrad", context.level, "kind", {}), "prompt": prompt, "case": case_block(case)}
    return messages("textgrad", context.level, "feedback", slots)


def _tagged(tag: str, inside: str) -> str:
    return f"<{tag}>\n{inside}\n</{tag}>"
