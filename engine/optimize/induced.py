"""User prompts that are induced from a task's train examples, as in APE, and know nothing of any system prompt.

Nobody selects among them: system prompts are compared under all of them. So one with a common fault is drawn again.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from metaspo.backends import Message
from metaspo.engine.addresses import join, rng_at
from metaspo.engine.config.wording import Wording, drawn_again
from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.optimizer import OptimizerCalls
from metaspo.engine.strategies import NoProposal
from metaspo.engine.strategies.ape import (
    bounded,
    completed,
    named_induction,
    read_induced,
    read_named_induced,
    user_induction,
)
from metaspo.engine.strategies.base import Ask, Malformed
from metaspo.engine.strategies.faults import WORDS, fault_in
from metaspo.engine.strategies.meta_prompts import ending_with, well_formed
from metaspo.engine.tasks import Example, Task
from metaspo.engine.tasks.named_prompts import PromptForm

DEMOS = 10  # train examples that a prompt is induced from
Bounds = Callable[[Sequence[Message]], list[Message]]


async def induce(
    context: RunContext, task: Task, *, above: str, position: int, count: int, demos: int = DEMOS
) -> tuple[str, ...]:
    """Up to `count` user prompts for a task, at addresses below `above`; equal ones once, none if none could be had."""
    induced = await gather(
        _induce_one(context, task, join(above, f"task={task.name}", f"prompt={number}"), position, demos)
        for number in range(1, count + 1)
    )
    return tuple(dict.fromkeys(prompt for prompt in induced if prompt))


async def _induce_one(context: RunContext, task: Task, address: str, position: int, demos: int) -> str:
    shown = rng_at(context.config.seed, address).sample(task.train, min(demos, len(task.train)))
    ask = OptimizerCalls(context, address, priority=priorities.initial(position))
    bounds = partial(bounded, model=context.config.base.model, words=longest(task))
    try:
        if task.form is None:
            return await _induced(task, shown, bounds, ask)
        return await _named(task, task.form, shown, bounds, ask)
    except NoProposal as reason:
        context.journal.write(events.Proposal(address=address, none=str(reason)))
        return ""


def longest(task: Task) -> int:
    """Words that a prompt for the task may have: as many as the first one has, whatever that is."""
    return max(WORDS, len(task.user_prompt.split()))


async def _induced(task: Task, shown: Sequence[Example], bounds: Bounds, ask: Ask) -> str:
    rule, wording = task.answer_format.describe(), Wording(fixed=task.fixed)
    messages, request = bounds(user_induction(shown, answer_rule=rule)), wording.request("user")

    def read(answer: str) -> str:
        parent = f"{task.user_prompt}\n{rule}"
        induced = _without_fault(read_induced(answer, answer_rule=rule), task, parent=parent, below=completed("", rule))
        return well_formed(wording.mended(induced, first=task.user_prompt), level="user")

    return await ask("induce", ending_with(request, messages) if request else messages, read)


async def _named(task: Task, form: PromptForm, shown: Sequence[Example], bounds: Bounds, ask: Ask) -> str:
    """Each of the prompts that a program names, beside the others as they are at first; numbers stay."""
    first, rule = form.read(task.user_prompt), task.answer_format.describe()

    async def induced(name: str) -> str | NoProposal:  # which breaks off no other's call
        messages = bounds(named_induction(shown, form=form, first=first, name=name, answer_rule=rule))

        def read(answer: str) -> str:
            induced = read_named_induced(answer, form=form, first=first, name=name)
            return _without_fault(induced, task, parent=task.user_prompt, below=" ".join(form.slots[name]))

        try:
            return await ask(f"prompt={name}/induce", messages, read)
        except NoProposal as reason:
            return reason

    texts: dict[str, str] = {}
    for name, text in zip(form.slots, await gather(map(induced, form.slots)), strict=True):
        if isinstance(text, NoProposal):
            raise text
        texts[name] = text
    return str(replace(first, texts=texts))


def _without_fault(prompt: str, task: Task, *, parent: str, below: str) -> str:
    """The prompt. Raises `Malformed` for a common fault, which is said when it is asked for again."""
    if fault := fault_in(prompt, examples=task.train, parent=parent, words=longest(task), below=below):
        raise Malformed(fault, again=drawn_again("user", fault))
    return prompt
