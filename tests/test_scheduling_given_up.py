"""A request without attempts left: it fails alone where the server answers others, and is told as the server's fault
where it does not. What one model is told stops no other one, nor for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest
from scheduling_world import Server, ask, now

from metaspo.backends import (
    AccessDenied,
    BackendError,
    Completion,
    HalfAnswer,
    Request,
    RequestRejected,
    ServerFault,
    TimedOut,
    UnknownModel,
)
from metaspo.cache import MemoryStore
from metaspo.scheduling import (
    Account,
    Budget,
    BudgetExhausted,
    CallRecord,
    Doubted,
    Event,
    Gateway,
    GivenUp,
    Lane,
    LaneSettings,
    LaneStopped,
    RunStopped,
    Unavailable,
)

SETTINGS = LaneSettings(concurrency=2, attempts=3)
FAULTS = [HalfAnswer("cut off"), ServerFault("500"), TimedOut("no answer")]


def failing(error: BackendError, *numbers: int) -> Callable[[Request], None]:
    texts = {f"question {number}" for number in numbers}

    def plan(request: Request) -> None:
        if request.messages[-1].content in texts:
            raise error

    return plan


@pytest.mark.virtual
@pytest.mark.parametrize("error", FAULTS)
async def test_requests_that_fail_while_others_are_answered_are_results_of_their_batch(error: BackendError) -> None:
    server = Server()
    server.plan = failing(error, 3, 7)
    account = Account("run")
    async with Gateway([Lane("lane", [server], SETTINGS)], store=MemoryStore()) as gateway:
        answers = await gateway.complete_many([ask(n) for n in range(40)], lane="lane", account=account)
    assert [n for n, one in enumerate(answers) if not isinstance(one, Completion)] == [3, 7]
    given_up = answers[3]
    assert isinstance(given_up, GivenUp)
    assert str(error) in str(given_up)
    assert account.statistics().total.failed == 2


@pytest.mark.virtual
@pytest.mark.parametrize("bad", [1, 2, 5])
async def test_a_request_that_alone_fails_is_given_up_soon_also_when_nothing_else_is_left_to_ask(bad: int) -> None:
    """Its attempts follow each other as fast as is decent."""
    server, settings = Server(), LaneSettings(concurrency=8)
    server.plan = failing(ServerFault("500"), *range(bad))
    async with Gateway([Lane("lane", [server], settings)], store=MemoryStore()) as gateway:
        answers = await gateway.complete_many([ask(n) for n in range(40)], lane="lane")
        assert sum(isinstance(one, GivenUp) for one in answers) == bad
        assert now() <= 40
        assert len(server.calls) <= 40 + bad * settings.attempts + 10


@pytest.mark.virtual
@pytest.mark.parametrize("share", [0.4, 0.9])
async def test_who_fails_among_many_that_do_is_given_all_the_time(share: float) -> None:
    """A minute in which a server fails at most of what it is asked costs no request its answer."""
    server, luck = Server(latency=0.2), Random("a bad minute")

    def plan(request: Request) -> None:
        if now() < 60 and luck.random() < share:
            raise ServerFault("500")

    server.plan = plan
    async with Gateway([Lane("lane", [server], LaneSettings(concurrency=8))], store=MemoryStore()) as gateway:
        answers = await gateway.complete_many([ask(n) for n in range(300)], lane="lane")
    assert all(isinstance(one, Completion) for one in answers)


async def in_one_batch(gateway: Gateway) -> list[object]:
    return list(await gateway.complete_many([ask(n) for n in (0, 8, 9)], lane="lane"))


async def one_by_one(gateway: Gateway) -> list[object]:
    await gateway.complete(ask(0), lane="lane")
    return await _both(gateway)


async def after_a_look(gateway: Gateway) -> list[object]:
    await gateway.lookup_many([ask(0)], lane="lane")
    return await _both(gateway)


async def _both(gateway: Gateway) -> list[object]:
    return await asyncio.gather(*(gateway.complete(ask(n), lane="lane") for n in (8, 9)), return_exceptions=True)


@pytest.mark.virtual
@pytest.mark.parametrize("asked", [in_one_batch, one_by_one, after_a_look])
async def test_a_request_alone_is_given_up_once_the_server_has_answered_again_what_it_could_before(
    asked: Callable[[Gateway], Awaitable[list[object]]],
) -> None:
    """As in a run that was started again, where all else is in the cache, in whatever way it is taken from there."""
    server, store, events = Server(), MemoryStore(), list[Event]()
    async with Gateway([Lane("lane", [server], SETTINGS)], store=store) as gateway:
        await gateway.complete_many([ask(n) for n in range(5)], lane="lane")
    server.plan = failing(ServerFault("500"), 8, 9)
    calls = len(server.calls)
    async with Gateway([Lane("lane", [server], SETTINGS)], store=store, on_event=events.append) as gateway:
        answers = await asked(gateway)
    assert [type(answer) for answer in answers[-2:]] == [GivenUp, GivenUp]
    assert len(server.calls) - calls <= 2 * 3 + 2
    assert any(isinstance(event, Doubted) for event in events)


@pytest.mark.virtual
@pytest.mark.parametrize("waiting", [1, 6])
async def test_a_server_that_answers_nobody_any_more_is_to_blame_itself(waiting: int) -> None:
    """No request is taken for the cause, though it was answered at first."""
    server = Server()
    async with Gateway([Lane("lane", [server], SETTINGS)], store=MemoryStore()) as gateway:
        await gateway.complete(ask(0), lane="lane")
        server.plan = failing(ServerFault("500"), *range(100))
        asked = [asyncio.create_task(gateway.complete(ask(n), lane="lane")) for n in range(1, 1 + waiting)]
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(end) for end in ends} == {Unavailable}
        server.plan = lambda request: None
        assert isinstance(await gateway.complete(ask(1), lane="lane"), Completion)


@pytest.mark.virtual
async def test_where_nothing_was_ever_answered_the_server_is_to_blame() -> None:
    server = Server()
    server.plan = failing(HalfAnswer("cut off"), 1)
    async with Gateway([Lane("lane", [server], SETTINGS)], store=MemoryStore()) as gateway:
        with pytest.raises(Unavailable, match="failed 3 times"):
            await gateway.complete(ask(1), lane="lane")


@pytest.mark.virtual
async def test_who_cannot_pay_for_the_proof_stops() -> None:
    """The call that shows whether the server answers is within the cap, too."""
    server, account = Server(), Account("run", Budget(calls=4))
    async with Gateway([Lane("lane", [server], SETTINGS)], store=MemoryStore()) as gateway:
        await gateway.complete(ask(0), lane="lane", account=account)
        server.plan = failing(HalfAnswer("cut off"), 1)
        with pytest.raises(Exception, match="budget of run is used up"):
            await gateway.complete(ask(1), lane="lane", account=account)
    assert len(server.calls) == 4


@pytest.mark.virtual
async def test_who_cannot_pay_for_the_proof_stops_nobody_else() -> None:
    """Another one whose request is in doubt has it asked in his place."""
    server, poor = Server(), Account("poor", Budget(calls=1))
    settings = LaneSettings(concurrency=2, attempts=1)
    async with Gateway([Lane("lane", [server], settings)], store=MemoryStore()) as gateway:
        await gateway.complete(ask(0), lane="lane")
        server.plan = failing(HalfAnswer("cut off"), 1, 2)
        accounts = {1: poor, 2: Account("rich")}
        asked = [gateway.complete(ask(n), lane="lane", account=account) for n, account in accounts.items()]
        ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(end) for end in ends] == [BudgetExhausted, GivenUp]


@pytest.mark.virtual
@pytest.mark.parametrize("error", [RequestRejected("too long now"), UnknownModel("There is no model m.")])
async def test_what_a_witness_is_told_of_itself_is_told_to_no_other_model(error: BackendError) -> None:
    """Both models have a request in doubt; one's witness is rejected, the other's is answered."""
    server = Server()
    async with Gateway([Lane("lane", [server], replace(SETTINGS, attempts=1))], store=MemoryStore()) as gateway:
        for model in "mn":
            await gateway.complete(replace(ask(0), model=model), lane="lane")

        def plan(request: Request) -> None:
            if request.messages[-1].content != "question 0":
                raise HalfAnswer("cut off")
            if request.model == "m":
                raise error

        server.plan = plan
        asked = [gateway.complete(replace(ask(1), model=model), lane="lane") for model in "mn"]
        async with asyncio.timeout(100):
            ends = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(ends[0], RunStopped)
    assert isinstance(ends[1], GivenUp)


@pytest.mark.virtual
async def test_while_a_witness_is_asked_again_its_stored_answer_is_given_all_the_same() -> None:
    """At once: nobody else waits for the proof, nor hears that it failed."""
    server = Server(latency=10.0)
    async with Gateway([Lane("lane", [server], replace(SETTINGS, attempts=1))], store=MemoryStore()) as gateway:
        stored = await gateway.complete(ask(0), lane="lane")
        server.plan = failing(HalfAnswer("cut off"), 1)
        asked = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
        await asyncio.sleep(1)
        assert [text for text, _ in server.calls].count("question 0") == 2, "the proof is out"
        begun = now()
        answered = await gateway.answer(ask(0), lane="lane")
        assert (answered.completion, answered.source, now()) == (stored, "hit", begun)
        with pytest.raises(GivenUp):
            await asked


@pytest.mark.virtual
async def test_a_proof_is_one_call_to_whoever_is_told_of_calls() -> None:
    """Of the account that pays for it; the request in doubt is told as any other."""
    server, told, account = Server(), list[CallRecord](), Account("payer")
    lane = Lane("lane", [server], replace(SETTINGS, attempts=1))
    async with Gateway([lane], store=MemoryStore(), on_call=told.append) as gateway:
        await gateway.complete(ask(0), lane="lane")
        server.plan = failing(HalfAnswer("cut off"), 1)
        with pytest.raises(GivenUp):
            await gateway.complete(ask(1), lane="lane", account=account)
    calls = {(record.request.messages[-1].content, record.status, record.account) for record in told}
    assert len(told) == 3
    assert calls == {
        ("question 0", "miss", ""),
        ("question 0", "miss", "payer"),
        ("question 1", "refused", "payer"),
    }


@pytest.mark.virtual
async def test_whoever_leaves_a_doubted_request_disturbs_nobody() -> None:
    server = Server()
    async with Gateway([Lane("lane", [server], SETTINGS)], store=MemoryStore()) as gateway:
        await gateway.complete(ask(0), lane="lane")
        server.plan = failing(ServerFault("500"), 1, 2)
        server.latency = 50.0
        leaver, stayer = (asyncio.create_task(gateway.complete(ask(n), lane="lane")) for n in (1, 2))
        await asyncio.sleep(30)  # three tries, and then the proof is out
        assert [text for text, _ in server.calls].count("question 0") == 2
        leaver.cancel()
        with pytest.raises(GivenUp):
            await stayer
        await asyncio.sleep(1)  # until the proof is kept
        assert gateway.statistics().waiting == 0


@pytest.mark.virtual
@pytest.mark.parametrize("verdict", [UnknownModel("There is no model n."), AccessDenied("Not this model.")])
async def test_what_one_model_is_told_stops_no_other_one_on_its_lane(verdict: BackendError) -> None:
    server = Server()
    calls: list[Request] = []

    def plan(request: Request) -> None:
        if request.model == "n":
            calls.append(request)
            raise verdict

    server.plan = plan
    async with Gateway([Lane("lane", [server], SETTINGS)], store=MemoryStore()) as gateway:
        good = asyncio.create_task(gateway.complete_many([ask(n) for n in range(20)], lane="lane"))
        with pytest.raises(LaneStopped, match=str(verdict)):
            await gateway.complete_many([replace(ask(n), model="n") for n in range(20)], lane="lane")
        asked = len(calls)
        with pytest.raises(LaneStopped, match=str(verdict)):
            await gateway.complete(replace(ask(50), model="n"), lane="lane")
        assert len(calls) == asked, "it is not asked again"
        assert all(isinstance(one, Completion) for one in await good)


@pytest.mark.virtual
async def test_a_lane_goes_on_in_the_same_gateway_once_somebody_says_that_it_is_mended() -> None:
    server = Server()
    server.plan = failing(AccessDenied("no credit"), 1)
    async with Gateway([Lane("lane", [server], SETTINGS)], store=MemoryStore()) as gateway:
        with pytest.raises(LaneStopped):
            await gateway.complete(ask(1), lane="lane")
        server.plan = lambda request: None
        with pytest.raises(LaneStopped):
            await gateway.complete(ask(2), lane="lane")
        gateway.reopen("lane")
        assert isinstance(await gateway.complete(ask(2), lane="lane"), Completion)
        assert gateway.statistics().lanes["lane"].stopped == ""


def test_a_request_that_is_given_up_is_a_rejected_one() -> None:
    """So whoever goes on without rejected requests goes on without these."""
    assert issubclass(GivenUp, RequestRejected)
