"""The inner loop: better user prompts for one task under a fixed system prompt.

MetaSPO (arXiv 2505.09666, and its code): all candidates start from the task's best user prompt, each is scored on the
whole train split, and the best `keep` of old and new stay. Ours, beyond it: a proposal equal to a prompt that is
already there is not listed twice, and a candidate under which the server refused an example cannot be kept.
"""

from dataclasses import replace

from metaspo.engine import priorities
from metaspo.engine.address import join, rng_at
from metaspo.engine.concurrent import gather
from metaspo.engine.prompts import PromptPair
from metaspo.engine.scope import Scope
from metaspo.engine.scoring import Scorecard
from metaspo.engine.state import TaskState, ranked
from metaspo.engine.steps import asker, score
from metaspo.engine.strategies.base import InnerContext, NoProposal


async def inner_loop(scope: Scope, state: TaskState, *, system: str, iteration: int, position: int) -> TaskState:
    """One round for one task; `position` is the task's place among the source tasks."""
    address = join(f"iter={iteration}", "inner", f"task={state.task.name}")
    proposed = await gather(
        _candidate(scope, state, system, iteration, position, join(address, f"cand={number}"), number)
        for number in range(1, scope.config.inner.candidates + 1)
    )
    kept = select(state.kept, proposed, keep=scope.config.inner.keep)
    scope.journal.write("select", address, {"kept": [{"user": card.pair.user, "score": card.score} for card in kept]})
    return replace(state, kept=kept)


def select(kept: tuple[Scorecard, ...], proposed: list[Scorecard | None], *, keep: int) -> tuple[Scorecard, ...]:
    """The best `keep` of the kept and the proposed, ties by position; repeats and invalid cards stay out."""
    cards = list(kept)
    for card in proposed:
        if card is not None and not card.invalid and all(card.pair != other.pair for other in cards):
            cards.append(card)
    return ranked(cards, keep=keep)


async def _candidate(
    scope: Scope, state: TaskState, system: str, iteration: int, position: int, address: str, number: int
) -> Scorecard | None:
    """Propose one user prompt and score it; None if the strategy brought none."""
    priority = priorities.inner(iteration, task=position, candidate=number)
    context = InnerContext(
        address=address,
        candidate=number,
        show=scope.config.inner.failures,
        rng=rng_at(scope.config.seed, address),
        system_prompt=system,
        task=state.view(),
        ask=asker(scope, address, priority=priority),
    )
    examples = state.task.train
    try:
        prompt = await scope.inner.propose(context)
    except NoProposal as reason:
        scope.journal.write("proposal", address, {"none": str(reason)})
        scope.watcher.settled(base_calls=len(examples))
        return None
    scope.journal.write("proposal", address, {"user": prompt})
    pair = PromptPair(system, prompt)
    return await score(scope, pair, state.task, examples=examples, address=join(address, "score"), priority=priority)
