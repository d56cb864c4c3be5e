"""Answers on their way to the store, and those who ask the store meanwhile."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scheduling_world import Server, answer, ask
from test_scheduling_lane_state import Rig

from metaspo.backends import Backend
from metaspo.cache import Entry, MemoryStore, StoreError, request_key
from metaspo.scheduling import Gateway, Lane
from metaspo.scheduling.store.writer import StoreWriter


class Slow(MemoryStore):
    """Says what it had when it was asked once it is let go; it keeps nothing, as others may throw it away at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[asyncio.Event] = []
        self.stored: list[int] = []

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        go = asyncio.Event()
        self.asked.append(go)
        await go.wait()
        return {}

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        self.stored.append(len(entries))
        return dict(entries)


async def test_an_answer_that_comes_while_the_store_is_asked_is_found_by_whoever_asked_it_then() -> None:
    """By the last one, too, and by nobody later: then the store knows better. Nothing is stored where nothing came."""
    rig, store, key = Rig(), Slow(), request_key(ask(1))
    writer = StoreWriter(store, rig.flights, wall_clock=lambda: 0.0)
    rig.happen("ask 1", 0)
    asking = [asyncio.create_task(writer.look_up([key])) for _ in range(2)]
    await asyncio.sleep(0)
    call, reply = rig.take(1), answer("question 1")
    payer = rig.state.landed(call, reply, 1)
    assert payer is not None
    writer.keep(call.flight, payer, reply.completion)
    for _ in range(5):
        await asyncio.sleep(0)
    assert rig.take_done() == "1 answered"
    for number, lookup in enumerate(asking):
        store.asked[number].set()
        assert await lookup == {key: reply.completion}
    later = asyncio.create_task(writer.look_up([key]))
    await asyncio.sleep(0)
    store.asked[-1].set()
    assert await later == {}
    await writer.aclose(grace=1.0)
    assert store.stored == [1]


class Mute(MemoryStore):
    """Keeps everything, and returns something else than it has to."""

    def __init__(self, returned: object) -> None:
        super().__init__()
        self.returned = returned

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        await super().put_many(entries)
        return cast("dict[str, Entry | StoreError]", self.returned)


@pytest.mark.virtual
@pytest.mark.parametrize("returned", [None, {}, [], {request_key(ask(1)): "kept"}])
async def test_nobody_waits_for_ever_for_a_store_that_does_not_say_what_it_kept(returned: object) -> None:
    async with Gateway([Lane("lane", [Server()])], store=Mute(returned)) as gateway:
        with pytest.raises(StoreError, match="did not say what it kept: <MemoryStore entries=1>"):
            await asyncio.wait_for(gateway.complete(ask(1), lane="lane"), 60)


@pytest.mark.virtual
@pytest.mark.parametrize("returned", [None, [], {request_key(ask(1)): "kept"}, {request_key(ask(1)): None}])
async def test_a_store_that_returns_something_else_than_entries_is_named(returned: object) -> None:
    class Odd(MemoryStore):
        async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
            return cast("dict[str, Entry]", returned)

    async with Gateway([Lane("lane", [Server()])], store=Odd()) as gateway:
        for asking in (gateway.complete(ask(1), lane="lane"), gateway.complete_many([ask(1)] * 2, lane="lane")):
            with pytest.raises(StoreError, match="get_many must return a dict of keys and entries: <MemoryStore"):
                await asyncio.wait_for(asking, 60)


@pytest.mark.virtual
async def test_a_store_whose_get_many_is_no_coroutine_function_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "get_many", lambda self, keys: {})
    async with Gateway([Lane("lane", [Server()])], store=MemoryStore()) as gateway:
        with pytest.raises(StoreError, match="get_many must be a coroutine function: <MemoryStore"):
            await asyncio.wait_for(gateway.complete(ask(1), lane="lane"), 60)


@pytest.mark.virtual
async def test_nobody_waits_for_ever_for_a_store_whose_put_many_is_no_coroutine_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MemoryStore, "put_many", lambda self, entries: None)
    async with Gateway([Lane("lane", [Server()])], store=MemoryStore()) as gateway:
        with pytest.raises(StoreError, match="put_many must be a coroutine function: <MemoryStore"):
            await asyncio.wait_for(gateway.complete(ask(1), lane="lane"), 60)


@pytest.mark.virtual
@pytest.mark.parametrize("method", ["get_many", "put_many"])
async def test_a_store_that_cancels_itself_is_named(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    async def leaving(self: MemoryStore, given: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(MemoryStore, method, leaving)
    async with Gateway([Lane("lane", [Server()])], store=MemoryStore()) as gateway:
        for asking in (gateway.complete(ask(1), lane="lane"), gateway.complete_many([ask(2)] * 2, lane="lane")):
            with pytest.raises(StoreError, match=f"The store's {method} raised a CancelledError, and nobody had"):
                await asyncio.wait_for(asking, 60)


class Failing(MemoryStore):
    """Fails in one of its methods, as the code of somebody's own store does."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        if self.method == "get_many":
            raise OSError("no disk")
        return await super().get_many(keys)

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        if self.method == "put_many":
            raise OSError("no disk")
        return await super().put_many(entries)


@pytest.mark.virtual
@pytest.mark.parametrize("method", ["get_many", "put_many"])
async def test_what_a_store_of_someone_s_own_raises_is_the_cache_s_failure_with_its_cause(method: str) -> None:
    async with Gateway([Lane("lane", [Server()])], store=Failing(method)) as gateway:
        for asking in (gateway.complete(ask(1), lane="lane"), gateway.complete_many([ask(2), ask(3)], lane="lane")):
            with pytest.raises(StoreError, match=f"^The store's {method} failed: OSError: no disk.$") as failed:
                await asyncio.wait_for(asking, 60)
            assert isinstance(failed.value.__cause__, OSError)


@pytest.mark.virtual
async def test_a_store_that_suspends_and_says_that_it_does_not_is_told_what_to_say() -> None:
    class Slow(MemoryStore):
        async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
            await asyncio.sleep(1)
            return {}

    async with Gateway([Lane("lane", [Server()])], store=Slow()) as gateway:
        with pytest.raises(RuntimeError, match="`local = True` suspended"):
            await gateway.complete(ask(1), lane="lane")


def test_what_is_no_store_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(TypeError, match=r"store: give a metaspo\.cache\.Store; this is '\.cache'"):
        Gateway([Lane("lane", [Server()])], store=cast("MemoryStore", ".cache"))


async def too_late(_told: object) -> None:
    raise AssertionError


@pytest.mark.parametrize("name", ["on_event", "on_call"])
def test_a_listener_that_would_have_to_be_awaited_is_refused(name: str) -> None:
    listener: dict[str, Any] = {name: too_late}
    with pytest.raises(TypeError, match=f"{name} is called and not awaited"):
        Gateway([Lane("lane", [Server()])], store=MemoryStore(), **listener)


def test_a_backend_s_class_is_no_backend() -> None:
    with pytest.raises(TypeError, match="'lane' is the class Server: make one of it"):
        Lane("lane", [cast("Backend", Server)])


@pytest.mark.parametrize("lacking", ["name", "complete", "probe", "load", "aclose"])
def test_what_is_no_backend_is_refused_before_anything_is_asked(lacking: str) -> None:
    members = {"name": "mine", "complete": print, "probe": print, "load": print, "aclose": print}
    del members[lacking]
    with pytest.raises(TypeError, match=rf"'lane' is no metaspo.backends.Backend: .* has no {lacking}$"):
        Lane("lane", [cast("Backend", SimpleNamespace(**members))])
