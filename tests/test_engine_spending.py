"""What a run has taken out of its budget is known to its next session, also of calls that came in late or in part."""

from pathlib import Path

import anyio
import pytest
from world import World, make_config, make_task

from metaspo import Gateway, Lane, LaneSettings, MemoryStore, Request, optimize
from metaspo.backends import BackendError, HalfAnswer, Simulated
from metaspo.engine import Prepared
from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.view import RunView
from metaspo.scheduling import BudgetExhausted, Prices, RunStopped

PRICES = Prices(input=0.15, cached=0.075, output=0.6)  # answers are paid for by the token, and so never aborted
WIDTH = 5


def prepared(folder: Path, **budget: int) -> Prepared:
    tasks = (make_task("a", train=20), make_task("b", train=20))
    return Prepared(config=make_config({"runs": "runs", "budget": budget}), tasks=tasks, folder=folder)


class Provider:
    """Both models, a second for each call, over one store."""

    def __init__(self, *, half: bool = False) -> None:
        self.store = MemoryStore()
        self.answered: list[Request] = []
        self._half = half

    async def session(self, what: Prepared, *, stop_after: float) -> None:
        settings = LaneSettings(concurrency=WIDTH, attempts=2, prices=PRICES, billing="tokens")
        lanes = [
            Lane(name, [Simulated(self._answer, latency=1.0, faults=self._fault)], settings)
            for name in ("base", "optimizer")
        ]
        async with Gateway(lanes, store=self.store) as gateway:
            with anyio.move_on_after(stop_after):
                await optimize(what, gateway=gateway)

    def _answer(self, request: Request) -> str:
        self.answered.append(request)
        return World(3, malformed=0.0).answer(request)

    def _fault(self, request: Request, sending: int) -> BackendError | None:
        return HalfAnswer("It broke off.") if self._half else None


@pytest.mark.virtual
async def test_answers_that_come_in_after_a_stop_count_against_the_cap_of_the_next_session(tmp_path: Path) -> None:
    provider, capped = Provider(), prepared(tmp_path, calls=33)

    for _ in range(3):
        await provider.session(capped, stop_after=1.5)  # with five calls under way, which are let in
    with pytest.raises(BudgetExhausted):
        await provider.session(capped, stop_after=1000)
    assert 25 < len(provider.answered) <= 33


@pytest.mark.virtual
async def test_half_answers_count_against_a_cap_on_tokens_in_the_next_session(tmp_path: Path) -> None:
    provider, capped = Provider(half=True), prepared(tmp_path, tokens=100_000)

    with pytest.raises(RunStopped):
        await provider.session(capped, stop_after=1000)
    assert capped.directory is not None
    spent = RunView.of(StoredJournal(capped.directory.journal)).spent
    taken = spent.of_budget
    assert 0 < spent.calls <= taken.calls
    assert taken.tokens > 100 * taken.calls  # at the most each can have taken; nothing is known of what it did take
