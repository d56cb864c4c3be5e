"""What a run has taken out of its budget is known to its next session, also of calls that came in late or in part."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Literal

import anyio
import pytest
from world import World, make_config, make_task

from metaspo import Gateway, Lane, LaneSettings, MemoryStore, Request, evaluate, optimize
from metaspo.backends import BackendError, HalfAnswer, Simulated
from metaspo.engine import Prepared
from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.journal.events import Spent, Start
from metaspo.engine.journal.journal import FileJournal, StoredJournal
from metaspo.engine.journal.ledger import HEAD, Ledger
from metaspo.engine.journal.view import RunView
from metaspo.engine.report.run_page import run_page
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.listing import COLUMNS, list_runs
from metaspo.engine.runs.stored import run_data, summary_of
from metaspo.scheduling import BudgetExhausted, Cost, Prices, RunStopped

PRICES = Prices(input=0.15, cached=0.075, output=0.6)  # answers are paid for by the token, and so never aborted
WIDTH = 5


def prepared(folder: Path, *, rows: int = 20, **budget: int) -> Prepared:
    tasks = (make_task("a", train=rows), make_task("b", train=rows))
    return Prepared(config=make_config({"runs": "runs", "budget": budget}), tasks=tasks, folder=folder)


class Provider:
    """Both models, a second for each call, over one store."""

    def __init__(self, *, half: bool = False, billing: Literal["tokens", "time"] = "tokens") -> None:
        self.billing = billing
        self.store = MemoryStore()
        self.answered: list[Request] = []
        self._half = half

    def gateway(self) -> Gateway:
        settings = LaneSettings(concurrency=WIDTH, attempts=2, prices=PRICES, billing=self.billing)
        lanes = [
            Lane(name, [Simulated(self._answer, latency=1.0, faults=self._fault)], settings)
            for name in ("base", "optimizer")
        ]
        return Gateway(lanes, store=self.store)

    async def session(self, what: Prepared, *, stop_after: float) -> None:
        async with self.gateway() as gateway:
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


@pytest.mark.parametrize("billing", ["tokens", "time"])
@pytest.mark.virtual
async def test_interrupts_take_no_more_out_of_a_cap_than_was_used(
    tmp_path: Path, billing: Literal["tokens", "time"]
) -> None:
    """What was set aside for calls under way is given back once it is known what they took."""
    provider, capped = Provider(billing=billing), prepared(tmp_path, tokens=1_000_000)

    for _ in range(5):
        await provider.session(capped, stop_after=1.5)
    assert capped.directory is not None
    spent = RunView.of(StoredJournal(capped.directory.journal)).spent
    assert spent.of_budget.tokens == spent.prompt_tokens + spent.completion_tokens > 0
    assert spent.of_budget.calls == spent.calls
    if billing == "tokens":
        assert spent.calls == len(provider.answered)


@pytest.mark.parametrize("calls", [30, 77])
@pytest.mark.virtual
async def test_a_cap_holds_over_repeated_evaluations(tmp_path: Path, calls: int) -> None:
    """Each is capped by what the ones before left over; another prompt is another command."""
    provider, capped = Provider(), prepared(tmp_path, calls=5)
    for _ in range(3):
        async with provider.gateway() as gateway:
            with pytest.raises(BudgetExhausted, match="5 of 5 calls"):
                await evaluate(capped, gateway=gateway, split="train")
    assert len(provider.answered) == 5
    more = prepared(tmp_path, calls=calls)
    async with provider.gateway() as gateway:
        if calls > 40:
            await evaluate(more, gateway=gateway, split="train")
        else:
            with pytest.raises(BudgetExhausted):
                await evaluate(more, gateway=gateway, split="train")
        async with provider.gateway() as other:
            await evaluate(prepared(tmp_path, calls=40), gateway=other, split="train", system_prompt="Another.")
    assert len(provider.answered) == min(calls, 40) + 40


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


DAMAGE: dict[str, Callable[[RunDirectory], object]] = {
    "random bytes": lambda run: run.journal.write_bytes(Random(1).randbytes(run.journal.stat().st_size)),
    "a line": lambda run: run.journal.write_bytes(run.journal.read_bytes().replace(b'"calls":', b'"calls"x', 1)),
    "gone": lambda run: run.journal.unlink(),
    "emptied": lambda run: run.journal.write_bytes(b""),
    "the end cut off": lambda run: os.truncate(run.journal, run.journal.stat().st_size * 2 // 3),
}


def killed(run: RunDirectory) -> None:
    """Leave what a second session leaves that is killed: its ledger, and no summary but the first one's."""
    with closing(FileJournal(run.journal, clock=lambda: 0.0)) as journal:
        journal.write(Start())
        journal.write(Spent(of_budget=Cost(calls=5)))
    run.summary.unlink()
    Ledger(run.ledger, session=2).note((3, 3, 3, 0.0, 0), Cost(calls=4))


@pytest.mark.parametrize(
    ("damage", "was_killed"), [*((damage, False) for damage in DAMAGE), *((damage, True) for damage in [*DAMAGE][:-1])]
)
@pytest.mark.virtual
async def test_where_it_cannot_be_known_what_was_spent_a_cap_refuses_the_next_session(
    tmp_path: Path, damage: str, was_killed: bool, caplog: pytest.LogCaptureFixture, undrawn: None
) -> None:
    """And no call is made; without a cap the run goes on, and from then on says that it is not known."""
    provider, capped, free = Provider(), prepared(tmp_path, rows=8, calls=33), prepared(tmp_path, rows=8)
    await provider.session(capped, stop_after=1.5)
    run = capped.directory
    assert run is not None
    if was_killed:
        killed(run)
    DAMAGE[damage](run)
    calls = len(provider.answered)

    with pytest.raises(RunDirectoryError, match=r"journal\.jsonl: .* what was spent before is not known"):
        await provider.session(capped, stop_after=1000)
    assert len(provider.answered) == calls > 0
    await provider.session(free, stop_after=5)
    assert len(provider.answered) > calls
    assert "not all that was spent before is known" in caplog.text
    await provider.session(free, stop_after=1000)
    summary = summary_of(run_data(run))
    assert summary
    assert summary.finished
    assert summary.together.startswith("All sessions together: at least ")
    assert ". At least " in run_page(run)
    assert COLUMNS["calls"](list_runs([run])[0]).startswith("≥ ")
    with pytest.raises(RunDirectoryError, match="what was spent before is not known"):
        await provider.session(prepared(tmp_path, rows=8, calls=1_000), stop_after=1000)


@pytest.mark.virtual
async def test_where_the_ledger_is_damaged_what_was_announced_counts_and_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A digit in it changes no sum in silence; the session after is told nothing any more."""
    provider, capped = Provider(), prepared(tmp_path, rows=8, calls=33)
    await provider.session(capped, stop_after=1.5)
    run = capped.directory
    assert run is not None
    killed(run)
    content = bytearray(run.ledger.read_bytes())
    content[HEAD.size + 6] ^= 1
    run.ledger.write_bytes(content)
    with pytest.raises(BudgetExhausted):
        await provider.session(capped, stop_after=1000)
    assert len(provider.answered) == 33 - 5
    assert [".ledger: damaged" in record.message for record in caplog.records].count(True) == 1
    assert not run.ledger.exists()


@pytest.mark.parametrize("cut", [1, 20, 60])
@pytest.mark.virtual
async def test_a_session_that_was_killed_in_the_middle_of_a_line_is_gone_on_from(tmp_path: Path, cut: int) -> None:
    """Twice: half a line is then no longer the last one."""
    provider, capped = Provider(), prepared(tmp_path, calls=33)
    await provider.session(capped, stop_after=1.5)
    run = capped.directory
    assert run is not None
    whole = run.journal.read_bytes()
    run.journal.write_bytes(whole + whole.splitlines()[-1][:cut])
    await provider.session(capped, stop_after=1.5)
    with pytest.raises(BudgetExhausted):
        await provider.session(capped, stop_after=1000)
    assert 25 < len(provider.answered) <= 33


@pytest.mark.virtual
async def test_an_evaluation_with_a_damaged_book_is_refused_too(tmp_path: Path) -> None:
    provider, capped = Provider(), prepared(tmp_path, calls=5)
    for expected in (BudgetExhausted, RunDirectoryError):
        async with provider.gateway() as gateway:
            with pytest.raises(expected):
                await evaluate(capped, gateway=gateway, split="train")
        damage_all(tmp_path)
    assert len(provider.answered) == 5


def damage_all(folder: Path) -> None:
    for book in folder.glob("runs/spent/*/journal.jsonl"):
        book.write_bytes(b"x" + book.read_bytes())
