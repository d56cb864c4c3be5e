"""A server that refuses a share of all calls whatever the pace: that share is lost, and no more."""

import asyncio
import random
from collections.abc import Callable

import pytest
from scheduling_world import Server, ask, now
from sizes import rest_is_slow

from metaspo.backends import RateLimited, Reply, Request
from metaspo.cache import MemoryStore
from metaspo.scheduling import Gateway, Lane, LaneSettings
from metaspo.scheduling.limits.chance import RECENT, Chance

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
