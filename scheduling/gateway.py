"""The one door to all models: cached, deduplicated, within budget and limits, as many calls at once as pay.

async with Gateway([Lane("base", [backend])], store=MemoryStore()) as gateway:
    completion = await gateway.complete(request, lane="base")
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context, copy_context
from types import TracebackType
from typing import Literal, NamedTuple, Self, cast

from metaspo.backends import Completion, Request, RequestRejected
from metaspo.backends.loops.closing import close_all, to_the_end
from metaspo.backends.loops.running import asyncio_loop
from metaspo.cache import Store, StoreError, keys_of, last_of_each_model, request_key
from metaspo.scheduling.budget.account import Account
from metaspo.scheduling.events import Event
from metaspo.scheduling.lanes.call_record import CallReports, OnCall
from metaspo.scheduling.lanes.flight import Flight, Waiter
from metaspo.scheduling.lanes.lane import Lane, by_name
from metaspo.scheduling.lanes.lane_state import LaneState
from metaspo.scheduling.lanes.open_lane import OpenLane
from metaspo.scheduling.lanes.single_flight import BatchWaiter, FlightTable, OnAnswer, SingleWaiter
from metaspo.scheduling.queue import Priority
from metaspo.scheduling.settings import require_plain
from metaspo.scheduling.statistics import GatewayStatistics
from metaspo.scheduling.store.arrivals import Arrival, Arrivals
from metaspo.scheduling.store.claiming import Claimer
from metaspo.scheduling.store.sharing import Sharer
from metaspo.scheduling.store.writer import StoreWriter

CHUNK = 256  # requests looked up and queued between two looks at the event loop
BATCH_WINDOW = 8_192  # requests of one batch under way at once, so that a batch of a million takes little memory
NOT_SHARED = "that takes a cache on a Redis or Valkey server"
CLOSE_GRACE = 30.0  # seconds that paid answers get to come in when the gateway is closed, and again to be stored


Source = Literal["hit", "miss", "joined"]


class Answer(NamedTuple):
    """A completion, and how it was come by.

    Attributes:
        source: "hit" (it was in the store), "miss" (asked for now), or "joined" (somebody else had asked for it).
        waited: seconds for a slot, an endpoint, the rate limit, or another try.
        dollars: what its call cost, or would have; None where no price is known.
    """

    completion: Completion
    key: str
    source: Source
    waited: float
    dollars: float | None


class Gateway:
    """Completes requests over named lanes. Use it as an async context manager; nothing outlives the `async with`.

    The store stays the caller's to close; the lanes' backends are closed with the gateway.
    `on_event` is called on the event loop, soon after the event; `on_call` there, for every request once it has its
    answer or will have none, before whoever asked goes on, in a copy of his context: it must be quick. `wall_clock`
    gives the time entries are stamped with.
    """

    def __init__(
        self,
        lanes: Iterable[Lane],
        *,
        store: Store,
        on_event: Callable[[Event], None] | None = None,
        on_call: OnCall | None = None,
        tell_of_hits: bool = True,
        wall_clock: Callable[[], float] = time.time,
        many_programs: bool = False,
    ) -> None:
        """`tell_of_hits`: whether `on_call` is called for what is found in the store. `many_programs`: requests come
        from programs that know nothing of each other: what the form of one meets says nothing of the next, and what
        only a person can mend is tried again after a minute."""
        for name, told in (("on_event", on_event), ("on_call", on_call)):
            require_plain(name, told)
        if not isinstance(cast(object, store), Store):
            raise TypeError(f"store: give a metaspo.cache.Store; this is {store!r:.80}")
        self._lanes = by_name(lanes)
        self._on_event = on_event
        self._many_programs = many_programs
        self._open_lanes: dict[str, OpenLane] = {}
        self._reports = CallReports(on_call) if on_call is not None else None
        self._reports_of_hits = self._reports if tell_of_hits else None
        self._flights = FlightTable(self._reports)
        self._store = store
        self._sharer: Sharer | None = None
        self._claimer = Claimer(store, self._flights)
        self._writer = StoreWriter(store, self._flights, wall_clock=wall_clock)
        self._arrivals = Arrivals(self._writer.look_up, self._admit)
        self._account = Account()
        self._open = False

    def __repr__(self) -> str:
        return f"<Gateway waiting={len(self._flights)} lanes={list(self._lanes.values())}>"

    @property
    def lanes(self) -> tuple[str, ...]:
        """The names of its lanes."""
        return tuple(self._lanes)

    async def __aenter__(self) -> Self:
        """Raises `RuntimeError` if one of the lanes is open in another gateway or no asyncio loop runs here, and
        `StoreError` if one is to share its limits and the store is not one that processes can share them by."""
        sharing = self._store.sharing
        for lane in self._lanes.values():
            lane.require_free()
            if lane.settings.limit_group and sharing is None:
                raise StoreError(f"The lane {lane.name!r} shares its limits: {NOT_SHARED}.")
        self._loop = asyncio_loop("a Gateway")
        self._open_lanes = {
            name: OpenLane(
                lane,
                self._flights,
                claim=self._claimer.claim,
                keep=self._writer.keep,
                listener=self._on_event,
                many_programs=self._many_programs,
            )
            for name, lane in self._lanes.items()
        }
        if sharing is not None:
            self._sharer = Sharer(sharing, [lane.state for lane in self._open_lanes.values()])
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Fail what waits, abort what costs compute, let in what is paid for (30 s at most, and 30 more to store it),
        close the backends. Raises what closing a backend raised, when all is closed."""
        if not self._open:
            return
        try:
            self._arrivals.settle_arrived()
        finally:
            self._open = False
            await to_the_end(self._close())

    async def _close(self) -> None:
        try:
            await close_all(lane.aclose(grace=CLOSE_GRACE) for lane in self._open_lanes.values())
        finally:  # even if a backend would not close
            await self._writer.aclose(grace=CLOSE_GRACE)
            await self._claimer.aclose()
            if self._sharer is not None:
                await self._sharer.aclose()

    async def complete(
        self, request: Request, *, lane: str, account: Account | None = None, priority: Priority = ()
    ) -> Completion:
        """Answer one request, from the store if it is there, else by a call (one for all who ask the same).

        Smaller priorities go first. Raises `RequestRejected` if the server will never answer it, `RunStopped` if the
        run cannot go on, `StoreError`, and `ValueError` for a request that has no key.
        """
        return (await self.answer(request, lane=lane, account=account, priority=priority)).completion

    async def answer(
        self, request: Request, *, lane: str, account: Account | None = None, priority: Priority = ()
    ) -> Answer:
        """As `complete`, with how the answer was come by."""
        target = self._lane(lane)
        account = self._account if account is None else account
        key = request_key(request)
        flight = self._flights.get(key)
        waiter = SingleWaiter(account, asyncio.get_running_loop().create_future(), context=self._context())
        arrival = Arrival(key, request, target, waiter, priority)
        if flight is not None and not target.doubt.is_proof(flight):  # which asks again what is stored
            self._admit(arrival)
        elif self._store.local:
            self._arrivals.add(arrival)
        else:
            await self._arrivals.settle((arrival,))  # such a store puts look-ups together itself
        try:
            completion = await waiter.future
        except asyncio.CancelledError:
            if waiter.flight is not None:
                waiter.flight.home.leave(waiter.flight, waiter, asyncio.get_running_loop().time())
            raise
        dollars = target.price_of(completion.usage)
        flight = waiter.flight
        if flight is None:
            self._note_hits((request,), {0: completion}, (key,), lane=target, account=account)
            return Answer(completion, key, "hit", 0.0, dollars)
        waited = flight.queue_seconds + flight.limiter_seconds + flight.retry_seconds
        source: Source = "hit" if flight.in_store else "joined" if waiter.joined else "miss"
        return Answer(completion, key, source, waited, dollars)

    async def complete_many(
        self,
        requests: Sequence[Request],
        *,
        lane: str,
        account: Account | None = None,
        priority: Priority = (),
        on_answer: OnAnswer | None = None,
    ) -> list[Completion | RequestRejected]:
        """Answer requests, by position. A rejected one is returned in its place; any other failure is raised as by
        `complete`, and what then still waits is withdrawn. `on_answer` is told each as it comes, and must not raise.
        """
        target = self._lane(lane)
        account = self._account if account is None else account
        done = asyncio.get_running_loop().create_future()
        batch = BatchWaiter(account, len(requests), done, on_answer=on_answer, context=self._context())
        try:
            for start in range(0, len(requests), CHUNK):
                if start:
                    await asyncio.sleep(0)
                    await batch.wait_for_room(BATCH_WINDOW)
                if batch.done.done():
                    break
                await self._add_to(batch, requests, range(start, min(start + CHUNK, len(requests))), target, priority)
            batch.seal()
            await batch.done
        finally:
            for flight in list(batch.positions):
                flight.home.leave(flight, batch, asyncio.get_running_loop().time())
            if batch.done.done() and not batch.done.cancelled():
                batch.done.exception()  # seen, even if another error is on its way
        return cast("list[Completion | RequestRejected]", batch.results)  # nothing is missing when it is done

    async def lookup_many(
        self, requests: Sequence[Request], *, lane: str = "", account: Account | None = None
    ) -> dict[int, Completion]:
        """The answers that are in the store already, by position. Calls nothing.

        They are counted as hits of the account if a lane is named.
        """
        stored: dict[int, Completion] = {}
        stored_keys: list[str] = []
        for start in range(0, len(requests), CHUNK):
            keys = keys_of(requests, range(start, min(start + CHUNK, len(requests))))
            answers = await self._writer.look_up(keys)
            stored.update((start + i, answers[key]) for i, key in enumerate(keys) if key in answers)
            stored_keys.extend(key for key in keys if key in answers)
            if len(requests) > CHUNK:
                await asyncio.sleep(0)
        if lane and stored:
            payer = self._account if account is None else account
            self._note_hits(requests, stored, stored_keys, lane=self._lane(lane), account=payer)
        return stored

    def count_hits(
        self,
        hits: Sequence[tuple[Request, Completion]],
        *,
        lane: str,
        account: Account,
        keys: Sequence[str] = (),
    ) -> None:
        """These were in the store, where somebody has looked, with their `keys` if those are known."""
        requests, completions = [request for request, _ in hits], [completion for _, completion in hits]
        self._note_hits(requests, dict(enumerate(completions)), keys, lane=self._lane(lane), account=account)

    async def settled(self, account: Account) -> None:
        """Return when none of the account's calls is out, and it is known what they cost; after 30 s in any case."""
        if account.out:
            done = asyncio.Event()
            account.on_settled = done.set
            try:
                await asyncio.wait_for(done.wait(), CLOSE_GRACE)
            except TimeoutError:
                account.overdue = True
            account.on_settled = None

    def reopen(self, lane: str) -> None:
        """Ask again what a lane was told that only a person can mend (a key, credit, a model): somebody has."""
        self._lane(lane).verdicts.clear()

    def statistics(self) -> GatewayStatistics:
        """All lanes now; those there are once it is open."""
        lanes = {name: lane.statistics() for name, lane in self._open_lanes.items()}
        return GatewayStatistics(lanes=lanes, waiting=len(self._flights))

    async def _add_to(
        self, batch: BatchWaiter, requests: Sequence[Request], positions: range, lane: LaneState, priority: Priority
    ) -> None:
        """Look part of a batch up, and put what is missing on its way."""
        keys = keys_of(requests, positions)
        stored = await self._writer.look_up(tuple(dict.fromkeys(keys)))
        hits = {position: stored[key] for position, key in zip(positions, keys, strict=True) if key in stored}
        batch.put_stored(hits)
        if len(hits) < len(keys):
            self._require_open()  # still, after the look-up
            for position, key in zip(positions, keys, strict=True):
                if position not in hits:
                    self._wait_for(key, batch, requests, position, lane, priority)
            keys = [key for key in keys if key in stored]
        if hits:
            self._note_hits(requests, hits, keys, lane=lane, account=batch.account)

    def _wait_for(
        self,
        key: str,
        batch: BatchWaiter,
        requests: Sequence[Request],
        position: int,
        lane: LaneState,
        priority: Priority,
    ) -> None:
        """Put one request of a batch on its way whose answer is not in the store."""
        flight = self._flights.get(key)
        if flight is not None and flight in batch.positions:
            _count_joined(batch.account, lane.name, key)
        else:
            flight = self._join(key, requests[position], lane, batch, priority)
        batch.expect(flight, position)

    def _admit(self, arrival: Arrival) -> None:
        """Put a single request on its way whose answer is not in the store."""
        self._require_open()
        key, request, lane, waiter, priority = arrival
        waiter.joined = self._flights.get(key) is not None
        waiter.flight = self._join(key, request, lane, waiter, priority)

    def _join(self, key: str, request: Request, lane: LaneState, waiter: Waiter, priority: Priority) -> Flight:
        """Wait for the flight of this request, or start it."""
        flight = self._flights.get(key)
        if (pool := waiter.account.purse.pool) is not None:  # also of who joins, and is to pay if the others leave
            if self._sharer is None:
                raise StoreError(f"The budget shares its caps in the group {pool.group!r}: {NOT_SHARED}.")
            self._sharer.adopt(waiter.account.purse, pool)
        if flight is not None:
            if not _count_joined(waiter.account, lane.name, key):
                flight.joined += (waiter.account,)
            flight.home.join(flight, waiter, priority)
            return flight
        if (stopped := lane.verdicts.of(request.model)) is not None:
            raise stopped
        if waiter.account.exhausted is not None:
            raise waiter.account.exhausted
        waiter.account.asked_before(key)
        flight = Flight(key, request, waiter, home=lane, priority=priority)
        self._flights.add(flight)
        lane.submit(flight, self._loop.time())
        return flight

    def _context(self) -> Context | None:
        return copy_context() if self._reports is not None else None

    def _note_hits(
        self,
        requests: Sequence[Request],
        hits: Mapping[int, Completion],
        keys: Sequence[str],
        *,
        lane: LaneState,
        account: Account,
    ) -> None:
        """Of some requests the answers by position, and their keys in that order, or none."""
        for model, among, position in last_of_each_model(requests, list(hits)):
            lane.doubt.answered_before(model, among, position)
        reports = self._reports_of_hits
        if not keys and (account.remembers or reports is not None):
            keys = keys_of(requests, hits)
        lane.books.hits(account, list(hits.values()), keys)
        if reports is not None:
            for key, (position, completion) in zip(keys, hits.items(), strict=True):
                dollars = lane.price_of(completion.usage)
                reports.hit(requests[position], completion, lane=lane.name, key=key, account=account, dollars=dollars)

    def _lane(self, name: str) -> LaneState:
        self._require_open()
        try:
            return self._open_lanes[name].state
        except KeyError:
            names = ", ".join(sorted(self._lanes)) or "none"
            raise ValueError(f"there is no lane named {name!r}; the lanes are: {names}") from None

    def _require_open(self) -> None:
        if not self._open:
            raise RuntimeError("the gateway is not open: use it inside its `async with`")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "the gateway was opened in another event loop, and its answers come in there: open one in this one, "
                "or run everything in one"
            )


def _count_joined(account: Account, lane: str, key: str) -> bool:
    """Count it, and say whether the account itself had asked that before."""
    tally = account.tally(lane)
    tally.joined += 1
    before = account.asked_before(key)
    tally.repeated += before
    return before
