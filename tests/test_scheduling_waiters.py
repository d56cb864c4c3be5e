"""Who waits for what: equal requests find each other, everybody gets what comes, and a clock that can be stopped."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling_world import Server, ask

from metaspo.backends import Completion, RequestRejected, Usage
from metaspo.cache import request_key
from metaspo.scheduling import Account, LaneSettings
from metaspo.scheduling.lanes.flight import Flight, State, Waiter
from metaspo.scheduling.lanes.lane_state import LaneState
from metaspo.scheduling.lanes.single_flight import BatchWaiter, FlightTable, SingleWaiter
from metaspo.scheduling.lanes.surroundings import Surroundings
from metaspo.scheduling.stopwatch import Stopwatch

YES = Completion(text="yes", finish_reason="stop", usage=Usage(1, 1), latency=1.0)
NO = RequestRejected("too long")


def flight_of(number: int, waiter: Waiter, flights: FlightTable) -> Flight:
    around = Surroundings(flights, emit=lambda _: None, wake=lambda: None)
    lane = LaneState("lane", [Server()], LaneSettings(), around, now=0.0)
    request = ask(number)
    flight = Flight(request_key(request), request, waiter, home=lane, priority=())
    flights.add(flight)
    return flight


@pytest.mark.virtual
async def test_a_flight_that_is_over_is_told_to_all_and_found_by_none() -> None:
    """Its key is told once; a failure is counted for each that waited; what is told too late is told to nobody."""
    loop, told = asyncio.get_running_loop(), list[str]()
    flights = FlightTable()
    flights.on_drop = told.append
    accounts = [Account(name) for name in "ab"]
    for ends_well in (True, False):
        waiters = [SingleWaiter(account, loop.create_future()) for account in accounts]
        flight = flight_of(1, waiters[0], flights)
        flight.waiters.append(waiters[1])
        late = SingleWaiter(accounts[0], loop.create_future())
        late.future.cancel()
        flight.waiters.append(late)
        assert (len(flights), flights.get(flight.key), list(flights)) == (1, flight, [flight])
        if ends_well:
            flights.finish(flight, YES)
            assert [await waiter.future for waiter in waiters] == [YES, YES]
        else:
            flights.fail(flight, NO)
            for waiter in waiters:
                with pytest.raises(RequestRejected):
                    await waiter.future
        assert (flight.state, flight.waiters, len(flights), flights.get(flight.key)) == (State.OVER, [], 0, None)
        flights.drop(flight)
        assert told == [flight.key] * (1 if ends_well else 2)
    assert [account.statistics().total.failed for account in accounts] == [2, 1]
    old = flight_of(2, waiters[0], flights)
    new = flight_of(2, waiters[0], flights)
    flights.drop(old)
    assert flights.get(old.key) is new, "another flight of the same request is not its own"
    FlightTable().drop(old)


@pytest.mark.virtual
async def test_a_batch_is_done_when_it_is_sealed_and_nothing_is_missing() -> None:
    """Answers stand where they were asked for, several times if need be; a rejection is an answer, all else ends it."""
    loop, flights = asyncio.get_running_loop(), FlightTable()
    batch = BatchWaiter(Account(), 4, loop.create_future())
    first, second = (flight_of(number, batch, flights) for number in (1, 2))
    batch.expect(first, 0)
    batch.expect(second, 1)
    batch.expect(first, 2)
    batch.expect(first, 3)
    assert batch.positions == {first: 0, second: 1}
    batch.resolve(first, YES)
    batch.resolve(first, Completion(text="later", finish_reason="stop", usage=Usage(1, 1), latency=1.0))
    batch.fail(second, NO)
    assert not batch.done.done()
    batch.seal()
    assert batch.done.done()
    assert batch.results == [YES, NO, YES, YES]
    waiting = BatchWaiter(Account(), 1, loop.create_future())
    waiting.expect(first, 0)
    waiting.seal()
    assert not waiting.done.done()
    waiting.resolve(first, YES)
    assert waiting.done.done()
    broken = BatchWaiter(Account(), 2, loop.create_future())
    broken.expect(first, 0)
    broken.expect(second, 1)
    broken.fail(first, ZeroDivisionError())
    broken.fail(second, KeyError())
    broken.seal()
    assert broken.positions == {}
    assert isinstance(broken.done.exception(), ZeroDivisionError)


@pytest.mark.virtual
async def test_a_batch_waits_for_room_and_no_longer_once_it_has_failed() -> None:
    """Until fewer than the window are under way."""
    loop, flights = asyncio.get_running_loop(), FlightTable()
    for fails in (False, True):
        batch = BatchWaiter(Account(), 5, loop.create_future())
        several = [flight_of(number, batch, flights) for number in range(4)]
        for position, flight in enumerate(several):
            batch.expect(flight, position)
        waiting = asyncio.ensure_future(batch.wait_for_room(3))
        await asyncio.sleep(0)
        if fails:
            batch.fail(several[0], ZeroDivisionError())
        else:
            batch.resolve(several[0], YES)
            await asyncio.sleep(0)
            assert not waiting.done()
            batch.resolve(several[1], YES)
        await asyncio.wait_for(waiting, 1.0)
        await asyncio.wait_for(batch.wait_for_room(3), 1.0)
        assert batch.done.done() == fails
        if fails:
            assert isinstance(batch.done.exception(), ZeroDivisionError)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=30))
def test_a_stopwatch_adds_up_the_time_for_which_it_ran(steps: list[tuple[bool, int]]) -> None:
    """However often it is told what it is told already."""
    watch, now, ran, runs = Stopwatch(), 100.0, 0, False
    for running, gap in steps:
        watch.run(running, now)
        runs = running
        assert watch.running is running
        assert watch.seconds(now) == ran
        now += gap
        ran += gap if runs else 0
        assert watch.seconds(now) == ran
