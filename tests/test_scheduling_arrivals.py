"""Single requests that come in one turn of the event loop: one look into the store for all, and each on its own."""

import asyncio
from collections.abc import Sequence

import pytest
from scheduling_world import Server, answer, ask

from metaspo.backends import Completion, Request
from metaspo.cache import Entry, MemoryStore, StoreError, request_key
from metaspo.scheduling import Account, Gateway, Lane, LaneSettings, RunStopped


class Watched(MemoryStore):
    """Notes what it is asked for, and fails where a key is among that.

    Attributes:
        asked: the keys of each look-up; bad: by key, what looking it up raises.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Sequence[str]] = []
        self.bad: dict[str, Exception] = {}

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        self.asked.append(keys)
        for key in keys:
            if key in self.bad:
                raise self.bad[key]
        return await super().get_many(keys)

    async def hold(self, request: Request, text: str) -> None:
        await self.put(request_key(request), Entry(completion=answer(text).completion, model=request.model))


def gateway_over(server: Server, store: MemoryStore) -> Gateway:
    return Gateway([Lane("lane", [server], LaneSettings())], store=store)


@pytest.mark.virtual
async def test_what_comes_in_one_turn_is_looked_up_together_and_each_key_once() -> None:
    server, store = Server(), Watched()
    for number in (1, 3):
        await store.hold(ask(number), f"stored {number}")
    numbers = [0, 1, 2, 3, 2]
    async with gateway_over(server, store) as gateway:
        answers = await asyncio.gather(*(gateway.answer(ask(number), lane="lane") for number in numbers))
    keys = [request_key(ask(number)) for number in range(4)]
    assert store.asked == [keys[:1], keys[1:]], "the first one waits for nobody"
    assert [answer.source for answer in answers] == ["miss", "hit", "miss", "hit", "joined"]
    assert [answer.completion.text for answer in answers] == [
        "question 0",
        "stored 1",
        "question 2",
        "stored 3",
        "question 2",
    ]
    assert [text for text, _ in server.calls] == ["question 0", "question 2"]


@pytest.mark.virtual
@pytest.mark.parametrize("stored", [False, True])
async def test_who_leaves_before_the_look_into_the_store_makes_no_call_and_is_booked_nothing(stored: bool) -> None:
    server, store, account = Server(), Watched(), Account("leaver")
    if stored:
        await store.hold(ask(1), "stored")
    async with gateway_over(server, store) as gateway:
        stayer = asyncio.create_task(gateway.answer(ask(2), lane="lane"))
        leaver = asyncio.create_task(gateway.answer(ask(1), lane="lane", account=account))
        await asyncio.sleep(0)  # both have come, and the second is not looked up yet
        leaver.cancel()
        stays = await stayer
        assert leaver.cancelled()
    assert stays.source == "miss"
    assert [text for text, _ in server.calls] == ["question 2"]
    assert account.statistics().total.hits == 0


@pytest.mark.virtual
async def test_an_entry_that_cannot_be_read_concerns_none_but_whoever_asks_for_it() -> None:
    server, store = Server(), Watched()
    await store.hold(ask(2), "stored")
    store.bad[request_key(ask(1))] = StoreError("It is damaged.")
    async with gateway_over(server, store) as gateway:
        answers = await asyncio.gather(
            *(gateway.complete(ask(number), lane="lane") for number in range(3)), return_exceptions=True
        )
        assert isinstance(answers[1], StoreError)
        assert [getattr(answer, "text", "") for answer in answers] == ["question 0", "", "stored"]


@pytest.mark.virtual
async def test_a_mistake_in_a_store_leaves_nobody_waiting() -> None:
    """And only those are told of it who asked for what it stumbles on."""
    store = Watched()
    store.bad[request_key(ask(1))] = mistake = ZeroDivisionError("a mistake")
    async with gateway_over(Server(), store) as gateway:
        answers = await asyncio.gather(
            *(gateway.complete(ask(number), lane="lane") for number in (1, 1, 2)), return_exceptions=True
        )
    assert [type(answer) for answer in answers] == [StoreError, StoreError, Completion]
    assert isinstance(answers[0], StoreError)
    assert answers[0].__cause__ is mistake


@pytest.mark.virtual
async def test_what_came_before_a_gateway_is_closed_and_was_not_looked_up_yet_is_told_that_it_was() -> None:
    async with gateway_over(Server(), Watched()) as gateway:
        first, late = (asyncio.create_task(gateway.complete(ask(number), lane="lane")) for number in (1, 2))
        await asyncio.sleep(0)
    for task in (first, late):
        with pytest.raises(RunStopped, match="The gateway was closed"):
            await task


@pytest.mark.virtual
async def test_a_mistake_in_the_store_as_the_gateway_is_closed_leaves_nothing_open() -> None:
    server, store = Server(), Watched()
    store.bad[request_key(ask(2))] = mistake = ZeroDivisionError("a mistake")
    gateway = await gateway_over(server, store).__aenter__()
    asked = [asyncio.ensure_future(gateway.complete(ask(number), lane="lane")) for number in (1, 2)]
    await asyncio.sleep(0)
    await gateway.aclose()
    first, second = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(second, StoreError)
    assert (type(first), second.__cause__) == (RunStopped, mistake)
    assert server.closed
