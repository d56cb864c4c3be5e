"""MetaSPO's own strategy: look at failures, have them analysed, have the prompt rewritten.

Choi, Baek and Hwang, "System Prompt Optimization with Meta-Learning", NeurIPS 2025 (arXiv 2505.09666): each candidate
takes one analysis call and one generation call. The inner rewrite sees the failures as well as the analysis, the outer
rewrite only the analysis; outer failures come from every task and are shuffled together, as in the authors' code.
"""

from random import Random

from metaspo.engine.strategies.base import InnerContext, NoProposal, OuterContext
from metaspo.engine.strategies.meta_prompts import (
    failure_block,
    join_blocks,
    meta_messages,
    read_analysis,
    read_system_prompt,
    read_user_prompt,
)
from metaspo.engine.tasks import Failure


class FailureAnalysisInner:
    """User prompts from analysed failures of one task."""

    name = "metaspo"
    calls_optimizer = 2

    def describe(self) -> str:
        """One line for the report."""
        return "task by task, the optimizer model analyses its failures and rewrites its user prompt (MetaSPO)"

    async def propose(self, context: InnerContext, /) -> str:
        """Analyse up to `show` failures, then rewrite. Raises `NoProposal` when there are no failures."""
        task = context.task
        blocks = [
            failure_block(failure, system_prompt=context.system_prompt, user_prompt=task.user_prompt)
            for failure in sample(task.failures, context.show, context.rng)
        ]
        if not blocks:
            raise NoProposal("no failures to learn from, every train answer is right already")
        slots = {
            "system_prompt": context.system_prompt,
            "user_prompt": task.user_prompt,
            "answer_rule": task.answer_rule,
            "failures": join_blocks(blocks),
        }
        analysis = await context.ask("analyze", meta_messages("user", "analyze", slots), read_analysis)
        rewrite = meta_messages("user", "generate", {**slots, "analysis": analysis})
        return await context.ask("generate", rewrite, lambda said: context.usable(read_user_prompt(said)))


class FailureAnalysisOuter:
    """System prompts from analysed failures of all tasks."""

    name = "metaspo"
    calls_optimizer = 2

    def describe(self) -> str:
        """One line for the report."""
        return (
            "the optimizer model analyses failures of all tasks together and rewrites the one system prompt (MetaSPO)"
        )

    async def propose(self, context: OuterContext, /) -> str:
        """Analyse up to `show` failures of each task, shuffled together. Raises `NoProposal` when there are none."""
        blocks = [
            failure_block(failure, system_prompt=context.system_prompt, user_prompt=task.user_prompt)
            for task in context.tasks
            for failure in sample(task.failures, context.show, context.rng)
        ]
        if not blocks:
            raise NoProposal("no failures to learn from, every train answer is right already")
        context.rng.shuffle(blocks)
        slots = {"system_prompt": context.system_prompt, "failures": join_blocks(blocks)}
        analysis = await context.ask("analyze", meta_messages("system", "analyze", slots), read_analysis)
        rewrite = meta_messages("system", "generate", {"system_prompt": context.system_prompt, "analysis": analysis})
        return await context.ask("generate", rewrite, lambda said: context.usable(read_system_prompt(said)))


def sample(failures: tuple[Failure, ...], size: int, rng: Random) -> list[Failure]:
    """`size` failures at random without repeats; all of them if there are fewer."""
    return rng.sample(failures, min(size, len(failures)))
