"""What a lane tells of what it learns, and what it does about a mistake of its own."""

import asyncio
from collections.abc import Mapping

import pytest
from scheduling_world import Server, answer, ask
from test_scheduling_lane_state import ERRORS, Rig

from metaspo.backends import LimitHints, Overloaded, Request, ServerFault
from metaspo.cache import MemoryStore
from metaspo.scheduling import (
    Account,
    Budget,
    ConcurrencyChanged,
    Cost,
    Gateway,
    HeldBack,
    Lane,
    LaneSettings,
    LimitsLearned,
    Prices,
)
from metaspo.scheduling.lanes.endpoints import LOAD_PERIOD, Endpoints, Health

HINTS = LimitHints(requests_limit=60, tokens_limit=6_000)


@pytest.mark.parametrize("fails", [True, False])
def test_limits_are_told_once_when_headers_tell_other_ones(fails: bool) -> None:
    """Those of a failure as those of an answer."""
    rig = Rig(LaneSettings(concurrency=2))
    for number, hints in ((100, HINTS), (200, HINTS), (300, None), (400, LimitHints(requests_limit=30))):
        rig.ask(number, number)
        rig.pump(number)
        _, call = rig.out.pop(0)  # the new question's, or that of one that failed before
        if fails:
            rig.state.unanswered.failed(call, ServerFault("500", hints=hints), number)
        else:
            rig.state.landed(call, answer("x")._replace(hints=hints), number)
            rig.state.stored()
    told = [event for event in rig.events if isinstance(event, LimitsLearned)]
    assert [(event.lane, event.at, event.requests_per_minute, event.tokens_per_minute) for event in told] == [
        ("lane", 100, 60, 6_000),
        ("lane", 400, 30, 6_000),
    ]


def test_a_hold_and_a_cut_are_told_with_what_they_come_to() -> None:
    """A fault tells neither."""
    rig = Rig(LaneSettings())
    for number in (1, 2, 3):
        rig.ask(number, 0)
    rig.pump(0)
    rig.state.unanswered.failed(rig.take(1), ERRORS["fault"], 1)
    assert not [event for event in rig.events if isinstance(event, ConcurrencyChanged | HeldBack)]
    rig.state.unanswered.failed(rig.take(2), Overloaded("full"), 2)
    (cut,) = [event for event in rig.events if isinstance(event, ConcurrencyChanged)]
    assert (cut.at, cut.before, cut.after) == (2, 8, 6)
    assert not [event for event in rig.events if isinstance(event, HeldBack)]
    rig.state.unanswered.failed(rig.take(3), ERRORS["rate"], 100)
    (held,) = [event for event in rig.events if isinstance(event, HeldBack)]
    assert held.at == 100
    assert 30.0 <= held.wait <= 31.5
    assert "429" in held.reason


@pytest.mark.parametrize("landed", [True, False])
def test_a_mistake_as_a_call_is_booked_leaves_nobody_waiting_and_nothing_set_aside(landed: bool) -> None:
    """The call counts at the most that it can have cost, unless it is booked already."""
    prices = Prices(input=1_000.0, cached=500.0, output=2_000.0)
    rig, account = Rig(LaneSettings(concurrency=1, prices=prices)), Account("run", Budget(calls=9, tokens=10**6))
    for number in (1, 2):
        rig.ask(number, 0, account=account)
    assert rig.pump(0) == "send 1"
    call = rig.take(1)
    most = call.funds.at_most
    if landed:
        rig.state.landed(call, answer("question 1"), 1)
    rig.state.unanswered.broken(call, ZeroDivisionError(), 1)
    assert sorted(rig.pump(1).split(", ")) == ["1 ZeroDivisionError", "2 ZeroDivisionError"]
    assert account.purse.out == account.out == 0
    assert account.purse.reserved == Cost()
    assert account.purse.unanswered == (Cost() if landed else most)
    assert (account.purse.spent == most) == (not landed)
    use = account.statistics().total
    assert use.calls == 1
    assert use.dollars == pytest.approx(account.purse.spent.dollars)


def what_the_loop_is_told() -> list[object]:
    """The exceptions that its handler gets from now on."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    return told


@pytest.mark.virtual
async def test_a_mistake_as_it_is_decided_who_starts_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is told of it; the event loop, too. The lane goes on with who comes later."""
    told = what_the_loop_is_told()
    mistake, pick = ZeroDivisionError("a mistake"), Endpoints.pick

    def broken(endpoints: Endpoints, request: Request, *, avoid: object) -> None:
        raise mistake

    async with Gateway([Lane("lane", [Server()])], store=MemoryStore()) as gateway:
        monkeypatch.setattr(Endpoints, "pick", broken)
        failed = await asyncio.gather(*(gateway.complete(ask(n), lane="lane") for n in (1, 2)), return_exceptions=True)
        assert failed == [mistake, mistake]
        assert set(told) == {mistake}
        monkeypatch.setattr(Endpoints, "pick", pick)
        assert (await gateway.complete(ask(3), lane="lane")).text == "question 3"


@pytest.mark.virtual
async def test_a_mistake_as_an_answer_is_taken_leaves_nobody_waiting() -> None:
    """Everybody is told of it; the event loop, too. The lane goes on with who comes later."""
    told = what_the_loop_is_told()
    mistake = ZeroDivisionError("a mistake")
    stopped = [True]

    def clock() -> float:
        if stopped:
            raise mistake
        return 0.0

    lanes = [Lane("lane", [Server()], LaneSettings(concurrency=1))]
    async with Gateway(lanes, store=MemoryStore(), wall_clock=clock) as gateway:
        failed = await asyncio.gather(*(gateway.complete(ask(n), lane="lane") for n in (1, 2)), return_exceptions=True)
        assert failed == [mistake, mistake]
        assert set(told) == {mistake}
        stopped.clear()
        assert (await gateway.complete(ask(3), lane="lane")).text == "question 3"


@pytest.mark.virtual
@pytest.mark.parametrize("mistake", [ZeroDivisionError("a mistake"), ServerFault("500")])
async def test_a_mistake_in_a_look_at_an_endpoint_that_answers_is_told_and_disturbs_no_call(mistake: Exception) -> None:
    """The event loop is told of it, but not of a look that a server has refused."""

    class Wrong(Server):
        async def load(self) -> Mapping[str, float]:
            raise mistake

    told = what_the_loop_is_told()
    async with Gateway([Lane("lane", [Wrong(latency=3 * LOAD_PERIOD)])], store=MemoryStore()) as gateway:
        assert (await gateway.complete(ask(1), lane="lane")).text == "question 1"
    assert (mistake in told) == isinstance(mistake, ZeroDivisionError)


def test_gauges_that_tell_of_preemptions_cut_the_lane_and_none_that_tell_nothing() -> None:
    rig = Rig(LaneSettings())
    rig.ask(1, 0)
    rig.pump(0)
    _, call = rig.out[0]
    before = rig.state.statistics(0).concurrency
    for at, gauges in enumerate([{"preemptions": 4.0}, {}, {"preemptions": 4.0}]):
        rig.state.looks.went_well(call.endpoint, Health.UP, gauges, at)
        assert rig.state.statistics(at).concurrency == before
    rig.state.looks.went_well(call.endpoint, Health.UP, {"preemptions": 5.0}, 9)
    assert rig.state.statistics(9).concurrency < before


@pytest.mark.virtual
async def test_closing_ends_a_look_that_is_under_way() -> None:
    left: list[bool] = []

    class Silent(Server):
        async def load(self) -> Mapping[str, float]:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                left.append(True)
                raise
            return {}

    async with Gateway([Lane("lane", [Silent(latency=2 * LOAD_PERIOD)])], store=MemoryStore()) as gateway:
        await gateway.complete(ask(1), lane="lane")
    assert left == [True]
