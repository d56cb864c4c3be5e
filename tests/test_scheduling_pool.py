"""Purses of many processes under one cap: it is never passed, whoever is killed, and spent whole by those that live."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.cache.sharing import Amounts, CapAsk, Set
from metaspo.scheduling.budget.pool import NONE, RETRY, Pool

CAPS = Amounts(40, inf, 8.0)
LEASE = 10.0
NEVER = Pool("g", CAPS).due


class Cap:
    """What the server keeps."""

    def __init__(self) -> None:
        self.taken = Amounts()
        self.holders: set[int] = set()

    def set_aside(self, who: int, ask: CapAsk) -> Set:
        """As the script does."""
        fits = all(
            least <= 0 or taken + least <= cap + 1e-9
            for least, taken, cap in zip(ask.least, self.taken, CAPS, strict=True)
        )
        aside = Amounts(
            *(
                min(most, max(least, cap - taken))
                for least, most, taken, cap in zip(ask.least, ask.most, self.taken, CAPS, strict=True)
            )
        )
        if fits:
            self.taken = Amounts(*(taken + more for taken, more in zip(self.taken, aside, strict=True)))
        holds = ask.holds or (fits and sum(aside) > 0)
        self.holders = self.holders | {who} if holds else self.holders - {who}
        return Set(aside if fits else None, self.taken, bool(self.holders - {who}))


class Process:
    """One that makes calls under the cap, each of which takes half of what it may."""

    def __init__(self, who: int, calls: int) -> None:
        self.who, self.left = who, calls
        self.pool = Pool("g", CAPS)
        self.taken = Amounts()
        self.out: list[Amounts] = []
        self.ended = False

    def step(self, cap: Cap, at_most: Amounts, now: float) -> None:
        """One call goes if it may; if not, one ends; what is wanted is asked for."""
        needed = Amounts(*(taken + more for taken, more in zip(self.taken, at_most, strict=True)))
        if self.left and not self.ended and self.pool.covers(needed):
            self.taken, self.left = needed, self.left - 1
            self.out.append(at_most)
        elif self.out:
            spent = self.out.pop()
            self.taken = self.taken._replace(dollars=self.taken.dollars - spent.dollars / 2)
        self.ask(cap, now)
        self.ended = self.ended or not (self.pool.may_cover(needed) or self.out)

    def ask(self, cap: Cap, now: float, *, last: bool = False) -> None:
        """What it asks for, done at once."""
        waiting = bool(self.left) and not self.ended
        asked = self.pool.ask(self.taken, out=bool(self.out), waiting=waiting, now=now, lease=LEASE, last=last)
        if asked is not None:
            self.pool.told(asked, cap.set_aside(self.who, asked), now, out=bool(self.out))


COSTS = st.builds(Amounts, st.just(1.0), st.integers(1, 1_000), st.sampled_from([0.1, 0.25, 0.5, 1.0]))


@given(st.lists(st.tuples(st.integers(0, 2), COSTS, st.floats(0, 1)), max_size=150), st.integers(0, 150))
def test_no_cap_is_passed_by_what_was_spent_or_may_be(steps: list[tuple[int, Amounts, float]], killed_at: int) -> None:
    cap, now = Cap(), 0.0
    processes = [Process(who, 40) for who in range(3)]
    alive = set(range(3))
    for number, (who, at_most, passed) in enumerate(steps):
        now += passed
        if number == killed_at:
            alive.discard(0)
        if who in alive:
            processes[who].step(cap, at_most, now)
        together = [sum(process.taken[kind] for process in processes) for kind in range(3)]
        assert all(sum_ <= limit + 1e-6 for sum_, limit in zip(together, CAPS, strict=True))
        assert all(taken >= sum_ - 1e-6 for taken, sum_ in zip(cap.taken[::2], together[::2], strict=True))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_the_cap_is_spent_whole_by_those_that_want_it(wanted: list[int]) -> None:
    cap, now, at_most = Cap(), 0.0, Amounts(1.0, 10, 0.01)
    processes = [Process(who, calls) for who, calls in enumerate(wanted)]
    for _ in range(1_000):
        now += RETRY / 4
        for process in processes:
            process.step(cap, at_most, now)
    for process in processes:
        process.ask(cap, now, last=True)
    assert sum(process.taken.calls for process in processes) == min(sum(wanted), CAPS.calls)
    assert cap.taken.calls == pytest.approx(min(sum(wanted), CAPS.calls))


def test_a_refusal_is_not_asked_about_again_at_once() -> None:
    cap, now = Cap(), 1.0
    cap.set_aside(9, CapAsk("g", "", CAPS, Amounts(40, 0, 0), Amounts(40, 0, 0), True))
    process = Process(1, 3)
    process.step(cap, Amounts(1, 0, 0), now)
    assert not process.pool.covers(Amounts(1, 0, 0))
    assert process.pool.ask(Amounts(), out=False, waiting=True, now=now + RETRY / 2, lease=LEASE) is None
    assert process.pool.ask(Amounts(), out=False, waiting=True, now=now + RETRY, lease=LEASE) is not None


def test_who_has_nothing_out_gives_back_what_is_left_after_some_time() -> None:
    cap, process = Cap(), Process(1, 1)
    process.step(cap, Amounts(1, 0, 0.5), 0.0)
    process.step(cap, Amounts(1, 0, 0.5), 0.0)
    assert process.out
    process.step(cap, Amounts(1, 0, 0.5), 0.1)
    assert cap.taken.dollars > process.taken.dollars
    process.ask(cap, LEASE)
    assert cap.taken.dollars == pytest.approx(process.taken.dollars)
    assert not cap.holders
    assert process.pool.due == NEVER


def test_nothing_is_spent_while_it_is_on_its_way_back() -> None:
    """The server may have given it to another by the time that it says so."""
    cap, process, at_most = Cap(), Process(1, 1), Amounts(1, 0, 0.01)
    process.step(cap, at_most, 0.0)
    process.step(cap, at_most, 0.0)
    process.step(cap, at_most, 0.0)
    assert not process.out
    more = process.taken._replace(dollars=cap.taken.dollars)
    assert process.pool.covers(more)
    asked = process.pool.ask(process.taken, out=False, waiting=False, now=LEASE, lease=LEASE)
    assert asked is not None
    assert asked.least.dollars < 0
    assert not process.pool.covers(more)
    process.pool.told(asked, cap.set_aside(process.who, asked), LEASE, out=False)
    assert process.pool.covers(process.taken)
    assert not process.pool.covers(more)


@pytest.mark.parametrize(("out", "others_hold"), [(True, False), (False, True), (False, False)])
def test_a_refusal_is_the_last_word_only_where_nobody_may_give_anything_back(out: bool, others_hold: bool) -> None:
    """Neither calls of this process that are out, nor another one."""
    pool, needed = Pool("g", CAPS), Amounts(1, 0, 3.0)
    pool.covers(needed)
    asked = pool.ask(NONE, out=out, waiting=True, now=0.0, lease=LEASE)
    assert asked is not None
    pool.told(asked, Set(None, CAPS, others_hold), 0.0, out=out)
    assert pool.may_cover(needed) == (out or others_hold)


def test_what_is_less_than_the_last_word_refused_is_asked_for_and_what_is_no_less_is_not() -> None:
    cap, pool, woken = Cap(), Pool("g", CAPS), list[int]()
    pool.driven_by(lambda: woken.append(1))

    def gets(dollars: float) -> bool:
        woken.clear()
        if not pool.covers(needed := Amounts(1, 0, dollars)) and woken:
            asked = pool.ask(NONE, out=False, waiting=False, now=0.0, lease=LEASE)
            assert asked is not None
            pool.told(asked, cap.set_aside(1, asked), 0.0, out=False)
        return pool.covers(needed)

    assert not gets(9.0)
    assert woken
    assert not gets(8.5)
    assert not woken
    assert gets(3.0)
    assert gets(8.0)
    assert gets(8.0)
    assert not woken, "all that may be had is here"


def test_who_was_refused_and_stands_in_no_line_yet_is_asked_for_again_and_holds_nothing_once_all_ends() -> None:
    """What it has left is given back in between, which must not be taken for the end of all wishes."""
    pool, others = Pool("g", CAPS), Set(None, CAPS, True)
    pool.covers(Amounts(1, 0, 0.01))
    coming = [pool.coming]
    first = pool.ask(NONE, out=False, waiting=False, now=0.0, lease=LEASE)
    assert first is not None
    pool.told(first, Set(first.most, first.most, True), 0.0, out=False)
    pool.covers(Amounts(1, 0, 3.0))
    again = pool.ask(NONE, out=False, waiting=False, now=0.0, lease=LEASE)
    assert again is not None
    pool.told(again, others, 0.0, out=False)
    assert [*coming, pool.coming] == [True, False]
    back = pool.ask(NONE, out=False, waiting=False, now=0.0, lease=LEASE)
    assert back is not None
    assert min(back.least) < 0
    pool.told(back, Set(back.least, CAPS, True), 0.0, out=False)
    assert pool.due == pytest.approx(RETRY)
    end = pool.ask(NONE, out=False, waiting=False, now=0.0, lease=LEASE, last=True)
    assert end is not None
    assert not end.holds


def test_a_new_purse_asks_for_nothing_until_something_is_wanted() -> None:
    pool = Pool("g", CAPS)
    assert pool.ask(NONE, out=True, waiting=False, now=0.0, lease=LEASE) is None
    assert not pool.covers(Amounts(1, 0, 0.0))
    asked = pool.ask(NONE, out=True, waiting=False, now=0.0, lease=LEASE)
    assert asked is not None
    assert asked.least.calls == 1


def test_a_purse_that_was_told_nothing_yet_knows_of_nothing_taken() -> None:
    exhausted = Pool("shared", Amounts(2.0, inf, inf)).exhaustion(Amounts(3.0, 0.0, 0.0))
    assert (exhausted.cap, exhausted.limit, exhausted.spent) == ("calls", 2.0, 0.0)
