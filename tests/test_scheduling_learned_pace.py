"""A server that refuses and says nothing else: the rate that it lets through is learned, and used."""

import asyncio
import random
from collections import defaultdict
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_world import Server, ask, now
from sizes import examples, rest_is_slow

from metaspo.backends import LimitHints, RateLimited, Reply, Request
from metaspo.cache import MemoryStore
from metaspo.scheduling import Gateway, Lane, LaneSettings
from metaspo.scheduling.limits.limits import RateLimits
from metaspo.scheduling.limits.pace import IDLE, REGAINED, SLOWEST, LearnedPace
from metaspo.scheduling.retry import FIRST_WAIT, JITTER


class Refusing(Server):
    """Lets `rate` calls a second through and saves up `depth`; refuses the rest without a word.

    Attributes:
        tries: when each question came.
        refused: how many did in vain.
    """

    def __init__(self, *, rate: float, depth: float, jitter: float = 0.005) -> None:
        super().__init__(latency=0.02)
        self.rate, self.depth, self.jitter = rate, depth, jitter
        self.tries: dict[str, list[float]] = defaultdict(list)
        self.refused = 0
        self._left, self._at = depth, 0.0
        self._rng = random.Random("jitter")

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        self.tries[request.messages[-1].content].append(now())
        await asyncio.sleep(self.jitter * self._rng.random())
        self._left = min(self.depth, self._left + (now() - self._at) * self.rate)
        self._at = now()
        if self._left < 1:
            self.refused += 1
            raise RateLimited("429")
        self._left -= 1
        return await super().complete(request, time_limit=time_limit)


async def seconds_for(server: Server, number: int, concurrency: int | Literal["auto"]) -> float:
    lane = Lane("lane", [server], LaneSettings(concurrency=concurrency))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        await gateway.complete_many([ask(i) for i in range(number)], lane="lane")
    return now()


RATES = [
    *((64, 2, 1), ("auto", 10, 1), (64, 40, 4), ("auto", 40, 40)),
    *(("auto", 2, 1), (64, 10, 1), ("auto", 40, 4), (64, 40, 40)),
]


@pytest.mark.virtual
@pytest.mark.parametrize(("concurrency", "rate", "depth"), rest_is_slow(RATES, but=4))
async def test_a_rate_that_nobody_tells_is_found_and_used(
    concurrency: int | Literal["auto"], rate: float, depth: float
) -> None:
    """600 requests take at most one and a half times as long as they must."""
    server = Refusing(rate=rate, depth=depth)
    assert await seconds_for(server, 600, concurrency) < 1.5 * 600 / rate
    assert server.refused < 200


@pytest.mark.virtual
@pytest.mark.parametrize("concurrency", [64, "auto"])
async def test_a_short_run_loses_little_more_than_what_refusals_hold_it_back(
    concurrency: int | Literal["auto"],
) -> None:
    """120 requests at 40 a second, which must take 3; two refusals hold for up to a second each."""
    assert await seconds_for(Refusing(rate=40, depth=4), 120, concurrency) < 7.5


@pytest.mark.virtual
async def test_no_request_comes_back_before_its_own_back_off_is_over() -> None:
    """However fast others go meanwhile: each wait of its own is twice as long as the one before."""
    server = Refusing(rate=3, depth=2)
    await seconds_for(server, 100, 16)
    assert any(len(tries) > 2 for tries in server.tries.values())
    for tries in server.tries.values():
        for failures, (before, after) in enumerate(pairwise(tries)):
            assert after - before >= FIRST_WAIT * 2**failures * (1 - JITTER)


@pytest.mark.virtual
async def test_a_server_that_refuses_everything_is_asked_ever_more_slowly() -> None:
    server = Refusing(rate=0.0, depth=0.0)
    lane = Lane("lane", [server], LaneSettings(concurrency=16, patience=600, first_patience=600))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        with pytest.raises(Exception, match="gave up"):
            await gateway.complete_many([ask(i) for i in range(16)], lane="lane")
    came = sorted(time for tries in server.tries.values() for time in tries)
    assert sum(time > 60 for time in came) < 250  # by their own back-offs 16 requests would come 300 times


def test_while_nothing_is_refused_there_is_no_pace() -> None:
    pace = LearnedPace()
    for number in range(10_000):
        assert pace.wait(number * 1e-4) == 0.0
        pace.take(number * 1e-4)


def test_limits_that_are_told_after_all_end_the_pace() -> None:
    limits = RateLimits()
    call = limits.reserve(1, 0.0)
    limits.refused(call, 0.1)
    assert limits.learn_pace()
    limits.hear(LimitHints(requests_limit=6_000, requests_remaining=5_000), call, 0.2)
    assert not limits.learn_pace()
    assert not RateLimits(tokens_per_minute=100).learn_pace()


def test_what_was_refused_before_the_limits_were_told_slows_them_down_by_nothing() -> None:
    """How fast it was then has to do with the pace, which they end."""
    waits = []
    for refusals in (0, 5):
        limits = RateLimits()
        call = limits.reserve(1, 0.0)
        for number in range(refusals):
            limits.refused(limits.reserve(1, float(number)), number + 0.5)
        limits.hear(LimitHints(requests_limit=600, tokens_limit=6_000), call, 90.0)
        limits.requests.drain(90.0, until=90.0)
        waits.append(limits.wait(100, 90.0))
    assert waits[0] == waits[1] > 0


@pytest.mark.virtual
@pytest.mark.parametrize("idle", [30, 300, 1_800])
async def test_what_was_learned_outlasts_a_time_in_which_nothing_is_asked(idle: float) -> None:
    """The second 200 requests take no longer than the first ones may."""
    server = Refusing(rate=10, depth=10)
    async with Gateway([Lane("lane", [server], LaneSettings(concurrency=32))], store=MemoryStore()) as gateway:
        await gateway.complete_many([ask(i) for i in range(200)], lane="lane")
        await asyncio.sleep(idle)
        begun = now()
        await gateway.complete_many([ask(i) for i in range(200, 400)], lane="lane")
    assert now() - begun < 1.7 * 200 / 10


@settings(max_examples=examples(15, random=100))
@given(rate=st.floats(0.5, 300), depth=st.floats(1, 40), seconds=st.floats(60, 120))
def test_whatever_a_server_takes_most_of_it_is_asked_for(rate: float, depth: float, seconds: float) -> None:
    """In the long run at least three tenths (at some 290 calls a second: mostly far more), with few refusals, never too
    slowly."""
    pace, at, left, filled, taken, refused = LearnedPace(), 0.0, depth, 0.0, 0, 0
    end = seconds + 200 / rate
    while at < end:
        wait = pace.wait(at)
        if wait > 0:
            assert wait <= 1 / SLOWEST + 1e-6
            at += wait
            continue
        pace.take(at)
        left, filled = min(depth, left + (at - filled) * rate), at
        if left < 1:
            pace.refused(at)
            refused += 1
            at += 1.0  # as long as the lane holds
        else:
            left -= 1
            taken += 1
            at += 1e-3
    assert taken > 0.3 * rate * end
    assert refused < end / REGAINED * 3 + 12


def test_what_is_refused_now_and_then_by_others_is_gone_on_with_a_little_slower() -> None:
    """A single refusal after a long time of calls without one takes back a tenth."""
    pace = LearnedPace()
    for number in range(200):
        pace.take(number / 10)
    pace.refused(19.9)
    assert pace.wait(21.0) == 0.0
    pace.take(21.0)
    assert pace.wait(21.0) == pytest.approx(1 / 9, rel=0.05)


def test_an_answer_counts_as_taken_only_if_it_was() -> None:
    """Of 50 calls sent at once 45 are refused: 5 in a second, not 50, is where the pace begins."""
    pace = LearnedPace()
    for _ in range(50):
        pace.take(0.0)
    for _ in range(45):
        pace.refused(0.0)
    sent = 0
    while pace.wait(1.0) == 0.0:
        pace.take(1.0)
        sent += 1
    assert sent == 3  # three quarters of what it has saved up
    assert pace.wait(1.0) == pytest.approx(1 / 20)  # three quarters of another one are there


def test_a_server_that_took_a_call_a_second_is_not_taken_for_a_faster_one() -> None:
    """It goes on a tenth below what was taken since it went on, however fast the pace was that was refused."""
    pace = LearnedPace()
    pace.take(0.0)
    pace.refused(0.0)
    assert pace.wait(0.1) == 0.0
    for second in range(1, 7):
        assert pace.wait(float(second)) == 0.0
        pace.take(float(second))
    pace.refused(6.0)
    assert pace.wait(6.1) == 0.0
    pace.take(6.1)
    assert pace.wait(6.1) == pytest.approx(1 / 0.9)


@pytest.mark.parametrize("depth", [1, 60])
@pytest.mark.parametrize("refusals", [0, 1, 2])
def test_a_time_in_which_nothing_is_asked_tells_nothing_however_long_it_is(refusals: int, depth: int) -> None:
    """Beyond five seconds; before the first refusal as well as after it, of servers that save up much or nothing."""

    def waits(idle: float) -> list[float]:
        """Until the next call, in what comes after the pause."""
        pace, at, found = LearnedPace(), 0.0, []

        def go(seconds: float, *, every: float) -> None:
            nonlocal at
            end = at + seconds
            while at < end:
                found.append(pace.wait(at))
                at += found[-1]
                pace.take(at)
                at += every

        for _ in range(depth):
            pace.wait(at)
            pace.take(at)
        if depth == 1:
            go(4.0, every=0.125)
        for _ in range(refusals):
            pace.refused(pace._sent[-1])
            at += 1.0
            go(4.0, every=0.125)
        at += pace.wait(at) + idle
        found.clear()
        go(2.0, every=0.125)
        pace.refused(pace._sent[-1])
        at += 1.0
        go(20.0, every=0.0)
        return found

    assert waits(IDLE + 1_000.0) == pytest.approx(waits(IDLE), abs=1e-6)
    assert waits(IDLE) != pytest.approx(waits(0.0), abs=1e-6)


def test_what_was_refused_by_chance_before_a_pause_tells_the_same_after_it() -> None:
    """Calls that went before it would be counted among those that went through since."""
    pace = LearnedPace()
    pace._sent.extend(float(second) for second in range(40))
    pace._refused_at = -100.0
    pace._chances.append(20.0)
    before = pace._let_through(list(pace._sent), 39.0)
    pace._leave_out(1_000.0)
    assert pace._let_through(list(pace._sent), 1_039.0) == pytest.approx(before)
