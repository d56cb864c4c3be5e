"""Servers in trouble: what a plan's faults do to the calls that simulated servers answer.

Faults are made at the level of the wire, as statuses, headers and bodies, and go through the same parsers as the
answers of real servers. Servers outlive sessions; a session talks to one through a `Wire`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

import anyio
import orjson
from simulation_conduct import Arrival
from simulation_dialects import Dialect
from simulation_ledger import Ledger
from simulation_plan import FATAL, GUEST, HEADERS, REFUSALS, STATES, Fault, Kind, LaneName
from simulation_world import Said, SimulatedWorld

from metaspo.backends import (
    Backend,
    BackendError,
    ConnectionLost,
    LimitHints,
    Overloaded,
    RateLimited,
    Reply,
    Request,
    ServerInfo,
    SlowDown,
    TimedOut,
    TransientError,
    Unreachable,
)
from metaspo.backends.chat.reply import read_reply
from metaspo.backends.http.errors import Call
from metaspo.cache import request_key

ROUND_TRIP = 0.02
FOR_EVER = 1e7
KEY = "Schluessel/0123456789+abcdef"  # which every refusal repeats, and nobody may see
HEADER_NAMES = {name: f"x-ratelimit-{what}-{of}" for name in HEADERS for of, what in [name.split("_")]}


class Session(Protocol):
    """One process's life; when it is dead nothing that it does has any effect."""

    @property
    def number(self) -> int: ...

    @property
    def dead(self) -> bool: ...


class FaultyServer:
    """One server with its troubles; `price` says what an answer costs in dollars."""

    def __init__(
        self,
        lane: LaneName,
        inner: Backend,
        faults: Sequence[Fault],
        world: SimulatedWorld,
        ledger: Ledger,
        *,
        seed: int,
        missing_headers: frozenset[str] = frozenset(),
        price: Callable[[Said], float] = lambda _: 0.0,
    ) -> None:
        self.lane: LaneName = lane
        self.inner = inner
        self.faults = faults
        self._world = world
        self._ledger = ledger
        self._seed = seed
        self._dialect = Dialect(seed, lane)
        self._missing = missing_headers
        self._price = price

    def now(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def active(self, *kinds: Kind) -> Fault | None:
        """The first fault of these kinds that is on."""
        now = self.now()
        return next((fault for fault in self.faults if fault.kind in kinds and fault.at(now)), None)

    async def serve(self, request: Request, *, time_limit: float, session: Session) -> Reply:
        """Answer a call, or fail at it as planned."""
        conduct = self._ledger.conduct
        if session.dead or conduct is None:
            raise Unreachable("The process is gone.")
        conduct.reach(self.lane, self.inner.name, self.now())
        how, key = "down", request_key(request)
        try:
            if self.active("down"):
                self._ledger.meet("down")
                raise Unreachable(f"{self.inner.name}: connection refused.", refused=True)
            how = "cancelled"
            arrival, fault, said = self._arrive(request, key, session)
            try:
                async with asyncio.timeout_at(self._breaks_at()):
                    reply = await self._answer(request, said, fault, time_limit=time_limit)
                if session.dead:
                    raise Unreachable("The process is gone.")
                how = "answered"
                self._ledger.deliver(arrival)
                conduct.answer(arrival, self.inner.name, self.now())
                return reply
            except TimeoutError:
                how = "down"
                raise ConnectionLost(f"{self.inner.name} went down.", before_answer=False) from None
            except BackendError as error:
                how = fault.kind if fault else type(error).__name__
                raise
            except asyncio.CancelledError:
                if not session.dead and (clings := self.active("clings")) is not None:
                    self._ledger.meet("clings")
                    await asyncio.sleep(clings.factor)
                raise
            finally:
                self._ledger.end(arrival, how)
        finally:
            conduct.end(self.lane, self.inner.name, how, key=key, now=self.now())

    def _arrive(self, request: Request, key: str, session: Session) -> tuple[Arrival, Fault | None, Said]:
        said = self._world.say(request, key, thinking=self._dialect.thinking_tokens)
        arrival = Arrival(session.number, self.lane, key, self.now(), said.usage)
        self._ledger.arrive(arrival)
        return arrival, self._meets(key, self._ledger.asked[key]), said

    async def start(self, session: Session, seconds: float) -> None:
        """Get ready, unless it is down."""
        await asyncio.sleep(seconds)
        if session.dead or self.active("down"):
            raise Unreachable(f"{self.inner.name}: it ended as it was started.")
        if self._ledger.conduct is not None:
            self._ledger.conduct.started(self.inner.name)

    async def probe(self, session: Session) -> ServerInfo:
        """Answer a probe, unless it is down or stuck."""
        conduct = self._ledger.conduct
        if session.dead or conduct is None:
            raise Unreachable("The process is gone.")
        conduct.probe(self.inner.name, self.now())
        if self.active("down"):
            raise Unreachable(f"{self.inner.name}: connection refused.", refused=True)
        fault = self.active("stuck")
        if fault is not None and fault.share == 1:
            await anyio.sleep(FOR_EVER)
        info = await self.inner.probe()
        conduct.probed(self.inner.name)
        return info

    async def load(self, session: Session) -> Mapping[str, float]:
        """The gauges, if it is there."""
        if session.dead or self.active("down"):
            raise Unreachable(f"{self.inner.name}: connection refused.")
        return await self.inner.load()

    def _breaks_at(self) -> float | None:
        """When the server goes down next, which breaks the calls that are under way."""
        now = self.now()
        return min((fault.start for fault in self.faults if fault.kind == "down" and fault.start > now), default=None)

    def _meets(self, key: str, sending: int) -> Fault | None:
        """The fault that a request's so-and-so-manieth sending meets."""
        now = self.now()
        for number, fault in enumerate(self.faults):
            if fault.at(now) and fault.kind not in STATES:
                luck = Random(f"{self._seed}/{number}/{key}/{sending}").random()
                if luck < fault.share:
                    self._ledger.meet(fault.kind)
                    return fault
        return None

    async def _answer(self, request: Request, said: Said, fault: Fault | None, *, time_limit: float) -> Reply:
        kind = fault.kind if fault else None
        if said.refused:
            await anyio.sleep(ROUND_TRIP)
            return self._refuse(400, "context_length_exceeded", request)
        if kind in REFUSALS or kind in FATAL or kind in ("no model", "reset before"):
            await anyio.sleep(ROUND_TRIP)
            return self._fail(kind, request, Random(f"{self._seed}/{self.now()}/{kind}/{request_key(request)}"))
        if kind in ("hang", "stuck"):
            charges = self._price(said) > 0  # also for a call that is broken off; where time is paid for, nothing is
            if charges:
                self._bill(request, said)
            await anyio.sleep(time_limit if kind == "hang" else FOR_EVER)
            if not charges:
                self._bill(request, said)
            raise TimedOut(f"{self.inner.name} gave no whole answer within {time_limit:g} seconds.")
        try:
            reply = await self.inner.complete(request, time_limit=time_limit)
        except (RateLimited, SlowDown) as error:
            return self._refuse_as(error, request)
        except Overloaded:
            return self._refuse(503, "", request)
        except TimedOut:
            self._bill(request, said)
            raise
        if kind != "error inside":  # errors cost nothing
            self._bill(request, said)
        if kind == "reset within":
            raise ConnectionLost(f"{self.inner.name}: connection reset.", before_answer=False)
        status, body = (200, damaged(said, kind)) if kind else self._dialect.whole(said)
        return self._read(status, self._headers(reply.hints), body, request, latency=reply.completion.latency)

    def _bill(self, request: Request, said: Said) -> None:
        self._ledger.bill(said.usage, self._price(said), guest=request.messages[0].content.startswith(GUEST))

    def _fail(self, kind: Kind | None, request: Request, rng: Random) -> Reply:
        """A failure as a real server words it."""
        match kind:
            case "reset before":
                raise ConnectionLost(f"{self.inner.name}: connection reset.", before_answer=True)
            case "overloaded":
                return self._refuse(503, rng.choice(("", "server_is_overloaded")), request, wait=self._wait(rng))
            case "server fault":
                return self._refuse(rng.choice((500, 502, 408)), "", request, page=rng.random() < 0.5)
            case "no credit":
                return self._refuse(429, "insufficient_quota", request)
            case "no access":
                return self._refuse(401, "invalid_api_key", request)
            case "no model":
                return self._refuse(404, "model_not_found", request)
            case "slow_down":
                return self._refuse(429, "slow_down", request, wait=self._wait(rng))
        return self._refuse(429, rng.choice(("", "rate_limit_exceeded")), request, wait=self._wait(rng))

    def _wait(self, rng: Random) -> Mapping[str, str]:
        return self._dialect.waits(_wait(rng), rng)

    def _refuse_as(self, error: TransientError, request: Request) -> Reply:
        """A provider's own refusal."""
        wait = {} if error.retry_after is None else {"retry-after-ms": str(error.retry_after * 1000)}
        code = "slow_down" if isinstance(error, SlowDown) else "rate_limit_exceeded"
        return self._refuse(429, code, request, wait={**wait, **self._headers(error.hints)})

    def _refuse(
        self, status: int, code: str, request: Request, *, wait: Mapping[str, str] | None = None, page: bool = False
    ) -> Reply:
        if self._ledger.conduct is not None:
            self._ledger.conduct.refuse(
                self.lane, self.inner.name, self.now(), status, code, _told(wait or {}), key=request_key(request)
            )
        body = (
            b"<html>Bad gateway</html>" if page else orjson.dumps({"error": {"code": code, "message": f"No, {KEY}."}})
        )
        return self._read(status, wait or {}, body, request, latency=ROUND_TRIP)

    def _read(self, status: int, headers: Mapping[str, str], body: bytes, request: Request, *, latency: float) -> Reply:
        """What the client makes of a response."""
        call = Call(self.inner.name, request.model, secrets=(KEY,), prompts=request.messages)
        return read_reply(status, headers, body, request=request, call=call, latency=latency)

    def _headers(self, hints: LimitHints | None) -> dict[str, str]:
        """Limit headers, without those that this provider does not send."""
        if hints is None:
            return {}
        shown = ((name, getattr(hints, name)) for name in HEADERS if name not in self._missing)
        return {
            HEADER_NAMES[name]: f"{value:.3f}s" if name.endswith("reset") else str(value)
            for name, value in shown
            if value is not None
        }


class Wire:
    """One session's way to one server."""

    def __init__(self, server: FaultyServer, session: Session) -> None:
        self._server = server
        self._session = session

    @property
    def name(self) -> str:
        """The server's."""
        return self._server.inner.name

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """As the server answers."""
        return await self._server.serve(request, time_limit=time_limit, session=self._session)

    async def probe(self) -> ServerInfo:
        """As the server answers."""
        return await self._server.probe(self._session)

    async def load(self) -> Mapping[str, float]:
        """As the server answers."""
        return await self._server.load(self._session)

    async def aclose(self) -> None:
        """The server stays."""


class StartedWire(Wire):
    """... to one that has to be started first."""

    def __init__(self, server: FaultyServer, session: Session, *, seconds: float) -> None:
        super().__init__(server, session)
        self._seconds = seconds

    async def start(self) -> None:
        """As the server does."""
        await self._server.start(self._session, self._seconds)


def damaged(said: Said, damage: Kind) -> bytes:
    """An answer as a server in trouble sends it."""
    usage = said.usage
    finish = "abort" if damage == "aborted" else said.finish_reason
    choice = {"index": 0, "message": {"role": "assistant", "content": said.text}, "finish_reason": finish}
    answer = {
        "model": "simulated",
        "choices": [] if damage == "no choices" else [choice],
        "usage": {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens},
    }
    if damage == "error inside":
        answer = {"error": {"message": "The engine died.", "code": 500}}
    body = orjson.dumps(answer)
    return body[: len(body) // 2] if damage == "truncated" else body


def _told(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait; None if a response does not say so."""
    if "retry-after-ms" in headers:
        return float(headers["retry-after-ms"]) / 1000
    seconds = headers.get("retry-after", "")
    return float(seconds) if seconds.isdecimal() else None


def _wait(rng: Random) -> dict[str, str]:
    """How long to wait, as servers say it, or do not."""
    seconds = rng.uniform(0.2, 20)
    return rng.choice(({}, {"retry-after": f"{seconds:.0f}"}, {"retry-after-ms": f"{seconds * 1000:.0f}"}))
