"""The inner loop: better user prompts for one task under a fixed system prompt.

MetaSPO (arXiv 2505.09666, and its code): all candidates start from the task's best user prompt, each is scored on the
whole train split, and the best `keep` of old and new stay. Ours, beyond it: the user prompts that `outer.under` scores
system prompts with are among the old ones, a proposal equal to a prompt that is already there is not listed twice, a
candidate under which the server refused an example cannot be kept, and one that cannot be kept any more is not scored
to the end.
"""

from dataclasses import replace

from metaspo.engine.addresses import inner_address
from metaspo.engine.journal import events
from metaspo.engine.optimize.round import hold_round
from metaspo.engine.optimize.round_setup import RoundSetup
from metaspo.engine.optimize.state import TaskState
from metaspo.engine.optimize.train_calls import TrainCalls
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import Objective
from metaspo.engine.strategies.proposers import Given


async def inner_loop(
    context: RunContext, state: TaskState, *, system: str, iteration: int, position: int, calls: TrainCalls
) -> TaskState:
    """One round for one task, at `position` among the source tasks; the state with the prompts that are kept.

    Iteration 0 is the choice among the task's first user prompts; there is none where it has but one.
    """
    table, objective, given = context.config.inner, Objective(ties=context.config.ties), state.task.user_prompts
    if not iteration and not given:
        return replace(state, raced_out=())
    candidates, contenders = table.candidates if iteration else len(given), state.contenders(objective)
    start = replace(state, kept=contenders[: table.keep], plain=contenders) if candidates else state
    setup = RoundSetup(
        context=context,
        level="user",
        iteration=iteration,
        address=inner_address(iteration, task=state.task.name),
        system=system,
        tasks=(start,),
        task_position=position,
        candidates=candidates,
        keep=table.keep,
        gate=table.gate if iteration else 0,
        doubles=table.gate_doubles,
        tried=state.tried,
        calls=calls,
        objective=objective,
    )
    held = await hold_round(setup, context.inner_for(state.task) if iteration else Given(given))
    kept = tuple(prompt.cards[0] for prompt in held.best.kept())
    chosen = events.Select(address=setup.address, kept=[events.Kept(card.pair.user, card.score) for card in kept])
    return replace(state, kept=kept, tried=held.tried, raced_out=held.note_selection(chosen))
