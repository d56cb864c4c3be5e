"""What every store must do, as tests for pytest. A store's test module subclasses `StoreConformance` and opens one.

The tests are coroutines: run them with pytest-asyncio (`asyncio_mode = "auto"`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

import anyio

from metaspo.backends import Completion, Usage
from metaspo.cache import Claims, Entry, LocalClaims, Store, StoreError, at_once


def make_key(name: object) -> str:
    """A key of the right form."""
    return sha256(repr(name).encode()).hexdigest()


def make_entry(text: str = "yes", *, model: str = "m", run: str = "", created: float = 1.8e9) -> Entry:
    """An entry in which no two fields are alike."""
    completion = Completion(
        text=text, finish_reason="stop", usage=Usage(120, 7, 64), latency=0.41, server="server-1 fp_2"
    )
    return Entry(completion=completion, model=model, revision="r3", run=run, created=created)


TEXTS = ("", "\0", "a\nb\r\n", "é", "e\u0301", "\U0001f600", "\ud800 alone", '"quoted", [1]', "x" * 1_000_000)
"""Answers that have been trouble somewhere."""


class StoreConformance:
    """The laws. `persistent`: whether entries outlive the store object."""

    persistent = True

    def open(self, folder: Path) -> Store:
        """A store of what is kept in a folder."""
        raise NotImplementedError

    async def test_finds_what_was_put(self, tmp_path: Path) -> None:
        """Every field of an entry comes back as it was."""
        async with aclosing(self.open(tmp_path / "cache")) as store:
            assert await store.put(make_key(1), make_entry()) == make_entry()
            assert await store.get_many([make_key(1)]) == {make_key(1): make_entry()}

    async def test_keeps_any_text(self, tmp_path: Path) -> None:
        """Texts come back exactly, also by a store object that was opened later."""
        entries = {make_key(text): make_entry(text) for text in TEXTS}
        async with aclosing(self.open(tmp_path / "cache")) as store:
            assert await store.put_many(entries) == entries
            assert await store.get_many(list(entries)) == entries
        async with aclosing(self.open(tmp_path / "cache")) as store:
            assert await store.get_many(list(entries)) == (entries if self.persistent else {})

    async def test_leaves_out_what_is_not_there(self, tmp_path: Path) -> None:
        """A key without an entry is absent from the answer, and asking for nothing gives nothing."""
        async with aclosing(self.open(tmp_path / "cache")) as store:
            await store.put(make_key(1), make_entry())
            assert await store.get_many([]) == {}
            assert (await store.get_many([make_key(0), make_key(1), make_key(1)])).keys() == {make_key(1)}

    async def test_finds_many_at_once(self, tmp_path: Path) -> None:
        """A bulk look-up finds exactly the entries there are, each under its own key."""
        entries = {make_key(number): make_entry(str(number)) for number in range(1_200)}
        async with aclosing(self.open(tmp_path / "cache")) as store:
            async with anyio.create_task_group() as group:
                for key, entry in entries.items():
                    group.start_soon(store.put, key, entry)
            assert await store.get_many([make_key(number) for number in range(2_400)]) == entries

    async def test_first_answer_wins(self, tmp_path: Path) -> None:
        """A later answer never replaces an earlier one, and whoever brings it gets the earlier one."""
        async with aclosing(self.open(tmp_path / "cache")) as store:
            await store.put(make_key(1), make_entry("first"))
            assert await store.put(make_key(1), make_entry("second")) == make_entry("first")
            assert await store.get_many([make_key(1)]) == {make_key(1): make_entry("first")}

    async def test_puts_at_once_agree(self, tmp_path: Path) -> None:
        """Those who put different answers under one key at the same time all get the same one."""
        async with aclosing(self.open(tmp_path / "cache")) as store:
            kept = await asyncio.gather(*(store.put(make_key(1), make_entry(str(n))) for n in range(20)))
            assert kept == [make_entry("0")] * 20
            assert await store.get_many([make_key(1)]) == {make_key(1): make_entry("0")}

    async def test_each_has_its_own_result(self, tmp_path: Path) -> None:
        """Of entries that are put at once each key has the first one: those that were there, and the new ones."""
        entries = {make_key(number): make_entry(str(number)) for number in range(250)}
        async with aclosing(self.open(tmp_path / "cache")) as store:
            await store.put(make_key(7), make_entry("first"))
            kept = await store.put_many(entries)
            assert kept == entries | {make_key(7): make_entry("first")}
            assert await store.put_many({}) == {}

    async def test_a_local_store_does_not_suspend(self, tmp_path: Path) -> None:
        """A look-up finishes at its first step, so that a hit costs no turn of the event loop."""
        async with aclosing(self.open(tmp_path / "cache")) as store:
            await store.put(make_key(1), make_entry())
            if store.local:
                assert at_once(store.get_many([make_key(1), make_key(2)])) == {make_key(1): make_entry()}

    async def test_cancelled_put_is_kept(self, tmp_path: Path) -> None:
        """An answer was paid for: it is kept even if nobody waits for that any more."""
        async with aclosing(self.open(tmp_path / "cache")) as store:
            async with anyio.create_task_group() as group:
                group.start_soon(store.put, make_key(1), make_entry("paid"))
                await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            assert await store.put(make_key(1), make_entry("later")) == make_entry("paid")

    async def test_closing_finishes_what_was_begun(self, tmp_path: Path) -> None:
        """Puts that wait when the store is closed get their answer, and it is kept."""
        store = self.open(tmp_path / "cache")
        puts = [asyncio.create_task(store.put(make_key(n), make_entry(str(n)))) for n in range(500)]
        await anyio.lowlevel.checkpoint()
        await store.aclose()
        assert [put.done() for put in puts] == [True] * 500
        assert await asyncio.gather(*puts) == [make_entry(str(n)) for n in range(500)]
        if self.persistent:
            async with aclosing(self.open(tmp_path / "cache")) as again:
                assert len(await again.get_many([make_key(n) for n in range(500)])) == 500

    async def test_closed_store_refuses(self, tmp_path: Path) -> None:
        """Closing twice is closing once; afterwards nothing is read or kept silently."""
        store = self.open(tmp_path / "cache")
        await store.aclose()
        await store.aclose()
        assert "closed" in await _refusal(store.get_many([make_key(1)]))
        assert "closed" in await _refusal(store.put(make_key(1), make_entry()))

    async def test_leaves_no_task_behind(self, tmp_path: Path) -> None:
        """No task outlives the store."""
        before = asyncio.all_tasks()
        async with aclosing(self.open(tmp_path / "cache")) as store:
            await store.put(make_key(1), make_entry())
        assert asyncio.all_tasks() == before


class ClaimsConformance:
    """The laws of a store's claims, for stores that several processes use."""

    def open(self, folder: Path) -> Store:
        """A store of what is kept in a folder."""
        raise NotImplementedError

    async def test_one_at_most_has_a_claim(self, tmp_path: Path) -> None:
        """Of two that want the same keys at the same time each key is exactly one's; whose it is stays so."""
        keys = [make_key(number) for number in range(100)]
        async with aclosing(self.open(tmp_path / "cache")) as one, aclosing(self.open(tmp_path / "cache")) as other:
            ours, theirs = await asyncio.gather(claims_of(one).claim_many(keys), claims_of(other).claim_many(keys))
            assert ours | theirs == set(keys)
            assert ours & theirs == set()
            assert await claims_of(one).claim_many(keys) == ours
            assert await claims_of(other).claim_many(keys) == theirs

    async def test_what_is_given_back_can_be_claimed(self, tmp_path: Path) -> None:
        """By anybody; nobody gives back what is another one's."""
        async with aclosing(self.open(tmp_path / "cache")) as one, aclosing(self.open(tmp_path / "cache")) as other:
            assert await claims_of(one).claim_many([make_key(1), make_key(2)]) == {make_key(1), make_key(2)}
            claims_of(other).release([make_key(1), make_key(2)])
            claims_of(one).release([make_key(1)])
            await _until(lambda: _is_granted(other, make_key(1)))
            assert await claims_of(other).claim_many([make_key(2)]) == set()
            assert await claims_of(one).claim_many([make_key(1)]) == set()

    async def test_closing_gives_everything_back(self, tmp_path: Path) -> None:
        """At once, or when the lease is over."""
        async with aclosing(self.open(tmp_path / "cache")) as other:
            async with aclosing(self.open(tmp_path / "cache")) as one:
                assert await claims_of(one).claim_many([make_key(1)]) == {make_key(1)}
                assert await claims_of(other).claim_many([make_key(1)]) == set()
                lease = claims_of(one).lease
            await _until(lambda: _is_granted(other, make_key(1)), seconds=10 + (lease or 0))

    async def test_who_is_not_alone_looks_again(self, tmp_path: Path) -> None:
        """Somebody who looked before another one stored an answer is told so by its claims."""
        async with aclosing(self.open(tmp_path / "cache")) as late:
            assert await late.get_many([make_key(1)]) == {}
            async with aclosing(self.open(tmp_path / "cache")) as early:
                await claims_of(early).claim_many([make_key(1)])
                await early.put(make_key(1), make_entry())
                claims_of(early).release([make_key(1)])
            await _until(lambda: _is_granted(late, make_key(1)))
            assert claims_of(late).contested
            assert await late.get_many([make_key(1)]) == {make_key(1): make_entry()}

    async def test_claims_without_waiting_are_the_same_ones(self, tmp_path: Path) -> None:
        """What a local store grants by `claim` and what it grants by `claim_many` are the same."""
        async with aclosing(self.open(tmp_path / "cache")) as one, aclosing(self.open(tmp_path / "cache")) as other:
            ours, theirs = claims_of(one), claims_of(other)
            if isinstance(ours, LocalClaims) and isinstance(theirs, LocalClaims):
                assert ours.claim(make_key(1))
                assert ours.claim(make_key(1))
                assert not theirs.claim(make_key(1))
                assert await theirs.claim_many([make_key(1), make_key(2)]) == {make_key(2)}
                assert not ours.claim(make_key(2))


def claims_of(store: Store) -> Claims:
    """The claims that a store must have."""
    assert store.claims is not None
    return store.claims


async def _is_granted(store: Store, key: str) -> bool:
    return bool(await claims_of(store).claim_many([key]))


async def _until(condition: Callable[[], Awaitable[bool]], *, seconds: float = 10) -> None:
    with anyio.fail_after(seconds):
        while not await condition():  # noqa: ASYNC110 - another store has no event to set
            await anyio.sleep(0.02)


async def _refusal(work: Awaitable[object]) -> str:
    try:
        await work
    except StoreError as error:
        return str(error)
    raise AssertionError("it was not refused")
