"""A call that hangs is told from one that is slow by the others, and asked again; a server that is slow is not."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_scheduling_lane_state import Rig

from metaspo.scheduling import Account, Budget, LaneSettings
from metaspo.scheduling.lanes.calls_out import LOOK_AGAIN, LOOK_AT_FEW, MANY
from metaspo.scheduling.lanes.lateness import ENOUGH, FEW, FIRST, LAST_TIMES, SHARE, SOONEST, TIMES, Lateness
from metaspo.scheduling.settings import Billing

SLOTS = 64
SLOW = 4.0
AT = 100.0


def rig_that_knows(
    billing: Billing = "time", *, concurrency: int = SLOTS, servers: int = 1, limit_group: str = ""
) -> Rig:
    """A lane whose answers have taken `SLOW` seconds so far, all before `AT`."""
    rig = Rig(LaneSettings(concurrency=concurrency, billing=billing, limit_group=limit_group), servers=servers)
    for number in range(ENOUGH):
        rig.ask(1000 + number, number * SLOW)
        rig.pump(number * SLOW)
        rig.land(1000 + number, (number + 1) * SLOW)
    rig.done.clear()
    return rig


def limit(*, last: bool = True) -> float:
    """Seconds after which such a lane takes a call for hanging: one of few that are out, or of many; and a moment more,
    so that no rounding counts."""
    return SLOW * (LAST_TIMES if last else TIMES) + 1e-6


def overtake(rig: Rig, at: float, *, first: int) -> list[int]:
    """Calls are sent, and so many of them answered that what is out longer is overtaken; returns the others, which are
    many and are not."""
    for number in range(first, first + 2 * ENOUGH):
        rig.ask(number, at)
    rig.pump(at)
    for number in range(first, first + ENOUGH):
        rig.land(number, at + 1)
    rig.done.clear()
    return list(range(first + ENOUGH, first + 2 * ENOUGH))


def test_one_of_many_that_hangs_is_broken_off_and_its_second_try_has_twice_the_time() -> None:
    """Each call that is broken off costs a call; its request has used up no attempt."""
    rig, account = rig_that_knows(), Account("run")
    rig.ask(0, AT, account=account)
    others = overtake(rig, AT, first=1)
    assert rig.pump(AT + limit(last=False) - 2 * LOOK_AT_FEW) == ""
    at = AT + limit(last=False) + LOOK_AT_FEW
    assert rig.pump(at) == "abort 0"
    assert rig.happen("ended 0", at) == "send 0"
    for number in others:
        rig.land(number, at)
    overtake(rig, at, first=100)
    assert rig.pump(at + 2 * limit(last=False) - 2 * LOOK_AT_FEW) == ""
    at += 2 * TIMES * (at - AT) + LOOK_AGAIN  # the others took so long
    assert rig.pump(at) == "abort 0"
    assert rig.happen("ended 0", at) == "send 0"
    assert rig.happen("answer 0", at + 1) == "0 answered"
    use = account.statistics().total
    assert (use.calls, use.retries, use.failed) == (3, 2, 0)


def test_a_lane_counts_those_that_it_asks_again_and_leaves_the_rest_to_their_time_limit() -> None:
    """Two are allowed by so few answers; the third hangs as long as it may, and so do those that hang again."""
    rig, at = rig_that_knows(), AT
    for number in (1, 2):
        rig.ask(number, at)
        assert rig.pump(at) == f"send {number}"
        at += limit()
        assert rig.pump(at) == f"send {min(number, 1)}"
    rig.ask(3, at)
    assert rig.pump(at) == "send 3"
    for later in (limit(), 2 * limit(), 4 * limit()):
        assert rig.pump(at + later) == ""


@pytest.mark.parametrize(("out", "between"), [(MANY, LOOK_AT_FEW), (MANY + 1, LOOK_AGAIN)])
def test_calls_that_may_be_late_are_looked_at_ten_times_a_second_at_the_most_and_many_twice(
    out: int, between: float
) -> None:
    """None before it may be late: however many are out, that costs nothing."""
    rig = rig_that_knows(concurrency=2 * MANY)
    for number in range(out):
        rig.ask(number, AT)
    rig.pump(AT)
    assert rig.pump(AT + 1) == ""
    assert rig.state.wake_at() == pytest.approx(AT + 1 + LOOK_AGAIN), "what is slow may become faster"
    assert rig.pump(AT + limit() - 0.3) == ""
    assert rig.state.wake_at() == pytest.approx(AT + limit())
    assert rig.pump(AT + limit()) == ""
    assert rig.state.wake_at() == pytest.approx(AT + limit() + between)


@pytest.mark.parametrize("slots", [1, 2])
def test_a_lane_all_of_whose_few_slots_hang_is_not_held_up_by_them(slots: int) -> None:
    """Whoever is queued cannot go before one of them has ended; while one of them may still, they are waited for."""
    rig = rig_that_knows("time", concurrency=slots)
    for number in range(slots):
        rig.ask(number, AT + number)
        assert rig.pump(AT + number) == f"send {number}"
    rig.ask(9, AT)
    newest = AT + slots - 1
    assert rig.pump(newest + limit(last=False) - 2 * LOOK_AT_FEW) == ""
    at = newest + limit(last=False)
    assert rig.pump(at) == ", ".join(f"abort {number}" for number in range(slots))
    assert rig.happen("ended 0", at) == "send 0"
    assert rig.happen("answer 0", at + 1) == "0 answered, send 9"


def test_where_many_slots_hang_with_others_queued_the_server_is_waited_for() -> None:
    rig = rig_that_knows(concurrency=2 * FEW)
    for number in range(2 * FEW + 1):
        rig.ask(number, AT)
    rig.pump(AT)
    assert rig.pump(AT + 50 * limit()) == ""


def test_where_nobody_is_answered_the_server_is_waited_for() -> None:
    """However late all of them are: asking again would make a slow server slower."""
    rig = rig_that_knows()
    for number in range(FEW + 1):
        rig.ask(number, AT)
    rig.pump(AT)
    assert rig.pump(AT + 50 * limit()) == ""


def test_where_later_calls_are_answered_a_late_one_is_asked_again_and_where_only_earlier_ones_are_it_is_not() -> None:
    """The first is overtaken; the last stands in the server's queue, behind those that are answered before it."""
    for late, asked_again in ((0, True), (ENOUGH + FEW, False)):
        rig = rig_that_knows()
        for number in range(ENOUGH + FEW + 1):
            rig.ask(number, AT)
        rig.pump(AT)
        rig.ask(500, AT)
        rig.ask(501, AT)
        rig.pump(AT)
        for number in range(ENOUGH + FEW + 1):
            if number != late and number not in (1, 2, 3):
                rig.land(number, AT + 2)
        rig.done.clear()
        assert rig.pump(AT + limit(last=False) - 2 * LOOK_AT_FEW) == "", "many are out"
        assert (f"abort {late}" in rig.pump(AT + limit(last=False) + LOOK_AGAIN).split(", ")) is asked_again


@pytest.mark.parametrize("capped", [False, True])
def test_what_hangs_in_a_slot_that_others_wait_for_is_broken_off_where_tokens_cost_money_too(capped: bool) -> None:
    """It is booked at the most it can have cost. Where the cap has no room for that twice, it is waited for."""
    rig, account = rig_that_knows("tokens", concurrency=1), Account("run", Budget(calls=1 if capped else None))
    rig.ask(1, AT, account=account)
    rig.ask(2, AT)
    assert rig.pump(AT) == "send 1"
    assert rig.pump(AT + 5 * limit()) == ("" if capped else "abort 1")
    if capped:
        return
    most = account.purse.reserved
    assert rig.happen("ended 1", 201) == "send 1"
    assert account.purse.spent == most
    assert rig.out[-1][0] == 1
    rig.leave(2, 202)
    for at in (10_000, 20_000):
        rig.pump(at)
        if rig.out:
            rig.happen("ended 1", at)
    assert account.statistics().total.calls <= 3


def test_a_paid_call_that_hung_and_that_nobody_waits_for_is_not_asked_again() -> None:
    """It was left to finish into the cache, and it did not."""
    rig = rig_that_knows("tokens")
    rig.ask(1, AT)
    rig.pump(AT)
    rig.leave(1, AT + 1)
    assert rig.pump(AT + limit()) == "abort 1"
    assert rig.happen("ended 1", 150) == ""


ANSWERS = st.tuples(st.floats(0.01, 1e4), st.integers(1, 10**5))


@given(st.lists(ANSWERS, min_size=ENOUGH, max_size=60), st.integers(0, 10**5))
def test_no_call_is_late_before_it_has_taken_longer_than_any_of_its_size_that_was_answered(
    answers: list[tuple[float, int]], tokens: int
) -> None:
    """Of answers to smaller calls it is their time for as many tokens that counts."""
    lateness = Lateness("time")
    for seconds, size in answers:
        lateness.note_answer(1, seconds, size)
    slowest = max(seconds * max(1.0, tokens / size) for seconds, size in answers)
    for last, times in ((False, TIMES), (True, LAST_TIMES)):
        within = lateness.limit(tokens, broken_off=0, last=last)
        assert within == pytest.approx(max(SOONEST, times * slowest))
        assert lateness.limit(tokens, broken_off=3, last=last) == pytest.approx(8 * within)


@given(st.integers(0, 2 * ENOUGH), st.floats(SOONEST, 1e4))
def test_the_fewer_were_answered_the_longer_a_call_is_waited_for(answers: int, seconds: float) -> None:
    """The first ones of a lane hang, too: without a bound for them each would take the time limit."""
    lateness = Lateness("tokens")
    for _ in range(answers):
        lateness.note_answer(1, seconds, 1)
    within = lateness.limit(1, broken_off=0, last=True)
    if answers < FIRST:
        assert within == inf
    else:
        assert within == pytest.approx(LAST_TIMES * seconds * max(1.0, ENOUGH / answers))


@given(st.integers(0, 200))
def test_those_asked_again_stay_a_small_share_of_those_answered(answers: int) -> None:
    """Whatever else speaks for it."""
    lateness, asked = Lateness("time"), 0
    for _ in range(answers):
        lateness.note_answer(1, 1.0, 1)
        if lateness.may_ask_again(0, last=True, asked_again=1):
            lateness.note_asked_again()
            asked += 1
    assert asked <= SHARE * answers + 1


def test_what_hung_on_a_lane_that_was_stopped_meanwhile_is_told_so() -> None:
    rig = rig_that_knows(concurrency=2)
    rig.ask(1, AT)
    rig.ask(2, AT)
    assert rig.pump(AT) == "send 1, send 2"
    assert rig.pump(AT + limit()) == "abort 1, abort 2", "there is no slot beside them"
    assert rig.happen("ended 2", AT + limit()) == "send 2"
    assert rig.happen("fail 2 denied", 120) == "2 LaneStopped"
    assert rig.happen("ended 1", 121) == "1 LaneStopped"
