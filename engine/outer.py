"""The outer loop: a better system prompt for all tasks at once.

MetaSPO (arXiv 2505.09666, and its code): every candidate starts from the incumbent and is scored with every kept user
prompt of every source task; the meta score is the plain mean over these nodes; the best candidate replaces the
incumbent if it is strictly better. Ours, beyond it: a candidate is scored as soon as it is written, not when all are.
"""

from dataclasses import dataclass, replace

from metaspo.engine import priorities
from metaspo.engine.address import join, rng_at
from metaspo.engine.concurrent import gather
from metaspo.engine.prompts import PromptPair
from metaspo.engine.scope import Scope
from metaspo.engine.scoring import Scorecard
from metaspo.engine.state import RunState, TaskState, meta_score, ranked
from metaspo.engine.steps import asker, score
from metaspo.engine.strategies.base import NoProposal, OuterContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A proposed system prompt and its scorecards, one list per task in the order of the kept user prompts.

    Attributes:
        invalid: why it cannot be selected, "" if it can.
    """

    number: int
    system: str = ""
    cards: tuple[tuple[Scorecard, ...], ...] = ()
    invalid: str = ""

    @property
    def meta_score(self) -> float | None:
        """The mean over all nodes; None for an invalid candidate."""
        return None if self.invalid else meta_score([card for cards in self.cards for card in cards])


async def outer_loop(scope: Scope, state: RunState, *, iteration: int) -> RunState:
    """One round over system candidates; the state with the new incumbent, or the same one."""
    address = join(f"iter={iteration}", "outer")
    candidates = await gather(
        _candidate(scope, state, iteration, join(address, f"cand={number}"), number)
        for number in range(1, scope.config.outer.candidates + 1)
    )
    winner = select(candidates, incumbent=state.meta_score)
    new = adopt(state, winner) if winner else state
    scope.journal.write(
        "select",
        address,
        {
            "system": new.system,
            "chosen": winner.number if winner else 0,
            "score": new.meta_score,
            "candidates": [_row(candidate) for candidate in candidates],
        },
    )
    return new


def select(candidates: list[Candidate], *, incumbent: float) -> Candidate | None:
    """The best candidate strictly above the incumbent's meta score, ties to the earlier one; None if there is none."""
    best, best_score = None, incumbent
    for candidate in candidates:
        score = candidate.meta_score
        if score is not None and score > best_score:
            best, best_score = candidate, score
    return best


def adopt(state: RunState, winner: Candidate) -> RunState:
    """Make the winner the incumbent: its cards replace the old ones, each task's prompts ranked anew under it."""
    tasks = tuple(
        replace(task, kept=ranked(cards, keep=len(cards)))
        for task, cards in zip(state.tasks, winner.cards, strict=True)
    )
    return RunState(system=winner.system, tasks=tasks)


async def _candidate(scope: Scope, state: RunState, iteration: int, address: str, number: int) -> Candidate:
    context = OuterContext(
        address=address,
        candidate=number,
        show=scope.config.outer.failures,
        rng=rng_at(scope.config.seed, address),
        system_prompt=state.system,
        tasks=tuple(task.view() for task in state.tasks),
        ask=asker(scope, address, priority=priorities.outer(iteration, candidate=number)),
    )
    try:
        system = await scope.outer.propose(context)
    except NoProposal as reason:
        scope.journal.write("proposal", address, {"none": str(reason)})
        scope.watcher.settled(base_calls=sum(len(task.task.train) * len(task.kept) for task in state.tasks))
        return Candidate(number=number, invalid=str(reason))
    scope.journal.write("proposal", address, {"system": system})
    cards = await gather(
        _score_task(scope, task, system, iteration, address, number, position)
        for position, task in enumerate(state.tasks)
    )
    invalid = next((card.invalid for row in cards for card in row if card.invalid), "")
    return Candidate(number=number, system=system, cards=tuple(cards), invalid=invalid)


async def _score_task(
    scope: Scope, state: TaskState, system: str, iteration: int, address: str, number: int, position: int
) -> tuple[Scorecard, ...]:
    """One task's kept user prompts under a candidate system prompt."""
    return tuple(
        await gather(
            score(
                scope,
                PromptPair(system, kept.pair.user),
                state.task,
                examples=state.task.train,
                address=join(address, "score", f"task={state.task.name}", f"prompt={prompt}"),
                priority=priorities.outer(iteration, candidate=number, task=position, prompt=prompt),
            )
            for prompt, kept in enumerate(state.kept)
        )
    )


def _row(candidate: Candidate) -> dict[str, object]:
    if candidate.invalid:
        return {"cand": candidate.number, "invalid": candidate.invalid}
    return {"cand": candidate.number, "score": candidate.meta_score}
