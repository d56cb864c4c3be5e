"""What a gateway has taken of what processes share: as it closes, all that was not used is the others' again."""

import asyncio
import gc
from dataclasses import replace

import pytest
from scheduling_world import Server, ask

from metaspo.cache import MemoryStore, StoreError
from metaspo.cache.sharing import Amounts, CapAsk, Granted, RateAsk, Set
from metaspo.scheduling import Account, Budget, BudgetExhausted, Gateway, Lane, LaneSettings
from metaspo.scheduling.limits.allowance import KEPT

SHARED = LaneSettings(concurrency=8, requests_per_minute=60_000, tokens_per_minute=60_000_000, limit_group="all")


class Book:
    """A server of shared rates and caps that grants everything, and writes it down."""

    lease = 30.0

    def __init__(self, *, takes: float = 0.0) -> None:
        """`takes`: seconds of an exchange."""
        self.takes = takes
        self.rates: list[RateAsk] = []
        self.caps: list[CapAsk] = []
        self.trouble: Exception | None = None

    async def take(self, ask: RateAsk) -> Granted:
        await self._exchange()
        self.rates.append(ask)
        sent = [sum(getattr(each, what).sent for each in self.rates) for what in ("requests", "tokens")]
        return Granted(0.0, *sent)

    async def set_aside(self, ask: CapAsk) -> Set:
        await self._exchange()
        self.caps.append(ask)
        return Set(ask.most, self.set, others_hold=False)

    async def _exchange(self) -> None:
        await asyncio.sleep(self.takes)
        if self.trouble is not None:
            raise self.trouble

    @property
    def taken(self) -> tuple[float, int]:
        """Requests that are taken of the rate, and that count as sent."""
        return sum(each.requests.amount for each in self.rates), sum(each.requests.sent for each in self.rates)

    @property
    def set(self) -> Amounts:
        """All that is set aside."""
        return Amounts(*map(sum, zip(*(each.most for each in self.caps), strict=True)))


class Shared(MemoryStore):
    """With such a server."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book

    @property
    def sharing(self) -> Book:
        return self.book


@pytest.mark.virtual
@pytest.mark.parametrize("takes", [0.0, 0.02])
@pytest.mark.parametrize("stop", [0.0, 0.01, 0.03, 0.05, 1.0])
async def test_what_a_closing_gateway_has_taken_of_a_rate_and_not_sent_is_given_back(takes: float, stop: float) -> None:
    """Also what it was just asking for: that exchange is waited for."""
    book, server, clock = Book(takes=takes), Server(latency=0.005), asyncio.get_running_loop().time
    async with Gateway([Lane("api", [server], SHARED)], store=Shared(book)) as gateway:
        asking = asyncio.create_task(gateway.complete_many([ask(number) for number in range(30)], lane="api"))
        await asyncio.sleep(stop)
        closing = clock()
    assert clock() - closing <= 3 * takes + 0.01, "nothing else is waited for"
    await asyncio.wait([asking])
    taken, counted = book.taken
    assert taken == counted == len(server.calls)
    assert max(each.requests.amount for each in book.rates) > 1 or not stop
    assert "shared limits and caps" not in {task.get_name() for task in asyncio.all_tasks()}
    asking.exception()


@pytest.mark.virtual
async def test_what_was_taken_of_a_rate_and_is_not_sent_in_time_is_given_back_whatever_others_still_keep() -> None:
    book = Book(takes=0.02)
    lanes = [Lane(name, [Server()], replace(SHARED, limit_group=name)) for name in ("early", "late")]
    async with Gateway(lanes, store=Shared(book)) as gateway:
        for lane in lanes:
            asking = asyncio.create_task(gateway.complete_many([ask(number) for number in range(5)], lane=lane.name))
            await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.sleep(0.6 * KEPT)
        assert [each.group for each in book.rates if each.requests.amount < 0] == ["early"]
        await asyncio.sleep(KEPT)
        assert [each.group for each in book.rates if each.requests.amount < 0] == ["early", "late"]


@pytest.mark.virtual
async def test_a_gateway_closes_at_once_though_nothing_can_be_given_back() -> None:
    book, clock = Book(), asyncio.get_running_loop().time
    async with Gateway([Lane("api", [Server(latency=0.005)], SHARED)], store=Shared(book)) as gateway:
        asking = asyncio.create_task(gateway.complete_many([ask(number) for number in range(30)], lane="api"))
        await asyncio.sleep(0.006)
        book.trouble = StoreError("It is gone.")
        closing = clock()
    assert clock() - closing < 0.01
    await asyncio.wait([asking])
    assert "closed" in str(asking.exception())


@pytest.mark.virtual
@pytest.mark.parametrize("calls", [1, 3])
async def test_what_a_closing_gateway_has_set_aside_under_a_cap_and_not_spent_is_given_back(calls: int) -> None:
    book, server = Book(), Server()
    async with Gateway([Lane("api", [server])], store=Shared(book)) as gateway:
        account = Account("run", Budget(calls=50, group="november"))
        await gateway.complete_many([ask(number) for number in range(calls)], lane="api", account=account)
        assert book.set.calls > calls
    assert book.set.calls == pytest.approx(calls)
    assert len(server.calls) == calls


@pytest.mark.virtual
async def test_whoever_holds_something_of_a_cap_says_so_three_times_while_its_lease_lasts() -> None:
    """Else it would be taken for that of a process that was killed; a cap needs no rate beside it for that."""
    book, server = Book(), Server(latency=25.0)
    async with Gateway([Lane("api", [server])], store=Shared(book)) as gateway:
        account = Account("run", Budget(calls=50, group="november"))
        asking = asyncio.create_task(gateway.complete(ask(1), lane="api", account=account))
        await asyncio.sleep(24.0)
        assert len(book.caps) == 1 + 2
        assert not any(book.caps[-1].most)
        assert (await asking).text == "question 1"


@pytest.mark.virtual
@pytest.mark.parametrize("takes", [0.0, 0.02])
async def test_nothing_of_a_cap_is_set_aside_for_calls_that_only_wait_to_go(takes: float) -> None:
    """A process that is killed takes with it what is out and a little more, however much waits for its limit."""
    book, server = Book(takes=takes), Server(latency=0.005)
    lane = Lane("api", [server], LaneSettings(concurrency=64, requests_per_minute=600))
    async with Gateway([lane], store=Shared(book)) as gateway:
        account = Account("run", Budget(calls=400, group="november"))
        asking = asyncio.create_task(gateway.complete_many([ask(n) for n in range(200)], lane="api", account=account))
        for _ in range(12):
            await asyncio.sleep(1.0)
            assert book.set.calls <= len(server.calls) + 5, "the head of the queue, and a two-hundredth twice"
        assert len(await asking) == len(server.calls) == 200


@pytest.mark.virtual
@pytest.mark.parametrize("calls", [1, 5, 300])
async def test_who_has_spent_a_shared_cap_alone_is_told_so(calls: int) -> None:
    """Nobody could give anything back to it: what waits for more would wait for ever."""
    lane = Lane("api", [Server(latency=0.5)], SHARED)
    async with Gateway([lane], store=Shared(Book())) as gateway:
        account = Account("run", Budget(calls=calls, group="november"))
        asked = (gateway.complete(ask(n), lane="api", account=account) for n in range(2 * calls))
        async with asyncio.timeout(1_000.0):
            ends = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(end, BudgetExhausted) for end in ends) == calls
    assert account.purse.spent.calls == calls


@pytest.mark.virtual
async def test_a_call_goes_as_soon_as_its_share_of_a_cap_is_there() -> None:
    """Whatever else may wake its lane."""
    server = Server()
    lane = Lane("api", [server], LaneSettings(concurrency=64))
    async with Gateway([lane], store=Shared(Book(takes=0.02))) as gateway:
        account = Account("run", Budget(calls=400, group="november"))
        await gateway.complete(ask(0), lane="api", account=account)
    assert [at for _, at in server.calls] == [pytest.approx(0.02)]


@pytest.mark.virtual
@pytest.mark.parametrize("more_urgent", [False, True])
async def test_who_waits_for_a_share_of_a_cap_holds_up_nobody_who_has_none(more_urgent: bool) -> None:
    server = Server(latency=0.01)
    lane = Lane("api", [server], LaneSettings(concurrency=4))
    async with Gateway([lane], store=Shared(Book(takes=0.15))) as gateway:
        capped = Account("capped", Budget(calls=400, group="november"))
        late = asyncio.gather(
            *(gateway.complete(ask(n), lane="api", account=capped, priority=(1,)) for n in range(40)),
        )
        others = Account("others")
        await asyncio.gather(
            *(gateway.complete(ask(n), lane="api", account=others, priority=(2,)) for n in range(100, 140))
        )
        assert asyncio.get_running_loop().time() == pytest.approx(0.1)
        if more_urgent:  # one of those that wait is also asked for in a hurry, and goes first of them
            await gateway.complete(ask(39), lane="api", account=capped, priority=(0,))
        await late
    order = [int(text.split()[1]) for text, _ in server.calls]
    assert [n for n in order if n < 100] == ([39, *range(39)] if more_urgent else [*range(40)])
    assert len(server.calls) == 80


@pytest.mark.virtual
async def test_a_call_goes_as_soon_as_its_rate_is_granted() -> None:
    server = Server()
    async with Gateway([Lane("api", [server], SHARED)], store=Shared(Book(takes=0.02))) as gateway:
        await gateway.complete(ask(0), lane="api")
    assert [at for _, at in server.calls] == [pytest.approx(0.02)]


@pytest.mark.virtual
@pytest.mark.parametrize(("settings", "group"), [(LaneSettings(), "november"), (SHARED, "")])
async def test_after_trouble_with_what_is_shared_it_is_asked_anew(settings: LaneSettings, group: str) -> None:
    """A rate or a cap; whoever waited for it is told."""
    book = Book(takes=0.1)
    async with Gateway([Lane("api", [Server()], settings)], store=Shared(book)) as gateway:
        account = Account("run", Budget(calls=400, group=group))
        book.trouble = StoreError("It is gone.")
        with pytest.raises(StoreError, match="gone"):
            await gateway.complete(ask(1), lane="api", account=account)
        book.trouble = None
        async with asyncio.timeout(10.0):
            assert (await gateway.complete(ask(2), lane="api", account=account)).text == "question 2"


@pytest.mark.virtual
async def test_a_mistake_in_what_is_shared_leaves_nobody_waiting_and_is_no_secret() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about["exception"]))
    book = Book()
    book.trouble = ZeroDivisionError("a mistake")
    async with Gateway([Lane("api", [Server()], SHARED)], store=Shared(book)) as gateway:
        with pytest.raises(ZeroDivisionError):
            await gateway.complete(ask(1), lane="api")
        book.trouble = None
    gc.collect()
    assert [str(each) for each in told] == ["a mistake"]


@pytest.mark.virtual
async def test_trouble_with_one_shared_cap_leaves_nobody_waiting_for_another() -> None:
    """Whose share had not been asked for yet is told of the trouble, and whoever comes later asks for it anew."""
    book = Book(takes=0.1)
    async with Gateway([Lane("api", [Server()])], store=Shared(book)) as gateway:
        runs = [Account(group, Budget(calls=400, group=group)) for group in ("november", "december")]
        book.trouble = StoreError("It is gone.")
        asking = (gateway.complete(ask(n), lane="api", account=run) for n, run in enumerate(runs))
        told = await asyncio.gather(*asking, return_exceptions=True)
        assert [str(error) for error in told] == ["It is gone."] * 2
        book.trouble = None
        async with asyncio.timeout(10.0):
            assert (await gateway.complete(ask(2), lane="api", account=runs[1])).text == "question 2"


@pytest.mark.virtual
async def test_who_joins_a_call_and_is_left_to_pay_for_it_gets_its_share_of_a_cap() -> None:
    server = Server()
    async with Gateway([Lane("api", [server], LaneSettings(concurrency=1))], store=Shared(Book(takes=0.1))) as gateway:
        first, joining = Account("first"), Account("joining", Budget(calls=400, group="november"))
        busy = asyncio.create_task(gateway.complete(ask(0), lane="api", account=first))
        leaving = asyncio.create_task(gateway.complete(ask(1), lane="api", account=first))
        await asyncio.sleep(0.1)
        left = asyncio.create_task(gateway.complete(ask(1), lane="api", account=joining))
        await asyncio.sleep(0.1)
        leaving.cancel()
        async with asyncio.timeout(10.0):
            assert (await left).text == "question 1"
        await busy
    assert (joining.purse.spent.calls, len(server.calls)) == (1, 2)


async def test_a_shared_limit_takes_a_store_to_share_it_by() -> None:
    lane = Lane("api", [Server()], LaneSettings(limit_group="provider"))
    with pytest.raises(StoreError, match="takes a cache on a Redis or Valkey server"):
        async with Gateway([lane], store=MemoryStore()):
            pass


async def test_a_shared_cap_takes_a_store_to_share_it_by() -> None:
    account = Account("run", Budget(calls=5, group="november"))
    async with Gateway([Lane("api", [Server()])], store=MemoryStore()) as gateway:
        with pytest.raises(StoreError, match="takes a cache on a Redis or Valkey server"):
            await gateway.complete(ask(1), lane="api", account=account)
