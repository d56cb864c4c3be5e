"""How a session's lanes conduct themselves, as their servers, their listener and those who pay see it.

Everything here goes by what anybody can see: calls as they reach a server, events, statistics, accounts.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from simulation_rates import Rates

from metaspo.backends import Completion, Request, RequestRejected, Usage
from metaspo.cache import Store, request_key
from metaspo.scheduling import (
    NOTHING,
    Account,
    Answer,
    ConcurrencyChanged,
    Cost,
    EndpointDown,
    EndpointUp,
    Event,
    Gateway,
    GatewayStatistics,
    GivenUp,
    HeldBack,
    Lane,
    LaneGaveUp,
    LaneSettings,
    LimitsLearned,
    Priority,
    Retried,
)
from metaspo.scheduling.lanes.single_flight import OnAnswer

FAULTS_TO_REST = 3  # requests that a server fails in a row, before it is rested
FIRST_REST, LONGEST_REST = 1.0, 30.0
LONGEST_HOLD = 10.0  # seconds that a limit may hold a lane that has a standby
BESIDE = "gave no answer for"  # of a call that is still out
MOMENT = 1e-6
FATAL_CODES = ("insufficient_quota", "invalid_api_key", "model_not_found")
LOOK_AT = 3  # every so-manieth call the statistics are looked at, which takes its time


@dataclass(slots=True)
class Arrival:
    """One call at a server; `usage` is what the whole answer takes."""

    session: int
    lane: str
    key: str
    at: float
    usage: Usage
    ended: bool = False


class Door(Gateway):
    """A gateway that remembers who has asked."""

    def __init__(
        self,
        lanes: Iterable[Lane],
        *,
        store: Store,
        on_event: Callable[[Event], None],
        wall_clock: Callable[[], float],
        many_programs: bool = False,
    ) -> None:
        super().__init__(lanes, store=store, on_event=on_event, wall_clock=wall_clock, many_programs=many_programs)
        self.accounts: dict[int, Account] = {}
        self.given_up: set[str] = set()  # keys of what runs asked; guests pass without a trace
        self.answered: set[str] = set()

    async def answer(
        self, request: Request, *, lane: str, account: Account | None = None, priority: Priority = ()
    ) -> Answer:
        """As the gateway."""
        self._remember(account)
        try:
            answer = await super().answer(request, lane=lane, account=account, priority=priority)
        except GivenUp:
            self._note(request, given_up=True)
            raise
        self._note(request, given_up=False)
        return answer

    async def complete_many(
        self,
        requests: Sequence[Request],
        *,
        lane: str,
        account: Account | None = None,
        priority: Priority = (),
        on_answer: OnAnswer | None = None,
    ) -> list[Completion | RequestRejected]:
        """As the gateway."""
        self._remember(account)
        answers = await super().complete_many(
            requests, lane=lane, account=account, priority=priority, on_answer=on_answer
        )
        for request, answer in zip(requests, answers, strict=True):
            self._note(request, given_up=isinstance(answer, GivenUp))
        return answers

    def _note(self, request: Request, *, given_up: bool) -> None:
        (self.given_up if given_up else self.answered).add(request_key(request))

    def _remember(self, account: Account | None) -> None:
        if account is not None:
            self.accounts[id(account)] = account


@dataclass(slots=True)
class Server:
    """What is known of one server in a session.

    Attributes:
        failed: when it did not answer which request, since it answered last (`answered_at`); gone: it was not there
            for one of them.
        limited: seconds for which it asks not to be asked, where a standby is there, by several calls at once; until
            it rests for one of them.
        rests: since it answered last; down_at: when the last one began; probes_at: when those not probed yet are over.
    """

    health: str = "up"
    in_flight: int = 0
    failed: set[tuple[float, str]] = field(default_factory=set)
    gone: bool = False
    rests: int = 0
    limited: set[float] = field(default_factory=set)
    down_at: float = 0.0
    probes_at: list[float] = field(default_factory=list)
    answered_at: float = -inf

    def forget(self, now: float) -> None:
        """Failures before an answer do not count once its moment is over: within it, either may be heard first."""
        if self.answered_at < now:
            self.failed = {failure for failure in self.failed if failure[0] >= self.answered_at}


@dataclass(slots=True)
class LaneConduct:
    """What is known of one lane in a session.

    Attributes:
        good_since: the last answer, or end of all patience; heard: the server has ever said anything.
        limits: requests and tokens per minute that it was told last.
        judged_at: when a server last said what only a person can mend; judges: who did, by the request's key.
        servers: that calls went to.
    """

    settings: LaneSettings
    rates: Rates
    in_flight: int = 0
    arrivals: int = 0
    good_since: float = 0.0
    heard: bool = False
    limits: tuple[int | None, int | None] = (None, None)
    judged_at: float = -inf
    judges: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    servers: set[str] = field(default_factory=set)
    server_seconds: float = 0.0
    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Conduct:
    """Told what happens; `breaks` is told what must not."""

    def __init__(
        self, gateway: Door, lanes: Mapping[str, LaneSettings], *, now: float, breaks: Callable[[str], None]
    ) -> None:
        self._gateway = gateway
        self._breaks = breaks
        self._lanes = {
            name: LaneConduct(
                settings,
                Rates(name, settings, breaks=breaks),
                good_since=now,
                limits=(settings.requests_per_minute, settings.tokens_per_minute),
            )
            for name, settings in lanes.items()
        }
        self.checks: list[Callable[[], None]] = []
        self._servers: dict[str, Server] = {}
        self._billed = NOTHING
        self._retried = self._calls = 0

    # What happens at the servers

    def start(self, server: str) -> None:
        """A server has yet to be started."""
        self._server(server).health = "cold"

    def started(self, server: str) -> None:
        """It was. One that did not come up the first time takes one call on trial, as after any rest."""
        self._server(server).health = "up" if self._server(server).health == "cold" else "trial"

    def reach(self, lane: str, name: str, now: float) -> None:
        """A call goes to a server, whether or not that listens."""
        server, conduct = self._server(name), self._lanes[lane]
        if server.health == "cold":
            self._breaks(f"{name} is asked before it is started")
        if server.health == "down" and now > server.down_at:
            self._breaks(f"{name} is asked while it rests")
        if server.health == "trial" and server.in_flight:
            self._breaks(f"{name} gets a second call while it has yet to answer one")
        server.in_flight += 1
        conduct.servers.add(name)
        conduct.in_flight += 1
        conduct.rates.go(now)
        for check in self.checks:
            check()
        self._calls += 1
        if self._calls % LOOK_AT == 0:
            self._look(lane, now)

    def arrive(self, arrival: Arrival) -> None:
        """A call has reached a server that listens."""
        self._lanes[arrival.lane].arrivals += 1
        self._lanes[arrival.lane].rates.arrive(arrival.at)

    def end(self, lane: str, name: str, how: str, *, key: str, now: float) -> None:
        """A call is over."""
        server = self._server(name)
        server.in_flight -= 1
        server.gone |= how == "down"
        server.forget(now)
        server.failed.add((now, key))
        self._lanes[lane].in_flight -= 1
        self._lanes[lane].heard |= how not in ("cancelled", "down")

    def answer(self, arrival: Arrival, name: str, now: float) -> None:
        """A whole answer is on its way back, and there at once."""
        conduct = self._lanes[arrival.lane]
        server = self._server(name)
        server.health, server.gone = "up", False
        server.forget(now)
        server.answered_at = now
        conduct.good_since = now
        conduct.answers += 1
        conduct.server_seconds += now - arrival.at
        conduct.prompt_tokens += arrival.usage.prompt_tokens
        conduct.completion_tokens += arrival.usage.completion_tokens

    def refuse(
        self, lane: str, name: str, now: float, status: int, code: str, seconds: float | None, *, key: str
    ) -> None:
        """A server refuses a call, and says how long to wait, or does not. One that is too full says nothing of others
        that are up."""
        rates = self._lanes[lane].rates
        if code in FATAL_CODES:
            self._lanes[lane].judged_at = now
            self._lanes[lane].judges[key].add(name)
        if status == 503:
            rates.overload(now, seconds, alone=not self._has_another(lane, name))
        elif status == 429 and code != "insufficient_quota":
            if code == "slow_down" or not self._may_rest(lane, name, seconds):
                rates.hold(now, seconds)
            else:
                self._server(name).limited.add(seconds or 0.0)
            if code == "slow_down":
                rates.slow_down(now, self._gateway.statistics().lanes[lane])

    def _may_rest(self, lane: str, name: str, seconds: float | None) -> bool:
        """Whether a server at its limit may rest in place of the lane: for so long, or already, or as soon as another
        refusal of this moment is heard; and there is a standby."""
        standby = {each.name for each in self._gateway.statistics().lanes[lane].endpoints if each.standby}
        server = self._server(name)
        long = max(seconds or 0.0, *server.limited, 0.0) > LONGEST_HOLD or server.health != "up"
        return long and name not in standby and bool(standby)

    def _has_another(self, lane: str, name: str) -> bool:
        """Whether another server of the lane is up, which may not have been asked anything yet."""
        names = {endpoint.name for endpoint in self._gateway.statistics().lanes[lane].endpoints}
        return any(self._server(other).health == "up" for other in names - {name})

    def bill(self, cost: Cost) -> None:
        """A server has worked: what was set aside must cover it, and be announced."""
        self._billed = self._billed.plus(cost)
        self.check_funds()

    def probe(self, name: str, now: float) -> None:
        """A server is probed."""
        server = self._server(name)
        due = [at for at in server.probes_at if at <= now + MOMENT]
        if due:
            server.probes_at.remove(min(due))
        elif server.health == "down":
            self._breaks(f"{name} is probed before its rest is over at {server.probes_at}")

    def probed(self, name: str) -> None:
        """It answered the probe."""
        server = self._server(name)
        if server.health == "down":
            server.health = "trial"

    # What the listener hears

    def hear(self, event: Event) -> None:
        """An event of a lane."""
        conduct = self._lanes[event.lane]
        match event:
            case EndpointDown():
                self._rest(self._server(event.endpoint), event)
            case EndpointUp():
                self._server(event.endpoint).health = "up"
                self._server(event.endpoint).rests = 0
            case Retried():
                self._retried += 1
            case ConcurrencyChanged():
                conduct.rates.change(event)
            case HeldBack():
                conduct.rates.held(event.at)
            case LimitsLearned():
                limits = (event.requests_per_minute, event.tokens_per_minute)
                if limits == conduct.limits:
                    self._breaks(f"{event.lane} has learned nothing new: {event}")
                conduct.limits = limits
            case LaneGaveUp(final=True):
                answering = {name for name in conduct.servers if self._server(name).answered_at > -inf}
                if not any(answering <= judges for judges in conduct.judges.values()):
                    self._breaks(f"{event.lane} is stopped though one of {answering} may answer: {event.reason}")
            case LaneGaveUp(final=False) if "rate limit" not in event.reason and event.at > conduct.judged_at:
                patience, first = conduct.settings.patience, conduct.settings.first_patience
                patience = patience if conduct.heard else min(patience, first)
                if event.at - conduct.good_since < patience - MOMENT:
                    self._breaks(f"{event.lane} gave up {event.at - conduct.good_since:g} seconds after an answer")
                conduct.good_since = event.at

    def _rest(self, server: Server, event: EndpointDown) -> None:
        """A server rests: with reason, and twice as long each time until it answers. What hangs is out there still."""
        expected = min(FIRST_REST * 2**server.rests, LONGEST_REST)
        as_asked = any(asked <= event.wait <= max(asked, expected) * 1.05 for asked in server.limited)
        if event.wait != expected and not as_asked:
            self._breaks(f"{event.endpoint} rests {event.wait:g} seconds, not {expected:g}")
        server.forget(event.at)
        in_vain = len({key for _, key in server.failed}) + server.in_flight * (BESIDE in event.reason)
        if server.health == "up" and not server.gone and not any(server.limited) and in_vain < FAULTS_TO_REST:
            self._breaks(f"{event.endpoint} rests after {len(server.failed)} failures")
        server.health, server.rests, server.down_at = "down", server.rests + 1, event.at
        server.limited.clear()
        server.probes_at.append(event.at + event.wait)

    # What accounts and statistics say

    def check_funds(self) -> None:
        """All that servers were paid for was set aside before, and announced before that."""
        accounts = self._gateway.accounts.values()
        taken = _sum(account.taken() for account in accounts)
        for name, spent in self._billed._asdict().items():
            if spent > getattr(taken, name) + MOMENT:
                self._breaks(f"servers were paid {spent:g} {name}, {getattr(taken, name):g} are booked")

    def finish(self, *, interrupted: bool) -> None:
        """The gateway is closed: nothing is left, and the books agree with what was seen."""
        self.check_funds()
        for lane in self._lanes.values():
            lane.rates.close(inf)
        statistics = self._gateway.statistics()
        totals = [account.statistics().total for account in self._gateway.accounts.values()]
        for account in self._gateway.accounts.values():
            taken, total = account.taken(), account.statistics().total
            if taken.calls != total.calls or abs(taken.dollars - total.dollars) > MOMENT:
                self._breaks(f"{account!r} has taken {taken}, its statistics say {total}")
        self._check_empty(statistics)
        lanes = self._lanes.values()
        seen = {
            "prompt_tokens": sum(lane.prompt_tokens for lane in lanes),
            "completion_tokens": sum(lane.completion_tokens for lane in lanes),
            "server_seconds": sum(lane.server_seconds for lane in lanes),
            "retries": self._retried,
        }
        for name, amount in seen.items():
            said = sum(getattr(total, name) for total in totals)
            if abs(said - amount) > MOMENT * max(1.0, amount):
                self._breaks(f"the accounts say {said:g} {name}, seen were {amount:g}")
        most = sum(lane.arrivals for lane in lanes)
        calls = sum(total.calls - total.withdrawn for total in totals)  # some of these were ended before they began
        if calls > most and not interrupted:
            self._breaks(f"the accounts paid for {calls} calls, {most} reached a server")

    def _check_empty(self, statistics: GatewayStatistics) -> None:
        left = statistics.waiting
        for name, lane in statistics.lanes.items():
            endpoints = lane.endpoints
            left += lane.queued + lane.in_flight + lane.retrying + sum(endpoint.in_flight for endpoint in endpoints)
            answered = {lane.answered, sum(endpoint.answered for endpoint in endpoints), self._lanes[name].answers}
            if len(answered) > 1:
                self._breaks(f"{name} answered {answered}")
        if left:
            self._breaks(f"something is left in a closed gateway: {statistics}")

    def _look(self, lane: str, now: float) -> None:
        """What a lane says of itself agrees with what is seen of it."""
        said = self._gateway.statistics().lanes[lane]
        self._lanes[lane].rates.look(said, in_flight=self._lanes[lane].in_flight, now=now)

    def _server(self, name: str) -> Server:
        return self._servers.setdefault(name, Server())


def _sum(costs: Iterable[Cost]) -> Cost:
    total = NOTHING
    for cost in costs:
        total = total.plus(cost)
    return total
