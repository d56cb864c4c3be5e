"""Replicas: a prefix stays with its replica, no replica gets too much, a failing one is rested and comes back."""

import asyncio
from collections import Counter
from math import ceil, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_world import Server, SlotServer, ask, now

from metaspo.backends import (
    AccessDenied,
    Completion,
    HalfAnswer,
    Overloaded,
    RateLimited,
    Request,
    RequestRejected,
    ServerFault,
    Unreachable,
)
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.scheduling import (
    EndpointDown,
    EndpointUp,
    Event,
    Gateway,
    GivenUp,
    HeldBack,
    Lane,
    LaneGaveUp,
    LaneSettings,
    LaneStopped,
    Unavailable,
    Waiting,
)
from metaspo.scheduling.lanes.endpoints import (
    FIRST_LOOK,
    FIRST_REST,
    LOAD_BOUND,
    LOAD_PERIOD,
    LONGEST_REST,
    MAX_FAILING,
    PREFIXES_KEPT,
    RECENT,
    Endpoint,
    Endpoints,
    Health,
)


def refuse_connections(request: Request | None = None) -> None:
    """As a server that is gone."""
    raise Unreachable("connection refused")


def halve(request: Request) -> None:
    """Sends half an answer, whatever is asked."""
    raise HalfAnswer("abort")


def servers(count: int, *, latency: float = 1.0) -> list[Server]:
    """Replicas of one model."""
    return [Server(f"replica{number}", latency=latency) for number in range(count)]


@settings(deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(0, 3), min_size=1, max_size=80))
def test_no_replica_gets_more_than_its_share(count: int, prefixes: list[int]) -> None:
    """Each pick leaves the load within the bound of the mean, however skewed the prefixes are."""
    endpoints = Endpoints(servers(count))
    for number, prefix in enumerate(prefixes, start=1):
        endpoint = endpoints.pick(ask(number, system=f"prefix {prefix}"))
        assert endpoint is not None
        endpoint.in_flight += 1
        assert endpoint.in_flight <= LOAD_BOUND * number / count + 1


def test_replicas_are_evenly_busy_where_all_requests_have_one_prefix() -> None:
    """The first in its order has a tenth more than its share, and the last one nearly its share."""
    for count in (3, 4, 16):
        endpoints = Endpoints(servers(count))
        for number in range(100 * count):
            endpoint = endpoints.pick(ask(number, system="one"))
            assert endpoint is not None
            endpoint.in_flight += 1
        loads = [endpoint.in_flight for endpoint in endpoints._order("one")]
        assert loads[0] == max(loads) <= 111
        assert min(loads) >= 80


@pytest.mark.parametrize(("every", "least"), [(3, 40), (10, 70)])
def test_requests_of_others_in_between_leave_no_replica_without_work(every: int, least: int) -> None:
    """As those of another run do, among the many of a test split, with prefixes of their own."""
    endpoints = Endpoints(servers(16))
    for number in range(1600):
        endpoint = endpoints.pick(ask(number, system="another" if number % every == 0 else "one"))
        assert endpoint is not None
        endpoint.in_flight += 1
    assert min(endpoint.in_flight for endpoint in endpoints.all) >= least


def test_the_next_prefix_that_most_requests_have_is_spread_soon_however_many_had_the_one_before() -> None:
    """Told by the first request that goes to the last replica in their order, where the others have their share."""
    endpoints = Endpoints(servers(4))
    for system, latest in (("one", 202), ("two", 610)):
        order = endpoints._order(system)
        for endpoint, in_flight in zip(order, (120, 101, 101, 78), strict=True):
            endpoint.in_flight = in_flight
        picked = [endpoints.pick(ask(number, system=system)) for number in range(5000)]
        assert picked[0] is order[1]
        assert 2 <= picked.index(order[3]) <= latest
        assert picked[-1] is order[3]


@settings(deadline=None)
@given(st.integers(2, 16), st.permutations(range(7)), st.integers(2, 7), st.integers(1, 6), st.integers(1, 12))
def test_prefixes_that_come_by_turns_go_to_the_first_in_their_order_that_has_room(
    count: int, prefixes: list[int], many: int, rounds: int, each: int
) -> None:
    """However full the others are: nothing is computed anew to even them out, since none is what most requests have."""
    turns = prefixes[:many] * rounds
    endpoints = Endpoints(servers(count))
    for endpoint in endpoints.all:
        endpoint.in_flight = 6
    for number, prefix in enumerate(turn for turn in turns for _ in range(each)):
        load = (sum(endpoint.in_flight for endpoint in endpoints.all) + 1) / count
        order = endpoints._order(f"prefix {prefix}")
        first = next(endpoint for endpoint in order if endpoint.in_flight < ceil(LOAD_BOUND * load))
        assert endpoints.pick(ask(number, system=f"prefix {prefix}")) is first
        first.in_flight += 1


def test_a_prefix_stays_where_it_is() -> None:
    """With room everywhere, one prefix goes to one replica, and many prefixes are spread."""
    endpoints = Endpoints(servers(4))
    homes = {}
    for prefix in range(200):
        picked = {id(endpoints.pick(ask(number, system=f"prefix {prefix}"))) for number in range(5)}
        assert len(picked) == 1
        homes[prefix] = picked.pop()
    assert min(Counter(homes.values()).values()) >= 25


def test_losing_a_replica_moves_only_its_own_prefixes() -> None:
    """The others keep what they have computed."""
    endpoints = Endpoints(servers(4))
    requests = [ask(0, system=f"prefix {number}") for number in range(100)]
    before = [endpoints.pick(request) for request in requests]
    gone = endpoints.all[0]
    gone.rest()
    after = [endpoints.pick(request) for request in requests]
    assert gone not in after
    assert all(new is old for old, new in zip(before, after, strict=True) if old is not gone)


def test_requests_without_a_system_message_are_known_by_their_first_one() -> None:
    """Two different questions may live on different replicas; the same one does not move."""
    endpoints = Endpoints(servers(8))
    assert len({id(endpoints.pick(ask(number))) for number in range(40)}) > 1
    assert endpoints.pick(ask(3)) is endpoints.pick(ask(3))


def run_batch(
    replicas: list[Server], count: int, settings: LaneSettings, *, later: dict[float, tuple[int, bool]] | None = None
) -> tuple[float, list[Event]]:
    """Complete `count` requests; `later` maps a time to (replica, whether it works from then on)."""

    async def change(at: float, replica: int, works: bool) -> None:
        await asyncio.sleep(at)
        replicas[replica].plan = (lambda request: None) if works else refuse_connections
        replicas[replica].probe_plan = (lambda: None) if works else refuse_connections

    async def main() -> tuple[float, list[Event]]:
        events: list[Event] = []
        gateway = Gateway([Lane("lane", replicas, settings)], store=MemoryStore(), on_event=events.append)
        async with gateway, asyncio.TaskGroup() as group:
            for at, (replica, works) in (later or {}).items():
                group.create_task(change(at, replica, works))
            await gateway.complete_many([ask(number, system=f"{number % 9}") for number in range(count)], lane="lane")
            took = now()
        return took, events

    return run_virtual(main())


EIGHT = LaneSettings(concurrency=8)


def test_a_dying_replicas_requests_go_elsewhere_and_it_comes_back() -> None:
    """Down at 5 s, back at 40 s: everything is answered, and it works again in the end."""
    replicas = servers(2)
    took, events = run_batch(replicas, 800, EIGHT, later={5.0: (0, False), 40.0: (0, True)})
    assert took == pytest.approx(100, rel=0.1)
    assert next(type(event) for event in events if isinstance(event, EndpointDown | EndpointUp)) is EndpointDown
    ups = [event.at for event in events if isinstance(event, EndpointUp)]
    assert len(ups) == 1
    assert 40 <= ups[0] <= 75
    assert any(at > ups[0] for _, at in replicas[0].calls)


def test_replicas_of_one_address_have_names_of_their_own() -> None:
    """In statistics, and in what is told of them: two keys of one provider, say."""
    replicas, events = [Server("host"), Server("other"), Server("host")], list[Event]()

    def fails(request: Request | None = None) -> None:
        raise Unreachable("host cannot be reached at http://host/v1 (connection refused)", refused=True)

    async def main() -> None:
        for replica in replicas:
            replica.plan, replica.probe_plan = fails, fails
        lane = Lane("m", replicas[:1], standby=replicas[1:])
        async with Gateway([lane], store=MemoryStore(), on_event=events.append) as gateway:
            asking = asyncio.ensure_future(gateway.complete_many([ask(1)], lane="m"))
            await asyncio.sleep(5)
            names = [endpoint.name for endpoint in gateway.statistics().lanes["m"].endpoints]
            assert names == ["host", "other", "host (2)"]
            asking.cancel()
            await asyncio.wait([asking])

    run_virtual(main())
    told = {event.endpoint: event.reason for event in events if isinstance(event, EndpointDown)}
    assert told["host"] == "host cannot be reached at http://host/v1 (connection refused)"
    assert told["host (2)"] == "host (2) cannot be reached at http://host/v1 (connection refused)"


def test_a_resting_replica_is_probed_with_growing_pauses() -> None:
    """It is not hammered, and gets no request while it is down."""
    replicas = servers(2)
    run_batch(replicas, 1_600, EIGHT, later={5.0: (0, False)})
    assert 6 <= replicas[0].probes <= 15
    assert sum(at > 10 for _, at in replicas[0].calls) == 0


def test_when_all_are_down_the_run_waits_and_goes_on() -> None:
    """Ten minutes of outage cost ten minutes and no result."""
    replicas = servers(1)
    took, events = run_batch(replicas, 80, EIGHT, later={3.5: (0, False), 600.0: (0, True)})
    assert 600 <= took <= 650
    assert any(isinstance(event, Waiting) for event in events)
    assert len(replicas[0].finished) == 80


@pytest.mark.virtual
async def test_patience_ends_in_a_clean_stop_that_says_why() -> None:
    """Nobody is left hanging; a later request waits anew."""
    server = Server()
    server.plan = server.probe_plan = refuse_connections
    events: list[Event] = []
    lane = Lane("lane", [server], LaneSettings(patience=60, first_patience=60, concurrency=2))
    async with Gateway([lane], store=MemoryStore(), on_event=events.append) as gateway:
        tasks = [asyncio.create_task(gateway.complete(ask(number), lane="lane")) for number in range(5)]
        for task in tasks:
            with pytest.raises(Unavailable, match=r"60 seconds.*connection refused.*is kept"):
                await task
        assert now() == pytest.approx(60, abs=1)
        with pytest.raises(Unavailable):
            await gateway.complete(ask(9), lane="lane")
        assert now() == pytest.approx(120, abs=2)
        server.plan, server.probe_plan = (lambda request: None), (lambda: None)
        assert (await gateway.complete(ask(9), lane="lane")).text == "question 9"
        await asyncio.sleep(0)
    assert [event.final for event in events if isinstance(event, LaneGaveUp)] == [False, False]


@pytest.mark.virtual
async def test_a_server_never_heard_of_gets_less_patience_than_one_that_is_down() -> None:
    """A wrong address is told in seconds; an outage is waited out."""
    server = Server()
    lane = Lane("lane", [server], LaneSettings(patience=600, first_patience=15, concurrency=2))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        server.plan = server.probe_plan = refuse_connections
        with pytest.raises(Unavailable, match="15 seconds"):
            await gateway.complete(ask(1), lane="lane")
        server.plan, server.probe_plan = (lambda request: None), (lambda: None)
        await gateway.complete(ask(2), lane="lane")
        server.plan = server.probe_plan = refuse_connections
        before = now()
        with pytest.raises(Unavailable):
            await gateway.complete(ask(3), lane="lane")
        assert now() - before >= 600


@pytest.mark.virtual
async def test_an_outage_uses_up_no_attempts() -> None:
    """Five minutes of 500s for everybody are the server's trouble, not eight requests' own."""
    server = Server()

    def fault(request: Request) -> None:
        if now() < 300:
            raise ServerFault("500")

    server.plan = fault
    lane = Lane("lane", [server], LaneSettings(concurrency=8, attempts=3))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        results = await gateway.complete_many([ask(number) for number in range(40)], lane="lane")
    assert len(results) == 40
    assert len(server.calls) < 100
    assert now() < 400


@pytest.mark.virtual
async def test_one_poisonous_request_does_not_take_the_server_down() -> None:
    """It fails alone, after its attempts, while the others are served by an endpoint that stays up."""
    server, events = Server(), list[Event]()

    def poison(request: Request) -> None:
        if request.messages[-1].content == "question 0":
            raise ServerFault("500")

    server.plan = poison
    lane = Lane("lane", [server], LaneSettings(concurrency=2, attempts=4))
    async with Gateway([lane], store=MemoryStore(), on_event=events.append) as gateway:
        bad = asyncio.create_task(gateway.complete(ask(0), lane="lane"))
        await gateway.complete_many([ask(number) for number in range(1, 100)], lane="lane")
        with pytest.raises(GivenUp, match="no answer in 4 tries"):
            await bad
    assert not any(isinstance(event, EndpointDown) for event in events)


@pytest.mark.virtual
async def test_a_refusal_for_the_rate_holds_the_whole_lane() -> None:
    """Nobody else calls before the time the provider named is over."""
    server, events = Server(), list[Event]()
    refusals = iter([RateLimited("429", retry_after=30.0)])

    def refuse_once(request: Request) -> None:
        error = next(refusals, None)
        if error is not None:
            raise error

    server.plan = refuse_once
    lane = Lane("lane", [server], LaneSettings(concurrency=1))
    async with Gateway([lane], store=MemoryStore(), on_event=events.append) as gateway:
        await gateway.complete_many([ask(number) for number in range(5)], lane="lane")
    times = [at for _, at in server.calls]
    assert times[0] == 0.0
    assert all(at >= 30 for at in times[1:])
    assert [text for text, _ in server.calls[:2]] == ["question 0", "question 0"]
    assert any(isinstance(event, HeldBack) for event in events)


@pytest.mark.virtual
async def test_a_wait_of_hours_is_a_stop_at_once() -> None:
    """The day's requests are used up: say so now, not after fifteen minutes."""
    server = Server()

    def refuse(request: Request) -> None:
        raise RateLimited("Requests per day are used up.", retry_after=5 * 3600.0)

    server.plan = refuse
    async with Gateway([Lane("lane", [server])], store=MemoryStore()) as gateway:
        with pytest.raises(Unavailable, match=r"5\.\d hours"):
            await gateway.complete_many([ask(number) for number in range(30)], lane="lane")
    assert now() == 0.0


@pytest.mark.virtual
async def test_our_own_day_limit_is_a_stop_at_once_too() -> None:
    """What was answered before is kept."""
    server = Server()
    lane = Lane("lane", [server], LaneSettings(requests_per_day=5, concurrency=1))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        with pytest.raises(Unavailable, match="hours"):
            await gateway.complete_many([ask(number) for number in range(9)], lane="lane")
    assert len(server.finished) == 5


@pytest.mark.virtual
async def test_endless_refusals_end_with_the_lanes_patience() -> None:
    """503s do not use up attempts, but do not go on for ever either."""
    server = Server()

    def refuse(request: Request) -> None:
        raise Overloaded("full")

    server.plan = refuse
    lane = Lane("lane", [server], LaneSettings(patience=120, attempts=2))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        with pytest.raises(Unavailable, match="last: full"):
            await gateway.complete_many([ask(number) for number in range(20)], lane="lane")
    assert 120 <= now() <= 200


@pytest.mark.virtual
@pytest.mark.parametrize("before", [0, 5])
async def test_a_server_that_sends_halves_only_is_asked_few_times_and_not_waited_for(before: int) -> None:
    """It is there, so that no outage is to be waited for; and what would meet the same is not sent."""
    server = Server()
    async with Gateway([Lane("lane", [server], LaneSettings(concurrency=8))], store=MemoryStore()) as gateway:
        await gateway.complete_many([ask(number) for number in range(before)], lane="lane")
        server.plan = halve
        with pytest.raises(Unavailable, match="abort"):
            await gateway.complete_many([ask(number) for number in range(100, 150)], lane="lane")
    assert len(server.calls) - before <= 50
    assert now() <= 500


@pytest.mark.virtual
async def test_halves_of_one_replica_are_asked_at_another() -> None:
    bad, good = servers(2)
    bad.plan = halve
    async with Gateway([Lane("lane", [bad, good], LaneSettings(concurrency=8))], store=MemoryStore()) as gateway:
        answers = await gateway.complete_many([ask(number) for number in range(50)], lane="lane")
    assert all(isinstance(answer, Completion) for answer in answers)
    assert len(bad.calls) <= 40


@pytest.mark.virtual
async def test_a_call_that_was_out_may_show_that_a_resting_endpoint_works() -> None:
    """It is up again at once, and the probe that was planned does no harm."""
    server, events = Server(latency=5), list[Event]()

    def refuse_second(request: Request) -> None:
        if request.messages[-1].content == "question 1" and now() < 1:
            raise Unreachable("refused")

    server.plan = refuse_second
    server.probe_plan = refuse_connections
    lane = Lane("lane", [server], LaneSettings(concurrency=2))
    async with Gateway([lane], store=MemoryStore(), on_event=events.append) as gateway:
        await gateway.complete_many([ask(number) for number in range(6)], lane="lane")
        await asyncio.sleep(100)
        assert gateway.statistics().lanes["lane"].endpoints[0].health == "up"
    assert len([event for event in events if isinstance(event, EndpointUp)]) == 1
    assert now() < 130


@pytest.mark.virtual
async def test_a_call_that_reached_nobody_uses_nothing_of_the_limit() -> None:
    """After an outage the rate limit is as full as before."""
    server = Server()
    server.plan = server.probe_plan = refuse_connections
    lane = Lane("lane", [server], LaneSettings(concurrency=1, requests_per_minute=1, patience=10))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        with pytest.raises(Unavailable):
            await gateway.complete(ask(1), lane="lane")
        assert gateway.statistics().lanes["lane"].requests_in_minute == 0


class GaugedServer(SlotServer):
    """Shows how many it works on and has waiting."""

    async def load(self) -> dict[str, float]:
        return {"running": min(self.running, self.slots), "waiting": max(0, self.running - self.slots)}


def test_a_server_that_shows_its_queue_is_not_tried_with_more() -> None:
    """Once its own queue is long enough, no trial of more calls is made."""

    async def main() -> int:
        server = GaugedServer(slots=24, latency=4.1)  # so that its gauges are never read just when answers come
        lane = Lane("lane", [server], LaneSettings(concurrency="auto"))
        async with Gateway([lane], store=MemoryStore()) as gateway:
            batch = asyncio.create_task(gateway.complete_many([ask(number) for number in range(4_000)], lane="lane"))
            await asyncio.sleep(150)
            server.peak = 0
            await batch
        return server.peak

    assert run_virtual(main()) <= 32


@pytest.mark.virtual
@pytest.mark.parametrize("denies_calls", [False, True])
async def test_a_probe_that_is_denied_decides_nothing_and_a_call_that_is_stops_the_lane(denies_calls: bool) -> None:
    """The server is back; whether it wants us only a call can tell: many keep their list of models to themselves."""
    server = Server()
    outcomes = iter([Unreachable("gone")])

    def deny(_: Request | None = None) -> None:
        raise AccessDenied("The key was withdrawn.")

    def fail_once(request: Request) -> None:
        error = next(outcomes, None)
        if error is not None:
            raise error
        if denies_calls:
            deny()

    server.plan, server.probe_plan = fail_once, deny
    async with Gateway([Lane("lane", [server])], store=MemoryStore()) as gateway:
        if denies_calls:
            with pytest.raises(LaneStopped, match="withdrawn"):
                await gateway.complete(ask(1), lane="lane")
        else:
            assert (await gateway.complete(ask(1), lane="lane")).text == "question 1"


@pytest.mark.virtual
async def test_a_probe_that_is_rejected_is_an_answer() -> None:
    """A server without a list of models is still a server."""
    server = Server()
    outcomes = iter([Unreachable("gone")])

    def fail_once(request: Request) -> None:
        error = next(outcomes, None)
        if error is not None:
            raise error

    def reject() -> None:
        raise RequestRejected("404")

    server.plan, server.probe_plan = fail_once, reject
    async with Gateway([Lane("lane", [server])], store=MemoryStore()) as gateway:
        assert (await gateway.complete(ask(1), lane="lane")).text == "question 1"


def test_a_lane_needs_an_endpoint() -> None:
    """Saying so when it is made beats waiting for ever."""
    with pytest.raises(ValueError, match="backend"):
        Lane("lane", [])


def test_an_endpoint_is_to_rest_when_three_different_requests_failed_in_a_row() -> None:
    """What was out when it was rested begins a new count; an answer ends it; in a trial one failure is enough."""
    endpoint = Endpoint(Server())
    assert [endpoint.fail(key) for key in "aab"] == [False] * 3
    assert not endpoint.succeed("d", 5.0)
    assert [endpoint.fail(key) for key in "bcca"] == [False, False, False, True]
    assert endpoint.rest() == FIRST_REST
    assert (endpoint.health, endpoint.fail("d")) == (Health.DOWN, False)
    assert [endpoint.rest() for _ in range(6)] == [2.0, 4.0, 8.0, 16.0, LONGEST_REST, LONGEST_REST]
    endpoint.health = Health.TRIAL
    assert endpoint.fail("e")
    assert endpoint.succeed("d", 9.0)
    assert (endpoint.health, endpoint.answered, endpoint.answered_at) == (Health.UP, 2, 9.0)
    assert endpoint.rest() == FIRST_REST
    assert [endpoint.answers_since(then) for then in (None, 8.0, 9.0)] == [False, True, False]
    assert not Endpoint(Server()).answers_since(0.0)


def test_an_endpoint_fails_alone_where_three_that_it_failed_at_are_answered_elsewhere_and_none_by_it() -> None:
    """Since it failed at each; while it rests, or is tried, its failures before say nothing new."""
    endpoint = Endpoint(Server())
    assert [endpoint.failed_alone(key, since=1.0) for key in "aab"] == [False] * 3
    endpoint.succeed("d", 5.0)
    assert [endpoint.failed_alone(key, since=4.0) for key in "abcd"] == [False] * 4, "it has answered since"
    assert [endpoint.failed_alone(key, since=5.0) for key in "abc"] == [False, False, True]
    for endpoint.health in (Health.DOWN, Health.TRIAL, Health.COLD):
        assert not endpoint.failed_alone("d", since=6.0)


def test_which_others_take_a_request_at_once_and_which_may_yet() -> None:
    """Who is down may if it has ever answered."""
    endpoints = Endpoints(servers(3))
    a, b, c = endpoints.all
    table = [
        (Health.UP, 0, True, True),
        (Health.TRIAL, 0, False, True),
        (Health.COLD, 0, False, True),
        (Health.DOWN, 0, False, False),
        (Health.DOWN, 1, False, True),
    ]
    for c.health, c.answered, at_once, yet in table:
        assert (endpoints.another([a, b]), endpoints.may_answer([a, b])) == (at_once, yet)
        assert (endpoints.another([a, b, c]), endpoints.may_answer([a, b, c])) == (False, False)
        assert (endpoints.another([a]), endpoints.may_answer([a])) == (True, True)


def test_who_is_to_be_avoided_is_where_others_can_take_a_request() -> None:
    """The first group even where all others are in the second."""
    endpoints = Endpoints(servers(3))
    a, b, c = endpoints._order("prefix")
    request = ask(1, system="prefix")
    assert endpoints.pick(request, avoid=([], [a])) is b
    assert endpoints.pick(request, avoid=([a], [b])) is c
    assert endpoints.pick(request, avoid=([b], [a, b, c])) is a
    assert endpoints.pick(request, avoid=([a], [b, c])) is b
    assert endpoints.pick(request, avoid=([a, b, c], [a])) is b


def test_an_endpoint_in_a_trial_gets_one_call_and_none_that_is_down_gets_any() -> None:
    """Alone, or among others; where all that are up have their share, the one with the fewest takes it."""
    for count in (1, 3):
        endpoints = Endpoints(servers(count))
        for endpoint in endpoints.all[1:]:
            endpoint.health = Health.DOWN
        last = endpoints.all[0]
        last.health = Health.TRIAL
        assert endpoints.pick(ask(1)) is last
        assert not endpoints.none_up()
        last.in_flight = 1
        assert endpoints.pick(ask(1)) is None
        last.health = Health.DOWN
        assert endpoints.pick(ask(1)) is None
        assert endpoints.none_up()
        last.health = Health.COLD
        assert endpoints.pick(ask(1)) is None
        assert not endpoints.none_up()
    endpoints = Endpoints(servers(2))
    home = endpoints.pick(ask(1, system="a prefix"))
    assert home is not None
    (other,) = [endpoint for endpoint in endpoints.all if endpoint is not home]
    home.in_flight, other.in_flight = 1, 0
    assert endpoints.pick(ask(1, system="a prefix")) is home, "two of two and a bit are its share"
    home.in_flight = 2
    assert endpoints.pick(ask(1, system="a prefix")) is other


def test_prefixes_that_were_not_used_for_long_are_forgotten_and_go_where_they_went() -> None:
    """Memory is bounded; an order depends on nothing but prefix and names."""
    endpoints = Endpoints(servers(5))
    used = [endpoints.pick(ask(1, system="used"))]
    seen = [endpoints.pick(ask(1, system=f"prefix {number}")) for number in range(50)]
    for number in range(PREFIXES_KEPT):
        endpoints.pick(ask(1, system=f"other {number}"))
        if number % 1_000 == 0:
            used.append(endpoints.pick(ask(1, system="used")))
    assert len(endpoints._orders) == PREFIXES_KEPT
    assert ["used" in endpoints._orders, "prefix 0" in endpoints._orders] == [True, False]
    assert used == [used[0]] * len(used)
    assert [endpoints.pick(ask(1, system=f"prefix {number}")) for number in range(50)] == seen
    assert len({id(endpoint) for endpoint in seen}) == 5


def test_what_is_due_is_looked_at_once_until_it_is_said_when_again() -> None:
    """Gauges after a while; what has to be started at once."""
    endpoints = Endpoints(servers(3), now=10.0)
    a, b, c = endpoints.all
    assert endpoints.look_at == 10.0 + FIRST_LOOK
    for endpoint in endpoints.all:
        endpoints.look_next(endpoint, 10.0 + LOAD_PERIOD)
    endpoints.look_next(a, 11.0)
    assert endpoints.look_at == 11.0
    endpoints.look_next(b, 20.0)
    assert endpoints.take_due(10.9) == []
    assert endpoints.take_due(11.0) == [a]
    assert endpoints.look_at == 10.0 + LOAD_PERIOD
    assert endpoints.take_due(30.0) == [b, c]
    assert endpoints.look_at == inf


def test_gauges_are_looked_at_sooner_where_they_are_told_and_nobody_looks_now() -> None:
    """Never later."""
    endpoints = Endpoints(servers(4))
    a, b, c, d = endpoints.all
    for endpoint, at in ((a, 5.0), (b, 2.0), (c, inf), (d, 5.0)):
        endpoint.load = {"running": 1.0} if endpoint is not d else {}
        endpoints.look_next(endpoint, at)
    endpoints.look_by(3.0)
    assert [endpoint.look_at for endpoint in endpoints.all] == [3.0, 2.0, inf, 5.0]
    a.health = Health.DOWN
    endpoints.look_by(1.5)
    assert [endpoint.look_at for endpoint in endpoints.all] == [3.0, 1.5, inf, 5.0], "nobody is looked at in its rest"
    a.health = Health.UP
    endpoints.look_by(1.0)
    assert endpoints.look_at == 1.0


def test_gauges_are_those_of_all_that_are_up_and_preemptions_are_the_new_ones() -> None:
    """Of the first word nothing is new, and nothing is less than nothing after a restart."""
    endpoints = Endpoints(servers(3))
    a, b, c = endpoints.all
    assert endpoints.hear_load(a, {"running": 2.0, "waiting": 1.0, "preemptions": 7.0}) == (0.0, 0.0, 0.0)
    assert endpoints.hear_load(a, {"running": 2.0, "waiting": 1.0, "preemptions": 8.0}) == (0.0, 0.0, 1.0)
    assert endpoints.hear_load(b, {"running": 3.0}) == (0.0, 0.0, 0.0), "the third may idle"
    assert endpoints.hear_load(c, {"running": 4.0, "waiting": 4.0}) == (9.0, 5.0, 0.0)
    c.health = Health.DOWN
    assert endpoints.hear_load(a, {"running": 1.0, "preemptions": 10.0}) == (4.0, 0.0, 2.0)
    assert endpoints.hear_load(a, {"preemptions": 3.0}) == (3.0, 0.0, 0.0)
    assert endpoints.hear_load(a, {"preemptions": 4.0}) == (3.0, 0.0, 1.0)
    assert endpoints.hear_load(a, {"preemptions": 0.0}) == (3.0, 0.0, 0.0), "it was started anew"
    assert endpoints.hear_load(a, {"running": 1.0}) == (4.0, 0.0, 0.0), "it tells none any more"


def test_requests_that_failed_again_are_among_the_latest_though_they_were_met_before() -> None:
    """So many have failed that it is not one of them alone that does."""
    endpoint, failing = Endpoint(Server()), [f"failing {number}" for number in range(int(MAX_FAILING * (RECENT + 1)))]
    for key in failing:
        endpoint.faulted(key)
    for number in range(RECENT - len(failing)):
        endpoint.succeed(f"first {number}", 1.0)
    for key in failing:
        endpoint.faulted(key)
    for number in range(len(failing)):
        endpoint.succeed(f"then {number}", 2.0)
    assert not endpoint.works_without("another", failing_since=0.0)
