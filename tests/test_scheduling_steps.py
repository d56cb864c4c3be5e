"""The steps by which a lane finds its number of calls in flight: round by round, what is measured and what follows."""

from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.scheduling.limits.concurrency import COOL_DOWN, LOOKS_A_STEP, LOOKS_APART, AutoConcurrency
from metaspo.scheduling.limits.meter import Meter


class Rounds:
    """Feeds a control answers at a steady rate, a whole round at a time.

    A round's first answers are to calls of the time before: as many as were out then. Then come as many as the limit
    (twice as many once it is through with doubling), 12 at least (24). The next one ends it.
    """

    def __init__(self, *, first: int = 8, most: int = 256) -> None:
        self.control = AutoConcurrency(upper_bound=most, first=first)
        self.now = self.taken = 0.0
        self._skip = self.control.limit

    def answer(self, rate: float, count: int, *, used: float = 1.0) -> None:
        for _ in range(count):
            self.now += 1 / rate
            self.taken += used * self.control.limit / rate
            self.control.on_success(self.now, taken=self.taken)

    def length(self) -> int:
        """Answers in the round that goes on."""
        times = 1 if "phase=start" in repr(self.control) else 2
        return max(4, self._skip) + max(times * self.control.limit, times * 12)

    def round(self, rate: float, *, used: float = 1.0) -> int:
        """The limit after a round in which so many were answered a second; it changes with the last one, if at all."""
        before = self.control.limit
        self.answer(rate, self.length(), used=used)
        assert self.control.limit == before
        self.answer(rate, 1, used=used)
        self._skip = 0 if self.control.limit == before else before
        return self.control.limit

    def all(self, *rates: float) -> list[int]:
        return [self.round(rate) for rate in rates]


def settled(base: int = 32, rate: float = 20.0) -> Rounds:
    """At a base of so many, found by doubling."""
    rounds = Rounds(first=base)
    assert rounds.all(rate, rate) == [2 * base, base]
    return rounds


def test_it_doubles_while_that_brings_a_twentieth_more() -> None:
    """Else it stays at the number before; at the bound it stays at that."""
    assert Rounds().all(10.0, 10.5, 11.1, 11.6) == [16, 32, 64, 32]
    assert Rounds(most=24).all(10.0, 20.0, 40.0, 40.0, 39.0) == [16, 24, 24, 20, 24], "from there it tries fewer"
    assert Rounds(first=64, most=48).control.limit == 48
    assert AutoConcurrency(upper_bound=0).limit == 1


def test_first_fewer_are_tried_and_kept_while_they_serve_as_much() -> None:
    """A round at the base before each trial; one that serves less is gone back from."""
    rounds = settled()
    assert rounds.all(20.0, 19.91, 19.91, 19.7, 19.91) == [27, 27, 22, 27, 27]


def test_then_more_are_tried_and_kept_if_they_bring_their_share() -> None:
    """Half as many again must bring 2% more; after each trial that failed there is one more round of rest, up to 4."""
    rounds = settled()
    assert rounds.all(20.0, 19.0) == [27, 32]
    assert rounds.all(20.0, 20.0, 20.39) == [32, 48, 32]
    assert rounds.all(20.0, 20.0, 20.0, 20.39) == [32, 32, 48, 32]
    assert rounds.all(20.0, 20.0, 20.0, 20.0, 20.3) == [32, 32, 32, 48, 32]
    assert rounds.all(20.0, 20.0, 20.0, 20.0, 20.41) == [32, 32, 32, 48, 96], "where more pay it doubles again"
    assert rounds.all(20.41, 20.41, 20.41) == [48, 72, 48], "after a success one round of rest is enough"
    assert rounds.all(20.41, 20.41, 20.41) == [48, 72, 48]
    assert rounds.all(20.41, 20.41, 20.41, 20.41) == [48, 48, 72, 48]
    assert rounds.all(20.41, 20.41, 20.41, 20.41) == [48, 48, 48, 40], "four more were tried since fewer"


def test_at_the_bound_a_trial_of_more_is_a_rest_and_fewer_are_tried_when_their_turn_comes() -> None:
    """Two rounds each after a trial that failed; four of more, then one of fewer."""
    rounds = Rounds(first=32, most=32)
    assert rounds.all(20.0, 20.0, 19.0) == [32, 27, 32]
    assert rounds.all(*[20.0] * 10) == [32] * 9 + [27]


def test_a_server_that_changed_is_looked_at_again_at_once() -> None:
    """Where the rate is off by a quarter, up or down; rests begin anew from one round."""
    for rate in (20.0 * 1.26, 20.0 / 1.26):
        rounds = settled()
        assert rounds.all(20.0, 19.0, 20.0, 20.0, 20.0) == [27, 32, 32, 48, 32]
        assert rounds.all(rate, rate, rate, rate) == [48, 32, 32, 48]
    for rate in (20.0 * 1.24, 20.0 / 1.24):
        rounds = settled()
        assert rounds.all(20.0, 19.0, 20.0, 20.0, 20.0) == [27, 32, 32, 48, 32]
        assert rounds.all(rate, rate) == [32, 32]


def test_what_the_last_round_at_the_base_said_is_what_counts() -> None:
    """A rate that moves by less than a quarter a round never says that the server changed, and what the server did by
    itself no trial of more is taken to have brought."""
    rounds = settled()
    assert rounds.all(20.0, 19.0, 20.0, 20.0, 20.0) == [27, 32, 32, 48, 32]
    assert rounds.all(24.0, 28.0, 33.0, 33.0) == [32, 32, 48, 32]


def test_small_numbers_move_by_one_and_one_has_no_fewer() -> None:
    """And the bound is not passed."""
    assert settled(base=2).all(9.0, 9.0, 9.0) == [1, 1, 2]
    assert settled(base=3).all(9.0) == [2]
    alone = Rounds(first=1, most=1)
    assert alone.all(9.0, 9.0, 9.0, 9.0) == [1, 1, 1, 1]
    top = Rounds(first=40, most=48)
    assert top.all(10.0, 10.0, 10.0, 9.0, 10.0, 10.0) == [48, 40, 34, 40, 40, 48]


def test_a_round_in_which_the_limit_was_not_used_says_nothing() -> None:
    """Four fifths of its slots must be taken all the time; else the round begins anew, after as many answers."""
    assert Rounds(first=10).round(10.0, used=0.81) == 20
    assert Rounds(first=10).round(10.0, used=0.79) == 10
    for unused, then in ((2, 20), (3, 10)):
        rounds = Rounds(first=10)
        rounds.answer(10.0, 10 + 12 - unused)
        rounds.answer(10.0, unused, used=0.0)
        rounds.answer(10.0, 1)
        assert rounds.control.limit == then
    rounds.answer(10.0, 10 + 11)
    assert rounds.control.limit == 10
    rounds.answer(10.0, 1)
    assert rounds.control.limit == 20


def test_what_slots_that_stayed_free_would_have_served_is_added() -> None:
    """A doubling that brings 3% more with nine tenths of its slots taken brings more than the twentieth it has to."""
    for used, then in ((1.0, 8), (0.9, 32)):
        rounds = Rounds()
        assert rounds.round(10.0) == 16
        assert rounds.round(10.3, used=used) == then


@given(st.integers(0, 120), st.floats(0.5, 1_000.0))
def test_a_pause_in_what_is_asked_changes_no_step(before: int, seconds: float) -> None:
    """A stage of the run ends, and the next one's calls come later: that tells nothing of the server."""
    rounds, rate, limits = Rounds(), {8: 10.0, 16: 19.0, 32: 35.0, 64: 35.0}, [8]
    for number in range(600):
        if number == before:
            rounds.now += seconds
        rounds.answer(rate[rounds.control.limit], 1)
        if rounds.control.limit != limits[-1]:
            limits.append(rounds.control.limit)
        if limits[-2:] == [64, 32]:
            break
    assert limits == [8, 16, 32, 64, 32]


def told(rate: float, answers: int, *, used: float = 1.0, most: int = 2_000, **gauges: float) -> AutoConcurrency:
    """At the first limit, after so many answers, and what the servers' gauges said then."""
    rounds = Rounds(most=most)
    rounds.answer(rate, answers, used=used)
    rounds.control.on_load(rounds.now, **{"running": 8.0, "waiting": 0.0, "preempted": 0.0, **gauges})
    return rounds.control


def test_a_server_with_nothing_waiting_gets_several_times_as_many_at_once() -> None:
    """Four times, or as many as may be."""
    assert told(10.0, 5).limit == told(10.0, 5, waiting=1.0).limit == 32
    assert told(10.0, 5, most=20).limit == 20
    assert [told(10.0, 5, running=running).limit for running in (3.0, 4.0)] == [8, 32], "of another server, if fewer"
    assert told(10.0, 5, waiting=1.1).limit == told(10.0, 5, preempted=1.0).limit + 2 == 8


def test_it_gets_no_more_than_it_would_soon_answer_if_more_brought_nothing() -> None:
    """Thirty seconds' worth: what waits for longer may time out."""
    assert [told(rate, 6).limit for rate in (3.0, 0.8, 0.2)] == [32, 24, 8]


def test_it_is_known_how_many_are_enough_once_a_server_tells_of_a_line_where_calls_take_long() -> None:
    """A tenth more than it ran at most since then, or what chance may ask for; of shorter ones a line is soon gone."""
    assert [told(10.0, 5, running=1_000.0, waiting=waiting).enough for waiting in (101.0, 100.0)] == [1_100.0, inf]
    assert told(10.0, 5, running=400.0, waiting=41.0).enough == 460.0
    long = [told(rate, 5, running=400.0, waiting=41.0).enough for rate in (15.9, 16.1)]
    assert long == [460.0, inf], "half a second, by eight that are out"
    assert [told(10.0, answers, running=400.0, waiting=41.0).enough for answers in (4, 3)] == [460.0, inf]
    control = told(10.0, 5, running=1_000.0, waiting=101.0)
    for running, waiting, enough in ((2_000, 0, 2_200), (900, 500, 2_200), (0, 0, inf), (900, 0, inf)):
        control.on_load(2.0, running=running, waiting=waiting, preempted=0)
        assert control.enough == enough


def test_gauges_tell_nothing_of_more_while_slots_are_free_or_before_a_step_has_shown() -> None:
    """Four answers after it, or after a fault."""
    assert told(10.0, 5, used=0.81).limit == 32
    assert told(10.0, 5, used=0.79).limit == 8
    assert [told(10.0, answers).limit for answers in (3, 4)] == [8, 32]
    rounds = Rounds(most=2_000)
    for limit in (8, 32):
        rounds.answer(100.0, 3)
        rounds.control.on_fault(rounds.now)
        for _ in range(4):
            assert rounds.control.look_within == inf
            rounds.control.on_load(rounds.now, running=limit, waiting=0, preempted=0)
            assert rounds.control.limit == limit
            rounds.answer(100.0, 1)
        assert rounds.control.look_within == LOOKS_APART
        rounds.answer(1.0, 3)
        assert rounds.control.look_within == pytest.approx(3.0 / LOOKS_A_STEP, rel=0.05)
        rounds.control.on_load(rounds.now, running=limit, waiting=0, preempted=0)
    assert settled().control.look_within == inf


@pytest.mark.parametrize(("running", "base"), [(8.0, 10), (6.0, 8), (12.8, 16), (13.0, 32), (200.0, 32), (0.0, 32)])
def test_a_server_with_others_in_line_gets_a_quarter_more_than_it_runs(running: float, base: int) -> None:
    """Where we have as many out; what it runs beyond that is asked by others, among whom we want our share."""
    rounds = Rounds()
    assert rounds.all(10.0) == [16]
    rounds.control.on_load(rounds.now, running=running, waiting=50.0, preempted=0.0)
    assert rounds.round(20.0) == base


def test_no_fewer_are_tried_than_a_server_with_others_in_line_runs_and_a_tenth() -> None:
    """It would idle."""
    for running, fewer in ((20.0, 27), (26.0, 29), (30.0, 32), (300.0, 32)):
        rounds = settled()
        rounds.control.on_load(rounds.now, running=running, waiting=50.0, preempted=0.0)
        assert rounds.round(20.0) == fewer


def test_a_step_that_is_refused_is_taken_back() -> None:
    """By all of it, where that is more than a fifth; one to fewer is not: then even fewer were too many."""
    doubled, leapt, more, fewer = Rounds(), Rounds(most=2_000), settled(), settled()
    doubled.round(10.0)
    leapt.answer(10.0, 5)
    leapt.control.on_load(leapt.now, running=8, waiting=0, preempted=0)
    more.all(20.0, 19.0, 20.0, 20.0)
    fewer.all(20.0)
    for rounds, tried, then in ((doubled, 16, 8), (leapt, 32, 8), (more, 48, 32), (fewer, 27, 21)):
        assert rounds.control.limit == tried
        rounds.control.on_refusal(rounds.now, retry_after=0.0)
        assert rounds.control.limit == then
    doubled.now, doubled._skip = doubled.now + COOL_DOWN, 16
    assert doubled.round(10.0) == 12, "what lies between the two is tried first"


def test_a_refusal_cuts_by_a_fifth_and_is_remembered_as_a_ceiling() -> None:
    """Near it steps are small, a twentieth; far below they are not; while it cools down answers do not count."""
    for base, step in ((64, 54), (44, 37)):
        rounds = settled(base=base)
        rounds.control.on_refusal(rounds.now, retry_after=0.0)
        cut = rounds.control.limit
        assert cut == int(base * 0.8)
        rounds.answer(1_000.0, 900)
        assert rounds.control.limit == cut
        rounds.now += COOL_DOWN
        rounds._skip = base
        assert rounds.all(20.0, 15.0, 20.0, 20.0) == [int(cut * 0.85), cut, cut, step]
        assert rounds.round(21.0) == step, "nor is one doubled that pays"
    rounds = settled(base=64)
    rounds.control.on_refusal(rounds.now, retry_after=0.0)
    for _ in range(2):
        rounds.now += COOL_DOWN
        rounds.control.on_load(rounds.now, running=1, waiting=0, preempted=1)
    rounds.now += COOL_DOWN
    rounds._skip = 40
    assert rounds.control.limit == 32
    assert rounds.all(20.0, 15.0, 20.0, 20.0) == [27, 32, 32, 48], "48 is no more than four fifths of 64"
    one = AutoConcurrency(upper_bound=1)
    one.on_refusal(0.0, retry_after=0.0)
    one.on_load(100.0, running=1, waiting=0, preempted=1)
    assert one.limit == 1


@pytest.mark.parametrize(
    ("running", "waiting", "grows"),
    [(8.0, 1.0, True), (8.0, 1.1, False), (50.0, 5.0, True), (50.0, 5.1, False), (0.0, 1.0, True)],
)
def test_a_server_with_enough_in_line_is_not_tried_with_more(running: float, waiting: float, grows: bool) -> None:
    """A tenth of what runs, one at least; once the line is gone it may be again."""
    rounds = settled()
    assert rounds.all(20.0, 19.0, 20.0) == [27, 32, 32]
    rounds.control.on_load(rounds.now, running=running, waiting=waiting, preempted=0)
    assert rounds.round(20.0) == (48 if grows else 32)
    if not grows:
        assert rounds.round(20.0) == 32
        rounds.control.on_load(rounds.now, running=running, waiting=0.0, preempted=0)
        assert rounds.round(20.0) == 48
        rounds.control.on_load(rounds.now, running=running, waiting=waiting, preempted=0)
        assert rounds.round(30.0) == 48, "one that pays is not doubled either"


def test_preemptions_cut_once_in_a_cool_down() -> None:
    """None is none; and a refusal within the time counts as the same trouble."""
    control = AutoConcurrency(upper_bound=256, first=100)
    control.on_load(0.0, running=1, waiting=0, preempted=0)
    assert control.limit == 100
    for at, limit in ((1.0, 80), (1.0 + COOL_DOWN - 0.1, 80), (1.0 + COOL_DOWN, 64)):
        control.on_load(at, running=1, waiting=0, preempted=1)
        assert control.limit == limit
        control.on_refusal(at + 0.05, retry_after=0.0)
        assert control.limit == limit


@settings(max_examples=60)
@given(st.integers(1, 12), st.integers(0, 20), st.integers(5, 40), st.floats(0.5, 10))
def test_answers_in_bursts_are_measured_from_pause_to_pause(burst: int, skip: int, target: int, period: float) -> None:
    """Whole bursts, so that the rate is what it is; those of the time before are left out."""
    skip += 2 * burst
    meter, rate, counted, now = Meter(limit=1, skip=skip, target=target), None, 0, 0.0
    while rate is None:
        now += period
        for number in range(burst):
            counted += 1
            at = now + number * period / 1_000
            rate = meter.add(at, at)
            if rate is not None:
                break
    assert rate == pytest.approx(burst / period, rel=0.02 if burst > 1 else 1e-9)
    assert skip + target <= counted <= skip + target + 3 * burst + 1


def rates(times: Sequence[float], *, skip: int = 4, target: int, limit: int = 1, used: float = 1.0) -> list[float]:
    """What answers at these times tell, with so many of the slots in use all the time; 0 where they tell nothing."""
    meter = Meter(limit=limit, skip=skip, target=target)
    return [meter.add(at, at * used) or 0.0 for at in times]


@pytest.mark.parametrize(("pause", "begins"), [(0.98, False), (1.0, True)])
def test_a_round_begins_at_a_pause_of_half_of_what_lies_between_two_answers(pause: float, begins: bool) -> None:
    """Between those that are skipped, and at it: five here, in ten seconds."""
    *before, last = rates([3.0, 6.0, 9.0, 12.0, 12.0 + pause, 14.0], target=1)
    assert before == [0.0] * 5
    assert last == (1 / pause if begins else 0.0)


def test_answers_of_one_moment_are_one_burst_however_many_are_skipped() -> None:
    """No round begins among them, nor ends."""
    assert rates([5.0] * 9 + [6.0] * 3 + [7.0], target=1) == [0.0] * 12 + [3.0]


@pytest.mark.parametrize(("pause", "ends"), [(0.5, False), (0.52, True)])
def test_a_round_ends_at_a_pause_of_more_than_half_of_what_lies_between_its_answers(pause: float, ends: bool) -> None:
    """One of more answers than it needs goes on till then."""
    assert rates([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0 + pause], target=2)[-1] == (1.0 if ends else 0.0)


@pytest.mark.parametrize(("used", "tells"), [(4.0, True), (3.96, False)])
def test_a_round_is_void_when_more_than_a_fifth_of_its_slots_stay_free(used: float, tells: bool) -> None:
    """As soon as it has four answers; what is measured at four fifths is said as if all had been in use."""
    *_, last = rates([float(number) for number in range(1, 10)], target=4, limit=5, used=used)
    assert last == pytest.approx(1.25 if tells else 0.0)


@pytest.mark.parametrize(("limit", "skipped"), [(1, 4), (4, 4), (6, 6)])
def test_after_a_void_round_as_many_answers_are_skipped_as_there_are_slots(limit: int, skipped: int) -> None:
    """Four at least."""
    meter = Meter(limit=limit, skip=4, target=4)
    for number in range(8):
        assert meter.add(number, 0.0) is None
    at = 8.0
    while (rate := meter.add(at, limit * (at - 7.0))) is None:
        at += 1.0
    assert (rate, at) == (1.0, 8.0 + skipped + 4)
