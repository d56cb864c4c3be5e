"""User prompts that are induced from a task's train examples, as in APE, and know nothing of any system prompt."""

from metaspo.engine.addresses import join, rng_at
from metaspo.engine.config.wording import Wording
from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.optimizer import asker
from metaspo.engine.strategies import NoProposal
from metaspo.engine.strategies.ape import read_induced, user_induction
from metaspo.engine.strategies.meta_prompts import ending_with, well_formed
from metaspo.engine.tasks import Task

NAMED = "a program names its prompts, and nothing that is induced knows what each is for"
DEMOS = 10  # train examples that a prompt is induced from


async def induce(
    context: RunContext, task: Task, *, above: str, position: int, count: int, demos: int = DEMOS
) -> tuple[str, ...]:
    """Up to `count` user prompts for a task, at addresses below `above`; equal ones once, none if none could be had, as
    for a task whose program names its prompts."""
    if task.form is not None:
        context.journal.write(events.Proposal(address=join(above, f"task={task.name}"), none=NAMED))
        return ()
    induced = await gather(
        _induce_one(context, task, join(above, f"task={task.name}", f"prompt={number}"), position, demos)
        for number in range(1, count + 1)
    )
    return tuple(dict.fromkeys(prompt for prompt in induced if prompt))


async def _induce_one(context: RunContext, task: Task, address: str, position: int, demos: int) -> str:
    shown = rng_at(context.config.seed, address).sample(task.train, min(demos, len(task.train)))
    ask = asker(context, address, priority=priorities.initial(position))
    rule, wording = task.answer_format.describe(), Wording(fixed=task.fixed)
    messages, request = user_induction(shown, answer_rule=rule), wording.request("user")

    def read(answer: str) -> str:
        return well_formed(wording.mended(read_induced(answer, answer_rule=rule), first=task.user_prompt), level="user")

    try:
        return await ask("induce", ending_with(request, messages) if request else messages, read)
    except NoProposal as reason:
        context.journal.write(events.Proposal(address=address, none=str(reason)))
        return ""
