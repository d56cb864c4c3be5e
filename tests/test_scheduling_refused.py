"""One of several replicas refuses everything: what it refuses is asked at another one, and it rests."""

from collections.abc import Callable
from itertools import product
from typing import Literal

import pytest
from scheduling_world import Server, ask, now
from sizes import rest_is_slow
from test_scheduling_lane_state import ERRORS, Rig

from metaspo.backends import (
    AccessDenied,
    BackendError,
    Completion,
    CreditExhausted,
    RateLimited,
    Request,
    RequestRejected,
    UnknownModel,
    Unreachable,
    WrongForm,
)
from metaspo.cache import MemoryStore
from metaspo.scheduling import (
    EndpointDown,
    EndpointUp,
    Event,
    Gateway,
    Lane,
    LaneSettings,
    LaneStopped,
    RunStopped,
    Waiting,
)
from metaspo.scheduling.lanes.endpoints import Health

Table = list[tuple[float, str, str]]
REFUSALS = ("full", "fault", "denied", "unknown")
THREE = LaneSettings(concurrency=3, attempts=2)


def refused_once(number: int, at: float, kind: str) -> Table:
    """Server a refuses it, b answers it."""
    return [
        (at, f"ask {number}", f"send {number} to a"),
        (at, f"fail {number} {kind}", f"send {number} to b"),
        (at + 1, f"answer {number}", f"{number} answered"),
    ]


def tables(kind: str) -> dict[str, Table]:
    """By what is refused with."""
    thrice = [line for number in (1, 2, 3) for line in refused_once(number, 2 * number, kind)]
    return {
        "a replica rests once others have answered three requests that it refused": [
            *thrice,
            (7, "ask 4", "send 4 to b"),
            (7, "answer 4", "4 answered"),
        ],
        "one that rests is probed, tried with one request, and rests twice as long when it refuses that": [
            *thrice,
            (8, "ask 4", "look, send 4 to b"),
            (8, "probe ok", ""),
            (8, "ask 5", "send 5 to a"),
            (8, "ask 6", "send 6 to c"),
            (9, f"fail 5 {kind}", "send 5 to b"),
            (10.9, "answer 4", "4 answered"),
            (11, "ask 7", "look, send 7 to b"),
        ],
        "one that answers its trial has its prefix again": [
            *thrice,
            (8, "ask 4", "look, send 4 to b"),
            (8, "probe ok", ""),
            (8, "ask 5", "send 5 to a"),
            (9, "answer 5", "5 answered"),
            (9, "answer 4", "4 answered"),
            (9, "ask 6", "send 6 to a"),
        ],
        "one that answers others meanwhile does not rest": [
            *refused_once(1, 0, kind),
            *refused_once(2, 2, kind),
            (4, "ask 3", "send 3 to a"),
            (4, f"fail 3 {kind}", "send 3 to b"),
            (4, "ask 4", "send 4 to a"),
            (5, "answer 4", "4 answered"),
            (6, "answer 3", "3 answered"),
            *refused_once(5, 7, kind),
            *refused_once(6, 9, kind),
            (11, "ask 7", "send 7 to a"),
        ],
    }


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("name", tables(""))
def test_what_one_replica_refuses_another_is_asked_at_once(name: str, kind: str) -> None:
    rig, table = Rig(THREE, servers=4, prefix="all"), tables(kind)[name]
    assert [(at, what, rig.happen(what, at)) for at, what, _ in table] == table


ROUND = [
    (0.0, "ask 1", "send 1 to a"),
    (0.0, "fail 1 {}", "send 1 to b"),
    (0.0, "fail 1 {}", "send 1 to c"),
    (0.0, "fail 1 {}", "send 1 to d"),
]
NO_LONGER_ALONE: dict[str, tuple[str, Table]] = {
    "what all refuse that only a person can mend stops the lane": ("denied", [(0, "fail 1 denied", "1 LaneStopped")]),
    "what all fail at is tried again later, elsewhere than last, until its attempts are used up": (
        "fault",
        [
            (0, "fail 1 fault", ""),
            (0.7, "", ""),
            (1, "", "send 1 to a"),
            (2, "fail 1 fault", "1 Unavailable"),
        ],
    ),
    "where all are full it waits as long as at one, each time for another, and keeps its slot": (
        "full",
        [
            (0, "fail 1 full", ""),
            (0, "ask 2", ""),
            (2, "", "send 1 to a"),
            (3, "fail 1 full", ""),
            (7, "", "send 1 to b"),
            (8, "answer 1", "1 answered, send 2 to a"),
        ],
    ),
    "one that a person has to mend does not stop what the others have no room for": (
        "denied",
        [
            (0, "fail 1 full", ""),
            (2, "", "send 1 to d"),
            (2, "answer 1", "1 answered"),
        ],
    ),
    "a limit is the lane's, whoever of them tells it": (
        "fault",
        [(0, "fail 1 rate", ""), (0, "ask 2", ""), (29, "", ""), (32, "", "send 1 to a")],
    ),
    "half an answer is no refusal: it uses an attempt, and the next goes elsewhere": (
        "fault",
        [(0, "fail 1 half", ""), (1, "", "send 1 to a"), (1, "answer 1", "1 answered")],
    ),
}


@pytest.mark.parametrize("name", NO_LONGER_ALONE)
def test_what_no_replica_answers_ends_as_where_there_is_one(name: str) -> None:
    """After the first three have refused a request, the last one fails as it says here."""
    kind, then = NO_LONGER_ALONE[name]
    rig = Rig(LaneSettings(concurrency=1, attempts=2), servers=4, prefix="all")
    table = [(at, what.format(kind), done) for at, what, done in ROUND] + then
    assert [(at, what, rig.happen(what, at)) for at, what, _ in table] == table


def test_the_last_that_is_up_and_refuses_stops_nothing_while_others_may_come_back() -> None:
    """They have answered before; those that never did are not waited for."""
    for answers in (True, False):
        rig = Rig(LaneSettings(concurrency=1, patience=100), servers=2, prefix="all")
        _, b = rig.state._endpoints._order("all")
        b.answered = int(answers)
        b.rest()
        rig.happen("ask 1", 0)
        assert rig.happen("fail 1 denied", 0) == ("" if answers else "1 LaneStopped")


def from_second(second: float, error: BackendError) -> Callable[[Request | None], None]:
    def refuse(request: Request | None = None) -> None:
        if now() >= second:
            raise error

    return refuse


@pytest.mark.virtual
@pytest.mark.parametrize("kind", ["denied", "unknown"])
async def test_while_others_may_come_back_one_that_refuses_everything_is_asked_at_its_trials_alone(kind: str) -> None:
    """And no longer by the whole queue, over and over: its provider would take that for an attack."""
    bad, gone = Server("bad"), Server("gone")
    bad.plan, gone.plan = from_second(20, ERRORS[kind]), from_second(10, ERRORS["gone"])
    gone.probe_plan = lambda: gone.plan(ask(0))
    settings = LaneSettings(concurrency=8, patience=600)
    requests = [ask(number, system=f"prefix {number % 8}") for number in range(1000)]
    async with Gateway([Lane("lane", [bad, gone], settings)], store=MemoryStore()) as gateway:
        with pytest.raises(RunStopped, match=f"last: {ERRORS[kind]}"):  # not that the other one is gone
            await gateway.complete_many(requests, lane="lane")
    assert sum(at >= 20 for _, at in bad.calls) <= 8 + 600 / 30 + 10


@pytest.mark.virtual
@pytest.mark.parametrize("error", [UnknownModel("no such model"), WrongForm("no system role")])
async def test_what_one_of_many_programs_asks_in_vain_is_told_at_once_whoever_else_may_come_back(
    error: BackendError,
) -> None:
    """It is the request that is at fault; others are waited for where a whole run asks the same."""
    good, gone = Server("good"), Server("gone")
    gone.plan = from_second(10, ERRORS["gone"])
    gone.probe_plan = lambda: gone.plan(ask(0))
    requests = [ask(number, system=f"prefix {number}") for number in range(32)]
    lanes = [Lane("lane", [good, gone], LaneSettings(concurrency=2))]
    async with Gateway(lanes, store=MemoryStore(), many_programs=True) as gateway:
        await gateway.complete_many(requests, lane="lane")
        began, good.plan = now(), refuse_with(error)
        assert {each.health: each.answered > 0 for each in gateway.statistics().lanes["lane"].endpoints}["down"]
        with pytest.raises((LaneStopped, RequestRejected)):
            await gateway.complete(ask(99), lane="lane")
        assert now() == began


@pytest.mark.virtual
async def test_what_one_of_many_programs_asked_in_vain_is_not_why_the_servers_are_gone_later() -> None:
    servers = [Server("one"), Server("two")]
    lanes = [Lane("lane", servers, LaneSettings(patience=100))]
    refused, gone = WrongForm("no system role"), ERRORS["gone"]
    async with Gateway(lanes, store=MemoryStore(), many_programs=True) as gateway:
        for error, told in ((refused, str(refused)), (gone, f"last: {gone}")):
            for server in servers:
                server.plan = refuse_with(error)
                server.probe_plan = lambda: servers[0].plan(ask(0))
            with pytest.raises((RequestRejected, RunStopped), match=told):
                await gateway.complete(ask(1), lane="lane")


@pytest.mark.virtual
@pytest.mark.parametrize("many_programs", [True, False])
async def test_where_all_replicas_refuse_what_ends_it_names_each(many_programs: bool) -> None:
    """Those that refuse the same by their names, and what another one says as it says it."""
    servers = [Server(f"gpu{number}:8000") for number in range(4)]
    for server in servers[:3]:
        server.plan = refuse_with(AccessDenied(f"{server.name} refuses access: check the API key."))
    servers[3].plan = refuse_with(CreditExhausted("gpu3:8000 has no credit."))
    requests = [ask(number, system=f"prefix {number}") for number in range(32)]
    async with Gateway([Lane("lane", servers)], store=MemoryStore(), many_programs=many_programs) as gateway:
        with pytest.raises(LaneStopped) as caught:
            await gateway.complete_many(requests, lane="lane")
    said = str(caught.value)
    assert all(said.count(server.name) == 1 for server in servers), said
    assert said.count("check the API key.") == said.count("The same is true of ") == 1
    assert said.count("has no credit") == 1


@pytest.mark.virtual
@pytest.mark.parametrize("many_programs", [True, False])
async def test_where_one_refuses_and_the_other_was_never_there_what_ends_it_names_both(many_programs: bool) -> None:
    gone, refusing = servers = [Server("gone:8000"), Server("refusing:8000")]
    gone.plan = refuse_with(Unreachable("gone:8000 cannot be reached", refused=True))
    gone.probe_plan = refuse_with(Unreachable("gone:8000 cannot be reached", refused=True))
    refusing.plan = refuse_with(AccessDenied("refusing:8000 refuses access"))
    requests = [ask(number, system=f"prefix {number}") for number in range(8)]
    async with Gateway([Lane("lane", servers)], store=MemoryStore(), many_programs=many_programs) as gateway:
        with pytest.raises(LaneStopped, match=r"^refusing:8000 refuses access\. gone:8000 cannot be reached\.$"):
            await gateway.complete_many(requests, lane="lane")


class OfMine(AccessDenied):
    """As a backend of one's own may raise it."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{why} ({code}).")
        self.code = code


@pytest.mark.virtual
async def test_a_backend_s_own_kind_of_error_keeps_what_it_holds_where_it_names_all_replicas() -> None:
    servers = [Server(f"gpu{number}") for number in range(2)]
    for server in servers:
        server.plan = refuse_with(OfMine(7, f"{server.name} wants a badge"))
    async with Gateway([Lane("lane", servers)], store=MemoryStore()) as gateway:
        with pytest.raises(LaneStopped, match="wants a badge \\(7\\)\\. The same is true of gpu") as caught:
            await gateway.complete(ask(1), lane="lane")
    error = caught.value.error
    assert isinstance(error, OfMine)
    assert error.code == 7


@pytest.mark.parametrize(
    ("kind", "others", "rests"),
    [
        ("full", True, True),
        ("full", False, False),
        ("fault", False, True),
        ("denied", True, True),
        ("rate", True, True),
        ("rate", False, False),
        ("stale", True, False),
    ],
)
def test_in_a_trial_one_refusal_is_enough_where_there_are_others(kind: str, others: bool, rests: bool) -> None:
    """A connection that was too old says nothing of the replica."""
    rig = Rig(LaneSettings(concurrency=1), servers=2, prefix="all")
    a, b = rig.state._endpoints._order("all")
    a.health = Health.TRIAL
    if not others:
        b.rest()
    assert rig.happen("ask 1", 0) == "send 1 to a"
    rig.happen(f"fail 1 {kind}", 0)
    assert (a.health is Health.DOWN) == rests


@pytest.mark.virtual
async def test_a_replica_that_is_always_over_its_limit_costs_the_others_a_moment_now_and_then() -> None:
    """Each refusal holds the lane, as any limit does; the next one to ask is another one, and soon it is at rest."""
    bad, *good = servers = [Server(name) for name in ("bad", "b", "c")]
    bad.plan = refuse_with(RateLimited("one request a day", retry_after=3))
    requests = [ask(number, system=f"prefix {number % 8}") for number in range(3000)]
    async with Gateway([Lane("lane", servers, LaneSettings(concurrency=8))], store=MemoryStore()) as gateway:
        assert len(await gateway.complete_many(requests, lane="lane")) == 3000
    alone = 3000 / 8
    assert alone <= now() < 1.5 * alone
    assert sum(len(each.calls) for each in good) == 3000
    assert len(bad.calls) < 8 + now() / 10


@pytest.mark.virtual
@pytest.mark.parametrize(("kind", "told"), [("full", 1), ("rate", 0)])
async def test_where_all_that_are_there_refuse_everything_it_is_said_once_that_the_lane_waits(
    kind: str, told: int
) -> None:
    """A limit says so itself."""
    server, events = Server("full"), list[Event]()
    server.plan = refuse_with(ERRORS[kind])
    settings = LaneSettings(concurrency=8, patience=100)
    async with Gateway([Lane("lane", [server], settings)], store=MemoryStore(), on_event=events.append) as gateway:
        with pytest.raises(RunStopped):
            await gateway.complete_many([ask(number) for number in range(20)], lane="lane")
    waiting = [event for event in events if isinstance(event, Waiting)]
    assert [(event.patience, event.reason) for event in waiting] == told * [(100, str(ERRORS[kind]))]
    assert all(5 <= event.at < 20 for event in waiting)


@pytest.mark.parametrize("kind", ["full", "fault"])
def test_requests_that_all_replicas_refuse_rest_none_that_answers_others(kind: str) -> None:
    """It is not the replica that is at fault."""
    rig = Rig(LaneSettings(concurrency=8, patience=10_000), servers=2, prefix="all")
    others = range(100, 106)  # more than are asked of the first
    for number in range(1, 8):
        table = [f"ask {number}", f"fail {number} {kind}", *(f"ask {other}" for other in others)]
        table += [*(f"answer {other}" for other in others), f"fail {number} {kind}", f"leave {number}"]
        for place, what in enumerate(table):
            rig.happen(what, 10.0 * number + place / 10)
    assert not any(isinstance(event, EndpointDown) for event in rig.events)


def refuse_with(error: BackendError) -> Callable[..., None]:
    def refuse(request: Request | None = None) -> None:
        raise error

    return refuse


ALWAYS = (*REFUSALS, "gone")
RUNS = [*product((32,), ALWAYS, (True,)), *product((1, 2, "auto"), ALWAYS, (True,)), *product((2,), ALWAYS, (False,))]


@pytest.mark.virtual
@pytest.mark.parametrize(("concurrency", "kind", "probes_well"), rest_is_slow(RUNS, but=2 * len(ALWAYS)))
async def test_a_run_goes_on_with_the_others_of_one_that_refuses_for_good(
    concurrency: int | Literal["auto"], kind: str, probes_well: bool
) -> None:
    """From its first request to its last: everything is answered, and little is asked in vain."""
    replicas, events = [Server(f"replica {number}") for number in range(4)], list[Event]()
    bad = replicas[0]
    bad.plan = refuse_with(ERRORS[kind])
    if not probes_well:
        bad.probe_plan = lambda: bad.plan(ask(0))
    lane = Lane("lane", replicas, LaneSettings(concurrency=concurrency, attempts=2))
    requests = [ask(number, system=f"prefix {number % 8}") for number in range(400)]
    async with Gateway([lane], store=MemoryStore(), on_event=events.append) as gateway:
        answers = await gateway.complete_many(requests, lane="lane")
        wide = max(32, gateway.statistics().lanes["lane"].concurrency)
        took = now()
    assert all(isinstance(answer, Completion) for answer in answers)
    assert {event.endpoint for event in events if isinstance(event, EndpointDown)} == {bad.name}
    assert not any(isinstance(event, EndpointUp) for event in events)
    assert len(bad.calls) <= wide + took / 30 + 10
    assert took <= 400 / (concurrency if isinstance(concurrency, int) else 8) + 10


@pytest.mark.virtual
@pytest.mark.parametrize("kind", REFUSALS)
async def test_where_all_replicas_refuse_for_good_the_lane_ends_as_with_one(kind: str) -> None:
    """In the same words, with those who refuse, too, and not later by more than the last wait."""
    ends = []
    for count in (1, 4):
        replicas, began = [Server(f"replica {number}") for number in range(count)], now()
        for replica in replicas:
            replica.plan = refuse_with(ERRORS[kind])
        lane = Lane("lane", replicas, LaneSettings(concurrency=8, patience=200, first_patience=200))
        async with Gateway([lane], store=MemoryStore()) as gateway:
            with pytest.raises(RunStopped) as stop:
                await gateway.complete_many([ask(number) for number in range(20)], lane="lane")
        ends.append((type(stop.value), str(stop.value), now() - began))
    (kind_of_one, words, seconds), (kind_of_four, words_of_four, seconds_of_four) = ends
    assert (kind_of_four, words_of_four.startswith(words)) == (kind_of_one, True)
    assert seconds_of_four == pytest.approx(seconds, abs=64)
