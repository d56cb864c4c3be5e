"""Budgets: never overshot by parallel calls, used up to the last call that fits, and a clean stop."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_world import ANSWER_TOKENS, PROMPT_TOKENS, Server, ask, now

from metaspo.backends import Completion, HalfAnswer, Message, RateLimited, Reply, Request, RequestRejected, Usage
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.scheduling import (
    Account,
    Budget,
    BudgetExhausted,
    BudgetReached,
    Event,
    Gateway,
    Lane,
    LaneSettings,
    Prices,
)
from metaspo.scheduling.budget.budget import CALLS_AHEAD, Cost, Purse
from metaspo.scheduling.estimate import TokenEstimator, size_of
from metaspo.scheduling.lanes.books import UNSEEN

PRICES = Prices(input=1_000.0, cached=500.0, output=2_000.0)


class CountingServer(Server):
    """Books what it would charge."""

    def __init__(self, *, latency: float = 1.0) -> None:
        super().__init__(latency=latency)
        self.tokens = 0

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        reply = await super().complete(request, time_limit=time_limit)
        usage = reply.completion.usage
        self.tokens += usage.prompt_tokens + usage.completion_tokens
        return reply


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(0, 3_000),
    st.floats(0, 2),
    st.integers(1, 32),
    st.sampled_from(["calls", "tokens", "dollars"]),
)
def test_parallel_calls_never_overshoot_a_cap(
    calls: int, tokens: int, dollars: float, concurrency: int, cap: str
) -> None:
    """Whatever the cap and however many run at once; and what is spent is what the server charged."""
    budget = Budget(
        calls=calls if cap == "calls" else None,
        tokens=tokens if cap == "tokens" else None,
        dollars=dollars if cap == "dollars" else None,
    )

    async def main() -> None:
        server, account = CountingServer(), Account("run", budget)
        lane = Lane("lane", [server], LaneSettings(concurrency=concurrency, prices=PRICES))
        async with Gateway([lane], store=MemoryStore()) as gateway:
            with pytest.raises(BudgetExhausted) as stop:
                await gateway.complete_many([ask(number) for number in range(200)], lane="lane", account=account)
        assert stop.value.cap == cap
        spent = account.purse.spent
        assert spent.calls == len(server.calls) == len(server.finished)
        assert spent.tokens == server.tokens
        assert spent.calls <= calls or cap != "calls"
        assert spent.tokens <= tokens or cap != "tokens"
        assert spent.dollars <= dollars + 1e-9 or cap != "dollars"
        assert account.purse.out == 0

    run_virtual(main())


class ByteServer(Server):
    """Charges a token for each byte of the prompt and answers as long as it may, for long prompts."""

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        reply = await super().complete(request, time_limit=time_limit)
        size = len(request.messages[-1].content.encode())
        usage = Usage(size, request.sampling.max_tokens or 0) if size > 100 else Usage(10, 5)
        return reply._replace(completion=reply.completion._replace(usage=usage))


@pytest.mark.virtual
@pytest.mark.parametrize("letter", ["x", "字"])
@pytest.mark.parametrize("budget", [Budget(tokens=20_000), Budget(dollars=20.0)])
async def test_a_cap_holds_when_long_prompts_follow_short_ones(budget: Budget, letter: str) -> None:
    """What a hundred short answers took bounds nothing that comes after them."""
    server, account = ByteServer(), Account("run", budget)
    lane = Lane("lane", [server], LaneSettings(concurrency=64, prices=PRICES))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        await gateway.complete_many([ask(number) for number in range(100)], lane="lane", account=account)
        long = [replace(ask(0), messages=(Message("user", letter * 1_500 + str(n)),)) for n in range(64)]
        with pytest.raises(BudgetExhausted):
            await gateway.complete_many(long, lane="lane", account=account)
    spent = account.purse.spent
    assert spent.calls > 100
    assert budget.tokens is None or spent.tokens <= budget.tokens
    assert budget.dollars is None or spent.dollars <= budget.dollars + 1e-9


class UnlimitedServer(Server):
    """Its answers are paid for far beyond what a request allows, as where reasoning is counted beside it."""

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        reply = await super().complete(request, time_limit=time_limit)
        return reply._replace(completion=reply.completion._replace(usage=Usage(10, 500)))


@pytest.mark.virtual
@pytest.mark.parametrize("refused", [0, 1])
@pytest.mark.parametrize("calls", [1, 4, 40, 400])
async def test_near_a_cap_one_call_goes_before_others_and_tells_what_they_may_take(calls: int, refused: int) -> None:
    """A provider that counts beyond the limit passes a cap by one call at the most; far from it nobody waits."""
    server, left = UnlimitedServer(), refused

    def plan(request: Request) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise RequestRejected("too long")

    server.plan = plan
    asked = [ask(number, max_tokens=20) for number in range(40)]
    lane = Lane("lane", [server], LaneSettings(concurrency=8))
    bound = sum(TokenEstimator().upper_bound(size_of(asked[0])))
    account = Account("run", Budget(tokens=calls * bound))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        with suppress(BudgetExhausted):
            await gateway.complete_many(asked, lane="lane", account=account)
    assert account.purse.spent.tokens <= max(calls * bound, 510)
    assert sum(at == 0 for _, at in server.calls) - refused == (8 if calls >= 8 * UNSEEN else 1)


@pytest.mark.virtual
async def test_a_cap_on_calls_is_used_to_the_last_one() -> None:
    """10 allowed, 10 made."""
    server, account = Server(), Account("run", Budget(calls=10))
    events: list[Event] = []
    lane = Lane("lane", [server], LaneSettings(concurrency=4))
    async with Gateway([lane], store=MemoryStore(), on_event=events.append) as gateway:
        with pytest.raises(BudgetExhausted, match=r"10 of 10 calls.*raise the cap on calls"):
            await gateway.complete_many([ask(number) for number in range(50)], lane="lane", account=account)
        await asyncio.sleep(0)
    assert len(server.finished) == 10
    assert sum(isinstance(event, BudgetReached) for event in events) == 1


def test_whoever_writes_a_purse_down_hears_of_what_is_set_aside_and_of_what_it_came_to() -> None:
    purse, heard = Purse(Budget(calls=2)), list[Cost]()
    purse.on_change = lambda: heard.append(purse.taken())
    assert purse.reserve(Cost(1, 100, 0.0))
    purse.settle(Cost(1, 100, 0.0), Cost(1, 30, 0.0))
    assert heard == [Cost(1, 100, 0.0), Cost(1, 30, 0.0)]


@pytest.mark.virtual
async def test_a_call_waits_for_what_others_may_give_back() -> None:
    """Worst cases of four calls do not fit together, but one after the other all do."""
    server = CountingServer()
    account = Account("run", Budget(tokens=4_000))
    lane = Lane("lane", [server], LaneSettings(concurrency=4))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        requests = [ask(number, max_tokens=3_000) for number in range(4)]
        await gateway.complete_many(requests, lane="lane", account=account)
    assert server.peak == 1
    assert now() == pytest.approx(4.0)


@pytest.mark.virtual
async def test_one_accounts_cap_does_not_stop_the_other() -> None:
    """Two runs on one gateway: the poor one stops, the rich one goes on, also with what both wanted."""
    server = Server()
    poor, rich = Account("poor", Budget(calls=3)), Account("rich")
    async with Gateway([Lane("lane", [server], LaneSettings(concurrency=2))], store=MemoryStore()) as gateway:
        shared = [ask(number) for number in range(10)]
        first = asyncio.create_task(gateway.complete_many(shared, lane="lane", account=poor))
        second = asyncio.create_task(gateway.complete_many(shared, lane="lane", account=rich))
        third = asyncio.create_task(gateway.complete_many([ask(50)], lane="lane", account=poor))
        results = await asyncio.gather(first, second, third, return_exceptions=True)
    assert len(results[1]) == 10  # type: ignore[arg-type]
    assert isinstance(results[2], BudgetExhausted)
    assert len(server.finished) == 10
    assert poor.purse.spent.calls == 3
    assert rich.purse.spent.calls == 7


@pytest.mark.virtual
async def test_an_exhausted_account_still_gets_what_is_stored() -> None:
    """Cached answers cost nothing."""
    account = Account("run", Budget(calls=1))
    async with Gateway([Lane("lane", [Server()])], store=MemoryStore()) as gateway:
        first = await gateway.complete(ask(1), lane="lane", account=account)
        for _ in range(2):
            with pytest.raises(BudgetExhausted):
                await gateway.complete(ask(2), lane="lane", account=account)
        assert await gateway.complete(ask(1), lane="lane", account=account) == first


@pytest.mark.virtual
async def test_who_has_reached_a_cap_is_told_so_at_once_however_full_the_lane_is() -> None:
    """Nobody waits for a turn that brings nothing."""
    server, account = CountingServer(), Account("run", Budget(calls=1))
    async with Gateway([Lane("lane", [server], LaneSettings(concurrency=1))], store=MemoryStore()) as gateway:
        asked = [gateway.complete(ask(number), lane="lane", account=account) for number in range(2)]
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(end, BudgetExhausted) for end in ends] == [False, True]
        other = asyncio.create_task(gateway.complete(ask(2), lane="lane"))
        await asyncio.sleep(0.1)
        asked_at = now()
        with pytest.raises(BudgetExhausted):
            await gateway.complete(ask(3), lane="lane", account=account)
        assert now() == asked_at
        await other


@pytest.mark.virtual
async def test_a_cap_spans_all_lanes() -> None:
    """Calls to two lanes are counted together."""
    servers = [Server("a"), Server("b")]
    account = Account("run", Budget(calls=7))
    lanes = [Lane(server.name, [server], LaneSettings(concurrency=3)) for server in servers]
    async with Gateway(lanes, store=MemoryStore()) as gateway:
        tasks = [
            asyncio.create_task(
                gateway.complete_many([ask(number, system=name) for number in range(9)], lane=name, account=account)
            )
            for name in ("a", "b")
        ]
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, BudgetExhausted) for result in results)
    assert sum(len(server.finished) for server in servers) == 7


@pytest.mark.virtual
async def test_a_cancelled_waiter_gives_its_reservation_back() -> None:
    """What was parked behind a call that is dropped from the queue goes on."""
    server = Server()
    account = Account("run", Budget(tokens=4_000))
    settings = LaneSettings(concurrency=1, requests_per_minute=2)
    async with Gateway([Lane("lane", [server], settings)], store=MemoryStore()) as gateway:
        first, second, third = (
            asyncio.create_task(gateway.complete(ask(number, max_tokens=3_000), lane="lane", account=account))
            for number in range(3)
        )
        await first
        await asyncio.sleep(1)  # the second has its reservation and waits for the rate limit
        second.cancel()
        assert isinstance(await third, Completion)
    assert server.finished == ["question 0", "question 2"]


@pytest.mark.virtual
async def test_who_leaves_does_not_pay() -> None:
    """A request that waits for the rate limit is paid by whoever still wants it when it goes."""
    server, leaver, stayer = Server(), Account("leaver"), Account("stayer")
    settings = LaneSettings(concurrency=1, requests_per_minute=2)
    async with Gateway([Lane("lane", [server], settings)], store=MemoryStore()) as gateway:
        await gateway.complete(ask(0), lane="lane")
        first = asyncio.create_task(gateway.complete(ask(1), lane="lane", account=leaver))
        second = asyncio.create_task(gateway.complete(ask(1), lane="lane", account=stayer))
        await asyncio.sleep(1)
        first.cancel()
        await second
    assert (leaver.purse.spent.calls, leaver.purse.out) == (0, 0)
    assert (stayer.purse.spent.calls, stayer.purse.out) == (1, 0)


@pytest.mark.virtual
@pytest.mark.parametrize("priority", [0, 1])
async def test_who_leaves_a_request_that_another_one_pays_for_disturbs_nobody(priority: int) -> None:
    """It waits in the payer's line, not in the leaver's, where something else may have the same place."""
    server, payer, leaver = Server(), Account("payer", Budget(tokens=500)), Account("leaver", Budget(tokens=500))
    async with Gateway([Lane("lane", [server])], store=MemoryStore()) as gateway, asyncio.timeout(100):

        def ask_for(number: int, account: Account, priority: int = 0) -> "asyncio.Task[Completion]":
            work = gateway.complete(ask(number), lane="lane", account=account, priority=(priority,))
            return asyncio.create_task(work)

        stay = [ask_for(1, payer), ask_for(2, payer), ask_for(3, leaver, priority), ask_for(4, leaver, priority)]
        await asyncio.sleep(0.1)
        assert (len(payer.parked), len(leaver.parked)) == (1, 1)
        joiner = ask_for(2, leaver)
        await asyncio.sleep(0.1)
        joiner.cancel()
        await asyncio.gather(*stay)
    assert sorted(server.finished) == [f"question {number}" for number in (1, 2, 3, 4)]


@pytest.mark.virtual
async def test_a_request_that_nobody_waits_for_gets_no_room_in_the_budget() -> None:
    """It left the line with the last who wanted it."""
    server, account = Server(), Account("run", Budget(tokens=500))
    async with Gateway([Lane("lane", [server])], store=MemoryStore()) as gateway:
        first = asyncio.create_task(gateway.complete(ask(1), lane="lane", account=account))
        second = asyncio.create_task(gateway.complete(ask(2), lane="lane", account=account))
        await asyncio.sleep(0.1)
        assert len(account.parked) == 1
        second.cancel()
        await first
        await asyncio.sleep(10)
    assert len(account.parked) == 0
    assert server.finished == ["question 1"]


@pytest.mark.virtual
async def test_refused_calls_are_free_and_lost_ones_count_at_their_most() -> None:
    """A 429 costs nothing; half an answer may have cost everything it could."""
    server = Server()
    errors = iter([RateLimited("429"), HalfAnswer("half")])

    def fail(request: Request) -> None:
        error = next(errors, None)
        if error is not None:
            raise error

    server.plan = fail
    account = Account("run", Budget(calls=10))
    async with Gateway([Lane("lane", [server])], store=MemoryStore()) as gateway:
        await gateway.complete(ask(1), lane="lane", account=account)
    assert account.purse.spent.calls == 2
    assert account.purse.spent.tokens > 2 * (PROMPT_TOKENS + ANSWER_TOKENS)


@settings(deadline=None)
@given(
    st.builds(Budget, calls=st.none() | st.integers(1, 5_000), tokens=st.none() | st.integers(1, 10**6)),
    st.lists(st.tuples(st.integers(1, 5_000), st.floats(0, 1)), max_size=400),
)
def test_what_is_taken_was_announced_before(budget: Budget, calls: list[tuple[int, float]]) -> None:
    """A process that is killed at any time has taken no more than it said last, and nothing was said above a cap."""
    said = [Cost()]
    purse = Purse(budget)
    purse.listeners.append(lambda: said.append(purse.announced))
    out: list[tuple[Cost, Cost]] = []
    for tokens, share in calls:
        most = Cost(1, tokens, 0.0)
        if purse.reserve(most):
            out.append((most, Cost(1, int(tokens * share), 0.0)))
        if out and share < 0.5:
            purse.settle(*out.pop(0))
        taken = purse.spent.plus(purse.reserved)
        assert taken.calls <= said[-1].calls
        assert budget.calls is None or said[-1].calls <= budget.calls
        assert budget.tokens is None or taken.tokens <= said[-1].tokens <= budget.tokens
    if budget == Budget():
        assert len(said) <= 2 + len(calls) // CALLS_AHEAD  # not every call is announced


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.booleans()), max_size=50))
def test_a_purse_never_promises_more_than_it_has(steps: list[tuple[int, int, bool]]) -> None:
    """Spent and reserved together stay within the cap, and settling everything leaves no reservation."""
    purse = Purse(Budget(tokens=200))
    out: list[Cost] = []
    for most, share, settle in steps:
        if settle and out:
            cost = out.pop(0)
            purse.settle(cost, Cost(1, min(share, cost.tokens), 0.0))
        elif purse.reserve(Cost(1, most, 0.0)):
            out.append(Cost(1, most, 0.0))
        assert purse.spent.tokens + purse.reserved.tokens <= 200
        assert purse.reserved.tokens == sum(cost.tokens for cost in out)
    for cost in out:
        purse.settle(cost, cost)
    assert purse.reserved == Cost()
    assert purse.out == 0


def test_prices_are_dollars_per_million_tokens() -> None:
    """Cached prompt tokens at their own price."""
    prices = Prices(input=0.15, cached=0.075, output=0.60)
    assert prices.dollars(Usage(1_000_000, 500_000, 400_000)) == pytest.approx(0.6 * 0.15 + 0.4 * 0.075 + 0.5 * 0.60)
    assert prices.upper_bound(1_000_000, 500_000) >= prices.dollars(Usage(1_000_000, 500_000, 0))
