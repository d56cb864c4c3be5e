"""Where the flights of one lane wait, and for how long: in its queue, in its back-offs, in the lines of others.

Synchronous, told the time. Wherever a flight is, it keeps its place in the queue.
"""

from math import inf

from metaspo.scheduling.budget.budget import Purse
from metaspo.scheduling.lanes.flight import Flight, Line, State
from metaspo.scheduling.queue import Priority, PriorityQueue
from metaspo.scheduling.stopwatch import Stopwatch


class Waiting:
    """The flights of one lane that wait.

    Attributes:
        queue: those that may go, the most urgent first; `first` tells which one goes next.
        limiter: runs while the rate limit is what holds the first of them back.
        next_try_at: no back-off is over before.
    """

    __slots__ = ("_back_offs", "_held", "_unfunded", "limiter", "next_try_at", "queue")

    def __init__(self, held: set[Flight]) -> None:
        """`held` has those that keep their slot while they back off."""
        self.queue: PriorityQueue[Flight] = PriorityQueue()
        self.limiter = Stopwatch()
        self.next_try_at = inf
        self._back_offs: PriorityQueue[Flight] = PriorityQueue()  # by the time when they are over
        self._held = held
        self._unfunded: dict[Purse, PriorityQueue[Flight]] = {}  # by their places in the queue

    def __bool__(self) -> bool:
        """Whether one waits for its turn, or for another try."""
        return bool(self.queue or self._back_offs or any(self._unfunded.values()))

    def __repr__(self) -> str:
        return f"<Waiting queued={self.queued} retrying={self.retrying}>"

    @property
    def queued(self) -> int:
        """How many wait for their turn, or for their purse's share of a common cap."""
        return len(self.queue) + sum(map(len, self._unfunded.values()))

    @property
    def retrying(self) -> int:
        """How many back off."""
        return len(self._back_offs)

    def enter(self, flight: Flight, now: float) -> None:
        """Put a new flight into the queue, at the place that it keeps."""
        flight.ticket = self.queue.push(flight, priority=flight.priority)
        self._arrived(flight, now)

    def hurry(self, flight: Flight, priority: Priority) -> None:
        """Give a flight a place of that priority, in the queue or for when it comes back to it."""
        flight.priority = priority
        if flight.line in self._unfunded.values():
            self._back_in_place(flight)
        queued = self.queue.remove(flight.ticket)
        flight.ticket = self.queue.push(flight, priority=priority)
        if not queued:
            self.queue.remove(flight.ticket)

    def put_back(self, flight: Flight, now: float) -> None:
        """Put a flight back into its place in the queue, from wherever it waits."""
        self._leave_line(flight)
        self.queue.put_back(flight, ticket=flight.ticket)
        self._arrived(flight, now)

    def go(self, flight: Flight, now: float) -> None:
        """Take the first flight out of the queue, as its call goes."""
        self.queue.pop()
        if self.limiter.running:
            self.limiter.run(False, now)
        limited = self.limiter.seconds(now) - flight.limiter_then
        flight.limiter_seconds += limited
        flight.queue_seconds += now - flight.since - limited
        flight.state = State.FLYING
        flight.funds = None

    def move(self, flight: Flight, state: State) -> None:
        """Take a flight out of the queue, to wait in that state."""
        self.queue.remove(flight.ticket)
        flight.state = state

    def first(self) -> Flight | None:
        """The first flight in the queue, where one that let others go while its purse was filled is back by now."""
        for purse, line in tuple(self._unfunded.items()) if self._unfunded else ():
            flight, ahead = line.first(), self.queue.first()
            if flight is None:
                del self._unfunded[purse]
            elif not purse.filling and (ahead is None or flight.ticket < ahead.ticket):
                self._back_in_place(flight)
        return self.queue.first()

    def let_others_go(self, flight: Flight) -> None:
        """Take out a flight whose purse is being filled: until it is, calls that another one pays for go before it."""
        self.move(flight, State.PARKED)
        line = self._unfunded.setdefault(flight.payer.purse, PriorityQueue())
        line.put_back(flight, ticket=flight.ticket)
        flight.line, flight.line_ticket = line, flight.ticket

    def stand_in(self, line: Line, flight: Flight, *, priority: tuple[float, ...] = ()) -> None:
        """Have a flight wait in that line."""
        flight.line, flight.line_ticket = line, line.push(flight, priority=priority)

    def back_off(self, flight: Flight, until: float, *, keeps_slot: bool) -> None:
        """Have a flight wait until then, in its slot or without one."""
        self.stand_in(self._back_offs, flight, priority=(until,))
        self.next_try_at = min(self.next_try_at, until)
        if keeps_slot:
            self._held.add(flight)

    def come_back(self, now: float) -> None:
        """Put those into the queue again whose back-off is over by now."""
        self.next_try_at = inf
        while self._back_offs:
            (until,) = self._back_offs.first_priority()
            if until > now:
                self.next_try_at = until
                return
            flight = self._back_offs.pop()
            flight.retry_seconds += now - flight.since
            self.put_back(flight, now)

    def remove(self, flight: Flight) -> None:
        """Take a flight out of the queue, or out of the line that it waits in."""
        self.queue.remove(flight.ticket)
        self._leave_line(flight)

    def _back_in_place(self, flight: Flight) -> None:
        """Put a flight back as if it had never left the queue: it has waited there all the time."""
        self._leave_line(flight)
        self.queue.put_back(flight, ticket=flight.ticket)
        flight.state = State.QUEUED

    def _arrived(self, flight: Flight, now: float) -> None:
        flight.state, flight.since = State.QUEUED, now
        flight.limiter_then = self.limiter.seconds(now)

    def _leave_line(self, flight: Flight) -> None:
        if flight.line is not None:
            flight.line.remove(flight.line_ticket)
            flight.line = None
            self._held.discard(flight)
