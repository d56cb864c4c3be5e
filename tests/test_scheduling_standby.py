"""A standby is asked what no other endpoint takes, and nothing else."""

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling_world import Server, ask, now

from metaspo.backends import AccessDenied, BackendError, RateLimited, Request, ServerFault, TimedOut, Unreachable
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.scheduling import Gateway, Lane, LaneSettings
from metaspo.scheduling.lanes.endpoints import Endpoints, Health
from metaspo.scheduling.retry import LONGEST_HOLD

FOUR = LaneSettings(concurrency=4, patience=60.0)
Minute = tuple[float, float]


def complete(server: Server, standby: Server, count: int = 40, *, fails: Minute = (0.0, 0.0), by: BackendError) -> None:
    """Ask `count` questions one after the other by fours; between these seconds the first server fails."""

    def refuse(_: Request | None = None) -> None:
        if fails[0] <= now() < fails[1]:
            raise by

    async def main() -> None:
        server.plan, server.probe_plan = refuse, refuse
        async with Gateway([Lane("m", [server], FOUR, standby=[standby])], store=MemoryStore()) as gateway:
            answers = await gateway.complete_many([ask(number) for number in range(count)], lane="m")
            assert [answer.text for answer in answers] == [f"question {number}" for number in range(count)]  # type: ignore[union-attr]

    run_virtual(main())


GONE = Unreachable("connection refused", refused=True)


def test_a_standby_is_asked_nothing_while_another_endpoint_answers() -> None:
    first, standby = Server("first"), Server("standby")
    complete(first, standby, by=GONE)
    assert (len(first.calls), len(standby.calls)) == (40, 0)
    assert standby.closed, "it is the lane's all the same"


def test_a_standby_answers_while_the_others_are_gone_and_no_longer() -> None:
    """From the first refused call on, until a probe finds that the first server is back."""
    first, standby = Server("first"), Server("standby")
    complete(first, standby, 400, fails=(20.0, 40.0), by=GONE)
    assert len(first.finished) + len(standby.finished) == 400
    assert standby.calls[0][1] == 20.0
    assert 40.0 < standby.calls[-1][1] < 75.0
    assert first.calls[-1][1] > standby.calls[-1][1]


@pytest.mark.parametrize("refusal", [ServerFault("500"), AccessDenied("bad key"), RateLimited("429")])
def test_what_an_endpoint_refuses_is_asked_of_its_standby(refusal: BackendError) -> None:
    first, standby = Server("first"), Server("standby")
    complete(first, standby, fails=(0.0, inf), by=refusal)
    assert not first.finished
    assert len(standby.finished) == 40


def limited(seconds: float, *, says: float = inf, fails: Callable[[], bool] = bool) -> tuple[Server, Server]:
    """The first server and its standby, after 20 minutes in which the first is at its limit for so long from 20.5 s on,
    and says so, or that it is for a shorter time. It takes 1 s for a call, or 3; the standby may fail."""
    first, standby = Server("first"), Server("standby")

    def refuse(_: Request) -> None:
        first.latency = 4.0 - first.latency
        if 20.5 <= now() < 20.5 + seconds:
            raise RateLimited("429", retry_after=min(says, 20.5 + seconds - now()))

    def fail(_: Request) -> None:
        if fails():
            raise ServerFault("500")

    async def main() -> None:
        first.plan, standby.plan = refuse, fail
        settings = LaneSettings(concurrency=4, patience=60.0)
        async with Gateway([Lane("m", [first], settings, standby=[standby])], store=MemoryStore()) as gateway:
            asking = asyncio.ensure_future(gateway.complete_many([ask(number) for number in range(6_000)], lane="m"))
            await asyncio.sleep(1_200)
            asking.cancel()
            await asyncio.wait([asking])

    run_virtual(main())
    return first, standby


def test_a_short_pause_that_a_limit_asks_for_is_waited_for() -> None:
    """And then the standby is asked what was refused, and no more."""
    _, standby = limited(LONGEST_HOLD)
    assert min(at for _, at in standby.calls) >= 20.5 + LONGEST_HOLD
    assert len(standby.calls) < 30


@pytest.mark.parametrize("minutes", [0.5, 10])
def test_while_an_endpoint_is_at_its_limit_for_longer_its_standby_is_asked(minutes: float) -> None:
    """At once, and nobody else, though calls that were out before are answered meanwhile; longer than patience lasts,
    too. After that time the first one is asked again, and the standby nothing more."""
    first, standby = limited(60 * minutes)
    back = 20.5 + 60 * minutes
    refused = [at for _, at in first.calls if 20.5 <= at < back]
    assert len(set(refused)) == 1
    assert standby.calls[0][1] == refused[0]
    assert sum(at > refused[0] for at in standby.finished_at) > 3 * 60 * minutes
    assert back < min(at for _, at in first.calls if at > refused[0]) < 1.1 * back
    assert standby.calls[-1][1] < 1.1 * back
    assert first.finished_at[-1] > 1_190


@pytest.mark.parametrize("says", [61.0, 300.0])
@pytest.mark.parametrize(
    "fails", [lambda chance: chance.random() < 0.3, lambda _: 75.0 < now() < 95.0 or 315.0 < now() < 335.0]
)
def test_a_standby_that_fails_for_a_moment_goes_on_afterwards(says: float, fails: Callable[[Random], bool]) -> None:
    """It has failed at what the first one refuses when that is tried again, or rests: patience is a minute here, and
    the pause, which is longer, ended the run."""
    first, standby = limited(1_000.0, says=says, fails=partial(fails, Random(3)))
    assert max(b - a for a, b in pairwise(sorted(first.finished_at + standby.finished_at))) < 45
    assert first.finished_at[-1] > 1_190


def test_what_fails_and_what_is_answered_of_the_calls_out_before_ends_no_pause() -> None:
    """The first of five calls is refused for ten minutes, another one fails, and the next is answered."""
    first, standby = Server("first"), Server("standby")

    async def work(request: Request) -> None:
        number = len(first.calls)
        await asyncio.sleep(number)
        if number == 1:
            raise RateLimited("429", retry_after=600.0)
        if number == 2:
            raise TimedOut("too slow")

    async def main() -> None:
        first.work = work  # type: ignore[method-assign]
        settings = LaneSettings(concurrency=5, patience=60.0)
        async with Gateway([Lane("m", [first], settings, standby=[standby])], store=MemoryStore()) as gateway:
            await gateway.complete_many([ask(number) for number in range(50)], lane="m")

    run_virtual(main())
    assert len(first.calls) == 5
    assert len(first.finished) == 3


@given(
    st.lists(st.tuples(st.sampled_from(Health), st.booleans(), st.integers(0, 3)), min_size=1, max_size=6),
    st.sets(st.integers(0, 5)),
)
def test_a_standby_is_picked_where_no_other_endpoint_may_be(
    found: list[tuple[Health, bool, int]], avoided: set[int]
) -> None:
    """Others may be where they are up or to be tried, and not avoided in favour of it."""
    servers = [[Server(f"{standby}{number}") for number in range(len(found))] for standby in (False, True)]
    endpoints = Endpoints(servers[0][:1], standby=servers[1])
    endpoints.all[0].health = Health.DOWN
    for endpoint, (health, standby, in_flight) in zip(endpoints.all[1:], found, strict=True):
        endpoint.health, endpoint.standby, endpoint.in_flight = health, standby, in_flight
    avoid = [endpoint for number, endpoint in enumerate(endpoints.all) if number in avoided]
    takes = [
        endpoint
        for endpoint in endpoints.all
        if endpoint.health is Health.UP or (endpoint.health is Health.TRIAL and not endpoint.in_flight)
    ]
    welcome = [endpoint for endpoint in takes if endpoint not in avoid] or takes
    picked = endpoints.pick(ask(1), avoid=(avoid,))
    assert (picked is None) == (not takes)
    if picked is not None:
        assert picked in welcome
        assert not picked.standby or all(endpoint.standby for endpoint in welcome)


def test_an_idle_standby_is_no_free_place_and_tells_no_load() -> None:
    """Else a standby without gauges would hide those of the servers that are asked."""
    endpoints = Endpoints([Server("first")], standby=[Server("standby")])
    first, standby = endpoints.all
    first.in_flight = 3
    assert not endpoints.any_idle()
    assert endpoints.hear_load(first, {"running": 3.0, "waiting": 2.0}) == (3.0, 2.0, 0.0)
    first.health = Health.DOWN
    assert endpoints.any_idle()
    standby.in_flight = 1
    assert not endpoints.any_idle()


def test_a_lane_has_the_places_of_its_own_endpoints_not_of_its_standby() -> None:
    """ "auto" goes no higher than each endpoint's bound, which nothing that stands by adds to."""
    first, standby = Server("first", latency=100.0), Server("standby", latency=100.0)
    settings = LaneSettings(max_concurrency=5)

    async def main() -> None:
        async with Gateway([Lane("m", [first], settings, standby=[standby])], store=MemoryStore()) as gateway:
            async with asyncio.timeout(50):
                await gateway.complete_many([ask(number) for number in range(40)], lane="m")

    with pytest.raises(TimeoutError):
        run_virtual(main())
    assert (first.peak, standby.peak) == (5, 0)


def test_what_is_no_backend_is_no_standby() -> None:
    with pytest.raises(TypeError, match="has no name"):
        Lane("m", [Server()], standby=["http://h/v1"])  # type: ignore[list-item]
