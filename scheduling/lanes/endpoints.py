"""Which replica takes a request, and which are at rest.

A prefix always goes to the same replica while there is room (rendezvous hashing: Thaler and Ravishankar, 1998), so that
each prefix is computed on few of them; a replica that already has more than its share gives the request to the next in
the prefix's own order (consistent hashing with bounded loads: Mirrokni, Thorup and Zadimoghaddam, 2018). One that most
of many requests have (a majority vote: Boyer and Moore, 1981) is computed on several in any case: what its first one
has no room for evens out the others, or the last in its order would have nothing to do.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from hashlib import blake2b
from math import ceil, inf

from metaspo.backends import Backend, BackendError, Request, Startable
from metaspo.scheduling.lanes.patience import describe
from metaspo.scheduling.statistics import EndpointStatistics

LOAD_BOUND = 1.1  # times the mean load: more leaves places free on some replicas while calls wait on others
MAJORITY = 2  # times the mean load: so many more requests of one prefix than of all others fill several replicas
FAULTS_TO_REST = 3  # different requests failing in a row
RECENT = 64  # different requests by which it is told whether an endpoint works
MAX_FAILING = 0.2  # of them, where those that fail are to blame themselves
FIRST_REST = 1.0
LONGEST_REST = 30.0
LOAD_PERIOD = 2.0  # seconds between two looks at the gauges, if nothing hangs on them
FIRST_LOOK = 0.1  # seconds: tells whether it has gauges
PREFIXES_KEPT = 4096


class Health(Enum):
    """COLD has yet to be started; UP takes requests; DOWN takes none; TRIAL answered a probe and takes one request to
    show that it works."""

    COLD = "cold"
    UP = "up"
    DOWN = "down"
    TRIAL = "trial"


class Endpoint:
    """One backend of a lane and what is known of its health.

    Attributes:
        name: its backend's, with a number where another one of the lane has that: two keys at one address.
        standby: whether it is asked only what no other one takes.
        in_flight: calls out to it now.
        answered: calls it answered so far; answered_at: when the last one; None before the first.
        look_at: when it is to be looked at next: started, probed, or asked for its gauges; infinite for not.
        load: the gauges it told last.
        trouble: why it was rested, or what it refused that only a person can mend; None since it answered.
    """

    __slots__ = (
        "_failed_requests",
        "_limited_until",
        "_recent",
        "_rests",
        "answered",
        "answered_at",
        "backend",
        "health",
        "in_flight",
        "load",
        "look_at",
        "name",
        "standby",
        "trouble",
    )

    def __init__(self, backend: Backend, *, standby: bool = False, number: int = 1, now: float = 0.0) -> None:
        self.backend = backend
        self.name = backend.name if number == 1 else f"{backend.name} ({number})"
        self.standby = standby
        self.health = Health.COLD if isinstance(backend, Startable) else Health.UP
        self.in_flight = 0
        self.answered = 0
        self.answered_at: float | None = None
        self.look_at = now if self.health is Health.COLD else now + FIRST_LOOK
        self.load: Mapping[str, float] = {}
        self.trouble: BackendError | None = None
        self._failed_requests: set[str] = set()
        self._limited_until = 0.0  # what it answers before was asked before
        self._recent: OrderedDict[str, bool] = OrderedDict()  # whether it answered, by the requests' keys
        self._rests = 0

    def __repr__(self) -> str:
        return f"<Endpoint {self.name} {self.health.value} in_flight={self.in_flight}>"

    def says(self, error: BackendError) -> str:
        """What it said in place of an answer, by its name."""
        told = describe(error)
        if self.name == self.backend.name:
            return told
        return re.sub(rf"(?<!/){re.escape(self.backend.name)}(?!/)", lambda _: self.name, told)  # but in addresses

    def succeed(self, key: str, now: float) -> bool:
        """It answered a call of the request of that key; true if that ends a rest or a trial."""
        self.answered += 1
        self.answered_at = now
        self.trouble = None
        self._note(key, True)
        if now < self._limited_until:
            return False
        recovered = self.health is not Health.UP
        if recovered or self._failed_requests:
            self.health = Health.UP
            self._failed_requests.clear()
            self._rests = 0
        return recovered

    def answers_since(self, then: float | None) -> bool:
        """Whether it has answered a call after that time."""
        return then is not None and self.answered_at is not None and self.answered_at > then

    def works_without(self, key: str, *, failing_since: float | None) -> bool:
        """Whether it is the request of that key that fails, as it has since then: nearly all others are answered, and
        some were meanwhile."""
        failing = sum(not answered for other, answered in self._recent.items() if other != key) + 1
        return self.answers_since(failing_since) and failing <= MAX_FAILING * (len(self._recent) + 1)

    def faulted(self, key: str) -> None:
        """It did not answer the request of that key, which may be its fault or the request's."""
        self._note(key, False)

    def fail(self, key: str) -> bool:
        """It failed at the request of that key; true if it should be rested: in a trial, or when several failed."""
        self._failed_requests.add(key)
        return self.health is Health.TRIAL or len(self._failed_requests) >= FAULTS_TO_REST

    def failed_alone(self, key: str, *, since: float) -> bool:
        """Another one has answered what it failed at then; true if it should be rested: it has answered nothing since,
        and the same happened with several requests."""
        return self.health is Health.UP and not self.answers_since(since) and self.fail(key)

    def rest(self, now: float = 0.0, *, limited: float = 0.0) -> float:
        """Take it out; returns the seconds until it should be probed, `limited` at least. A rest goes on where it was
        already resting."""
        self.health = Health.DOWN
        self._failed_requests.clear()
        wait = max(limited, min(FIRST_REST * 2.0 ** min(self._rests, 30), LONGEST_REST))
        self._limited_until = now + limited
        self._rests += 1
        return wait

    def _note(self, key: str, answered: bool) -> None:
        self._recent.pop(key, None)
        self._recent[key] = answered
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def statistics(self) -> EndpointStatistics:
        """The endpoint now."""
        return EndpointStatistics(
            name=self.name,
            standby=self.standby,
            health=self.health.value,
            in_flight=self.in_flight,
            answered=self.answered,
        )


class Endpoints:
    """The replicas of one lane.

    Attributes:
        look_at: when the first of them is to be looked at.
    """

    def __init__(self, backends: Sequence[Backend], *, standby: Sequence[Backend] = (), now: float = 0.0) -> None:
        self.all, named = list[Endpoint](), Counter[str]()
        for position, backend in enumerate((*backends, *standby)):
            named[backend.name] += 1
            number, stands_by = named[backend.name], position >= len(backends)
            self.all.append(Endpoint(backend, standby=stands_by, number=number, now=now))
        self.look_at = min(endpoint.look_at for endpoint in self.all)
        self._orders: OrderedDict[str, list[Endpoint]] = OrderedDict()
        self._common, self._ahead = "", 0.0  # the prefix that most requests have, and how many more than others

    def __repr__(self) -> str:
        return f"<Endpoints {self.all}>"

    def pick(self, request: Request, *, avoid: Sequence[Collection[Endpoint]] = ()) -> Endpoint | None:
        """The replica for a request; None if none can take it now. None of those to `avoid` where there is another one,
        nor of the first of these groups even where that leaves only others of them."""
        if len(self.all) == 1:
            return self.all[0] if _takes(self.all[0]) else None
        up = [endpoint for endpoint in self.all if _takes(endpoint)]
        for group in avoid:
            up = [endpoint for endpoint in up if endpoint not in group] or up
        up = _before_standby(up)
        if not up:
            return None
        prefix, load = prefix_of(request), (sum(endpoint.in_flight for endpoint in up) + 1) / len(up)
        spread, bound = self._vote(prefix, MAJORITY * load), ceil(LOAD_BOUND * load)
        for endpoint in self._order(prefix):
            if endpoint in up:
                if endpoint.in_flight < bound:
                    return endpoint
                if spread:
                    bound = ceil(load)
        return min(up, key=lambda endpoint: endpoint.in_flight)

    def _vote(self, prefix: str, majority: float) -> bool:
        """Count a request; whether so many more have its prefix than have another one. More than twice as many are not
        counted: else the next prefix would be told the later the more had this one."""
        if prefix == self._common:
            self._ahead += 1
        elif self._ahead > 0:
            self._ahead = min(self._ahead, 2 * majority) - 1
        else:
            self._common, self._ahead = prefix, 0
        return prefix == self._common and self._ahead >= majority

    def another(self, than: Collection[Endpoint]) -> bool:
        """Whether one that is up is none of these."""
        return any(endpoint.health is Health.UP and endpoint not in than for endpoint in self.all)

    def may_answer(self, but: Collection[Endpoint], *, standby: bool = False) -> bool:
        """Whether one that is none of these may yet answer: it is there, or has answered before and may come back.
        `standby`: of those that stand by."""
        there = (one for one in self.all if one.health is not Health.DOWN or one.answered > 0)
        return any(one not in but and (one.standby or not standby) for one in there)

    def any_idle(self) -> bool:
        """Whether one that is up has nothing to do."""
        return any(endpoint.in_flight == 0 for endpoint in self._serving())

    def silent(self, endpoint: Endpoint, since: float) -> bool:
        """Whether it has answered nothing since then, while another one has."""
        return not endpoint.answers_since(since) and any(each.answers_since(since) for each in self.all)

    def none_up(self) -> bool:
        """Whether every replica is down."""
        return all(endpoint.health is Health.DOWN for endpoint in self.all)

    def look_next(self, endpoint: Endpoint, at: float) -> None:
        """Look at an endpoint then, and not before."""
        endpoint.look_at = at
        self.look_at = min(endpoint.look_at for endpoint in self.all)

    def look_by(self, at: float) -> None:
        """Look at the gauges of those that tell them then, or before; who is down has its rest."""
        for endpoint in self.all:
            if endpoint.health is Health.UP and endpoint.load and at < endpoint.look_at < inf:
                self.look_next(endpoint, at)

    def take_due(self, now: float) -> list[Endpoint]:
        """Those to be looked at by now; none of them is due again until that is said."""
        due = [endpoint for endpoint in self.all if endpoint.look_at <= now]
        for endpoint in due:
            self.look_next(endpoint, inf)
        return due

    def hear_load(self, endpoint: Endpoint, gauges: Mapping[str, float]) -> tuple[float, float, float]:
        """One told its gauges. Returns what all that are up have running and waiting, nothing where one of them tells
        none, for that may idle while the others have a line; and the one's new preemptions."""
        total = gauges.get("preemptions", 0.0)
        preempted = max(0.0, total - endpoint.load.get("preemptions", total))
        endpoint.load = gauges
        up = [endpoint.load for endpoint in self._serving()]
        if not all(up):
            return 0.0, 0.0, preempted
        running, waiting = (sum(load.get(name, 0.0) for load in up) for name in ("running", "waiting"))
        return running, waiting, preempted

    def _serving(self) -> Sequence[Endpoint]:
        """Those that are up, without a standby that has nothing to stand in for."""
        return _before_standby([endpoint for endpoint in self.all if endpoint.health is Health.UP])

    def _order(self, prefix: str) -> list[Endpoint]:
        order = self._orders.get(prefix)
        if order is None:
            start = blake2b(prefix.encode("utf-8", "surrogatepass")).digest()
            order = sorted(self.all, key=lambda endpoint: _weight(start, endpoint.name))
            self._orders[prefix] = order
            if len(self._orders) > PREFIXES_KEPT:
                self._orders.popitem(last=False)
        else:
            self._orders.move_to_end(prefix)
        return order


def prefix_of(request: Request) -> str:
    """The part of a prompt that many requests share: the system message, or else the first one."""
    for message in request.messages:
        if message.role == "system":
            return message.content
    return request.messages[0].content if request.messages else ""


def _takes(endpoint: Endpoint) -> bool:
    return endpoint.health is Health.UP or (endpoint.health is Health.TRIAL and endpoint.in_flight == 0)


def _before_standby(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Those that are no standby; where there are none, the others."""
    return [endpoint for endpoint in endpoints if not endpoint.standby] or endpoints


def _weight(prefix: bytes, name: str) -> bytes:
    return blake2b(prefix + name.encode()).digest()
