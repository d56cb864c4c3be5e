"""Processes share rates and caps by one server: what all together get is what one alone would."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

import pytest
import redis
from real_redis import RealRedis, real_redis
from redis.asyncio.connection import AbstractConnection as Wire
from scheduling_world import Server, ask

from metaspo.backends import Request
from metaspo.cache import StoreError
from metaspo.cache.redis.address import read_address
from metaspo.cache.redis.server import Server as Connection
from metaspo.cache.redis.sharing import RedisSharing
from metaspo.cache.redis.store import RedisStore
from metaspo.cache.sharing import Amounts, CapAsk, Drawn, RateAsk
from metaspo.scheduling import Account, Budget, BudgetExhausted, Gateway, Lane, LaneSettings

NOTHING = Drawn()
ROUNDED = 0.001  # seconds


@asynccontextmanager
async def processes(server: RealRedis, count: int, *, lease: float = 10.0) -> AsyncIterator[list[RedisSharing]]:
    """As many, each with a connection of its own."""
    connections = [Connection(read_address(server.url), patience=5.0) for _ in range(count)]
    try:
        yield [RedisSharing(connection, lease=lease) for connection in connections]
    finally:
        for connection in connections:
            await connection.aclose()


def requests(amount: float, *, rate: float = 1_000.0, burst: float = 10.0, hold: float = 0.0) -> RateAsk:
    """So many requests of a rate a second."""
    return RateAsk("g", Drawn(rate, burst, amount, max(0, round(amount))), NOTHING, hold)


async def test_all_together_get_the_rate_first_come_first_served(redis_server: RealRedis) -> None:
    async with processes(redis_server, 3) as some:
        began, taken, not_before = time.monotonic(), 0.0, 0.0
        for turn in range(30):
            asked = time.monotonic()
            granted = await some[turn % 3].take(requests(20))
            taken += 20
            due = time.monotonic() + granted.wait
            assert due - began >= (taken - 10) / 1_000 - ROUNDED
            assert due >= not_before - ROUNDED
            assert granted.requests_sent == taken
            not_before = asked + granted.wait


async def test_wait_times_are_right_to_a_millisecond(redis_server: RealRedis) -> None:
    async with processes(redis_server, 1) as (one,):
        before = time.monotonic()
        first = await one.take(requests(20_010))
        later = await one.take(requests(5_000))
        passed = time.monotonic() - before
        assert first.wait == pytest.approx(20.0, abs=ROUNDED)
        assert 25.0 - passed - ROUNDED <= later.wait <= 25.0 + ROUNDED


async def test_what_is_given_back_is_the_next_ones(redis_server: RealRedis) -> None:
    async with processes(redis_server, 2) as (one, two):
        await one.take(requests(10_010))
        await one.take(requests(-10_000))
        assert (await two.take(requests(10))).wait <= 0.01 + ROUNDED


async def test_whoever_is_refused_holds_all(redis_server: RealRedis) -> None:
    async with processes(redis_server, 2) as (one, two):
        await one.take(requests(0, hold=300.0))
        assert (await two.take(requests(1))).wait > 200


async def test_the_scarcer_of_requests_and_tokens_decides(redis_server: RealRedis) -> None:
    async with processes(redis_server, 1) as (one,):
        ask_for = RateAsk("g", Drawn(1_000, 10, 10, 10), Drawn(100, 1, 1_001, 1_001))
        assert (await one.take(ask_for)).wait == pytest.approx(10.0, abs=ROUNDED)


CAPS = Amounts(100, float("inf"), 5.0)


def cap(least: Amounts, most: Amounts | None = None, *, holds: bool = True) -> CapAsk:
    """Under the caps."""
    return CapAsk("g", "", CAPS, least, most or least, holds)


async def test_no_cap_is_passed_and_the_last_one_gets_what_is_left(redis_server: RealRedis) -> None:
    async with processes(redis_server, 2) as (one, two):
        first = await one.set_aside(cap(Amounts(60, 10**12, 1.0)))
        assert first.aside == Amounts(60, 10**12, 1.0)
        second = await two.set_aside(cap(Amounts(1, 1, 0.1), Amounts(60, 10, 1.0)))
        assert second.aside == Amounts(40, 10, 1.0)
        third = await one.set_aside(cap(Amounts(1, 1, 0.1)))
        assert third.aside is None
        assert third.others_hold
        assert third.taken == Amounts(100, 10**12 + 10, 2.0)


async def test_what_is_given_back_can_be_spent_by_another(redis_server: RealRedis) -> None:
    async with processes(redis_server, 2) as (one, two):
        await one.set_aside(cap(Amounts(100, 0, 0)))
        await one.set_aside(cap(Amounts(-30, 0, 0), holds=False))
        got = await two.set_aside(cap(Amounts(30, 0, 0)))
        assert got.aside == Amounts(30, 0, 0)
        assert not got.others_hold


async def test_who_is_killed_gives_nothing_back_and_is_waited_for_no_longer_than_its_lease(
    redis_server: RealRedis,
) -> None:
    async with processes(redis_server, 2, lease=0.2) as (killed, left):
        await killed.set_aside(cap(Amounts(100, 0, 0)))
        while (got := await left.set_aside(cap(Amounts(1, 0, 0)))).others_hold:  # noqa: ASYNC110 - the server's clock
            await asyncio.sleep(0.02)
        assert got.aside is None
        assert got.taken.calls == 100


async def test_an_exchange_that_comes_again_is_done_once(redis_server: RealRedis) -> None:
    async with processes(redis_server, 1) as (one,):
        await one.set_aside(cap(Amounts(50, 0, 0)))
        number = one._exchanges
        one._exchanges = itertools.count(7, 0)  # as a client that lost the reply sends it
        replies = [await one.set_aside(cap(Amounts(-20, 0, 0))) for _ in range(2)]
        one._exchanges = number
        assert replies[0] == replies[1]
        assert replies[1].taken.calls == 30


async def test_what_is_taken_of_a_rate_by_an_exchange_that_comes_again_is_taken_once(redis_server: RealRedis) -> None:
    """It is told the same time; the next exchange is another one, of this process and of others."""
    async with processes(redis_server, 2) as (one, two):
        one._exchanges = itertools.count(7, 0)  # as a client that lost the reply sends it
        first, again = [await one.take(requests(20_010)) for _ in range(2)]
        assert first.wait == pytest.approx(20.0, abs=ROUNDED)
        assert 19.0 < again.wait <= first.wait
        assert again.requests_sent == first.requests_sent == 20_010
        one._exchanges = itertools.count(8)
        assert (await two.take(requests(10))).requests_sent == 20_020
        assert (await one.take(requests(10))).requests_sent == 20_030


async def test_a_reply_that_is_lost_takes_nothing_twice(
    redis_server: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends after the server has done it; the client asks again by itself."""
    async with processes(redis_server, 1) as (one,):
        await one.take(requests(1))
        read, lost = Wire.read_response, 0

        async def lose_the_first(wire: Wire, disable_decoding: bool = False, **how: bool) -> object:
            nonlocal lost
            reply = await read(wire, disable_decoding, **how)
            lost += 1
            if lost == 1:
                raise redis.ConnectionError("Connection closed by server.")
            return reply

        monkeypatch.setattr(Wire, "read_response", lose_the_first)
        assert (await one.take(requests(20))).requests_sent == 21
        assert lost > 1


async def answered_at(server: RealRedis, gateways: int, calls: int, settings: LaneSettings) -> list[float]:
    """When the calls of several gateways came to one provider, in seconds from the first."""
    backend = Server(latency=0.0)
    came: list[float] = []

    def note(_: Request) -> None:
        came.append(time.monotonic())

    backend.plan = note

    async def one(number: int) -> None:
        async with (
            RedisStore(server.url) as store,
            Gateway([Lane("api", [backend], settings)], store=store) as gateway,
        ):
            await gateway.complete_many([ask(1_000 * number + each) for each in range(calls)], lane="api")

    await asyncio.gather(*(one(number) for number in range(gateways)))
    return [at - came[0] for at in sorted(came)]


async def test_gateways_that_share_a_limit_keep_it_together(redis_server: RealRedis) -> None:
    settings = LaneSettings(concurrency=64, requests_per_minute=6_000, limit_group="provider")
    came = await answered_at(redis_server, 3, 50, settings)
    assert len(came) == 150
    burst = 10 + 3 * 2 * 10  # what was saved up, and two batches of each gateway where all were held up
    for first in range(0, 150, 10):
        for last in range(first, 150):
            assert last - first + 1 <= 100 * (came[last] - came[first]) + burst


async def test_who_waits_for_a_limit_is_told_when_the_server_is_gone(tmp_path: Path) -> None:
    settings = LaneSettings(requests_per_minute=60, limit_group="provider")
    with real_redis(tmp_path / "redis") as own:
        store = RedisStore(own.url, patience=0.5)
        async with Gateway([Lane("api", [Server(latency=0.0)], settings)], store=store) as gateway:
            await gateway.complete(ask(1), lane="api")
            own.kill()
            with pytest.raises(StoreError, match="cannot be reached"):
                await gateway.complete(ask(2), lane="api")
        await store.aclose()


async def spend(
    server: RealRedis, backend: Server, number: int, budget: Budget, calls: int = 40
) -> BudgetExhausted | None:
    """One process under a shared cap that asks questions of its own; why it ended early, if it did."""
    async with (
        RedisStore(server.url) as store,
        Gateway([Lane("api", [backend], LaneSettings(concurrency=4))], store=store) as gateway,
    ):
        account = Account(f"run {number}", budget)
        try:
            requests = [ask(1_000 * number + each) for each in range(calls)]
            await gateway.complete_many(requests, lane="api", account=account)
        except BudgetExhausted as error:
            return error
    return None


async def test_gateways_that_share_a_cap_spend_all_of_it_and_no_more(redis_server: RealRedis) -> None:
    backend, budget = Server(latency=0.001), Budget(calls=50, group="november")
    ends = await asyncio.gather(*(spend(redis_server, backend, number, budget) for number in range(3)))
    assert len(backend.calls) == 50
    assert "group november is used up" in str(next(end for end in ends if end is not None))


async def test_a_request_too_much_for_a_shared_cap_fails_alone_where_many_programs_ask(redis_server: RealRedis) -> None:
    """Of which another process has spent a part, so that this one alone would have enough."""
    account, backend = Account("mine", Budget(tokens=9_000, group="november")), Server()
    async with (
        RedisStore(redis_server.url) as store,
        Gateway([Lane("api", [backend])], store=store, many_programs=True) as gateway,
    ):
        for spent in (Amounts(tokens=6_000), Amounts()):  # and then it has nothing to give back
            await store._sharing.set_aside(CapAsk("november", "other", Amounts(inf, 9_000, inf), spent, spent, False))
        for number in range(3):
            asking = gateway.complete(
                ask(number, max_tokens=5_000 if number == 1 else 100), lane="api", account=account
            )
            if number != 1:
                await asking
                continue
            with pytest.raises(BudgetExhausted, match=r"up to 5.* tokens of the group november are left: ask"):
                await asking
    assert account.exhausted is None
    assert len(backend.calls) == 2


async def test_two_purses_of_one_process_under_a_shared_cap_wait_for_each_other(redis_server: RealRedis) -> None:
    """As two processes do: what a call of one gives back is enough for the other."""
    budget, slow = Budget(tokens=1_500, group="november"), Server(latency=0.05)
    async with RedisStore(redis_server.url) as store, Gateway([Lane("api", [slow])], store=store) as gateway:
        store._sharing.lease = 3.0
        accounts = [Account(f"run {number}", budget) for number in range(2)]
        calls = (
            gateway.complete(ask(number, max_tokens=1_000), lane="api", account=account)
            for number, account in enumerate(accounts)
        )
        await asyncio.gather(*calls)
    assert len(slow.calls) == 2


async def test_what_was_spent_under_a_shared_cap_stays_spent(redis_server: RealRedis) -> None:
    backend, budget = Server(latency=0.0), Budget(calls=50, group="november")
    assert await spend(redis_server, backend, 1, budget, calls=30) is None
    assert await spend(redis_server, backend, 2, budget, calls=20) is None
    assert await spend(redis_server, backend, 3, budget, calls=1) is not None
    assert len(backend.calls) == 50


async def test_answers_from_the_cache_cost_a_shared_cap_nothing(redis_server: RealRedis) -> None:
    backend, budget = Server(latency=0.0), Budget(calls=30, group="november")
    assert await spend(redis_server, backend, 1, budget, calls=30) is None
    assert await spend(redis_server, backend, 1, budget, calls=30) is None
