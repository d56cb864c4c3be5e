"""The books of one simulation, kept at the servers and at the store: what came, what was answered, what was kept.

They are kept apart from the engine's own, and hold what must never happen; `broken` lists what did.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from simulation_conduct import BESIDE, Arrival, Conduct
from simulation_rates import MINUTE

from metaspo.backends import Usage
from metaspo.scheduling import NOTHING, ConcurrencyChanged, Cost, Doubted, Event, Retried

HEADROOM = 0.01  # of a minute's limit may go at once, as the scheduler promises
UNKEPT = 8  # answers that may be lost beside a full lane, as the scheduler promises; in wider lanes one for each slot


@dataclass(slots=True)
class LaneBook:
    """One session's calls on one lane.

    Attributes:
        widest: the most calls that the lane has allowed itself at once.
    """

    widest: int = 0
    arrivals: list[Arrival] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0


class Ledger:
    """Told by servers and store what happens; `note` takes a line of the trace each time."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self.stored: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.doubted: set[str] = set()  # what is asked again to see whether a server answers; until it does
        self.given_up: set[str] = set()  # what runs were told in this session that there is no answer to
        self.ever_given_up = self.wavered = False
        self.billed = NOTHING
        self.session = 0
        self.lanes: dict[str, LaneBook] = {}
        self.delivered: dict[str, str] = {}  # key to lane, of this session
        self.conduct: Conduct | None = None  # of this session's lanes
        self._note = note
        self._widths: Callable[[], Mapping[str, int]] = dict

    def begin(self, session: int, widths: Callable[[], Mapping[str, int]], *, conduct: Conduct | None = None) -> None:
        """A session starts; `widths` tells how many calls each lane allows itself now."""
        self.session = session
        self.conduct = conduct
        self.lanes = {lane: LaneBook(widest=width) for lane, width in widths().items()}
        self.delivered = {}
        self.doubted = set()
        self._widths = widths

    def breaks(self, what: str) -> None:
        """Something happened that must not."""
        self.broken.append(f"session {self.session}: {what}")
        self._note(f"BROKEN {what}")

    def meet(self, kind: str) -> None:
        """A call meets a planned fault."""
        self.counts[f"met: {kind}"] += 1

    def arrive(self, arrival: Arrival) -> None:
        """A call reached a server."""
        book, key = self.lanes[arrival.lane], arrival.key
        again = self.asked[key]
        self.asked[key] += 1
        self.counts["calls"] += 1
        self.counts["calls sent again"] += again > 0
        self._note(f"{arrival.lane} is asked {key[:8]}" + (f", time {again + 1}" if again else ""))
        proof = key in self.doubted
        if key in self.delivered and not proof:
            self.breaks(f"{arrival.lane} was asked {key[:8]} again, which it had answered in this session")
        if key in self.stored and not proof:
            self.breaks(f"{arrival.lane} was asked {key[:8]}, whose answer is in the store")
        book.arrivals.append(arrival)
        if self.conduct is not None:
            self.conduct.arrive(arrival)
        book.in_flight += 1
        book.peak = max(book.peak, book.in_flight)
        if book.in_flight > book.widest:
            book.widest = max(book.widest, self._widths()[arrival.lane])  # the event that tells it comes a little later
        if book.in_flight > book.widest:
            self.breaks(f"{book.in_flight} calls at once on {arrival.lane}, which allows itself {book.widest}")

    def end(self, arrival: Arrival, how: str) -> None:
        """A call is over."""
        if arrival.session == self.session and not arrival.ended:
            self.lanes[arrival.lane].in_flight -= 1
        arrival.ended = True
        self.counts["answers"] += how == "answered"
        if how != "answered":
            self._note(f"{arrival.lane} ends {arrival.key[:8]}: {how}")

    def bill(self, usage: Usage, dollars: float, *, guest: bool = False) -> None:
        """A server has worked for a run, or a guest, whether or not the answer came through."""
        cost = Cost(1, usage.prompt_tokens + usage.completion_tokens, dollars)
        if not guest:
            self.billed = self.billed.plus(cost)
        if self.conduct is not None:
            self.conduct.bill(cost)

    def deliver(self, arrival: Arrival) -> None:
        """A whole answer reached a session that is alive."""
        self.delivered[arrival.key] = arrival.lane
        self.doubted.discard(arrival.key)
        self._note(f"{arrival.lane} answers {arrival.key[:8]}")

    def hear(self, event: Event) -> None:
        """A lane says what it does."""
        if isinstance(event, Doubted):
            self.doubted.add(event.key)
            self.counts["doubts"] += 1
        if isinstance(event, ConcurrencyChanged):
            self.widen(event.lane, event.after)
        if isinstance(event, Retried) and BESIDE in event.reason:
            self.counts["asked beside"] += 1

    def note_given_up(self, given_up: set[str], answered: set[str]) -> None:
        """At a session's end: what its runs got no answer to, and what they got one to."""
        self.given_up, self.wavered = given_up, bool(given_up & answered)
        self.ever_given_up = self.ever_given_up or bool(given_up)
        self.counts["given up"] += len(given_up)

    def keep(self, key: str) -> None:
        """The store has said that an answer is kept."""
        self.stored.add(key)

    def widen(self, lane: str, width: int) -> None:
        """A lane allows itself so many calls from now on."""
        self.lanes[lane].widest = max(self.lanes[lane].widest, width)

    def lost(self, lane: str) -> int:
        """Answers of this session that are not known to be kept."""
        return sum(where == lane and key not in self.stored for key, where in self.delivered.items())

    def check_kill(self) -> None:
        """What a kill loses is bounded: the calls in flight, and a lane's width (or eight) of answers on their way."""
        for lane, book in self.lanes.items():
            lost = self.lost(lane)
            self.counts["answers lost to kills"] += lost
            bound = book.widest + max(book.widest, UNKEPT)
            if book.in_flight + lost > bound:
                self.breaks(f"a kill loses {book.in_flight} calls and {lost} answers on {lane}, more than {bound}")

    def check_stop(self) -> None:
        """A session that ends in any other way keeps every answer."""
        for lane in self.lanes:
            if lost := self.lost(lane):
                self.breaks(f"{lost} answers of {lane} were not kept though the session was not killed")

    def check_limits(
        self, lane: str, *, requests: int | None, tokens: int | None, requests_per_day: int | None = None
    ) -> None:
        """No more than a day may hold, which no session lasts; in no minute more than the lane was told, and in no
        shorter time more than its pace."""
        book = self.lanes[lane]
        times = [arrival.at for arrival in book.arrivals]
        if requests_per_day is not None and len(times) > requests_per_day:
            self.breaks(f"{len(times)} requests to {lane} within a day, told were {requests_per_day}")
        if requests is not None:
            most = most_within(((at, 1) for at in times), MINUTE)
            if most > requests:
                self.breaks(f"{most} requests to {lane} within a minute, told were {requests}")
            fastest = most_above_pace(times, requests / MINUTE)
            if fastest > max(1.0, requests * HEADROOM) + 1.01:
                self.breaks(f"{lane} got {fastest:.1f} requests ahead of its pace of {requests} a minute")
        if tokens is not None and book.arrivals:
            sizes = [arrival.usage.prompt_tokens + arrival.usage.completion_tokens for arrival in book.arrivals]
            most = most_within(zip(times, sizes, strict=True), MINUTE)
            if most > tokens + estimation_error(sizes, width=book.peak):
                self.breaks(f"{most} tokens to {lane} within a minute, told were {tokens}")

    def check_budget(self, caps: Mapping[str, float]) -> None:
        """All sessions together stay within the caps, killed ones, too."""
        for name, cap in caps.items():
            spent: float = getattr(self.billed, name)
            if spent > cap + 1e-9:
                self.breaks(f"{spent:g} {name} were spent, the cap is {cap:g}")


def most_within(amounts: Iterable[tuple[float, int]], seconds: float) -> int:
    """The greatest sum of amounts within any such time; `amounts` in order of time."""
    known = list(amounts)
    most = total = first = 0
    for at, amount in known:
        total += amount
        while known[first][0] <= at - seconds:
            total -= known[first][1]
            first += 1
        most = max(most, total)
    return most


def most_above_pace(times: Sequence[float], per_second: float) -> float:
    """The greatest number of events, in any stretch of time, beyond what the pace allows for its length."""
    most = ahead = 0.0
    last = times[0] if times else 0.0
    for at in times:
        ahead = max(0.0, ahead - (at - last) * per_second) + 1
        last = at
        most = max(most, ahead)
    return most


def estimation_error(sizes: Sequence[int], *, width: int) -> float:
    """By how much a minute's tokens may be off: those of calls in flight are estimated, and set right afterwards."""
    return width * (max(sizes) - min(sizes)) + 0.1 * max(sizes)
