"""OPRO: the optimizer model sees earlier prompts with their scores, worst first, and writes better ones.

Yang et al., "Large Language Models as Optimizers", ICLR 2024 (arXiv 2309.03409).
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from metaspo.engine.gather import gather
from metaspo.engine.strategies.base import Level
from metaspo.engine.strategies.meta_prompts import join_blocks, user_message_of
from metaspo.engine.strategies.search import CallBound, RoundSize, SearchContext, Trial
from metaspo.engine.strategies.searching import BOTH_LEVELS, ask_or_none, new_prompts, prompt_reader, ranked, rule_slots
from metaspo.engine.strategies.texts import messages, text
from metaspo.engine.tasks.base import PLACEHOLDER

MARK = "[[PROMPT]]"  # where the prompt goes in an exemplar, as in opro.toml


@dataclass(frozen=True, slots=True, kw_only=True)
class Opro:
    """Steps of several prompts each, all drawn from one trajectory of prompts and scores, all scored on every example.

    Our readings. What is optimized is the whole prompt, at level "user" with its `{question}`, not a sentence placed
    beside the question. The trajectory starts with the prompts that are there and those found in earlier iterations.
    The steps end when a prompt answers every example right: none can score higher. An answer that holds the placeholder
    wrongly is drawn again, one that is too long or was there before is dropped, as is one that holds the mark.

    Attributes:
        steps: how often the optimizer is shown the trajectory; in the paper 200 for one task, so set it to the budget.
        samples: prompts drawn in a step, side by side.
        top: how many of the best prompts are shown, in ascending order, with scores as whole numbers from 0 to 100.
        exemplars: question-answer pairs that are shown, drawn anew for each step from all tasks together.
        threshold: the score, 0 to 1, below which a prompt is not shown (0.3 in the paper's runs with GPT scorers).
        longest: characters that a prompt may have, without the placeholder and the answer rule.
        remember: how many prompts of earlier iterations, the latest, enter the trajectory; each is scored again, since
            the other prompts have changed.
    """

    name: ClassVar[str] = "opro"
    levels: ClassVar[frozenset[Level]] = BOTH_LEVELS

    steps: int = Field(default=200, ge=1)
    samples: int = Field(default=8, ge=1)
    top: int = Field(default=20, ge=1)
    exemplars: int = Field(default=3, ge=0)
    threshold: float = Field(default=0.0, ge=0, le=1)
    longest: int = Field(default=500, ge=1)
    remember: int = Field(default=20, ge=0)

    def describe(self) -> str:
        """One line for the report."""
        return f"the optimizer model continues a list of prompts and scores, {self.steps} times {self.samples} (OPRO)"

    def work(self, size: RoundSize, /) -> CallBound:
        """The most calls of a round: every sample a new prompt, and as many earlier ones as are remembered."""
        samples = self.steps * self.samples
        return CallBound(base=(self.remember + samples) * size.rows, optimizer=samples)

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """Every new prompt by its score, and the remembered ones. Raises `NoProposal` if there is none."""
        first = {trial.prompt for trial in context.first}
        past = [prompt for prompt in context.past if prompt not in first]
        past = past[max(0, len(past) - self.remember) :]
        trajectory = [*(await context.score("past", past) if past else []), *context.first]
        seen = {*first, *context.past}
        for number in range(1, self.steps + 1):
            if context.room == 0 or any(perfect(trial) for trial in trajectory):
                break
            drawn = await self._draw(context, f"step={number}", trajectory)
            new = [prompt for prompt in dict.fromkeys(drawn) if prompt not in seen and self._fits(context, prompt)]
            seen.update(drawn)
            trajectory += await context.score(f"step={number}/score", new) if new else []
        return new_prompts(context, [trial.prompt for trial in ranked(trajectory)])

    async def _draw(self, context: SearchContext, step: str, trajectory: Sequence[Trial]) -> list[str]:
        """One step's samples: all of the same request."""
        slots = {
            "trajectory": join_blocks(self.shown(trajectory)) or "(none yet)",
            "exemplars": join_blocks(self._exemplars(context, f"{step}/exemplars")) or "(none)",
            **rule_slots(context, "opro"),
        }
        request = messages("opro", context.level, "continue", slots)
        drawn = await gather(
            ask_or_none(context, f"{step}/sample={number}/continue", request, prompt_reader(context))
            for number in range(1, self.samples + 1)
        )
        return [prompt for prompt in drawn if prompt is not None]

    def shown(self, trajectory: Sequence[Trial]) -> list[str]:
        """The best prompts in ascending order of their scores; of equal ones the later found comes later."""
        best = sorted(trajectory, key=lambda trial: trial.score)[-self.top :]
        return [
            text("opro", "user", "scored", {"prompt": trial.prompt, "score": str(round(100 * trial.score))})
            for trial in best
            if trial.score >= self.threshold
        ]

    def _exemplars(self, context: SearchContext, step: str) -> list[str]:
        pairs = [(task, example) for task in context.tasks for example in task.train]
        chosen = context.rng(step).sample(pairs, min(self.exemplars, len(pairs)))
        return [
            text(
                "opro",
                context.level,
                "exemplar",
                {
                    "user_message": user_message_of(example, task.user_prompt),
                    "question": example.asked,
                    "answers": " or ".join(example.answers),
                },
            )
            for task, example in chosen
        ]

    def _fits(self, context: SearchContext, prompt: str) -> bool:
        text = prompt.replace(PLACEHOLDER, "")
        if context.level == "user":
            text = text.replace(context.tasks[0].answer_rule, "")
        return len(text) <= self.longest and MARK not in text


def perfect(trial: Trial) -> bool:
    """Whether every answer was fully right."""
    return all(grade == 1 for grade in trial.grades)
