"""The slots that calls take, and calls that are broken off."""

import pytest
from scheduling_world import Server, ask
from test_scheduling_lane_state import ERRORS, Asker, Rig

from metaspo.backends import ConnectionLost
from metaspo.scheduling import Account, LaneSettings
from metaspo.scheduling.lanes.calls_out import UNSTORED, CallsOut
from metaspo.scheduling.lanes.endpoints import Endpoint
from metaspo.scheduling.lanes.flight import Call, Flight
from metaspo.scheduling.limits.limits import RateLimits
from metaspo.scheduling.queue import Priority

ACCOUNT = Account("run")
RIG = Rig()


def flight_of(number: int, *, priority: Priority = ()) -> Flight:
    return Flight(str(number), ask(number), Asker(str(number), ACCOUNT, []), home=RIG.state, priority=priority)


def start(calls: CallsOut, number: int, at: float, *, priority: Priority = ()) -> Call:
    """A call goes to an endpoint of its own."""
    flight = flight_of(number, priority=priority)
    funds = RIG.state.books.fund(ACCOUNT, flight)
    assert funds is not None
    return calls.start(flight, Endpoint(Server()), funds, RateLimits().reserve(1, at), at)


WIDE = 3 * UNSTORED
SLOTS: list[tuple[int, int, int, int, int, bool, int]] = [  # in flight, claiming, held, unstored, of so many
    (0, 0, 0, 0, 2, True, 2),
    (1, 0, 0, 0, 2, True, 1),
    (0, 1, 0, 0, 2, True, 1),
    (0, 0, 1, 0, 2, True, 1),
    (1, 1, 0, 0, 2, False, 0),
    (1, 0, 1, 0, 2, False, 0),
    (0, 1, 1, 0, 2, False, 0),
    (2, 0, 0, 0, 2, False, 0),
    (5, 1, 1, 0, 2, False, 0),
    (0, 0, 0, 2 + UNSTORED - 1, 2, True, 2),
    (0, 0, 0, 2 + UNSTORED, 2, False, 2),
    (1, 0, 0, 2 + UNSTORED - 1, 2, False, 1),
    (0, 1, 0, 2 + UNSTORED - 1, 2, False, 1),
    (0, 0, 1, 2 + UNSTORED - 1, 2, True, 1),
    (0, 0, 0, 2 * WIDE - 1, WIDE, True, WIDE),
    (0, 0, 0, 2 * WIDE, WIDE, False, WIDE),
]


@pytest.mark.parametrize(("in_flight", "claiming", "held", "unstored", "limit", "has_slot", "free"), SLOTS)
def test_a_slot_is_free_while_few_are_taken_and_few_answers_would_be_lost(
    in_flight: int, claiming: int, held: int, unstored: int, limit: int, has_slot: bool, free: int
) -> None:
    """By calls, by claims that are asked for, and by those that keep one while they back off."""
    calls = CallsOut("lane", LaneSettings())
    calls.in_flight, calls.claiming, calls.unstored = in_flight, claiming, unstored
    calls.held |= {flight_of(number) for number in range(held)}
    assert (calls.has_slot(limit), calls.free(limit)) == (has_slot, free)


def test_a_slot_counts_as_taken_until_the_slots_are_filled_again() -> None:
    """Answers that come together are of one moment: not the fewer calls out after the first of them count."""
    calls = CallsOut("lane", LaneSettings())
    assert calls.taken(5.0) == 0.0
    for number in range(2):
        start(calls, number, 5.0)
    calls.filled(5.0)
    first, second = calls
    calls.answered_by(first, 8.0, first=True)
    assert calls.taken(8.0) == 6.0
    calls.answered_by(second, 8.5, first=True)
    assert calls.taken(8.5) == 7.0
    calls.filled(9.0)
    assert calls.taken(20.0) == 8.0
    start(calls, 3, 20.0)
    calls.filled(20.0)
    assert calls.taken(21.0) == 9.0


@pytest.mark.parametrize("here", [False, True])
def test_a_call_is_broken_off_unless_its_answer_is_here_already(here: bool) -> None:
    """Nor can one be that has no task yet. Its slot is taken until it has ended."""
    calls = CallsOut("lane", LaneSettings())
    call, other = (start(calls, number, 0.0) for number in range(2))
    calls.abort(call, ERRORS["late"])  # whoever makes it has not said how to end it
    assert list(calls) == [call, other]
    call.cancel = lambda: not here
    calls.abort(call, ERRORS["late"])
    assert list(calls) == ([call, other] if here else [other])
    assert call.flight.out == ([call] if here else [])
    assert call.abort_reason is (None if here else ERRORS["late"])
    assert (calls.in_flight, call.endpoint.in_flight) == (2, 1)
    calls.ended(call)
    assert (calls.in_flight, call.endpoint.in_flight) == (1, 0)
    assert list(calls) == [other]


def test_a_call_is_more_urgent_than_others_while_it_is_out_and_not_broken_off() -> None:
    """By the priority with which it went."""
    calls = CallsOut("lane", LaneSettings())
    assert not calls.has_more_urgent((9,))
    sent = [start(calls, number, 0.0, priority=(number,)) for number in (2, 1, 3)]
    assert [calls.has_more_urgent((number,)) for number in (1, 2)] == [False, True]
    sent[1].cancel = lambda: True
    calls.abort(sent[1], ERRORS["late"])
    assert [calls.has_more_urgent((number,)) for number in (2, 3)] == [False, True]
    calls.ended(sent[1])
    sent[0].flight.priority = (0,)  # somebody more urgent waits for it, too
    assert not calls.has_more_urgent((2,))
    calls.ended(sent[0])
    assert [calls.has_more_urgent((number,)) for number in (3, 4)] == [False, True]


def test_a_call_that_hangs_and_is_broken_off_is_one_of_those_that_are_asked_again() -> None:
    """Few may be beside those answered: after it the next one is left to its time limit."""
    calls = CallsOut("lane", LaneSettings())
    first, second = (start(calls, number, 0.0) for number in range(2))
    first.cancel = lambda: True
    assert calls.may_hedge(second)
    calls.break_off(first, 9.0)
    assert str(first.abort_reason) == "lane gave no answer for 9 seconds."
    assert (list(calls), calls.may_hedge(second)) == ([second], False)


def test_of_three_calls_of_a_request_the_first_is_broken_off_for_a_fourth() -> None:
    """And says how long that one took."""
    calls, endpoint = CallsOut("lane", LaneSettings()), Endpoint(Server())
    first = start(calls, 1, 2.0)
    first.cancel = lambda: True
    for at in (5.0, 7.0, 11.0):
        assert first.abort_reason is None
        calls.start_hedge(first, endpoint, first.funds, RateLimits().reserve(1, at), at)
    assert str(first.abort_reason) == "lane gave no answer for 9 seconds."
    assert [call.sent for call in first.flight.out] == [5.0, 7.0, 11.0]


def test_calls_are_told_from_each_other_by_the_order_in_which_they_were_sent() -> None:
    """And what went to a flight last is known of it."""
    calls = CallsOut("lane", LaneSettings())
    sent = [start(calls, number, float(number)) for number in range(4)]
    assert list(calls) == sorted(sent, key=lambda call: call.number) == sent
    assert len({call.number for call in sent}) == 4
    assert [(call.flight.calls, call.flight.sent, call.flight.endpoint) for call in sent] == [
        (1, float(number), call.endpoint) for number, call in enumerate(sent)
    ]


def test_calls_to_an_endpoint_that_is_gone_are_broken_off_and_no_others() -> None:
    """As never answered, so that they go again at once."""
    calls = CallsOut("lane", LaneSettings())
    sent = [start(calls, number, 0.0) for number in range(3)]
    sent[2].endpoint = sent[0].endpoint
    for call in sent:
        call.cancel = lambda: True
    calls.lose(sent[0].endpoint)
    assert list(calls) == [sent[1]]
    for lost in (sent[0], sent[2]):
        assert isinstance(lost.abort_reason, ConnectionLost)
        assert lost.abort_reason.before_answer


@pytest.mark.parametrize("ended", [False, True])
def test_a_look_for_what_is_late_forgets_what_the_one_before_found(ended: bool) -> None:
    """Else what found no place would be counted once more with every look, also after its end."""
    calls = CallsOut("lane", LaneSettings())
    call = start(calls, 1, 0.0)
    calls.late.append(call)
    if ended:
        calls.ended(call)
    calls.look_for_late(1.0, queued=False, slots=9)
    assert not calls.late
