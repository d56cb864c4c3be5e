"""The gateway: cached, one call for equal requests, in order, cleanly cancelled and closed."""

import asyncio
import contextlib
import gc
import math
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, cast

import anyio
import pytest
from scheduling_world import ANSWER_TOKENS, PROMPT_TOKENS, Server, SlotServer, ask, now

from metaspo.backends import (
    AccessDenied,
    Backend,
    BackendBroken,
    Completion,
    ConnectionLost,
    HalfAnswer,
    LimitHints,
    Reply,
    Request,
    RequestRejected,
    ServerFault,
    TimedOut,
    UnknownModel,
    Usage,
)
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import Entry, MemoryStore, StoreError, request_key
from metaspo.cache.testing import make_entry
from metaspo.scheduling import (
    Account,
    Budget,
    CallRecord,
    Event,
    Gateway,
    GivenUp,
    Lane,
    LaneSettings,
    LaneStopped,
    Prices,
    Retried,
    RunStopped,
    Unavailable,
)
from metaspo.scheduling.gateway import CHUNK, CLOSE_GRACE

ONE_AT_A_TIME = LaneSettings(concurrency=1)


def gateway_over(
    *servers: Backend, settings: LaneSettings = ONE_AT_A_TIME, store: MemoryStore | None = None
) -> Gateway:
    """A gateway with one lane, named "lane"."""
    return Gateway([Lane("lane", servers, settings)], store=store or MemoryStore())


@pytest.mark.virtual
async def test_an_answer_is_given_and_kept() -> None:
    """The second time it comes from the store, with no call and no time."""
    server, account = Server(), Account("run")
    async with gateway_over(server) as gateway:
        first = await gateway.complete(ask(1), lane="lane", account=account)
        at = now()
        second = await gateway.complete(ask(1), lane="lane", account=account)
        assert now() == at
    assert first == second
    assert first.text == "question 1"
    assert len(server.calls) == 1
    use = account.statistics().lanes["lane"]
    assert (use.calls, use.hits, use.joined) == (1, 1, 0)


@pytest.mark.virtual
async def test_another_gateway_finds_what_the_first_one_paid_for() -> None:
    """Resume is re-running: the store carries everything, stamped with the run that paid."""
    store = MemoryStore()
    async with gateway_over(Server(), store=store) as gateway:
        await gateway.complete(ask(1), lane="lane", account=Account("first run"))
    server = Server()
    async with gateway_over(server, store=store) as gateway:
        await gateway.complete(ask(1), lane="lane")
    assert not server.calls
    entry = (await store.get_many([request_key(ask(1))]))[request_key(ask(1))]
    assert (entry.run, entry.model) == ("first run", "m")


@pytest.mark.virtual
async def test_equal_requests_in_flight_are_one_call() -> None:
    """From many callers and within a batch."""
    server, account = Server(), Account()
    async with gateway_over(server) as gateway, asyncio.TaskGroup() as group:
        tasks = [group.create_task(gateway.complete(ask(1), lane="lane", account=account)) for _ in range(5)]
        batch = group.create_task(gateway.complete_many([ask(1), ask(2), ask(2)], lane="lane", account=account))
    assert {task.result().text for task in tasks} == {"question 1"}
    assert [getattr(result, "text", "") for result in batch.result()] == ["question 1", "question 2", "question 2"]
    assert [text for text, _ in server.calls] == ["question 1", "question 2"]
    assert account.statistics().total.joined == 6


@pytest.mark.virtual
async def test_requests_go_by_priority_then_arrival() -> None:
    """Smaller tuples first; equals in the order they came."""
    server = Server()
    async with gateway_over(server) as gateway, asyncio.TaskGroup() as group:
        for number, priority in enumerate([(2,), (1,), (2,), (1, 5), (0, 9)]):
            group.create_task(gateway.complete(ask(number), lane="lane", priority=priority))
    assert [int(text.split()[1]) for text, _ in server.calls] == [4, 1, 3, 0, 2]


@pytest.mark.virtual
async def test_an_urgent_joiner_hurries_the_flight() -> None:
    """A queued request that somebody more urgent asks for too moves forward."""
    server = Server()
    async with gateway_over(server) as gateway, asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(gateway.complete(ask(number), lane="lane", priority=(5,)))
        await asyncio.sleep(0.5)
        group.create_task(gateway.complete(ask(3), lane="lane", priority=(1,)))
    assert [int(text.split()[1]) for text, _ in server.calls] == [0, 3, 1, 2]


@pytest.mark.virtual
@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_a_fixed_concurrency_is_kept_full_and_never_exceeded(limit: int) -> None:
    """30 calls of a second at `limit` at once take 30 / limit seconds."""
    server = Server()
    async with gateway_over(server, settings=LaneSettings(concurrency=limit)) as gateway:
        await gateway.complete_many([ask(number) for number in range(30)], lane="lane")
        assert now() == pytest.approx(30 / limit)
    assert server.peak == limit


@pytest.mark.virtual
async def test_a_waiter_that_leaves_does_not_disturb_the_others() -> None:
    """One of two cancelled: the other gets the answer of the same call."""
    server = Server()
    async with gateway_over(server) as gateway:
        leaver = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
        stayer = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
        await asyncio.sleep(0.5)
        leaver.cancel()
        assert (await stayer).text == "question 1"
        assert leaver.cancelled()
    assert (len(server.calls), server.cancelled) == (1, 0)


@pytest.mark.virtual
async def test_the_last_waiter_aborts_a_call_that_costs_compute() -> None:
    """And the slot is free for the next one at once."""
    server, account = Server(latency=100), Account()
    async with gateway_over(server) as gateway:
        with anyio.move_on_after(1):
            await gateway.complete(ask(1), lane="lane", account=account)
        server.latency = 1.0
        await gateway.complete(ask(2), lane="lane", account=account)
        assert now() == pytest.approx(2.0)
    use = account.statistics().total
    assert (use.calls, use.withdrawn) == (2, 1)
    assert (server.cancelled, server.finished) == (1, ["question 2"])


@pytest.mark.parametrize("turns", range(5))
def test_an_answer_that_is_here_is_not_asked_for_again(turns: int) -> None:
    """Whoever leaves in the very moment in which it comes, so many turns of the loop before it is kept."""

    class Gated(Server):
        async def work(self, request: Request) -> None:
            await gate.wait()

    gate = asyncio.Event()

    async def main() -> tuple[int, int]:
        server = Gated()
        async with Gateway([Lane("lane", [server])], store=MemoryStore()) as gateway:
            first = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
            await asyncio.sleep(1)
            gate.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            answered_before = len(server.finished)
            first.cancel()
            await asyncio.wait([first])
            await gateway.complete(ask(1), lane="lane")
        return answered_before, len(server.finished)

    answered_before, answered = run_virtual(main())
    assert answered == 1, answered_before


@pytest.mark.virtual
async def test_the_last_waiter_lets_a_paid_call_finish_into_the_store() -> None:
    """On a lane that charges by token the answer is paid for: it is kept, and can be joined again meanwhile."""
    server = Server(latency=10)
    async with gateway_over(server, settings=LaneSettings(concurrency=1, billing="tokens")) as gateway:
        with anyio.move_on_after(1):
            await gateway.complete(ask(1), lane="lane")
        with anyio.move_on_after(1):
            await gateway.complete(ask(1), lane="lane")
        await asyncio.sleep(20)
        at = now()
        assert (await gateway.complete(ask(1), lane="lane")).text == "question 1"
        assert now() == at
    assert (len(server.calls), server.cancelled) == (1, 0)


@pytest.mark.virtual
async def test_a_paid_call_that_nobody_waits_for_is_not_tried_again() -> None:
    """If it fails, it is forgotten; a later request starts anew."""
    server = Server(latency=2)

    async def work(request: Request) -> None:
        await asyncio.sleep(2)
        if now() < 10:
            raise HalfAnswer("half")

    server.work = work  # type: ignore[method-assign]
    async with gateway_over(server, settings=LaneSettings(concurrency=1, billing="tokens")) as gateway:
        with anyio.move_on_after(1):
            await gateway.complete(ask(1), lane="lane")
        await asyncio.sleep(20)
        assert len(server.calls) == 1
        assert gateway.statistics().waiting == 0
        assert (await gateway.complete(ask(1), lane="lane")).text == "question 1"


@pytest.mark.virtual
@pytest.mark.parametrize("billing", ["time", "tokens"])
async def test_queued_requests_of_leavers_are_never_sent(billing: str) -> None:
    """Dropping a batch of a candidate removes what still waits, on any lane."""
    server = Server()
    settings = LaneSettings(concurrency=2, billing="tokens" if billing == "tokens" else "time")
    async with gateway_over(server, settings=settings) as gateway:
        with anyio.move_on_after(1.5):
            await gateway.complete_many([ask(number) for number in range(100)], lane="lane")
        assert gateway.statistics().lanes["lane"].queued == 0
        await gateway.complete(ask(200), lane="lane")
    assert len(server.calls) == 5


def test_a_rejected_request_comes_back_in_its_place() -> None:
    """`complete_many` returns the rejection by position, `complete` raises it; nothing of it is stored."""

    def refuse_two(request: Request) -> None:
        if request.messages[-1].content == "question 2":
            raise RequestRejected("too long")

    async def main() -> None:
        server, store = Server(), MemoryStore()
        server.plan = refuse_two
        async with gateway_over(server, store=store) as gateway:
            results = await gateway.complete_many([ask(number) for number in range(4)], lane="lane")
            with pytest.raises(RequestRejected, match="too long"):
                await gateway.complete(ask(2), lane="lane")
        assert [isinstance(result, RequestRejected) for result in results] == [False, False, True, False]
        assert request_key(ask(2)) not in await store.get_many([request_key(ask(2))])

    run_virtual(main())


@pytest.mark.parametrize("error", [AccessDenied("The key is wrong."), UnknownModel("No such model.")])
def test_a_fatal_error_stops_everybody_at_once_with_one_sentence(error: AccessDenied | UnknownModel) -> None:
    """One call is made; what waits and what comes later fails with the same sentence."""

    def refuse(request: Request) -> None:
        raise error

    async def main() -> None:
        server = Server()
        server.plan = refuse
        async with gateway_over(server) as gateway:
            batch = asyncio.create_task(gateway.complete_many([ask(number) for number in range(50)], lane="lane"))
            single = asyncio.create_task(gateway.complete(ask(99), lane="lane"))
            for task in (batch, single):
                with pytest.raises(LaneStopped, match=str(error)):
                    await task
            with pytest.raises(LaneStopped, match=str(error)):
                await gateway.complete(ask(100), lane="lane")
            assert gateway.statistics().lanes["lane"].stopped == str(error)
        assert len(server.calls) == 1
        assert now() == 0.0

    run_virtual(main())


@pytest.mark.virtual
async def test_a_lane_is_open_in_one_gateway_at_a_time() -> None:
    """In a second one it is refused, with what to do, and nothing of that one is opened; later it may be."""
    server, beside, lane_settings = Server(), Server(), LaneSettings(concurrency=1)
    lane, free = Lane("lane", [server], lane_settings), Lane("free", [beside])
    first, second = Gateway([lane], store=MemoryStore()), Gateway([free, lane], store=MemoryStore())
    assert (lane.stopped, first.statistics().lanes) == (None, {})
    async with first:
        with pytest.raises(RuntimeError, match=r"'lane' is open in another gateway: close that one first"):
            await second.__aenter__()
        with pytest.raises(RuntimeError, match="open in another gateway"):
            await first.__aenter__()
        server.plan = _deny
        with pytest.raises(LaneStopped):
            await first.complete(ask(1), lane="lane")
    verdict = lane.stopped
    assert isinstance(verdict, LaneStopped)
    server.plan = lambda request: None
    async with second, Gateway([Lane("lane", [Server()])], store=MemoryStore()):
        assert lane.stopped is None
        assert (await second.complete(ask(1), lane="lane")).text == "question 1"
    assert second.statistics().lanes["lane"].answered == 1


@pytest.mark.virtual
async def test_a_stopped_lane_still_answers_from_the_store() -> None:
    """What is paid for stays useful."""
    server = Server()
    async with gateway_over(server) as gateway:
        await gateway.complete(ask(1), lane="lane")
        server.plan = _deny
        with pytest.raises(LaneStopped):
            await gateway.complete(ask(2), lane="lane")
        assert (await gateway.complete(ask(1), lane="lane")).text == "question 1"


def _deny(request: Request) -> None:
    raise AccessDenied("no")


def test_half_answers_are_tried_again_a_bounded_number_of_times() -> None:
    """Then that request alone is given up, saying what happened; other requests are not held up meanwhile."""

    def halve(request: Request) -> None:
        if request.messages[-1].content == "question 1":
            raise HalfAnswer("The answer was cut off.")

    async def main() -> None:
        server, events = Server(), list[Event]()
        server.plan = halve
        lane = Lane("lane", [server], LaneSettings(concurrency=1, attempts=4))
        async with Gateway([lane], store=MemoryStore(), on_event=events.append) as gateway:
            bad = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
            await gateway.complete(ask(2), lane="lane")
            assert now() == pytest.approx(1.0)
            with pytest.raises(GivenUp, match=r"no answer in 4 tries.*cut off.*answered other requests"):
                await bad
        assert sum(text == "question 1" for text, _ in server.calls) == 4
        retries = [event for event in events if isinstance(event, Retried)]
        assert [event.attempt for event in retries] == [1, 2, 3]
        assert retries[0].wait < retries[1].wait < retries[2].wait

    run_virtual(main())


@pytest.mark.virtual
async def test_a_stale_connection_costs_no_time_and_no_attempt() -> None:
    """The retry follows at once."""
    server = Server()
    broken = iter([True, True])

    def break_twice(request: Request) -> None:
        if next(broken, False):
            raise ConnectionLost("gone", before_answer=True)

    server.plan = break_twice
    async with gateway_over(server, settings=LaneSettings(concurrency=1, attempts=1)) as gateway:
        await gateway.complete(ask(1), lane="lane")
    assert now() == pytest.approx(1.0)
    assert len(server.calls) == 3


@pytest.mark.virtual
async def test_a_backend_that_forgets_its_time_limit_is_cut_off() -> None:
    """Every call ends, whatever the backend does."""
    server = Server(latency=1e9)
    settings = LaneSettings(concurrency=1, time_limit=60, attempts=2)
    async with gateway_over(server, settings=settings) as gateway:
        with pytest.raises(Unavailable, match="no answer within 60 seconds"):
            await gateway.complete(ask(1), lane="lane")
    assert server.cancelled == 2
    assert now() < 200


@pytest.mark.virtual
async def test_a_timeout_of_the_backend_is_tried_again() -> None:
    """The next attempt may be faster."""
    server = Server()
    outcomes = iter([TimedOut("slow"), ServerFault("500")])

    def fail(request: Request) -> None:
        error = next(outcomes, None)
        if error is not None:
            raise error

    server.plan = fail
    async with gateway_over(server) as gateway:
        assert (await gateway.complete(ask(1), lane="lane")).text == "question 1"
    assert len(server.calls) == 3


def test_a_bug_in_a_backend_reaches_its_waiters_and_nobody_else() -> None:
    """They are told whose mistake it is, with what was raised as the cause; the lane goes on."""

    def stumble(request: Request) -> None:
        if request.messages[-1].content == "question 1":
            raise ZeroDivisionError("a bug")

    async def main() -> None:
        server = Server()
        server.plan = stumble
        async with gateway_over(server) as gateway:
            bad = [asyncio.create_task(gateway.complete(ask(1), lane="lane")) for _ in range(2)]
            good = asyncio.create_task(gateway.complete(ask(2), lane="lane"))
            assert (await good).text == "question 2"
            for task in bad:
                with pytest.raises(BackendBroken, match=r"The backend .*\.Server\) raised ZeroDivisionError") as failed:
                    await task
                assert isinstance(failed.value.__cause__, ZeroDivisionError)

    run_virtual(main())


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "a NoneType, and must return a metaspo.backends.Reply"),
        (make_entry().completion, "a Completion, and must"),
        (Reply(cast("Completion", "yes")), "no Completion with texts, a Usage and a latency in seconds"),
        (Reply(make_entry().completion._replace(text=cast("str", None))), "no Completion with texts"),
        (Reply(make_entry().completion._replace(usage=cast("Usage", None))), "no Completion with texts, a Usage"),
        (Reply(make_entry().completion._replace(finish_reason=cast("str", None))), "no Completion with texts"),
        (Reply(make_entry().completion._replace(latency=cast("float", None))), "a latency in seconds"),
        (Reply(make_entry().completion._replace(rest=cast("str", {}))), "no Completion with texts"),
        (Reply(make_entry().completion._replace(usage=Usage(1, -1))), "completion_tokens=-1.*whole numbers from 0 on"),
        (Reply(make_entry().completion._replace(usage=Usage(cast("int", 1.5), 1))), "prompt_tokens=1.5.*whole numbers"),
        (Reply(make_entry().completion._replace(latency=math.nan)), "latency is nan, and must be seconds"),
        (Reply(make_entry().completion, cast("LimitHints", {"tokens_limit": 1})), "hints that are no LimitHints"),
        (asyncio.CancelledError(), "raised a CancelledError, and nobody had cancelled its call"),
    ],
)
async def test_what_a_backend_returns_in_place_of_a_reply_is_told_and_its_call_counted(
    returned: object, says: str
) -> None:
    class Odd(Server):
        async def complete(self, request: Request, *, time_limit: float) -> Reply:
            if isinstance(returned, BaseException):
                raise returned
            return cast("Reply", returned)

    async with gateway_over(Odd()) as gateway:
        account = Account("mine", Budget(calls=1))
        with pytest.raises(BackendBroken, match=says):
            await gateway.complete(ask(1), lane="lane", account=account)
        assert account.taken().calls == 1  # somebody may be paid for it


class Stumbling(Server):
    """Makes its mistake before there is anything to wait for: raises, or is no coroutine function."""

    def complete(self, request: Request, *, time_limit: float) -> Coroutine[Any, Any, Reply]:
        if request.messages[-1].content == "question 1":
            raise ZeroDivisionError("a bug")
        if request.messages[-1].content == "question 3":
            return cast("Coroutine[Any, Any, Reply]", Reply(make_entry().completion))
        return super().complete(request, time_limit=time_limit)


@pytest.mark.virtual
async def test_a_backend_that_fails_as_it_is_called_fails_that_request_and_nobody_behind_it() -> None:
    async with gateway_over(Stumbling()) as gateway:
        bad, plain, good = (asyncio.create_task(gateway.complete(ask(number), lane="lane")) for number in (1, 3, 2))
        assert (await good).text == "question 2"
        with pytest.raises(BackendBroken, match="raised ZeroDivisionError: a bug"):
            await bad
        with pytest.raises(BackendBroken, match="must be `async def`"):
            await plain


class SlowStore(MemoryStore):
    """Takes ten seconds to keep an entry, as a disk far away."""

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        await asyncio.sleep(10)
        return await super().put_many(entries)


@pytest.mark.virtual
async def test_the_slot_is_free_while_the_answer_is_kept() -> None:
    """An answer is handed out only when it is on disk, but the next call does not wait for that."""
    account = Account()
    async with gateway_over(Server(), store=SlowStore()) as gateway:
        await gateway.complete_many([ask(number) for number in range(5)], lane="lane", account=account)
    assert now() == pytest.approx(5 * 1.0 + 10)
    assert account.statistics().total.store_seconds == pytest.approx(50)


class BrokenStore(MemoryStore):
    """Cannot keep anything."""

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        return dict.fromkeys(entries, StoreError("The disk is full."))


@pytest.mark.virtual
async def test_an_answer_that_cannot_be_kept_is_an_error() -> None:
    """StoreError passes through to everybody who waits."""
    async with gateway_over(Server(), store=BrokenStore()) as gateway:
        tasks = [asyncio.create_task(gateway.complete(ask(1), lane="lane")) for _ in range(2)]
        for task in tasks:
            with pytest.raises(StoreError, match="full"):
                await task


class RemoteStore(MemoryStore):
    """Asks over a slow network: what lands meanwhile is missed."""

    local = False

    async def get_many(self, keys: object) -> dict[str, Entry]:
        found = await super().get_many(list(keys))  # type: ignore[call-overload]
        await asyncio.sleep(3)
        return found


@pytest.mark.virtual
async def test_nothing_is_paid_twice_while_a_store_is_asked() -> None:
    """An answer that came in while the look-up was on its way is not asked for again."""
    server = Server(latency=2)
    async with gateway_over(server, store=RemoteStore()) as gateway, asyncio.TaskGroup() as group:
        group.create_task(gateway.complete(ask(1), lane="lane"))
        await asyncio.sleep(2.5)  # asks at 2.5 and hears at 5.5; the first call is under way from 3 to 5
        late = group.create_task(gateway.complete_many([ask(1)], lane="lane"))
    assert isinstance(late.result()[0], Completion)
    assert len(server.calls) == 1


@pytest.mark.virtual
async def test_closing_fails_what_waits_and_leaves_nothing_behind() -> None:
    """No task outlives the `async with`, whatever was under way."""
    compute, paid = Server("compute", latency=500), Server("paid", latency=5)
    lanes = [
        Lane("compute", [compute], ONE_AT_A_TIME),
        Lane("paid", [paid], LaneSettings(concurrency=1, billing="tokens")),
    ]
    store = MemoryStore()
    async with Gateway(lanes, store=store) as gateway:
        tasks = [
            asyncio.create_task(gateway.complete(ask(number), lane=lane))
            for lane in ("compute", "paid")
            for number in ((1, 2) if lane == "compute" else (3, 4))
        ]
        await asyncio.sleep(1)
    await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["RunStopped", "RunStopped", "Completion", "RunStopped"]
    assert now() == pytest.approx(5.0)
    assert compute.closed
    assert paid.closed
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(RuntimeError, match="not open"):
        await gateway.complete(ask(9), lane="paid")


@pytest.mark.virtual
async def test_a_cancelled_run_closes_within_its_grace() -> None:
    """Ctrl-C does not wait for ever for an answer that is paid for."""
    server = Server(latency=10_000)
    settings = LaneSettings(concurrency=1, billing="tokens", time_limit=10_000)
    with anyio.move_on_after(1):
        async with gateway_over(server, settings=settings) as gateway:
            await gateway.complete(ask(1), lane="lane")
    assert now() < 60
    assert server.cancelled == 1


def test_a_listener_that_raises_does_not_disturb_the_lane() -> None:
    """The error goes to the loop's handler; the answers come."""

    def explode(event: Event) -> None:
        raise ValueError("a broken progress bar")

    async def main() -> None:
        seen: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(str(context["exception"])))
        async with Gateway([Lane("lane", [SlotServer(slots=64)])], store=MemoryStore(), on_event=explode) as gateway:
            await gateway.complete_many([ask(number) for number in range(200)], lane="lane")
        assert set(seen) == {"a broken progress bar"}

    run_virtual(main())


@pytest.mark.virtual
async def test_lookup_many_tells_what_is_there_without_asking() -> None:
    """By position; nothing is called, and hits are counted only for a lane that uses them."""
    server = Server()
    async with gateway_over(server) as gateway:
        await gateway.complete_many([ask(1), ask(3)], lane="lane")
        requests, account = [ask(number) for number in range(5)], Account()
        found = await gateway.lookup_many(requests)
        assert account.statistics().total.hits == 0
        assert await gateway.lookup_many(requests, lane="lane", account=account) == found
        assert account.statistics().total.hits == 2
    assert {position: completion.text for position, completion in found.items()} == {
        1: "question 1",
        3: "question 3",
    }
    assert len(server.calls) == 2


@pytest.mark.virtual
async def test_a_stopped_lane_sends_nothing_again() -> None:
    """A call that was out when the lane stopped, and fails later, is not retried on it."""
    server = Server()

    async def work(request: Request) -> None:
        await asyncio.sleep(1 if request.messages[-1].content == "question 0" else 2)
        raise AccessDenied("no") if request.messages[-1].content == "question 0" else HalfAnswer("half")

    server.work = work  # type: ignore[method-assign]
    async with gateway_over(server, settings=LaneSettings(concurrency=2)) as gateway:
        results = await asyncio.gather(
            *(gateway.complete(ask(number), lane="lane") for number in range(2)), return_exceptions=True
        )
        assert [type(result) for result in results] == [LaneStopped, LaneStopped]
        await asyncio.sleep(100)
    assert len(server.calls) == 2


@pytest.mark.virtual
async def test_a_paid_call_that_fails_while_closing_is_not_tried_again() -> None:
    """Its waiter is told, and closing does not hang."""
    server = Server()

    async def work(request: Request) -> None:
        await asyncio.sleep(5)
        raise HalfAnswer("half")

    server.work = work  # type: ignore[method-assign]
    async with gateway_over(server, settings=LaneSettings(billing="tokens")) as gateway:
        task = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
        await asyncio.sleep(1)
    with pytest.raises(RunStopped, match="closed"):
        await task
    assert now() == pytest.approx(5.0)
    assert len(server.calls) == 1


@pytest.mark.virtual
async def test_closing_during_a_back_off_fails_the_waiter() -> None:
    """Nobody waits for a timer that will not fire."""
    server = Server()

    def halve(request: Request) -> None:
        raise HalfAnswer("half")

    server.plan = halve
    async with gateway_over(server) as gateway:
        task = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
        await asyncio.sleep(0.1)
        assert gateway.statistics().lanes["lane"].retrying == 1
    with pytest.raises(RunStopped, match="closed"):
        await task


def test_a_huge_batch_is_let_in_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice a window of requests at once never have more than a window of them under way, and all are answered."""

    window = 2_000
    monkeypatch.setattr("metaspo.scheduling.gateway.BATCH_WINDOW", window)

    async def main() -> None:
        most = 0
        async with gateway_over(Server(), settings=LaneSettings(concurrency=400)) as gateway:
            batch = asyncio.create_task(gateway.complete_many([ask(n) for n in range(2 * window)], lane="lane"))
            while not batch.done():
                await asyncio.sleep(0.5)
                most = max(most, gateway.statistics().waiting)
            assert len(await batch) == 2 * window
        assert 400 < most <= window + CHUNK
        assert now() <= 12

    run_virtual(main())


@pytest.mark.virtual
async def test_an_unknown_lane_is_named_with_those_there_are() -> None:
    """A typo in a lane's name is the caller's mistake, not a model's."""
    async with gateway_over(Server()) as gateway:
        with pytest.raises(ValueError, match=r"'lnae'; the lanes are: lane$"):
            await gateway.complete(ask(1), lane="lnae")


@pytest.mark.virtual
async def test_statistics_say_where_the_time_went() -> None:
    """Queue, limiter, server and retry seconds add up to the time the requests took."""
    server, account = Server(latency=2), Account()
    failures = iter([HalfAnswer("half")])

    def fail_once(request: Request) -> None:
        with contextlib.suppress(StopIteration):
            raise next(failures)

    server.plan = fail_once
    prices = Prices(input=1.0, cached=0.5, output=2.0)
    settings = LaneSettings(concurrency=1, requests_per_minute=12, prices=prices)
    async with gateway_over(server, settings=settings) as gateway:
        await gateway.complete_many([ask(number) for number in range(6)], lane="lane", account=account)
        ends = [at + 2 for _, at in server.calls[1:]]
        inside = gateway.statistics().lanes["lane"]
    use = account.statistics().total
    spent = use.queue_seconds + use.limiter_seconds + use.server_seconds + use.retry_seconds
    assert spent == pytest.approx(sum(ends))
    assert use.limiter_seconds > 10
    assert use.retry_seconds > 0.5
    assert use.server_seconds == pytest.approx(12)
    assert use.prompt_tokens == 6 * PROMPT_TOKENS
    assert use.dollars >= 6 * (PROMPT_TOKENS * 1.0 + ANSWER_TOKENS * 2.0) / 1e6
    assert (use.calls, use.retries) == (7, 1)
    assert (inside.answered, inside.in_flight, inside.queued, inside.concurrency) == (6, 0, 0, 1)


@pytest.mark.virtual
async def test_a_batch_of_many_chunks_comes_back_whole() -> None:
    """By position, cached ones and duplicates included."""
    async with gateway_over(SlotServer(slots=500), settings=LaneSettings(concurrency=500)) as gateway:
        await gateway.complete_many([ask(number) for number in range(0, 3_000, 7)], lane="lane")
        requests = [ask(number % 2_000) for number in range(3_000)]
        results = await gateway.complete_many(requests, lane="lane")
    assert [getattr(result, "text", "") for result in results] == [
        f"question {number % 2_000}" for number in range(3_000)
    ]


async def test_it_works_on_the_real_clock_too() -> None:
    """The same gateway on pytest's ordinary event loop."""
    async with gateway_over(Server(latency=0.0), settings=LaneSettings(concurrency=4)) as gateway:
        results = await gateway.complete_many([ask(number) for number in range(20)], lane="lane")
    assert len(results) == 20


class FarStore(MemoryStore):
    """Takes a second to be asked; counts the questions."""

    local = False

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        self.asked.append(len(keys))
        await asyncio.sleep(1.0)
        return await super().get_many(keys)


@pytest.mark.virtual
async def test_an_account_has_settled_when_the_last_of_its_calls_is_over() -> None:
    """At once where none is out; of others' calls it says nothing; and nobody waits longer than the grace."""
    account, slow = Account("run"), Server(latency=5.0)
    settings = LaneSettings(concurrency=9, billing="tokens")
    async with gateway_over(slow, settings=settings) as gateway:
        await gateway.settled(account)
        assert now() == 0.0
        others = asyncio.create_task(gateway.complete(ask(9), lane="lane"))
        await asyncio.sleep(1.0)
        batch = asyncio.create_task(gateway.complete_many([ask(1), ask(2)], lane="lane", account=account))
        await asyncio.sleep(1.0)
        batch.cancel()
        await gateway.settled(account)
        assert (now(), account.out, account.on_settled) == (6.0, 0, None)
        slow.latency = 100.0
        late = asyncio.create_task(gateway.complete(ask(3), lane="lane", account=account))
        await asyncio.sleep(1.0)
        await gateway.settled(account)
        assert (now(), account.out, account.on_settled) == (7.0 + CLOSE_GRACE, 1, None)
        assert others.done()
        late.cancel()
    assert now() == 7.0 + CLOSE_GRACE, "nor a second time, when the gateway is closed"


@pytest.mark.virtual
async def test_a_gateway_answers_inside_its_context_alone() -> None:
    """Not before, not after, and not who had asked the store when it was closed; closing twice is closing once."""
    store, server = FarStore(), Server()
    gateway = Gateway([Lane("lane", [server])], store=store)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not open"):
            await gateway.complete(ask(1), lane="lane")
        with pytest.raises(RuntimeError, match="not open"):
            await gateway.complete_many([ask(1)], lane="lane")
        await gateway.aclose()
        if not server.closed:
            async with gateway:
                late = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
                await asyncio.sleep(0.5)
            with pytest.raises(RuntimeError, match="not open"):
                await late
    assert server.calls == []
    with pytest.raises(ValueError, match="two lanes are named 'lane'"):
        Gateway([Lane("lane", [server]), Lane("lane", [server])], store=store)


class ClosedOnce(Server):
    """Counts how often it is closed."""

    closings = 0

    async def aclose(self) -> None:
        self.closings += 1
        raise ConnectionLost("gone", before_answer=True)


@pytest.mark.virtual
async def test_backends_are_closed_once_and_all_of_them_whatever_becomes_of_the_others() -> None:
    """The first trouble is told, when all are closed, and once."""
    servers = [ClosedOnce(), ClosedOnce()]
    lanes = [Lane(str(number), [server]) for number, server in enumerate(servers)]
    gateway = Gateway(lanes, store=MemoryStore())
    with pytest.raises(ConnectionLost):
        async with gateway:
            assert set(gateway.statistics().lanes) == {"0", "1"}
    await gateway.aclose()
    assert [server.closings for server in servers] == [1, 1]


@pytest.mark.virtual
async def test_a_large_batch_lets_others_have_a_turn_between_its_parts() -> None:
    """Not before the first one, whose requests are looked up at once."""
    store, turns = MemoryStore(), 0
    requests = [ask(number) for number in range(2 * CHUNK + 1)]
    async with Gateway([Lane("lane", [SlotServer(slots=999)], LaneSettings(concurrency=999))], store=store) as gateway:
        await gateway.complete_many(requests, lane="lane")

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        for asking, count in ((requests, 2), (requests[:CHUNK], 0), (requests[: CHUNK + 1], 1)):
            for ask_them in (gateway.complete_many(asking, lane="lane"), gateway.lookup_many(asking)):
                turns, other = 0, asyncio.create_task(others())
                await ask_them
                other.cancel()
                assert abs(turns - count) <= 1


@pytest.mark.virtual
async def test_a_batch_that_has_failed_is_looked_up_no_further() -> None:
    """And what of it still waits is withdrawn."""
    store, server = FarStore(), Server(latency=0.5)

    def deny(request: Request) -> None:
        raise AccessDenied("no")

    server.plan = deny
    async with Gateway([Lane("lane", [server])], store=store) as gateway:
        with pytest.raises(LaneStopped):
            await gateway.complete_many([ask(number) for number in range(5 * CHUNK)], lane="lane")
        assert len(store.asked) <= 2
        assert gateway.statistics().waiting == 0


@pytest.mark.virtual
@pytest.mark.parametrize("priced", [True, False])
async def test_what_the_store_answers_is_counted_with_what_it_would_have_cost(priced: bool) -> None:
    """By whoever is named for it: of one request, of a batch, and of a look-up that names a lane."""
    prices = Prices(input=1e6, cached=1e6, output=1e5)
    each = PROMPT_TOKENS + ANSWER_TOKENS / 10
    settings = LaneSettings(prices=prices if priced else None)
    account = Account("run")
    async with gateway_over(Server(), settings=settings) as gateway:
        await gateway.complete_many([ask(1), ask(2)], lane="lane")
        await gateway.complete(ask(1), lane="lane", account=account)
        await gateway.complete_many([ask(2), ask(1), ask(2)], lane="lane", account=account)
        assert set(await gateway.lookup_many([ask(5), ask(2)], lane="lane", account=account)) == {1}
        assert set(await gateway.lookup_many([ask(2)], account=account)) == {0}
    use = account.statistics().lanes["lane"]
    assert (use.hits, use.calls, use.joined) == (5, 0, 0)
    assert use.dollars_saved == pytest.approx(5 * each if priced else 0.0)
    assert use.unpriced_saved == (0 if priced else 5)


@pytest.mark.virtual
@pytest.mark.parametrize("priced", [True, False])
async def test_an_account_that_remembers_counts_what_it_asked_before_as_repeated(priced: bool) -> None:
    """Of one request, of a batch, of a look-up; while it is under way, and once it is stored. Others' do not count."""
    prices = Prices(input=1e6, cached=1e6, output=1e5)
    each = PROMPT_TOKENS + ANSWER_TOKENS / 10
    account, forgetful = Account("run", remembers=True), Account("other")
    async with gateway_over(Server(), settings=LaneSettings(prices=prices if priced else None)) as gateway:
        await gateway.complete(ask(1), lane="lane", account=forgetful)
        await gateway.complete(ask(1), lane="lane", account=account)
        await gateway.complete_many([ask(1), ask(2), ask(2)], lane="lane", account=account)
        third, *_ = await asyncio.gather(*(gateway.complete(ask(3), lane="lane", account=account) for _ in range(3)))
        await gateway.lookup_many([ask(2), ask(4)], lane="lane", account=account)
        gateway.count_hits([(ask(3), third)], lane="lane", account=account)
        await gateway.complete_many([ask(1), ask(2)], lane="lane", account=forgetful)
    use = account.statistics().lanes["lane"]
    assert use.calls + use.hits + use.joined - use.repeated == 3
    assert (use.hits, use.calls, use.joined, use.repeated) == (4, 2, 3, 6)
    assert use.dollars_repeated == pytest.approx(3 * each if priced else 0.0)
    assert use.unpriced_repeated == (0 if priced else 3)
    assert forgetful.statistics().lanes["lane"].repeated == 0


@pytest.mark.virtual
@pytest.mark.parametrize("priced", [True, False])
async def test_what_an_account_would_have_paid_for_what_it_joined_is_known(priced: bool) -> None:
    """Once a request, however often it asks for it: each account has what an empty cache would have cost it alone."""
    prices = Prices(input=1e6, cached=1e6, output=1e5)
    each = PROMPT_TOKENS + ANSWER_TOKENS / 10
    one, other = Account("one", remembers=True), Account("other", remembers=True)
    async with gateway_over(Server(), settings=LaneSettings(prices=prices if priced else None)) as gateway:
        asked = [gateway.complete(ask(1), lane="lane", account=account) for account in (one, other, other)]
        batch = gateway.complete_many([ask(1), ask(2)], lane="lane", account=other)
        await asyncio.gather(*asked, batch)
    uses = [account.statistics().lanes["lane"] for account in (one, other)]
    worth = [use.dollars + use.dollars_saved - use.dollars_repeated + use.dollars_joined for use in uses]
    assert worth == [pytest.approx(each if priced else 0.0), pytest.approx(2 * each if priced else 0.0)]
    assert [use.unpriced_joined for use in uses] == ([0, 0] if priced else [0, 1])


@pytest.mark.virtual
async def test_who_asks_what_is_under_way_is_counted_as_one_who_joined() -> None:
    """Alone, in a batch, or twice in one."""
    account = Account("run")
    async with gateway_over(Server()) as gateway:
        first = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
        await asyncio.sleep(0.5)
        second = asyncio.create_task(gateway.complete(ask(1), lane="lane", account=account))
        assert len(await gateway.complete_many([ask(1), ask(2), ask(2)], lane="lane", account=account)) == 3
        assert (await first).text == (await second).text
    assert account.statistics().total.joined == 3


def test_a_gateway_is_of_the_event_loop_that_it_was_opened_in() -> None:
    """Called from another one it says so, in place of an answer that would never come in there."""

    async def main() -> None:
        async with Gateway([Lane("lane", [Server()])], store=MemoryStore()) as gateway:

            def elsewhere() -> str:
                with pytest.raises(RuntimeError) as raised:
                    asyncio.run(gateway.complete(ask(1), lane="lane"))
                return str(raised.value)

            told = await asyncio.to_thread(elsewhere)
            assert "another event loop" in told
            assert (await gateway.complete(ask(1), lane="lane")).text == "question 1"

    asyncio.run(main())


class StaleStore(MemoryStore):
    """Reads at once, and says what it read some time later."""

    local = False

    def __init__(self) -> None:
        super().__init__()
        self.takes = 0.0

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        entries, takes = await super().get_many(keys), self.takes
        await asyncio.sleep(takes)
        return entries


@pytest.mark.virtual
async def test_what_came_while_the_store_was_asked_is_found_however_long_that_takes() -> None:
    """Also when others that were asked meanwhile have ended; then it is let go of."""
    store = StaleStore()
    async with gateway_over(Server(latency=1.0), store=store) as gateway:
        asking = asyncio.create_task(gateway.complete(ask(1), lane="lane"))
        await asyncio.sleep(0.5)
        store.takes = 3.0
        slow = asyncio.create_task(gateway.lookup_many([ask(2), ask(1)]))
        await asyncio.sleep(0.1)
        store.takes = 1.0
        quick = asyncio.create_task(gateway.lookup_many([ask(2)]))
        assert (await asking).text == "question 1"
        assert await quick == {}
        assert {position: completion.text for position, completion in (await slow).items()} == {1: "question 1"}
        assert gateway._writer._fresh == {}


@pytest.mark.virtual
async def test_an_answer_says_how_it_was_come_by_how_long_it_waited_and_what_it_costs() -> None:
    """Asked for now, asked for by somebody else, or in the store."""
    prices = Prices(input=1e6, cached=1e6, output=1e5)
    settings = LaneSettings(concurrency=1, prices=prices)
    async with gateway_over(Server(latency=3.0), settings=settings) as gateway:
        busy = asyncio.create_task(gateway.complete(ask(9), lane="lane"))
        await asyncio.sleep(1.0)
        asked = asyncio.create_task(gateway.answer(ask(1), lane="lane"))
        await asyncio.sleep(1.0)
        joined = asyncio.create_task(gateway.answer(ask(1), lane="lane"))
        answers = [await asked, await joined, await gateway.answer(ask(1), lane="lane")]
        await busy
    assert [answer.source for answer in answers] == ["miss", "joined", "hit"]
    assert [answer.waited for answer in answers] == pytest.approx([2.0, 2.0, 0.0])
    assert {answer.dollars for answer in answers} == {PROMPT_TOKENS + ANSWER_TOKENS / 10}
    assert {(answer.key, answer.completion.text) for answer in answers} == {(request_key(ask(1)), "question 1")}


@pytest.mark.virtual
async def test_what_an_answer_waited_is_for_a_slot_and_for_the_rate_and_between_tries_together() -> None:
    """From its asking until its call went that was answered."""
    server, faults = Server(latency=3.0), [ServerFault("500")]

    def plan(request: Request) -> None:
        if request == ask(3) and faults:
            raise faults.pop()

    server.plan = plan
    settings = LaneSettings(concurrency=2, requests_per_minute=6)
    async with gateway_over(server, settings=settings) as gateway:
        begun = now()
        answers = await asyncio.gather(*(gateway.answer(ask(number), lane="lane") for number in range(4)))
    went = dict(server.calls)  # the last call of each
    assert [answer.waited for answer in answers] == pytest.approx([went[f"question {n}"] - begun for n in range(4)])
    assert answers[2].waited > 10


class FallingStore(FarStore):
    """Is asked twice."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        found = await super().get_many(keys)
        if len(self.asked) > 1:
            raise StoreError("the disk is gone")
        return found


@pytest.mark.virtual
async def test_a_batch_that_fails_for_two_reasons_tells_of_the_one_and_logs_no_other() -> None:
    """The lane stops while the store is asked for the rest, which fails then: the loop would log as an error what
    nobody has read."""
    unread: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: unread.append(about["message"]))
    store, server = FallingStore(), Server(latency=0.5)

    def deny(request: Request) -> None:
        raise AccessDenied("no")

    server.plan = deny
    async with gateway_over(server, store=store) as gateway:
        with pytest.raises(StoreError, match="the disk is gone"):
            await gateway.complete_many([ask(number) for number in range(2 * CHUNK)], lane="lane")
        assert gateway.statistics().waiting == 0
    gc.collect()
    assert unread == []


ASKER: ContextVar[str] = ContextVar("ASKER", default="nobody")


@pytest.mark.virtual
async def test_who_is_told_of_a_call_is_told_in_the_context_of_who_asked() -> None:
    """One by one or in a batch, who asks first and who joins, and of what was in the store: so that spans and
    variables of the one are never taken for those of the other."""
    told: list[tuple[str, str]] = []

    def tell(record: CallRecord) -> None:
        told.append((ASKER.get(), record.status))

    gateway = Gateway([Lane("lane", [Server()])], store=MemoryStore(), on_call=tell)

    async def one(name: str) -> None:
        ASKER.set(name)
        await gateway.complete(ask(1), lane="lane")

    async def batch(name: str) -> None:
        ASKER.set(name)
        await gateway.complete_many([ask(2)], lane="lane")

    async with gateway:
        await asyncio.gather(one("first"), one("second"), batch("third"), batch("fourth"))
        await one("fifth")
    assert sorted(told) == [
        ("fifth", "hit"),
        ("first", "miss"),
        ("fourth", "joined"),
        ("second", "joined"),
        ("third", "miss"),
    ]
