"""Where a request waits, for how long of what, and that it comes back to its place from wherever it was."""

from math import inf

from scheduling_world import ask
from test_scheduling_lane_state import Asker, Rig

from metaspo.scheduling import Account
from metaspo.scheduling.lanes.flight import Flight, State
from metaspo.scheduling.lanes.waiting import Waiting
from metaspo.scheduling.queue import Priority, PriorityQueue

ACCOUNT = Account("run")
RIG = Rig()


def flight_of(number: int, priority: Priority = (5,)) -> Flight:
    return Flight(str(number), ask(number), Asker(str(number), ACCOUNT, []), home=RIG.state, priority=priority)


def order(waiting: Waiting) -> str:
    """Who is in the queue; they are not, afterwards."""
    return "".join(waiting.queue.pop().key for _ in range(len(waiting.queue)))


def test_what_is_waited_for_is_counted_apart() -> None:
    """The rate limit, while it is what holds the first one back, from when one has come; the rest is the queue."""
    waiting, (a, b, c) = Waiting(set()), [flight_of(number) for number in range(3)]
    waiting.enter(a, 0.0)
    waiting.limiter.run(True, 1.0)
    waiting.enter(b, 2.0)
    waiting.go(a, 4.0)
    assert (a.limiter_seconds, a.queue_seconds, a.state, waiting.limiter.running) == (3.0, 1.0, State.FLYING, False)
    waiting.enter(c, 4.5)
    waiting.limiter.run(True, 5.0)
    waiting.go(b, 8.0)
    assert (b.limiter_seconds, b.queue_seconds) == (2.0 + 3.0, 1.0)
    waiting.go(c, 8.5)
    assert (c.limiter_seconds, c.queue_seconds) == (3.0, 1.0)
    waiting.back_off(a, 9.0, keeps_slot=False)
    a.since = 8.0
    waiting.come_back(9.5)
    waiting.go(a, 10.0)
    assert (a.limiter_seconds, a.queue_seconds, a.retry_seconds) == (3.0, 1.5, 1.5), "added to what it waited before"


def test_back_offs_end_each_at_its_time_and_keep_the_place() -> None:
    """And the slot until then, where that is kept."""
    held = set[Flight]()
    waiting, flights = Waiting(held), [flight_of(number) for number in range(4)]
    for flight in flights:
        waiting.enter(flight, 0.0)
    for flight, until in zip(flights, (9.0, 5.0, 7.0), strict=False):
        waiting.move(flight, State.BACKING_OFF)
        waiting.back_off(flight, until, keeps_slot=until > 5.0)
        assert (flight.state, flight in held) == (State.BACKING_OFF, until > 5.0)
    assert (waiting.next_try_at, waiting.retrying, held) == (5.0, 3, {flights[0], flights[2]})
    seen = []
    for at in (4.9, 5.0, 8.0, 9.0):
        waiting.come_back(at)
        seen.append((len(waiting.queue), waiting.retrying, waiting.next_try_at, len(held)))
    assert seen == [(1, 3, 5.0, 2), (2, 2, 7.0, 2), (3, 1, 9.0, 1), (4, 0, inf, 0)]
    assert [flight.retry_seconds for flight in flights] == [9.0, 5.0, 8.0, 0.0]
    assert {flight.state for flight in flights} == {State.QUEUED}
    assert [flight.line for flight in flights] == [None] * 4
    assert order(waiting) == "0123"


def test_whoever_becomes_more_urgent_has_that_place_when_it_comes_back() -> None:
    """Not before; and in the lines of others it stands by it."""
    waiting, (a, b, c) = Waiting(set()), [flight_of(number) for number in range(3)]
    for flight in (a, b, c):
        waiting.enter(flight, 0.0)
    waiting.move(c, State.PARKED)
    for flight, priority in ((c, (1,)), (b, (2,))):
        waiting.hurry(flight, priority)
        assert flight.priority == priority
    assert (len(waiting.queue), waiting.queue.first()) == (2, b)
    waiting.put_back(c, 1.0)
    assert order(waiting) == "210"


def test_who_leaves_waits_nowhere_any_more() -> None:
    """In no line, and without a slot."""
    held = set[Flight]()
    waiting, line, (a, b, c) = Waiting(held), PriorityQueue[Flight](), [flight_of(number) for number in range(3)]
    for flight in (a, b, c):
        waiting.enter(flight, 0.0)
    assert waiting
    waiting.move(a, State.BACKING_OFF)
    waiting.back_off(a, 9.0, keeps_slot=True)
    waiting.move(b, State.PARKED)
    waiting.stand_in(line, b, priority=b.priority)
    for flight in (a, b, c):
        waiting.remove(flight)
        assert flight.line is None
    assert (len(line), held, bool(waiting), waiting.retrying) == (0, set(), False, 0)


def test_who_let_others_go_has_its_place_again_and_its_purse_is_forgotten() -> None:
    """A gateway outlives the purses of all that ask it."""
    waiting, (a, b) = Waiting(set()), [flight_of(number) for number in range(2)]
    for flight in (a, b):
        waiting.enter(flight, 0.0)
    waiting.let_others_go(a)
    assert a.state is State.PARKED
    assert (waiting.first(), a.state) == (a, State.QUEUED), "its purse is full"
    waiting.go(a, 1.0)
    assert waiting.first() is b
    assert not waiting._unfunded
