"""A server that refuses a share of all calls whatever the pace: that share is lost, and no more."""

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_world import Server, ask, now
from sizes import examples, rest_is_slow

from metaspo.backends import RateLimited, Reply, Request
from metaspo.cache import MemoryStore
from metaspo.scheduling import Gateway, Lane, LaneSettings
from metaspo.scheduling.limits.chance import RECENT, Chance
from metaspo.scheduling.limits.limits import RateLimits
from metaspo.scheduling.limits.squeeze import Squeeze

SLOTS = 16


class Moody(Server):
    """Refuses a share of what comes, which may change."""

    def __init__(self, share: Callable[[float], float], *, seed: int, retry_after: float | None = None) -> None:
        super().__init__(f"moody {seed}")
        self.share, self.retry_after = share, retry_after
        self._rng = random.Random(f"moody {seed}")

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        if self._rng.random() < self.share(now()):
            raise RateLimited("429", retry_after=self.retry_after)
        return await super().complete(request, time_limit=time_limit)


FIXED = LaneSettings(concurrency=SLOTS)


async def answers(servers: list[Moody], seconds: float, *, after: float, settings: LaneSettings = FIXED) -> float:
    """Answers a second from then on, of a lane that always has something to ask."""
    lane = Lane("lane", servers, settings)
    async with Gateway([lane], store=MemoryStore()) as gateway:
        requests = [ask(number) for number in range(round(SLOTS * seconds * 1.2))]
        asking = asyncio.ensure_future(gateway.complete_many(requests, lane="lane"))
        await asyncio.sleep(seconds)
        asking.cancel()
        await asyncio.wait([asking])
    return sum(at > after for server in servers for at in server.finished_at) / (seconds - after)


WORLDS = [
    (share, retry_after, count)
    for share in (0.25, 0.05, 0.1, 0.5)
    for retry_after in (None, 2.0)
    for count in (1, 4)
    if share < 0.5 or retry_after is None  # a hold of 2 s for every other call takes longer, below
]


@pytest.mark.virtual
@pytest.mark.parametrize(("share", "retry_after", "count"), rest_is_slow(WORLDS, but=3))
async def test_of_a_server_that_refuses_at_random_half_of_what_it_would_take_is_had(
    share: float, retry_after: float | None, count: int
) -> None:
    """After a minute; with `Retry-After` or not, and from several replicas."""
    servers = [Moody(lambda at: share, seed=each, retry_after=retry_after) for each in range(count)]
    assert await answers(servers, 120.0, after=60.0) >= SLOTS * (1 - share) / 2


@pytest.mark.virtual
async def test_half_of_all_refused_with_a_wait_is_seen_through_within_two_minutes() -> None:
    """The pace goes back to what was had of late, not to what was on the whole since it was lowered last."""
    servers = [Moody(lambda at: 0.5, seed=100 + each, retry_after=2.0) for each in range(4)]
    assert await answers(servers, 180.0, after=120.0) >= SLOTS / 2


@pytest.mark.virtual
@pytest.mark.parametrize("share", [0.05, 0.25])
async def test_auto_finds_as_many_slots_as_where_nothing_is_refused(share: float) -> None:
    server = Moody(lambda at: share, seed=1)
    assert await answers([server], 120.0, after=60.0, settings=LaneSettings(max_concurrency=SLOTS)) >= 0.9 * SLOTS


@pytest.mark.virtual
@pytest.mark.parametrize("share", [1.0, 0.5])
async def test_what_was_refused_for_a_while_is_forgotten_within_a_minute(share: float) -> None:
    server = Moody(lambda at: share if 10 < at < 30 else 0.0, seed=1)
    assert await answers([server], 120.0, after=90.0) >= 0.9 * SLOTS


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("share", "retry_after"),
    rest_is_slow([(share, retry_after) for share in (0.05, 0.25, 0.01, 0.1) for retry_after in (None, 2.0)], but=3),
)
async def test_under_a_limit_that_is_known_four_fifths_of_what_a_share_leaves_is_had(
    share: float, retry_after: float | None
) -> None:
    """After two minutes."""
    server = Moody(lambda at: share, seed=7, retry_after=retry_after)
    limited = LaneSettings(concurrency=SLOTS, requests_per_minute=480)
    assert await answers([server], 240.0, after=120.0, settings=limited) >= 0.8 * 8 * (1 - share)


@settings(max_examples=examples(30, random=100))
@given(share=st.floats(0.1, 0.95), depth=st.floats(1, 60), per_minute=st.integers(60, 3_000))
def test_what_a_limit_below_the_known_one_refuses_is_never_chance(share: float, depth: float, per_minute: int) -> None:
    """However much it saves up."""
    limits, rate, left = RateLimits(requests_per_minute=per_minute), share * per_minute / 60, depth
    at = filled = 0.0
    while at < 200:
        wait = limits.wait(1, at)
        if wait > 0:
            at += wait
            continue
        call = limits.reserve(1, at)
        left, filled = min(depth, left + (at - filled) * rate), at
        if left < 1:
            assert limits.refused(call, at)
            limits.hold(1.0, at)
        else:
            left -= 1


def test_what_is_refused_by_chance_gives_back_what_was_lost_by_it() -> None:
    """One of ten calls is refused at random, after a hold as well as before it."""
    squeeze, at, rng = Squeeze(), 0.0, random.Random(1)
    divisors, told = [], []
    for _ in range(1_000):
        at += 0.1 * squeeze.divisor
        call = squeeze.sent(at, 0.1)
        if rng.random() < 0.1:
            told.append(squeeze.refused(call, at))
            divisors.append(squeeze.divisor)
            at += told[-1]
    assert divisors[0] > 1
    assert divisors[-1] == 1
    assert sum(told[-50:]) <= 2


def test_what_is_refused_at_a_high_pace_only_is_never_chance() -> None:
    """However little it is."""
    chance = Chance()
    for number in range(1_000):
        chance.sent(slowly=number % 100 < 50)
        if number % 100 == 99:
            assert not chance.explains(slowly=False, apart=True)
            chance.lowered()


def test_what_is_refused_at_a_low_pace_as_well_is_chance_once_lowering_it_did_not_help() -> None:
    """Until more than that is refused."""
    chance = Chance()
    told = []
    for number in range(40):
        chance.sent(slowly=True)
        if number % 4 == 3:
            told.append(chance.explains(slowly=True, apart=True))
            if not told[-1]:
                chance.lowered()
    assert told == [False] + [True] * 9
    for _ in range(RECENT):
        chance.sent(slowly=False)
        told.append(chance.explains(slowly=False, apart=False))
    assert told[10]
    assert not told[-1]


def test_many_refused_in_a_row_are_no_chance() -> None:
    """A server that takes nothing for a while."""
    chance = Chance()
    for number in range(200):
        chance.sent(slowly=True)
        if number % 100 >= 50:
            chance.explains(slowly=True, apart=number % 100 == 50)
            chance.lowered()
    assert chance.share < 0.05
