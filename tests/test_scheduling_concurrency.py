"""Automatic concurrency: finds what the server can use, follows it when it changes, and backs off when told to."""

import asyncio
from collections.abc import Callable
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_world import Server, SlotServer, ask, now
from sizes import rest_is_slow

from metaspo.backends import Overloaded, Request
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.engine.gather import gather
from metaspo.scheduling import ConcurrencyChanged, Event, Gateway, Lane, LaneSettings
from metaspo.scheduling.limits.concurrency import (
    CEILING_MEMORY,
    COOL_DOWN,
    FIRST,
    FIRST_METERED,
    AutoConcurrency,
    ConcurrencyControl,
    make_control,
)


class BatchServer(Server):
    """A step takes longer the more calls are in it: answers per second rise with the load and level off."""

    def __init__(self, name: str = "batch", *, base: float, per_call: float) -> None:
        super().__init__(name)
        self.base = base
        self.per_call = per_call

    async def work(self, request: Request) -> None:
        for _ in range(3):
            await asyncio.sleep((self.base + self.per_call * self.running) / 3)


class BoundedServer(SlotServer):
    """Has room for a few more than it works on, and refuses the rest with a 503."""

    def __init__(self, *, slots: int, room: int, latency: float = 1.0) -> None:
        super().__init__("bounded", slots=slots, latency=latency)
        self.refused = 0
        self.plan = self._admit
        self.room = room

    def _admit(self, request: Request) -> None:
        if self.running > self.slots + self.room:
            self.refused += 1
            raise Overloaded("full")


def seconds_for(server: Server, calls: int, setting: LaneSettings, events: list[Event] | None = None) -> float:
    """Virtual seconds that so many calls take."""

    async def main() -> float:
        listener = events.append if events is not None else None
        async with Gateway([Lane("lane", [server], setting)], store=MemoryStore(), on_event=listener) as gateway:
            await gateway.complete_many([ask(number) for number in range(calls)], lane="lane")
            return now()

    return run_virtual(main())


AUTO = LaneSettings(concurrency="auto", max_concurrency=256)


def rate_of(server: Server, calls: int, setting: LaneSettings) -> float:
    """Answers per second over the last three quarters of so many calls, but for the very end where work runs out."""
    seconds_for(server, calls, setting)
    first, last = calls // 4, calls - 2 * server.peak
    return (last - first) / (server.finished_at[last] - server.finished_at[first])


@pytest.mark.parametrize("slots", rest_is_slow([1, 24, 5, 48, 100], but=2))
def test_auto_comes_near_the_best_fixed_number_for_a_server_with_slots(slots: int) -> None:
    """Once it has settled, all slots are busy 95% of the time."""
    assert rate_of(SlotServer(slots=slots), 100 * slots + 200, AUTO) >= 0.95 * slots


@pytest.mark.parametrize(("base", "per_call"), rest_is_slow([(0.2, 0.0), (0.5, 0.01), (1.0, 0.1)]))
def test_auto_comes_near_the_best_fixed_number_for_a_server_that_batches(base: float, per_call: float) -> None:
    """Within 5% of the best of three fixed numbers, also where the gain of a larger batch fades slowly."""
    best = max(
        rate_of(BatchServer(base=base, per_call=per_call), 1_000, LaneSettings(concurrency=number, max_concurrency=64))
        for number in (8, 32, 64)
    )
    auto = LaneSettings(max_concurrency=64)
    assert rate_of(BatchServer(base=base, per_call=per_call), 2_000, auto) >= 0.95 * best


def test_auto_may_fill_every_replica() -> None:
    """Its upper bound is for each endpoint: three that serve the more the more is out get three times as much."""
    servers = [BatchServer(f"replica {number}", base=1.0, per_call=0.0) for number in range(3)]

    async def main() -> None:
        lane = Lane("lane", servers, LaneSettings(max_concurrency=16))
        async with Gateway([lane], store=MemoryStore()) as gateway:
            await gateway.complete_many([ask(number) for number in range(3_000)], lane="lane")
            assert gateway.statistics().lanes["lane"].concurrency <= 3 * 16

    run_virtual(main())
    assert 2.5 * 16 < sum(server.peak for server in servers) <= 3.5 * 16


@pytest.mark.parametrize(("before", "after"), rest_is_slow([(16, 32), (32, 16), (100, 50)], but=2))
def test_auto_follows_a_server_that_changes(before: int, after: int) -> None:
    """Soon after its slots double or halve, it is used to 90% again."""

    async def main() -> float:
        server = SlotServer(slots=before)
        async with Gateway([Lane("lane", [server], AUTO)], store=MemoryStore()) as gateway:
            calls = [ask(number) for number in range(150 * max(before, after))]
            batch = asyncio.create_task(gateway.complete_many(calls, lane="lane"))
            await asyncio.sleep(60)
            server.slots = after
            await asyncio.sleep(40)
            answered = len(server.finished)
            await asyncio.sleep(40)
            rate = (len(server.finished) - answered) / 40
            batch.cancel()
        return rate

    assert run_virtual(main()) >= 0.9 * after


class TellingServer(BatchServer):
    """Has places for so many at once, and tells how many it works on and how many wait."""

    def __init__(self, *, places: int) -> None:
        super().__init__("telling", base=0.4, per_call=0.001)
        self.places = asyncio.Semaphore(places)
        self.most = places

    async def work(self, request: Request) -> None:
        async with self.places:
            await super().work(request)

    async def load(self) -> dict[str, float]:
        return {"running": min(self.running, self.most), "waiting": max(0, self.running - self.most)}


@pytest.mark.parametrize("places", rest_is_slow([4, 64, 30, 200], but=2))
def test_a_server_that_tells_its_gauges_is_soon_full(places: int) -> None:
    """A thousand calls and some take little longer than with the best number; and few wait in its own line."""

    events = list[Event]()
    best = seconds_for(TellingServer(places=places), 1_000 + 10 * places, LaneSettings(concurrency=ceil(1.25 * places)))
    took = seconds_for(TellingServer(places=places), 1_000 + 10 * places, AUTO, events)
    limits = [event.after for event in events if isinstance(event, ConcurrencyChanged)]
    assert took <= 1.02 * best + 2.0
    assert min(limits[-2:]) <= 1.5 * places + 1, "the last may be a trial of more"


class Gauged(SlotServer):
    """Tells what it is given to tell."""

    def __init__(self, name: str, gauges: Callable[["Gauged"], dict[str, float]], *, slots: int = 10) -> None:
        super().__init__(name, slots=slots, latency=1.0)
        self._gauges = gauges

    async def load(self) -> dict[str, float]:
        return self._gauges(self)


def highest(servers: list[Gauged], calls: int) -> tuple[float, int]:
    """Virtual seconds that so many calls take, and the most that were to be out."""
    events = list[Event]()

    async def main() -> float:
        lane = Lane("lane", servers, LaneSettings(max_concurrency=2_000))
        async with Gateway([lane], store=MemoryStore(), on_event=events.append) as gateway:
            await gateway.complete_many([ask(number) for number in range(calls)], lane="lane")
            return now()

    took = run_virtual(main())
    return took, max(event.after for event in events if isinstance(event, ConcurrencyChanged))


def in_line(server: Gauged) -> dict[str, float]:
    """What it works on, and what waits."""
    return {
        "running": float(min(server.slots, server.running)),
        "waiting": float(max(0, server.running - server.slots)),
    }


def beside_a_flood(setting: LaneSettings, *, priority: int = 1) -> tuple[float, float]:
    """Virtual seconds that seven urgent calls take, one after the other, in the mean over twenty who ask so, and until
    many others are answered, too, that are less urgent."""

    async def main() -> tuple[float, float]:
        lane = Lane("lane", [Gauged("a", in_line, slots=200)], setting)
        async with Gateway([lane], store=MemoryStore()) as gateway:

            async def urgent(number: int) -> float:
                await asyncio.sleep(number / 20)
                began = now()
                for each in range(7):
                    await gateway.complete(ask(100 * number + each), lane="lane", priority=(priority,))
                return now() - began

            flood = [ask(number) for number in range(10_000, 12_000)]
            many = asyncio.create_task(gateway.complete_many(flood, lane="lane", priority=(2,)))
            taken = await gather(map(urgent, range(20)))
            await many
            return sum(taken) / 20, now()

    return run_virtual(main())


def test_what_is_less_urgent_does_not_wait_at_a_server_before_what_is_more_urgent() -> None:
    """Beyond what keeps it busy: urgent calls take less than with a quarter more out than it runs at once, though its
    number is yet to be found, and all that is asked ends as soon as where nothing is more urgent."""
    auto = LaneSettings(max_concurrency=2_000)
    urgent, end = beside_a_flood(auto)
    assert urgent <= 0.95 * beside_a_flood(LaneSettings(concurrency=250))[0]
    assert end <= 1.01 * beside_a_flood(auto, priority=2)[1]


def test_gauges_that_do_not_show_what_is_out_move_nothing() -> None:
    """Of another server, or of an earlier moment: as if none were told."""
    silent, zeros = (
        highest([Gauged("a", tells)], 1_000) for tells in (lambda _: {}, lambda _: {"running": 0.0, "waiting": 0.0})
    )
    assert zeros == silent


def test_a_server_that_calls_running_what_it_has_waiting_gets_no_more_than_it_answers_in_a_minute() -> None:
    """As much as is answered in half of one, and that doubled once, to be measured."""
    _, most = highest([Gauged("a", lambda server: {"running": float(server.running), "waiting": 0.0})], 1_500)
    assert most <= 2 * 1.1 * 30 * 10


def test_replicas_of_which_one_tells_gauges_are_all_in_use() -> None:
    """A line at that one says nothing of the others."""

    def tells(server: Gauged) -> dict[str, float]:
        return {"running": min(10.0, server.running), "waiting": max(0.0, server.running - 10.0)}

    took, _ = highest([Gauged("a", tells), *(Gauged(name, lambda _: {}) for name in "bcd")], 2_000)
    assert took <= 1.1 * 2_000 / 40


def test_gauges_that_are_not_there_at_first_or_for_a_moment_are_asked_for_again() -> None:
    """Some servers have them from the first call on, and a page may come too late once."""
    looks = list[float]()

    def tells(server: Gauged) -> dict[str, float]:
        looks.append(now())
        return {} if len(looks) in {1, 4} else {"running": 10.0, "waiting": 50.0}

    took, _ = highest([Gauged("a", tells)], 300)
    assert took - looks[-1] < 3.0


def test_a_line_that_a_server_told_of_once_is_not_taken_to_be_there_for_ever() -> None:
    """Where it tells nothing any more, what is measured decides."""

    def tells(server: Gauged) -> dict[str, float]:
        return {"running": 10.0, "waiting": 50.0} if now() < 3.0 else {}

    took, _ = highest([Gauged("a", tells, slots=100)], 1_500)
    assert took <= 60.0, "at the 13 that a server of 10 gets it would be 115"


@pytest.mark.slow
def test_a_server_with_nothing_waiting_that_refuses_what_is_too_much_is_asked_less() -> None:
    """Several times as many at once meet its bound once; from there it is gone up to slowly."""
    server, refused = TellingServer(places=1_000), 0

    def refuse(request: Request) -> None:
        nonlocal refused
        if server.running > 150:
            refused += 1
            raise Overloaded("full")

    server.plan = refuse
    took = seconds_for(server, 10_000, LaneSettings(max_concurrency=1_000))
    assert took <= 1.25 * seconds_for(TellingServer(places=1_000), 10_000, LaneSettings(concurrency=150))
    assert refused <= 0.05 * 10_000


def test_bursts_of_calls_with_pauses_between_them_are_one_search() -> None:
    """What one told is known in the next, and a pause tells nothing: ten of 150 calls take less than thrice as long as
    with the best number, of which the search is a part."""

    async def main(setting: LaneSettings) -> float:
        server = BatchServer(base=0.3, per_call=0.001)
        async with Gateway([Lane("lane", [server], setting)], store=MemoryStore()) as gateway:
            for first in range(0, 10_000, 1_000):
                await gateway.complete_many([ask(number) for number in range(first, first + 150)], lane="lane")
                await asyncio.sleep(2.0)
            return now() - 10 * 2.0

    assert run_virtual(main(AUTO)) <= 3 * run_virtual(main(LaneSettings(concurrency=150)))


def test_auto_does_not_pile_calls_up_in_the_servers_queue() -> None:
    """More in flight than pays is stepped back from: answers would only take longer."""
    server, events = SlotServer(slots=24), list[Event]()
    seconds_for(server, 24 * 60, AUTO, events)
    changes = [event for event in events if isinstance(event, ConcurrencyChanged)]
    overshoot = next(number for number, event in enumerate(changes) if event.after > 48)
    assert changes[overshoot + 1].after <= 48
    assert all(event.after <= 48 for event in changes[overshoot + 1 :])


def test_auto_lives_with_a_bounded_queue() -> None:
    """A server that refuses above its bound gets few refusals and stays at work."""
    server, events = BoundedServer(slots=32, room=8), list[Event]()
    took = seconds_for(server, 2_000, AUTO, events)
    assert took <= 1.25 * 2_000 / 32
    assert server.refused <= 0.03 * 2_000
    assert any(isinstance(event, ConcurrencyChanged) and event.after < event.before for event in events)


def test_a_storm_of_refusals_cuts_once() -> None:
    """All answers of one moment tell the same thing; the next cut is a cool-down later."""
    control = AutoConcurrency(upper_bound=256)
    for _ in range(50):
        control.on_refusal(10.0, retry_after=0.0)
    assert control.limit == int(FIRST * 0.8)
    control.on_refusal(10.0 + COOL_DOWN, retry_after=0.0)
    assert control.limit < int(FIRST * 0.8)


def test_retry_after_lengthens_the_cool_down() -> None:
    """No growth and no second cut before the server's own time is over."""
    control = AutoConcurrency(upper_bound=256)
    control.on_refusal(0.0, retry_after=100.0)
    limit = control.limit
    feed(control, start=1.0, end=99.0, rate=50.0)
    control.on_refusal(99.0, retry_after=0.0)
    assert control.limit == limit


def feed(control: AutoConcurrency, *, start: float, end: float, rate: float, used: float = 1.0) -> None:
    """Answers at a steady rate, with a share of the limit in flight."""
    at, taken = start, control._taken
    while at < end:
        taken += used * control.limit / rate
        control.on_success(at, taken=taken)
        at += 1 / rate


def test_it_does_not_grow_unless_it_is_used() -> None:
    """With little to do, a higher limit would be a guess."""
    control = AutoConcurrency(upper_bound=256)
    feed(control, start=0.0, end=100.0, rate=20.0, used=0.5)
    assert control.limit == FIRST


def test_it_does_not_grow_on_the_word_of_a_failing_server() -> None:
    """A fault in every round keeps the limit where it is, and does not cut it."""
    control = AutoConcurrency(upper_bound=256)
    for second in range(200):
        feed(control, start=second, end=second + 0.9, rate=10.0)
        control.on_fault(second + 0.95)
    assert control.limit == FIRST


def test_gauges_stop_growth_and_preemptions_cut() -> None:
    """A server whose own queue is long needs no more; one that evicts needs less."""
    control = AutoConcurrency(upper_bound=256)
    control.on_load(0.0, running=8, waiting=20, preempted=0)
    control.on_load(1.0, running=8, waiting=20, preempted=3)
    assert control.limit == int(FIRST * 0.8)
    control.on_load(2.0, running=8, waiting=20, preempted=3)
    assert control.limit == int(FIRST * 0.8), "preemptions within a cool-down are of the same storm"
    control.on_load(1.0 + COOL_DOWN, running=8, waiting=20, preempted=3)
    assert control.limit < int(FIRST * 0.8)


def test_after_the_ceilings_memory_steps_are_large_again() -> None:
    """A refusal is no reason for small steps for ever: the server may have grown."""

    def first_step_up(quiet: float) -> float:
        """The first larger limit after a refusal at 64, to the one it was cut to; answers come after so long."""
        control = AutoConcurrency(upper_bound=1_000, first=64)
        control.on_refusal(0.0, retry_after=0.0)
        at, cut = quiet, control.limit
        while control.limit <= cut:
            feed(control, start=at, end=at + 1.0, rate=40.0)
            at += 1.0
        return control.limit / cut

    assert first_step_up(COOL_DOWN) < 1.1
    assert first_step_up(CEILING_MEMORY + 1.0) > 1.3


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.sampled_from("sssssrfl"), st.floats(0, 5)), max_size=300),
)
def test_the_limit_stays_within_its_bounds(most: int, steps: list[tuple[str, float]]) -> None:
    """Whatever happens, at least one call may go and never more than allowed."""
    control = AutoConcurrency(upper_bound=most)
    at = 0.0
    for what, gap in steps:
        at += gap
        match what:
            case "s":
                for _ in range(30):
                    control.on_success(at, taken=at * most)
            case "r":
                control.on_refusal(at, retry_after=gap)
            case "f":
                control.on_fault(at)
            case _:
                control.on_load(at, running=gap, waiting=gap * gap, preempted=gap - 4)
        assert 1 <= control.limit <= most


def test_a_fixed_number_stays() -> None:
    """Whatever the server says."""
    control = make_control(7, upper_bound=3)
    assert type(control) is ConcurrencyControl
    control.on_refusal(0.0, retry_after=9.0)
    control.on_load(0.0, running=1, waiting=100, preempted=5)
    assert control.limit == 7


def test_a_lane_begins_with_some_calls_for_each_endpoint_and_more_where_limits_hold_it_back() -> None:
    """What is paid by token and limited by rate has nothing to find out by beginning slowly."""
    assert make_control("auto", upper_bound=1000).limit == FIRST
    assert make_control("auto", upper_bound=1000, endpoints=16).limit == 16 * FIRST
    assert make_control("auto", upper_bound=1000, metered=True).limit == FIRST_METERED > FIRST
    assert make_control("auto", upper_bound=5, endpoints=16, metered=True).limit == 5
    assert make_control(7, upper_bound=1000, endpoints=16, metered=True).limit == 7
