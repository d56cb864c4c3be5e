"""Processes on one store share their work: a question is asked once, by whoever claims it, and never twice at once."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from math import ceil
from pathlib import Path

import anyio
import pytest
from real_redis import RealRedis
from scheduling_world import Server, ask, now

from metaspo.backends import Completion, Request, RequestRejected
from metaspo.cache import DiskStore, Entry, MemoryStore, Store, StoreError, request_key
from metaspo.cache.redis.store import RedisStore
from metaspo.cache.testing import claims_of, make_entry
from metaspo.scheduling import Account, Gateway, Lane, LaneSettings
from metaspo.scheduling.store.claiming import POLL, RENEWALS

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


@pytest.mark.virtual
async def test_two_that_ask_the_same_share_the_work(tmp_path: Path) -> None:
    """Every question is asked once, both get all answers, each pays for about half, and it takes half of the time."""
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


@pytest.mark.virtual
async def test_what_another_one_asks_holds_no_slot(tmp_path: Path) -> None:
    """One that waits for a slow answer of another process goes on with everything else."""
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


@pytest.mark.virtual
async def test_who_fails_leaves_the_question_to_others(tmp_path: Path) -> None:
    """A claim ends with its call; then the other one asks, once."""
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


@pytest.mark.virtual
async def test_who_leaves_what_another_one_asks_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its waiting can be cancelled, its gateway closed; the answer comes to whoever still waits."""
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


class OnceUnreadable(DiskStore):
    """Cannot be read the second time."""

    reads = 0

    async def get_many(self, keys: object) -> dict[str, Entry]:
        self.reads += 1
        if self.reads == 2:
            raise StoreError("It cannot be read.")
        return await super().get_many(keys)  # type: ignore[arg-type]


@pytest.mark.virtual
async def test_a_store_that_fails_while_something_is_claimed_is_told(tmp_path: Path) -> None:
    """Nobody waits for ever, nothing is asked, and the claim is free again."""
    server = Server()
    async with DiskStore(tmp_path / "cache") as other:
        await claims_of(other).claim_many(["0" * 64])  # so that there is somebody else
        async with process(OnceUnreadable(tmp_path / "cache"), server) as gateway:
            with pytest.raises(StoreError, match="cannot be read"):
                await gateway.complete(BATCH[0], lane="lane")
            assert server.calls == []
            assert (await gateway.complete(BATCH[0], lane="lane")).text


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


@pytest.mark.whole
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
        self.asked = 0  # that have not heard yet

    async def claim_many(self, keys: Collection[str]) -> set[str]:
        self.held |= set(keys)
        self.asked += 1
        try:
            await asyncio.sleep(1)
        finally:
            self.asked -= 1
        return set(keys)

    async def renew(self, keys: Collection[str]) -> None:
        """They last."""

    def release(self, keys: Collection[str]) -> None:
        assert not self.asked, "else a claim might come after it was given back"
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


@pytest.mark.virtual
async def test_a_gateway_that_is_closed_while_it_claims_gives_the_claim_back() -> None:
    """Else others would wait for as long as the lease lasts for an answer that nobody asks for."""
    store, server = FarStore(), Server()
    async with process(store, server) as gateway:
        asking = asyncio.create_task(gateway.complete(BATCH[0], lane="lane"))
        await asyncio.sleep(0.5)
        assert store.slow.held == {request_key(BATCH[0])}
    with pytest.raises(Exception, match="closed"):
        await asking
    assert not store.slow.held
    assert server.calls == []


class ScriptedClaims:
    """Claims of a server, some of which others have; writes down all that it is told, and when.

    Attributes:
        taken: what others have claimed.
        trouble: raised by the claims that come; renewing too, where `renewing` is not None.
    """

    lease: float | None = 3.0
    contested = True

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.trouble: Exception | None = None
        self.renewing: StoreError | None = None
        self.claimed: list[tuple[float, list[str]]] = []
        self.renewed: list[tuple[float, list[str]]] = []
        self.released: list[str] = []

    async def claim_many(self, keys: Collection[str]) -> set[str]:
        self.claimed.append((now(), sorted(keys)))
        if self.trouble is not None:
            raise self.trouble
        return set(keys) - self.taken

    async def renew(self, keys: Collection[str]) -> None:
        self.renewed.append((now(), sorted(keys)))
        if self.renewing is not None:
            raise self.renewing

    def release(self, keys: Collection[str]) -> None:
        self.released += sorted(keys)


class ScriptedStore(MemoryStore):
    """Has such claims, and may fail when it is asked."""

    local = False

    def __init__(self) -> None:
        super().__init__()
        self.told = ScriptedClaims()
        self.trouble: StoreError | None = None
        self.looked_up = 0

    @property
    def claims(self) -> ScriptedClaims:
        return self.told

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        self.looked_up += 1
        if self.trouble is not None and self.looked_up > 1:  # not at once, but when it is looked up again
            raise self.trouble
        return await super().get_many(keys)


KEYS = [request_key(request) for request in BATCH]


@pytest.mark.virtual
async def test_a_claim_is_renewed_while_its_call_is_out_and_given_back_with_its_answer() -> None:
    """Three times a lease; a renewal that fails is none of the call's business; where nothing is ours all is quiet."""
    store, server = ScriptedStore(), Server(latency=10.5 * ceil(3.0 / RENEWALS / POLL) * POLL)
    store.told.renewing = StoreError("It is away.")
    async with process(store, server) as gateway:
        assert (await gateway.complete(BATCH[0], lane="lane")).text == "question 0"
        assert store.told.claimed == [(0.0, [KEYS[0]])]
        assert [keys for _, keys in store.told.renewed] == [[KEYS[0]]] * 10
        times = [at for at, _ in store.told.renewed]
        between = ceil(3.0 / RENEWALS / POLL) * POLL
        assert times == pytest.approx([between * number for number in range(1, 11)], abs=0.01)
        assert store.told.released == [KEYS[0]]
        await asyncio.sleep(60)
        assert len(store.told.renewed) == 10
    assert store.told.released == [KEYS[0]]


@pytest.mark.virtual
async def test_what_was_claimed_after_all_is_not_claimed_again_while_its_call_is_out() -> None:
    """Another one had it first; from then on it is only renewed."""
    store, server = ScriptedStore(), Server(latency=5.0)
    store.told.taken = {KEYS[0]}
    async with process(store, server) as gateway:
        asked = asyncio.create_task(gateway.complete(BATCH[0], lane="lane"))
        await asyncio.sleep(1)
        assert server.calls == []
        store.told.taken.clear()
        await asyncio.sleep(1)
        assert len(server.calls) == 1
        claims = len(store.told.claimed)
        assert (await asked).text == "question 0"
    assert len(store.told.claimed) == claims
    assert len(store.told.renewed) >= 3


@pytest.mark.virtual
async def test_what_others_have_claimed_is_looked_for_four_times_a_second_and_is_not_ours_to_give_back() -> None:
    """Their answer is a hit of ours; who has waited when they have gone asks."""
    store, server, account = ScriptedStore(), Server(), Account()
    store.told.taken = {KEYS[0], KEYS[1], KEYS[2]}
    async with process(store, server) as gateway:
        first, second, third = (
            asyncio.create_task(gateway.answer(BATCH[number], lane="lane", account=account)) for number in range(3)
        )
        await asyncio.sleep(2.1)
        assert len(store.told.claimed) == pytest.approx(9, abs=1)
        assert (server.calls, store.told.released) == ([], [])
        theirs = await stored_answer(store, KEYS[0])
        hit = await first
        assert (hit.completion.text, hit.source) == (theirs, "hit")
        assert account.statistics().total.hits == 1
        store.told.taken.remove(KEYS[1])
        miss = await second
        assert (miss.completion.text, miss.source) == ("question 1", "miss")
        assert [text for text, _ in server.calls] == ["question 1"]
    with pytest.raises(Exception, match="closed"):
        await third
    assert store.told.released == [KEYS[1]]


@pytest.mark.virtual
async def test_what_another_one_asks_on_a_server_holds_no_slot_either() -> None:
    """Of a lane with one."""
    store, server = ScriptedStore(), Server()
    store.told.taken = {KEYS[0]}
    async with process(store, server, slots=1) as gateway:
        waiting = asyncio.create_task(gateway.complete(BATCH[0], lane="lane"))
        await asyncio.sleep(1)
        assert (await asyncio.wait_for(gateway.complete(BATCH[1], lane="lane"), 5)).text == "question 1"
        store.told.taken.clear()
        assert (await waiting).text == "question 0"


async def stored_answer(store: Store, key: str) -> str:
    """Another process's answer, stored."""
    entry = make_entry("theirs")
    await store.put(key, entry)
    return entry.completion.text


@pytest.mark.virtual
@pytest.mark.parametrize("trouble", [StoreError("It is away."), ZeroDivisionError("a mistake")])
async def test_whoever_waits_for_a_claim_is_told_of_trouble_and_the_next_one_claims_anew(trouble: Exception) -> None:
    """Of the store's, and of a mistake in there, which must not leave anybody waiting for ever."""
    store, server = ScriptedStore(), Server()
    store.told.trouble = trouble
    async with warnings_of(trouble), process(store, server) as gateway:
        for _ in range(2):
            with pytest.raises(type(trouble)):
                await asyncio.wait_for(gateway.complete(BATCH[0], lane="lane"), 5.0)
        store.told.trouble = None
        assert (await asyncio.wait_for(gateway.complete(BATCH[0], lane="lane"), 5.0)).text == "question 0"
        assert len(store.told.claimed) == 3


@asynccontextmanager
async def warnings_of(trouble: Exception) -> AsyncIterator[None]:
    """A mistake is the task's end, which the event loop tells of when nobody else has asked."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context.get("exception")))
    yield
    await asyncio.sleep(0)  # until it has ended
    gc.collect()
    assert told == [trouble] * (0 if isinstance(trouble, StoreError) else 2)


def refuse(request: Request) -> None:
    raise RequestRejected("too long")


@pytest.mark.virtual
async def test_a_claim_ends_with_its_flight_whatever_comes_of_it() -> None:
    """A rejected question is given back, and claimed anew by whoever asks it again."""
    store, server = ScriptedStore(), Server()
    server.plan = refuse
    async with process(store, server) as gateway:
        for times in (1, 2):
            with pytest.raises(RequestRejected):
                await gateway.complete(BATCH[0], lane="lane")
            assert store.told.released == [KEYS[0]] * times
            assert len(store.told.claimed) == times
    assert store.told.released == [KEYS[0]] * 2


@pytest.mark.virtual
async def test_what_nobody_waits_for_when_its_claim_comes_is_given_back() -> None:
    """At once, and not with the gateway's end; unless somebody asks it again."""
    for asked_again in (False, True):
        store, server, claimed = ScriptedStore(), Server(), asyncio.Event()
        claim_many = store.told.claim_many

        async def slow(
            keys: Collection[str],
            claim_many: Callable[[Collection[str]], Awaitable[set[str]]] = claim_many,
            claimed: asyncio.Event = claimed,
        ) -> set[str]:
            ours = await claim_many(keys)
            claimed.set()
            await asyncio.sleep(5)
            return ours

        store.told.claim_many = slow  # type: ignore[method-assign]
        async with process(store, server) as gateway:
            leaver = asyncio.ensure_future(gateway.complete(BATCH[0], lane="lane"))
            await claimed.wait()
            leaver.cancel()
            if asked_again:
                assert (await gateway.complete(BATCH[0], lane="lane")).text == "question 0"
                assert len(server.calls) == 1
            else:
                await asyncio.sleep(6)
                assert server.calls == []
            assert store.told.released == [KEYS[0]]
        await asyncio.wait([leaver])


@pytest.mark.virtual
async def test_a_store_that_fails_when_it_is_looked_up_again_ends_the_flight() -> None:
    """Nothing is asked that may have been answered."""
    store, server = ScriptedStore(), Server()
    store.trouble = StoreError("It is away.")
    async with process(store, server) as gateway:
        with pytest.raises(StoreError, match="away"):
            await gateway.complete(BATCH[0], lane="lane")
    assert server.calls == []
    assert store.told.released == [KEYS[0]]


class ClaimsAtOnce(ScriptedClaims):
    """Claims of this machine, which nobody waits for."""

    lease = None

    def claim(self, key: str) -> bool:
        return key not in self.taken


class StoreAtHand(ScriptedStore):
    """The same store on this machine."""

    local = True

    def __init__(self) -> None:
        super().__init__()
        self.told = ClaimsAtOnce()


@pytest.mark.virtual
@pytest.mark.parametrize("contested", [True, False])
async def test_what_was_answered_before_it_was_claimed_is_not_asked(contested: bool) -> None:
    """Where others may have stored something since; else it is not looked for again. The next one in line is asked."""
    store, server, account = StoreAtHand(), Server(), Account()
    store.told.contested = contested
    async with process(store, server, slots=1) as gateway:
        busy = asyncio.create_task(gateway.complete(BATCH[1], lane="lane"))
        await asyncio.sleep(0.5)
        waiting = asyncio.create_task(gateway.complete(BATCH[0], lane="lane", account=account))
        following = asyncio.create_task(gateway.complete(BATCH[2], lane="lane"))
        await asyncio.sleep(0.1)
        looked_up, theirs = store.looked_up, await stored_answer(store, KEYS[0])
        await busy
        assert (await waiting).text == theirs, "the first answer wins, also where it was asked for twice"
        assert (store.looked_up > looked_up) == contested
        assert account.statistics().total.hits == contested
        assert (await following).text == "question 2"
        assert len(server.calls) == (2 if contested else 3)
        assert sorted(store.told.released) == sorted(KEYS[:3])


@pytest.mark.virtual
async def test_a_store_at_hand_that_fails_when_it_is_looked_up_again_ends_the_flight() -> None:
    """And the lane goes on with others."""
    store, server = StoreAtHand(), Server()
    store.trouble = StoreError("It is away.")
    async with process(store, server) as gateway:
        with pytest.raises(StoreError, match="away"):
            await gateway.complete(BATCH[0], lane="lane")
        store.trouble = None
        assert (await gateway.complete(BATCH[1], lane="lane")).text == "question 1"
    assert [text for text, _ in server.calls] == ["question 1"]


@pytest.mark.virtual
async def test_what_another_process_asks_at_hand_is_waited_for() -> None:
    """Whether its answer comes, or it has gone."""
    store, server = StoreAtHand(), Server()
    store.told.taken = set(KEYS[:2])
    async with process(store, server) as gateway:
        tasks = [asyncio.create_task(gateway.complete(BATCH[number], lane="lane")) for number in range(2)]
        await asyncio.sleep(1.0)
        assert server.calls == []
        theirs = await stored_answer(store, KEYS[0])
        store.told.taken.remove(KEYS[1])
        assert [(await task).text for task in tasks] == [theirs, "question 1"]


class Failing(DiskStore):
    """Answers no second look-up, for a reason that is no fault of a store."""

    local = False
    looks = 0

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """What is there, once."""
        self.looks += 1
        if self.looks > 1:
            raise LookupError("a mistake of somebody's own")
        return await super().get_many(keys)


@pytest.mark.virtual
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_mistake_in_a_store_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Whoever waits for what is being claimed is told of it."""
    server = Server()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    async with process(DiskStore(tmp_path / "cache"), server) as one:
        asked = asyncio.create_task(one.complete(ask(1), lane="lane"))
        await asyncio.sleep(0.1)
        async with process(Failing(tmp_path / "cache"), server) as other:
            with pytest.raises(StoreError, match="a mistake") as failed:
                await other.complete(ask(1), lane="lane")
            assert isinstance(failed.value.__cause__, LookupError)
        await asked


@pytest.mark.virtual
async def test_what_nobody_waits_for_any_more_is_not_looked_for_either() -> None:
    """Though another process has its claim still."""
    store = ScriptedStore()
    store.told.taken = {KEYS[0]}
    async with process(store, Server()) as gateway:
        waiting = asyncio.create_task(gateway.complete(BATCH[0], lane="lane"))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.sleep(1)
        claimed = len(store.told.claimed)
        await asyncio.sleep(10)
        assert len(store.told.claimed) == claimed


@pytest.mark.virtual
async def test_what_nobody_waits_for_before_its_claim_is_asked_for_is_not_claimed() -> None:
    """It came while others were being claimed."""
    store = FarStore()
    async with process(store, Server()) as gateway:
        first = asyncio.create_task(gateway.complete(BATCH[0], lane="lane"))
        await asyncio.sleep(0.5)
        second = asyncio.create_task(gateway.complete(BATCH[1], lane="lane"))
        await asyncio.sleep(0.1)
        second.cancel()
        await asyncio.sleep(1)
        assert store.slow.held == {KEYS[0]}
        await first


@pytest.mark.virtual
async def test_a_gateway_is_closed_at_once_whatever_others_have_claimed() -> None:
    """It does not look for them once more, nor does anything of it run on."""
    store = ScriptedStore()
    store.told.taken = {KEYS[0]}
    async with process(store, Server(latency=5)) as gateway:
        waiting = asyncio.create_task(gateway.complete_many(BATCH[:2], lane="lane"))
        await asyncio.sleep(1.1)
        closing = now()
    assert now() - closing < 0.01
    assert "claims" not in {task.get_name() for task in asyncio.all_tasks()}
    with pytest.raises(Exception, match="closed"):
        await waiting
