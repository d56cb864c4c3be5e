"""MetaSPO's own strategy: look at failures, have them analysed, have the prompt rewritten.

Choi, Baek and Hwang, "System Prompt Optimization with Meta-Learning", NeurIPS 2025 (arXiv 2505.09666): each candidate
takes one analysis call and one generation call. The inner rewrite sees the failures as well as the analysis, the outer
rewrite only the analysis; outer failures come from every task and are shuffled together, as in the authors' code.
"""

from random import Random

from metaspo.engine.strategies.base import InnerContext, OuterContext, form_is_missing, require_failures
from metaspo.engine.strategies.meta_prompts import failure_block, join_blocks, read_analysis, read_prompt
from metaspo.engine.strategies.texts import META, messages, text
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
        require_failures([task])
        blocks = [
            failure_block(failure, system_prompt=context.system_prompt, user_prompt=task.user_prompt)
            for failure in sample(task.failures, context.show, context.rng)
        ]
        slots = {
            "system_prompt": context.system_prompt,
            "user_prompt": task.user_prompt,
            "answer_rule": task.answer_rule,
            "failures": join_blocks(blocks),
        }
        analysis = await context.ask("analyze", messages(META, "user", "analyze", slots), read_analysis)
        rewrite = messages(META, "user", "generate", {**slots, "analysis": analysis})
        return await context.ask("generate", rewrite, lambda said: context.usable(read_prompt(said, level="user")))


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
        require_failures(context.tasks)
        blocks = [
            failure_block(failure, system_prompt=context.system_prompt, user_prompt=task.user_prompt)
            for task in context.tasks
            for failure in sample(task.failures, context.show, context.rng)
        ]
        context.rng.shuffle(blocks)
        slots = {"system_prompt": context.system_prompt, "failures": join_blocks(blocks)}
        analysis = await context.ask("analyze", messages(META, "system", "analyze", slots), read_analysis)
        form = text(META, "system", "say_form" if form_is_missing(context.tasks) else "set_no_form", {})
        given = {"system_prompt": context.system_prompt, "analysis": analysis, "form": form}
        rewrite = messages(META, "system", "generate", given)
        return await context.ask("generate", rewrite, lambda said: context.usable(read_prompt(said, level="system")))


def sample(failures: tuple[Failure, ...], size: int, rng: Random) -> list[Failure]:
    """`size` failures at random without repeats; all of them if there are fewer."""
    return rng.sample(failures, min(size, len(failures)))
