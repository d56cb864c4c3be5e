"""One run from its first score to its result.

init -> [inner loop per source task, all at once -> outer loop] x iterations -> test splits. With `train_calls` the
iterations go on until no further prompt fits within them, or `BARREN` in a row bring none that can be used. The test
splits of the first prompts are asked for from the start, behind everything else: they fill what the loops leave free.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from metaspo.engine.addresses import inner_address, outer_address
from metaspo.engine.config.calls import count_answers, inner_calls, reserved
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.gather import both
from metaspo.engine.journal import events
from metaspo.engine.optimize.early_stop import EarlyStop
from metaspo.engine.optimize.first_prompts import score_first
from metaspo.engine.optimize.result import GuardScore, RunResult
from metaspo.engine.optimize.state import RunState
from metaspo.engine.optimize.test_splits import gains, score_after, score_before
from metaspo.engine.optimize.train_calls import TrainCalls
from metaspo.engine.runtime.barrier import gather_timed
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import score_of
from metaspo.engine.selection.optimism import luck_of_users

BARREN = 5


@dataclass(frozen=True, slots=True)
class _Optimized:
    first: RunState
    final: RunState
    after: list[TestScore]
    train_calls: int
    ended_early: str


async def run(context: RunContext, *, searched: Callable[[], None] = lambda: None) -> RunResult:
    """Run to the end; `searched` is called where the loops are over, and nothing is left but the test splits.

    Raises:
        RunStopped: when the run cannot go on now (budget reached, no server, bad key); it can be resumed.
        TaskError: when there is no answer to some examples already under a task's first prompts; it names them all.
    """
    answers = count_answers(context.config, context.tasks)
    context.observer.planned(base_calls=answers.base, optimizer_calls=answers.optimizer)
    context.journal.write(events.Start.now(name=context.config.name, seed=context.config.seed))
    before, optimized = await both(score_before(context), _optimize(context, searched))
    tests = (*before, *optimized.after)
    final = optimized.final
    context.journal.write(events.Finish(score=final.best_score))
    context.observer.finished()
    return RunResult(
        name=context.config.name,
        seed=context.config.seed,
        first_system_prompt=context.config.system_prompt,
        first_user_prompts={task.name: task.user_prompt for task in context.sources},
        system_prompt=final.system,
        user_prompts={state.task.name: tuple(card.pair.user for card in state.kept) for state in final.tasks},
        train_before=optimized.first.best_score,
        train_after=final.best_score,
        tests=tests,
        gains=gains(tests),
        guards=tuple(
            GuardScore(task=guard.task.name, before=guard.first, after=score_of(guard.card), floor=guard.floor)
            for guard in final.guards
        ),
        strategies={"inner": context.inner.describe(), "outer": context.outer.describe()},
        raced_out=final.raced_out,
        optimism=final.optimism,
        user_luck=_user_luck(optimized.first, final),
        train_calls=optimized.train_calls,
        ended_early=optimized.ended_early,
    )


def _user_luck(first: RunState, final: RunState) -> float | None:
    """What luck had to do with the choice of user prompts; None where a score is no mean over examples."""
    if not all(state.task.metric.additive for state in final.tasks):
        return None
    before, after = ([state.kept[0] for state in of.tasks] for of in (first, final))
    others = {
        (task := state.task).name: len(
            {*(card.pair.user for card in (*begun.kept, *state.plain)), *(tried.prompt for tried in state.tried)}
            - {task.user_prompt}
        )
        for begun, state in zip(first.tasks, final.tasks, strict=True)
    }
    return luck_of_users(before, after, others)


async def _optimize(context: RunContext, searched: Callable[[], None]) -> _Optimized:
    calls = TrainCalls(context.config.train_calls)
    first = await score_first(context, calls)
    state = await _chosen_first(context, first, calls)
    iterations, barren = context.config.iterations, 0
    early, ended_early = EarlyStop(context.config, context.tasks, state), ""
    for iteration in count(1) if calls.left is not None else range(1, iterations + 1):
        offered, taken = calls.offered, calls.taken
        name = f"iteration {iteration}" + f" of {iterations}" * (calls.left is None)
        context.observer.stage(f"{name}: inner loop")
        last = barren == BARREN - 1  # the run ends if nothing comes again, so that nothing is left for what comes after
        spare = 0 if last else reserved(context.config, context.tasks, iteration=iteration)
        state = await _inner_loops(context, state, iteration=iteration, calls=calls, spare=spare)
        context.observer.new_best(score=state.best_score, address=inner_address(iteration))
        context.observer.stage(f"{name}: outer loop")
        state = await _outer_loop(context, state, iteration=iteration, calls=calls)
        context.observer.new_best(score=state.best_score, address=outer_address(iteration))
        barren = barren + 1 if calls.taken == taken else 0
        if calls.left is not None and (calls.offered == offered or barren == BARREN):
            _tell_unused(context, calls, barren=barren)
            break
        if ended_early := early.after(iteration, state, left=calls.left):
            break
    searched()
    context.observer.stage("test splits")
    return _Optimized(first, state, await score_after(context, state), calls.taken, ended_early)


async def _chosen_first(context: RunContext, state: RunState, calls: TrainCalls) -> RunState:
    """The best of several first user prompts of each task, then the best of several first system prompts."""
    if any(task.user_prompts for task in context.sources):
        state = await _inner_loops(context, state, iteration=0, calls=calls)
        context.observer.new_best(score=state.best_score, address=inner_address(0))
    if context.config.system_prompts:
        state = await _outer_loop(context, state, iteration=0, calls=calls)
        context.observer.new_best(score=state.best_score, address=outer_address(0))
    return state


def _tell_unused(context: RunContext, calls: TrainCalls, *, barren: int) -> None:
    """Say so where calls are left because nothing came that they could be spent on."""
    if barren == BARREN:
        context.observer.warn(
            f"{BARREN} iterations in a row brought no new prompt that could be used: the run ends with {calls.left:,} "
            f"of its {context.config.train_calls:,} train calls left"
        )


async def _inner_loops(
    context: RunContext, state: RunState, *, iteration: int, calls: TrainCalls, spare: int = 0
) -> RunState:
    """The inner loop of every source task, all at once, each with its share of the calls, `spare` of them left."""
    from metaspo.engine.optimize.inner import inner_loop  # not before the first calls have gone

    rows = [len(task.task.train) for task in state.tasks]
    wanted = [
        inner_calls(context.config, size) if iteration else size * len(task.task.user_prompts)
        for task, size in zip(state.tasks, rows, strict=True)
    ]
    shares = calls.shares(wanted, rows, spare=spare)
    loops = [
        inner_loop(context, task, system=state.system, iteration=iteration, position=position, calls=share)
        for position, (task, share) in enumerate(zip(state.tasks, shares, strict=True))
    ]
    tasks = await gather_timed(context, inner_address(iteration), loops)
    calls.join(shares)
    out = [address for task in tasks for address in task.raced_out]
    return replace(state, tasks=tuple(tasks), raced_out=(*state.raced_out, *out))


async def _outer_loop(context: RunContext, state: RunState, *, iteration: int, calls: TrainCalls) -> RunState:
    """The outer loop over system prompts."""
    from metaspo.engine.optimize.outer import outer_loop  # as above

    return await outer_loop(context, state, iteration=iteration, calls=calls)
