"""Processes on one store share their work: a question is asked once, by whoever claims it, and never twice at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from real_redis import RealRedis, real_redis
from scheduling_world import Server, ask

from metaspo.backends import Completion, RequestRejected
from metaspo.backends.virtual_time import run_virtual
from metaspo.cache import DiskStore, Entry, MemoryStore, Store, StoreError, request_key
from metaspo.cache.redis_store import RedisStore
from metaspo.cache.testing import claims_of
from metaspo.scheduling import Account, Gateway, Lane, LaneSettings

BATCH = [ask(number) for number in range(60)]
LEASE = 1.0


@asynccontextmanager
async def process(store: Store, server: Server, *, slots: int = 4) -> AsyncIterator[Gateway]:
    """A gateway as another process would have it: with a store object and a lane of its own."""
    async with store, Gateway([Lane("lane", [server], LaneSettings(concurrency=slots))], store=store) as gateway:
        yield gateway


def texts(results: list[Completion | RequestRejected]) -> list[str]:
    """What was answered."""
    return [result.text for result in results if isinstance(result, Completion)]


def test_two_that_ask_the_same_share_the_work(tmp_path: Path) -> None:
    """Every question is asked once, both get all answers, each pays for about half, and it takes half of the time."""

    async def main() -> None:
        server, accounts = Server(), (Account(), Account())
        async with (
            process(DiskStore(tmp_path / "cache"), server) as one,
            process(DiskStore(tmp_path / "cache"), server) as other,
        ):
            began = anyio.current_time()
            answers = await asyncio.gather(
                one.complete_many(BATCH, lane="lane", account=accounts[0]),
                other.complete_many(BATCH, lane="lane", account=accounts[1]),
            )
            took = anyio.current_time() - began
        assert Counter(text for text, _ in server.calls) == Counter(server.finished)
        assert len(server.calls) == len(set(server.finished)) == len(BATCH)
        assert texts(answers[0]) == texts(answers[1])
        assert len(texts(answers[0])) == len(BATCH)
        calls = [account.statistics().total.calls for account in accounts]
        assert sum(calls) == len(BATCH)
        assert min(calls) > len(BATCH) / 3
        hits = [account.statistics().total.hits for account in accounts]
        assert [asked + found for asked, found in zip(calls, hits, strict=True)] == [len(BATCH)] * 2
        assert took < len(BATCH) / 4 * 0.75

    run_virtual(main())


def test_what_another_one_asks_holds_no_slot(tmp_path: Path) -> None:
    """One that waits for a slow answer of another process goes on with everything else."""

    async def main() -> None:
        slow, fast = Server(latency=100), Server()
        async with (
            process(DiskStore(tmp_path / "cache"), slow) as one,
            process(DiskStore(tmp_path / "cache"), fast, slots=1) as other,
        ):
            first = asyncio.create_task(one.complete(BATCH[0], lane="lane"))
            await asyncio.sleep(1)
            began = anyio.current_time()
            whole = asyncio.create_task(other.complete_many(BATCH, lane="lane"))
            await other.complete(BATCH[-1], lane="lane")
            assert anyio.current_time() - began < 70
            assert len(texts(await whole)) == len(BATCH)
            assert await first == await other.complete(BATCH[0], lane="lane")
        assert len(fast.calls) == len(BATCH) - 1

    run_virtual(main())


def test_who_fails_leaves_the_question_to_others(tmp_path: Path) -> None:
    """A claim ends with its call; then the other one asks, once."""

    async def main() -> None:
        bad, good = Server(latency=10), Server()

        async def break_down(request: object) -> None:
            await asyncio.sleep(10)
            raise RequestRejected("It does not like that.")

        bad.work = break_down  # type: ignore[method-assign]
        async with (
            process(DiskStore(tmp_path / "cache"), bad) as one,
            process(DiskStore(tmp_path / "cache"), good) as other,
        ):
            failing = asyncio.create_task(one.complete_many(BATCH[:1], lane="lane"))
            await asyncio.sleep(1)
            assert (await other.complete(BATCH[0], lane="lane")).text
            assert isinstance((await failing)[0], RequestRejected)
        assert len(good.calls) == 1
        assert good.calls[0][1] >= 10

    run_virtual(main())


def test_who_leaves_what_another_one_asks_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its waiting can be cancelled, its gateway closed; the answer comes to whoever still waits."""

    async def main() -> None:
        server, idle = Server(latency=10), Server()
        async with process(DiskStore(tmp_path / "cache"), server) as one:
            first = asyncio.create_task(one.complete(BATCH[0], lane="lane"))
            await asyncio.sleep(1)
            async with process(DiskStore(tmp_path / "cache"), idle) as other:
                leaver = asyncio.create_task(other.complete(BATCH[0], lane="lane"))
                await asyncio.sleep(1)
                leaver.cancel()
                await asyncio.wait([leaver])
                assert leaver.cancelled()
                left = asyncio.create_task(other.complete(BATCH[0], lane="lane"))
                await asyncio.sleep(1)
            with pytest.raises(Exception, match="closed"):
                await left
            assert (await first).text
        assert idle.calls == []
        async with DiskStore(tmp_path / "cache") as store:
            assert await claims_of(store).claim_many([request_key(BATCH[0])]) == {request_key(BATCH[0])}

    run_virtual(main())


class OnceUnreadable(DiskStore):
    """Cannot be read the second time."""

    reads = 0

    async def get_many(self, keys: object) -> dict[str, Entry]:
        self.reads += 1
        if self.reads == 2:
            raise StoreError("It cannot be read.")
        return await super().get_many(keys)  # type: ignore[arg-type]


def test_a_store_that_fails_while_something_is_claimed_is_told(tmp_path: Path) -> None:
    """Nobody waits for ever, nothing is asked, and the claim is free again."""

    async def main() -> None:
        server = Server()
        async with DiskStore(tmp_path / "cache") as other:
            await claims_of(other).claim_many(["0" * 64])  # so that there is somebody else
            async with process(OnceUnreadable(tmp_path / "cache"), server) as gateway:
                with pytest.raises(StoreError, match="cannot be read"):
                    await gateway.complete(BATCH[0], lane="lane")
                assert server.calls == []
                assert (await gateway.complete(BATCH[0], lane="lane")).text

    run_virtual(main())


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RealRedis]:
    """A server for one test."""
    with real_redis(tmp_path / "redis") as running:
        yield running


async def test_on_a_server_every_question_is_asked_once(redis_server: RealRedis) -> None:
    """As in a folder; the answers are the same, and no claim is left."""
    server = Server(latency=0.01)
    stores = [RedisStore(redis_server.url, lease=LEASE) for _ in range(3)]
    async with (
        process(stores[0], server) as one,
        process(stores[1], server) as other,
        process(stores[2], server) as third,
    ):
        answers = await asyncio.gather(
            *(gateway.complete_many(BATCH, lane="lane") for gateway in (one, other, third)),
        )
    assert len(server.calls) == len(set(server.finished)) == len(BATCH)
    assert texts(answers[0]) == texts(answers[1]) == texts(answers[2])
    with redis_server.client() as client:
        assert client.keys("metaspo:claim:*") == []


async def test_a_claim_on_a_server_outlasts_a_call_and_not_its_claimer(redis_server: RealRedis) -> None:
    """While the claimer lives nobody asks what it asks, however long that takes; once it is dead the next one does,
    after the lease, once."""
    slow, server = Server(latency=3 * LEASE), Server(latency=0.01)
    async with process(RedisStore(redis_server.url, lease=LEASE), slow) as one:
        first = asyncio.create_task(one.complete(BATCH[0], lane="lane"))
        await asyncio.sleep(LEASE / 2)
        async with process(RedisStore(redis_server.url, lease=LEASE), server) as other:
            assert await other.complete(BATCH[0], lane="lane") == await first
            assert server.calls == []
            dead = RedisStore(redis_server.url, lease=LEASE)
            await claims_of(dead).claim_many([request_key(BATCH[1])])  # and then is never heard of again
            began = asyncio.get_running_loop().time()
            both = [asyncio.create_task(other.complete(BATCH[1], lane="lane")) for _ in range(2)]
            assert len({(await task).text for task in both}) == 1
            assert asyncio.get_running_loop().time() - began > LEASE / 2
            await dead.aclose()
        assert len(server.calls) == 1


class SlowClaims:
    """Claims of a server that hears of them at once, and says so a second later."""

    lease: float | None = LEASE
    contested = True

    def __init__(self) -> None:
        self.held: set[str] = set()

    async def claim_many(self, keys: Collection[str]) -> set[str]:
        self.held |= set(keys)
        await asyncio.sleep(1)
        return set(keys)

    async def renew(self, keys: Collection[str]) -> None:
        """They last."""

    def release(self, keys: Collection[str]) -> None:
        self.held -= set(keys)


class FarStore(MemoryStore):
    """Has its claims on a server."""

    local = False

    def __init__(self) -> None:
        super().__init__()
        self.slow = SlowClaims()

    @property
    def claims(self) -> SlowClaims:
        return self.slow


def test_a_gateway_that_is_closed_while_it_claims_gives_the_claim_back() -> None:
    """Else others would wait for as long as the lease lasts for an answer that nobody asks for."""

    async def main() -> None:
        store, server = FarStore(), Server()
        async with process(store, server) as gateway:
            asking = asyncio.create_task(gateway.complete(BATCH[0], lane="lane"))
            await asyncio.sleep(0.5)
            assert store.slow.held == {request_key(BATCH[0])}
        with pytest.raises(Exception, match="closed"):
            await asking
        assert not store.slow.held
        assert server.calls == []

    run_virtual(main())
