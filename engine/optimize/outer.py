"""The outer loop: a better system prompt for all tasks at once.

MetaSPO (arXiv 2505.09666, and its code): every candidate starts from the incumbent and is scored with every kept user
prompt of every source task; the meta score is the mean over these nodes; the best candidate replaces the
incumbent if it is better. Ours, beyond it: one as good that is shorter replaces it, too (`ties`), and guards may forbid
it; a candidate is scored as soon as it is written, not when all are, one that cannot be selected any more is not scored
to the end, and `outer.under` may name other user prompts to score candidates with; the kept ones are then scored under
a new incumbent before they are ranked anew. With `outer.keep` the best few system prompts stay beside the incumbent,
and candidates start from them in turn. With `outer.shared` the best one must have a gain that tasks share.
"""

from dataclasses import asdict, replace
from functools import partial

from metaspo.engine.addresses import join, outer_address
from metaspo.engine.evaluation.evaluation import score
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gather
from metaspo.engine.journal import events
from metaspo.engine.optimize.round import Round, hold_round
from metaspo.engine.optimize.round_setup import RoundSetup
from metaspo.engine.optimize.state import RunState, TaskState
from metaspo.engine.optimize.train_calls import TrainCalls, cells_of
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.barrier import gather_timed
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt
from metaspo.engine.selection.optimism import estimate_of, optimism_bound
from metaspo.engine.selection.shared_gain import by_task, is_shared
from metaspo.engine.strategies.proposers import Given

POINTS = 100  # of a score
PENALIZED = POINTS * 100  # `length_penalty` is in points for each 100 characters


async def outer_loop(context: RunContext, state: RunState, *, iteration: int, calls: TrainCalls) -> RunState:
    """One round over system candidates; the state with the new incumbent, or the same one.

    Iteration 0 is the choice among several first system prompts.
    """
    table, setup = context.config.outer, _setup(context, state, iteration=iteration, calls=calls)
    proposer = context.outer if iteration else Given(context.config.system_prompts)
    held = await hold_round(setup, proposer, gather=partial(gather_timed, context, setup.address))
    winner, *beam = held.best.kept()
    new = replace(state, tried=held.tried, beam=tuple(beam))
    unshared = None
    if winner.position > 0:
        new = await _adopt(new, winner, held)
        if iteration and table.shared and not _shares(state, new, winner, margin=table.shared_margin / POINTS):
            unshared, new, winner = winner.position, _passed_over(state, held, winner), held.old[0]
        else:
            _note_optimism(held)
    elif setup.candidates:
        setup.spare(setup.after)
    number = max(winner.position, 0)
    chosen = events.Select(
        address=setup.address, system=new.system, chosen=number, score=winner.value, unshared=unshared
    )
    return replace(new, raced_out=(*new.raced_out, *held.note_selection(chosen)))


def _setup(context: RunContext, state: RunState, *, iteration: int, calls: TrainCalls) -> RoundSetup:
    table = context.config.outer
    return RoundSetup(
        context=context,
        level="system",
        iteration=iteration,
        address=outer_address(iteration),
        system=state.system,
        tasks=tuple(replace(task, kept=task.under(table.under)) for task in state.tasks),
        candidates=table.candidates if iteration else len(context.config.system_prompts),
        keep=table.keep,
        guards=state.guards,
        beam=state.beam,
        gate=table.gate if iteration else 0,
        doubles=table.gate_doubles,
        tried=state.tried,
        after=sum(len(card.outcomes) for task in state.tasks for card in task.beside(table.under)),
        calls=calls,
        objective=Objective(
            floors={guard.task.name: guard.floor for guard in state.guards},
            ties=context.config.ties,
            penalty=table.length_penalty / PENALIZED,
        ),
    )


def _shares(state: RunState, new: RunState, winner: ScoredPrompt, *, margin: float) -> bool:
    """Whether more than one task has a part in what the best candidate of a round has gained."""
    scores = by_task([card for card in winner.cards if card.task in state.first])
    weights = {task.task.name: task.task.weight for task in state.tasks}
    return is_shared(scores, state.first, weights, best_change=new.best_score - state.best_score, margin=margin)


def _passed_over(state: RunState, held: Round, best: ScoredPrompt) -> RunState:
    """The state with the incumbent as it was: what else is kept below it may join the beam, which gets its own back.

    What the best candidate itself kept out may not have been scored in full. One above the incumbent was looked at no
    further, and what is in the beam is never better than that.
    """
    incumbent, kept = held.old[0], [scored for scored in held.best.kept() if scored.position > 0]
    below = [scored for scored in kept if scored.rank > incumbent.rank]
    _, *beam = KeepBest(held.setup.keep, [*held.old, *below]).kept()
    lost = {scored.prompt: None for scored in kept} | {best.prompt: best.value}
    for scored in beam:
        lost.pop(scored.prompt, None)
    tried = (
        replace(each, score=None, unshared=lost[each.prompt]) if each.prompt in lost else each for each in held.tried
    )
    return replace(state, tried=tuple(tried), beam=tuple(beam))


async def _adopt(state: RunState, winner: ScoredPrompt, held: Round) -> RunState:
    """Make the best candidate of a round the incumbent: its cards replace the old ones, each task's ranked anew."""
    incumbent = held.old[0]
    more = await gather(_score_beside(held, task, position, winner.prompt) for position, task in enumerate(state.tasks))
    held.setup.calls.admit(cells_of([card for cards in more for card in cards]))
    objective = held.setup.objective
    tasks = [_under(task, (*winner.cards, *cards), objective) for task, cards in zip(state.tasks, more, strict=True)]
    optimism = optimism_bound(
        objective.counted(winner.cards),
        objective.counted(incumbent.cards),
        candidates=held.candidates,
        score=winner.value,
    )
    under = {card.task: card for card in winner.cards}
    guards = tuple(replace(guard, card=under[guard.task.name]) for guard in state.guards)
    return replace(state, system=winner.prompt, tasks=tuple(tasks), guards=guards, optimism=optimism)


async def _score_beside(held: Round, state: TaskState, position: int, system: str) -> list[Scorecard]:
    """The kept user prompts of a task that the round did not score system prompts with, under the new one."""
    setup, task = held.setup, state.task
    return await gather(
        score(
            setup.context,
            PromptPair(system, card.pair.user),
            task,
            examples=task.train,
            address=join(setup.address, "kept", f"task={task.name}", f"prompt={prompt}"),
            priority=priorities.outer(setup.iteration, candidate=0, task=position, prompt=prompt),
        )
        for prompt, card in enumerate(state.beside(setup.context.config.outer.under))
    )


def _under(state: TaskState, cards: tuple[Scorecard, ...], objective: Objective) -> TaskState:
    """A task under the new incumbent, by the cards that there are: as many user prompts stay as there were.

    One under which the server refuses an example is kept no longer; a plain one that is better now takes its turn.
    """
    scored = {card.pair.user: card for card in cards if card.task == state.task.name}
    kept = tuple(card for old in state.kept if not (card := scored[old.pair.user]).invalid)
    new = replace(state, kept=kept, plain=tuple(scored[card.pair.user] for card in state.plain))
    return replace(new, kept=new.contenders(objective)[: len(state.kept)])


def _note_optimism(held: Round) -> None:
    """Journal what of the winner's score is likely to be the luck of having been chosen by it alone."""
    if held.setup.objective.penalty:
        return
    context, incumbent, counted = held.setup.context, held.old[0], held.setup.objective.counted
    cards = [counted(scored.cards) if scored else None for scored in held.complete]
    if optimism := estimate_of(cards, counted(incumbent.cards), seed=context.config.seed):
        event = events.Optimism(address=held.setup.address, **asdict(optimism), says=optimism.sentence)
        context.journal.write(event)
