"""The outer loop: a better system prompt for all tasks at once.

MetaSPO (arXiv 2505.09666, and its code): every candidate starts from the incumbent and is scored with every kept user
prompt of every source task; the meta score is the mean over these nodes; the best candidate replaces the
incumbent if it is strictly better. Ours, beyond it: a candidate is scored as soon as it is written, not when all are,
and one that cannot be selected any more is not scored to the end.
"""

from dataclasses import asdict, replace
from functools import partial

from metaspo.engine.addresses import outer_address
from metaspo.engine.journal import events
from metaspo.engine.optimize.round import Round, hold_round
from metaspo.engine.optimize.round_setup import RoundSetup
from metaspo.engine.optimize.state import RunState
from metaspo.engine.optimize.train_calls import TrainCalls
from metaspo.engine.runtime.barrier import gather_timed
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import ScoredPrompt
from metaspo.engine.selection.optimism import estimate_of, optimism_bound


async def outer_loop(context: RunContext, state: RunState, *, iteration: int, calls: TrainCalls) -> RunState:
    """One round over system candidates; the state with the new incumbent, or the same one."""
    setup = RoundSetup(
        context=context,
        level="system",
        iteration=iteration,
        address=outer_address(iteration),
        system=state.system,
        tasks=state.tasks,
        candidates=context.config.outer.candidates,
        keep=1,
        past=state.past,
        calls=calls,
    )
    held = await hold_round(setup, context.outer, gather=partial(gather_timed, context, setup.address))
    [winner] = held.best.kept()
    new = replace(state, past=held.past)
    if winner.position > 0:
        new = _adopt(new, winner, held)
        _note_optimism(held, state)
    number = max(winner.position, 0)
    chosen = events.Select(address=setup.address, system=new.system, chosen=number, score=new.meta_score)
    return replace(new, raced_out=(*new.raced_out, *held.note_selection(chosen)))


def _adopt(state: RunState, winner: ScoredPrompt, held: Round) -> RunState:
    """Make the best candidate of a round the incumbent: its cards replace the old ones, each task's ranked anew."""
    cards, objective = iter(winner.cards), held.setup.objective
    tasks = [replace(task, kept=objective.ranked([next(cards) for _ in task.kept])) for task in state.tasks]
    optimism = optimism_bound(winner.cards, state.cards, candidates=held.candidates, score=winner.value)
    return replace(state, system=winner.prompt, tasks=tuple(tasks), optimism=optimism)


def _note_optimism(held: Round, state: RunState) -> None:
    """Journal what of the winner's score is likely to be the luck of having been chosen."""
    context = held.setup.context
    cards = [scored.cards if scored else None for scored in held.complete]
    if optimism := estimate_of(cards, state.cards, seed=context.config.seed):
        event = events.Optimism(address=held.setup.address, **asdict(optimism), says=optimism.sentence)
        context.journal.write(event)
