"""What a barrier costs is what the base model's lane idled while the last were waited for."""

from dataclasses import asdict
from io import StringIO
from pathlib import Path
from random import Random

import anyio
import pytest
from rich.console import Console
from world import World, make_config, make_task

from metaspo.backends import Message, Request, Sampling, Simulated
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.engine import Prepared, RunReport, report_data
from metaspo.engine.api import optimize
from metaspo.engine.gather import gather
from metaspo.engine.journal.events import Barrier as Wait
from metaspo.engine.journal.events import Start
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.journal.view import RunView
from metaspo.engine.runs.session import make_context
from metaspo.engine.runtime.barrier import Barrier, gather_timed
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.runtime.observer import Observer
from metaspo.scheduling import Gateway, Lane, LaneSettings
from metaspo.tables.runs import print_run_data

SECOND = 1.0


def make_request(number: int) -> Request:
    return Request(model="answerer", messages=(Message("user", f"number {number}"),), sampling=Sampling(max_tokens=8))


def scope_of(gateway: Gateway, journal: MemoryJournal) -> RunContext:
    prepared = Prepared(config=make_config(), tasks=(make_task("a"),), folder=Path())
    return make_context(prepared, gateway, LaneNames(), journal=journal, observer=Observer(), name="waits")


def make_gateway(*, concurrency: int) -> Gateway:
    """A base model that takes a second for each answer."""
    base = Simulated(World(seed=1).answer, latency=SECOND)
    return Gateway(
        [Lane("base", [base], LaneSettings(concurrency=concurrency)), Lane("optimizer", [base])], store=MemoryStore()
    )


def waits_of(concurrency: int, *participants: tuple[float, int]) -> Wait:
    """Pass a barrier with participants that sleep and then ask so many questions, on virtual time."""

    async def main() -> Wait:
        journal = MemoryJournal()
        async with make_gateway(concurrency=concurrency) as gateway:
            context = scope_of(gateway, journal)

            async def take_part(number: int, sleep: float, questions: int) -> int:
                await anyio.sleep(sleep)
                await gateway.complete_many(
                    [make_request(100 * number + question) for question in range(questions)], lane="base"
                )
                return number

            found = await gather_timed(
                context, "here", [take_part(number, *each) for number, each in enumerate(participants)]
            )
        assert found == list(range(len(participants)))
        (event,) = journal.events
        assert isinstance(event, Wait)
        return event

    return run_virtual(main())


def test_a_barrier_counts_from_when_the_first_is_through() -> None:
    barrier = Barrier(now=10.0)
    barrier.through(now=13.0, idle=5.0)
    barrier.through(now=14.0, idle=5.5)
    assert barrier.passed("here", now=20.0, idle=8.0) == Wait(address="here", seconds=10.0, waited=7.0, idle=3.0)


def test_a_barrier_that_nobody_waits_at_costs_nothing() -> None:
    """All are through at the same moment."""
    wait = waits_of(2, (0.0, 1), (0.0, 1))
    assert wait == Wait(address="here", seconds=SECOND, waited=0.0, idle=0.0)


def test_the_lane_idles_while_the_last_one_has_nothing_to_ask() -> None:
    """One slot: the first is through after 1 s, the second asks from 3 s to 4 s."""
    wait = waits_of(1, (0.0, 1), (3.0, 1))
    assert wait == Wait(address="here", seconds=4.0, waited=3.0, idle=2.0)


def test_free_slots_beside_the_last_calls_are_idle_too() -> None:
    """Two slots, and the straggler has but one question at the end: a slot is free all the time."""
    wait = waits_of(2, (0.0, 1), (3.0, 1))
    assert wait == Wait(address="here", seconds=4.0, waited=3.0, idle=3.0)


def test_a_wait_that_is_full_of_work_is_not_idle() -> None:
    """The second keeps the only slot busy until it is through."""
    wait = waits_of(1, (0.0, 1), (0.0, 4))
    assert (wait.waited, wait.idle) == (4.0, 0.0)


def test_only_the_last_session_of_a_journal_is_added_up() -> None:
    wait = waits_of(1, (0.0, 1), (3.0, 1))
    found = asdict(RunView.of([Start(), wait, wait, Start(), wait]).barriers)
    assert found["each"] == ({"address": "here", "seconds": 4.0, "waited": 3.0, "idle": 2.0},)
    assert (found["idle"], found["share"]) == (2.0, 0.5)
    assert RunView.of([Start()]).barriers.share == 0.0


def test_a_runs_report_says_what_its_barriers_cost(tmp_path: Path) -> None:
    """One barrier of the inner loops and one of the outer loop in every iteration, and a line about them."""
    config = make_config({"runs": "runs"})
    prepared = Prepared(config=config, tasks=(make_task("a"), make_task("b")), folder=tmp_path)

    async def main() -> RunReport:
        world = World(seed=2)
        models = {"base": Simulated(world.answer, latency=SECOND), "optimizer": Simulated(world.answer, latency=_slow)}
        lanes = [Lane(name, [model], LaneSettings(concurrency=4)) for name, model in models.items()]
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            return await optimize(prepared, gateway=gateway)

    report = run_virtual(main())
    found = report_data(report)["summary"]["barriers"]
    rounds = [f"iter={iteration}/{loop}" for iteration in (1, 2) for loop in ("inner", "outer")]
    assert [wait["address"] for wait in found["each"]] == rounds
    assert all(0 <= wait["idle"] <= wait["waited"] <= wait["seconds"] for wait in found["each"])
    assert 0 < found["idle"] == pytest.approx(sum(wait["idle"] for wait in found["each"]))
    told = StringIO()
    print_run_data(Console(file=told, width=200), report_data(report))
    assert f"nothing to do for {found['idle']:,.1f} s" in told.getvalue()


def _slow(_: Request, rng: Random) -> float:
    return rng.uniform(1.0, 20.0)


@pytest.mark.virtual
async def test_a_failure_at_a_barrier_is_raised_as_it_is_and_leaves_no_coroutine_behind() -> None:
    async def fail() -> int:
        raise ValueError("no")

    async def never() -> int:
        await anyio.sleep_forever()
        return 1

    journal = MemoryJournal()
    async with make_gateway(concurrency=1) as gateway:
        with pytest.raises(ValueError, match="no"):
            await gather_timed(scope_of(gateway, journal), "here", [fail(), never()])
    assert journal.events == []


def test_lanes_count_idle_seconds_only_with_an_empty_queue_and_a_free_slot() -> None:
    """2 s before anything is asked, 3 s at work with one slot, 1 s after."""

    async def main() -> float:
        async with make_gateway(concurrency=1) as gateway:
            await anyio.sleep(2.0)
            await gather(gateway.complete(make_request(number), lane="base") for number in range(3))
            await anyio.sleep(1.0)
            return gateway.statistics().lanes["base"].idle_seconds

    assert run_virtual(main()) == pytest.approx(3.0)
