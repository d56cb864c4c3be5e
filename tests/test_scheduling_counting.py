"""How a provider counts a call's tokens, told apart by what its headers say is left."""

import random
from collections.abc import Callable
from operator import itemgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends import LimitHints
from metaspo.scheduling.limits.counting import DECLARED, LARGER, USED, VAGUE, Counting
from metaspo.scheduling.limits.limits import RateLimits, Reservation

LIMIT, RATE = 6_000, 100.0  # a minute, a second


class Account:
    """A lane's account at a provider that counts one way, and saves up `depth` tokens."""

    def __init__(self, counting: Counting, way: int, *, depth: float = 500.0, now: float = 0.0) -> None:
        self.counting = counting
        self.way = way
        self.depth = self.level = depth
        self.now = now
        self.answers: list[tuple[LimitHints, float, tuple[int, int, int], int, tuple[int, int]]] = []

    def call(self, used: int, declared: tuple[int, int], *, after: float = 1.0) -> None:
        """One call, after so many seconds."""
        self.now += after
        self.level = min(self.depth, self.level + RATE * after) - (used, *declared)[self.way]
        sums = self.counting.sent(used, declared)
        hints = LimitHints(tokens_remaining=int(self.level), tokens_reset=(self.depth - self.level) / RATE)
        self.answers.append((hints, self.now, sums, used, declared))

    def hear(self, *numbers: int) -> list[bool]:
        """Answers come, in this order; whether each told of another way to count."""
        numbers = numbers or tuple(range(len(self.answers)))
        heard = []
        for hints, at, sums, used, declared in [self.answers[number] for number in numbers]:
            heard.append(
                self.counting.hear(hints, limit=LIMIT, at=at, sums=sums, used=used, declared=declared, charge=1.0)
            )
        return heard


CALLS = [(40, (90, 60)), (50, (140, 100)), (45, (95, 60)), (60, (150, 100))] * 5


def met(way: int = USED, **more: float) -> Account:
    """After these calls."""
    account = Account(Counting(), way, **more)
    for used, declared in CALLS:
        account.call(used, declared)
    return account


@pytest.mark.parametrize("way", [USED, DECLARED, LARGER])
def test_a_few_headers_tell_how_calls_are_counted(way: int) -> None:
    """And how much is saved up, and how well the next are foretold."""
    account = met(way)
    counting = account.counting
    assert counting.error() is None
    changes = account.hear()
    assert counting.way == way
    assert sum(changes) == (way != USED) == any(changes[:6])
    assert counting.depth == pytest.approx(account.depth, rel=0.01)
    error = counting.error()
    assert error is not None
    assert error <= 1.0
    assert counting.of(40, (90, 60)) == (40, 90, 60)[way]
    assert counting.of(40, ()) == 40


@given(st.permutations(range(len(CALLS))), st.sampled_from([USED, DECLARED, LARGER]))
def test_answers_that_overtake_each_other_tell_nothing_false(order: list[int], way: int) -> None:
    account = met(way)
    account.hear(*order)
    assert account.counting.way in (USED, way)


def test_an_answer_that_tells_nothing_finds_no_other_way_to_count() -> None:
    """It says nothing of tokens, it was overtaken, or nothing is to be learned."""
    account = met(DECLARED)
    nothing = LimitHints(requests_remaining=5)
    hints, at, sums, used, declared = account.answers[0]
    for counting, told in ((account.counting, nothing), (Counting(settled=True), hints)):
        assert not counting.hear(told, limit=LIMIT, at=at, sums=sums, used=used, declared=declared, charge=1.0)
    assert account.hear(1, 0) == [False, False]
    assert True in account.hear()


def test_what_is_declared_counts_until_headers_have_told() -> None:
    """Where they are going to; else what is used does from the first answer on."""
    for hints, way in (
        (None, USED),
        (LimitHints(tokens_remaining=5), USED),
        (LimitHints(tokens_reset=5.0), USED),
        (LimitHints(tokens_remaining=5, tokens_reset=5.0), DECLARED),
    ):
        counting = Counting()
        counting.meet(hints)
        assert counting.way == way
        counting.meet(LimitHints(tokens_remaining=5, tokens_reset=5.0))  # it is not the first
        assert counting.way == way
    shared = Counting(settled=True)
    shared.meet(LimitHints(tokens_remaining=5, tokens_reset=5.0))
    assert shared.way == USED
    assert not any(Account(shared, DECLARED).hear())


@pytest.mark.parametrize(("period", "gap"), [(60.0, 0.7), (60.0, 0.1), (5.0, 0.7)])
def test_a_limit_that_comes_back_all_at_once_teaches_nothing(period: float, gap: float) -> None:
    """What is left and what would come back add up to something else at each time; then what is used counts."""
    counting = Counting()
    counting.meet(LimitHints(tokens_remaining=LIMIT, tokens_reset=period))
    changes = []
    for number, (used, declared) in enumerate(CALLS):
        at = number * gap
        sums = counting.sent(used, declared)
        hints = LimitHints(tokens_remaining=LIMIT - 50 * number, tokens_reset=period - at % period)
        changes.append(counting.hear(hints, limit=LIMIT, at=at, sums=sums, used=used, declared=declared, charge=1.0))
    assert counting.way == USED
    assert changes.index(True) == VAGUE - 1
    assert sum(changes) == 1


@given(st.lists(st.booleans(), min_size=len(CALLS), max_size=len(CALLS)), st.sampled_from([USED, DECLARED, LARGER]))
def test_calls_that_were_refused_are_in_no_sum(refused: list[bool], way: int) -> None:
    """Heard of a moment later: those that went meanwhile tell nothing, and none of the others anything false."""
    account = Account(Counting(), way)
    counting = account.counting
    late: list[tuple[float, int, tuple[int, int]]] = []
    for (used, declared), no in zip(CALLS, refused, strict=True):
        if no:
            counting.sent(used, declared)
            late.append((account.now + 0.5, used, declared))
        account.call(used, declared)
        if late and not no:
            at, expected, counted = late.pop(0)
            counting.not_counted(expected, counted, at=at, now=account.now)
        if not late:
            account.hear(len(account.answers) - 1)
            assert counting.way in (USED, way)
            assert (counting.error() or 0.0) <= 1.0 or counting.way != way


def test_a_refusal_that_is_heard_of_after_a_later_answer_is_in_no_sum_either() -> None:
    account = Account(Counting(), DECLARED, depth=2000.0)
    account.counting.sent(50, (140, 100))
    for used, declared in CALLS:
        account.call(used, declared, after=0.7)
    account.hear(0)
    account.counting.not_counted(50, (140, 100), at=0.5, now=1.0)
    for number in range(1, len(CALLS)):
        hints, at, sums, used, declared = account.answers[number]
        account.answers[number] = hints, at, _without(sums, (50, 140, 100)), used, declared
    account.hear(*range(1, len(CALLS)))
    assert account.counting.way == DECLARED
    assert (account.counting.error() or 0.0) <= 1.0


def test_after_a_pause_in_which_all_came_back_several_calls_at_once_tell_nothing() -> None:
    """Their answers overtook each other, and how much of the refill the first of them found is not known."""
    account = met(DECLARED)
    account.hear()
    error = account.counting.error()
    account.call(40, (90, 60), after=60.0)
    account.call(50, (140, 100), after=0.1)
    assert account.hear(-1) == [False]
    assert account.counting.error() == error


def _without(sums: tuple[int, int, int], amounts: tuple[int, int, int]) -> tuple[int, int, int]:
    return sums[0] - amounts[0], sums[1] - amounts[1], sums[2] - amounts[2]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from([USED, DECLARED, LARGER]))
def test_a_lane_whose_provider_shows_how_it_counts_is_never_refused(seed: int, way: int) -> None:
    """Whatever calls use and declare, and however late their answers come, not even where little more than one of the
    largest calls is saved up."""
    rng = random.Random(seed)
    calls = [(rng.randint(20, 60), rng.randint(10, 60), rng.randint(0, 300)) for _ in range(60)]
    counts = [(prompt + answer, prompt + answer + more, max(prompt, answer + more)) for prompt, answer, more in calls]
    limits, depth = RateLimits(tokens_per_minute=LIMIT), 1.2 * max(count[way] for count in counts)
    now, level, at, met = 0.0, depth, 0.0, False
    out: list[tuple[float, LimitHints, int, Reservation]] = []
    for used, *declared in counts:
        while (wait := limits.wait(used if met else declared[0], now, declared)) > 0:
            now += wait
            for answered in sorted((each for each in out if each[0] <= now), key=itemgetter(0)):
                out.remove(answered)
                met = True
                limits.counting.meet(answered[1])
                limits.settle(answered[3], tokens=answered[2], now=now)
                limits.hear(answered[1], answered[3], now)
        call = limits.reserve(used if met else declared[0], now, declared)
        level, at = min(depth, level + RATE * (now - at)) - (used, *declared)[way], now
        assert level >= 0
        hints = LimitHints(tokens_limit=LIMIT, tokens_remaining=int(level), tokens_reset=(depth - level) / RATE)
        out.append((now + rng.uniform(0.1, 5.0), hints, used, call))


@pytest.mark.parametrize("end", [RateLimits.give_back, RateLimits.refuse])
def test_a_call_that_was_not_counted_leaves_what_is_learned_of_the_others_exact(
    end: Callable[[RateLimits, Reservation, float], None],
) -> None:
    """Of every two calls one is refused, or never arrives: what headers say of the other is as it is expected."""
    limits = RateLimits(tokens_per_minute=LIMIT)
    for number in range(40):
        now = 2.0 * number
        end(limits, limits.reserve(100, now, (500, 700)), now)
        counted = limits.reserve(100, now + 0.5, (500, 700))
        hints = LimitHints(tokens_limit=LIMIT, tokens_remaining=400, tokens_reset=100 / RATE)  # full at 500 tokens
        limits.hear(hints, counted, now + 1.0)
    assert limits.counting.error() == 0


def test_what_was_found_of_one_limit_is_not_believed_of_another_one() -> None:
    """What is saved up, and how well headers are foretold."""
    limits, depths = RateLimits(), []
    for number, limit in enumerate([LIMIT] * 4 + [2 * LIMIT]):
        call = limits.reserve(50, float(number))
        hints = LimitHints(tokens_limit=limit, tokens_remaining=450, tokens_reset=50 / (limit / 60))
        limits.hear(hints, call, number + 0.5)
        depths.append(limits.counting.depth)
    assert depths[-2:] == [500.0, None]
