"""How many calls may be in flight at once: a fixed number, or one found by watching the server.

`AutoConcurrency` doubles while doubling pays, then tries a larger and a smaller number from time to time and keeps what
serves best; where a larger one does, it doubles again. A server whose gauges say that it has nothing waiting gets
several times as many at once, and one that has is given a quarter more than it runs. It cuts at refusals (429, 503)
once per cool-down and takes no step while the server has faults, nor on what it measured while there was too little to
ask. The rules for cuts, cool-down and "grow only if in use" follow inspect_ai's adaptive concurrency; the search by
throughput is what a server needs that never refuses and only queues, as vLLM does.
"""

from math import ceil, inf, sqrt
from typing import Literal

from metaspo.scheduling.limits.meter import IN_USE, MIN_SKIP, Meter

FIRST = 8  # calls in flight at the start, for each endpoint
FIRST_METERED = 64  # the same for a lane with rate limits: they are what holds it back, not how many calls are out
CUT = 0.8
COOL_DOWN = 15.0  # seconds in which further refusals do not cut again and successes do not count
MIN_ROUND = 12  # answers in a measurement, at least; else as many as the limit; twice that for a trial
DOUBLING_PAYS = 1.05
STEP_UP = 1.5
STEP_DOWN = 0.85
STEP_NEAR_CEILING = 1.05
UP_PAYS = 0.04  # of the relative step: half as much again in flight must bring 2% more
DOWN_PAYS = 0.995  # fewer in flight are better if they serve as much
CHANGED = 1.25  # a throughput this much off means that the server changed: look again at once
MAX_REST = 4  # rounds between two trials, when trials keep failing
UPS_PER_DOWN = 4  # a trial of fewer costs throughput, one of more does not
ENOUGH_WAITING = 0.1  # of those running: with so many in line the server never idles, and more would only wait
CEILING_MEMORY = 600.0  # seconds that a refusal's limit is remembered
LEAP = 4
OVERFULL = 1.25  # times what a server runs at once, where it tells that the rest waits
SPREAD = 3  # times the square root of those running: how unevenly calls end and replicas fill
LONG = 0.5  # seconds that calls take on average: where they take less, a line is soon gone
LOOKS_APART = 0.05  # seconds between looks at the gauges in a search, at least
LOOKS_A_STEP = 8  # or this part of the time since the last step
SEEN = 0.5  # of what is out must be in the gauges: else they are of an earlier moment, or of another server
SOON = 30.0  # seconds in which all that is out would be answered, if the server were as busy as it can be
SHORTEST = 1e-3  # seconds of slots


class ConcurrencyControl:
    """Decides the number of calls in flight, told what happens to them: here a number that nothing changes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._limit}>"

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return self._limit

    @property
    def enough(self) -> float:
        """Calls that keep the servers busy: beyond them none goes while a more urgent one is out, as the next such one
        would wait behind it at a server, which takes them as they come. Infinite where that is not known."""
        return inf

    @property
    def look_within(self) -> float:
        """Seconds after which the server's gauges are of use; infinite where they can wait."""
        return inf

    def on_success(self, now: float, *, taken: float) -> None:
        """A call was answered (by the server, not the cache); `taken` are the seconds of all slots in which a call was
        out, so far."""

    def on_refusal(self, now: float, *, retry_after: float) -> None:
        """The server refused a call because it wants less. Here the hold on the rate does all that is needed."""

    def on_chance(self) -> None:
        """The server refuses some calls whatever is asked of it: what it refused before tells nothing."""

    def on_fault(self, now: float) -> None:
        """The server failed at a call."""

    def on_load(self, now: float, *, running: float, waiting: float, preempted: float) -> None:
        """The server's gauges: calls it works on and has waiting, and preemptions since the last time."""


Phase = Literal["start", "base", "up", "down"]


class AutoConcurrency(ConcurrencyControl):
    """Finds the smallest number of calls in flight that keeps the server at its best throughput."""

    def __init__(self, *, upper_bound: int, first: int = FIRST) -> None:
        self._max = max(1, upper_bound)
        super().__init__(min(first, self._max))
        self._phase: Phase = "start"
        self._base = self._came_from = self._limit
        self._base_rate: float | None = None  # answers per second at the base limit
        self._rest = 1  # rounds at the base before the next trial
        self._rested = 0
        self._ups = UPS_PER_DOWN  # trials of more since the last one of fewer
        self._cool_until = 0.0
        self._ceiling = inf
        self._ceiling_set = 0.0
        self._server_full = False
        self._running = self._most_running = 0.0  # the most since it told of a line; 0 where calls are short
        self._in_use = False  # the slots, between the last two answers
        self._answered_at = self._moved_at = 0.0
        self._answers = 0  # since the limit is what it is
        self._taken = self._taken_before = 0.0  # slot-seconds, until the last answer and until then
        self._meter = self._new_meter(skip=self._limit)

    def __repr__(self) -> str:
        rate = "?" if self._base_rate is None else f"{self._base_rate:.3g}/s"
        return f"<AutoConcurrency limit={self._limit} phase={self._phase} base={self._base} at {rate}>"

    @property
    def enough(self) -> float:
        """A little more than the server runs, where it tells that others wait and calls take long."""
        most = self._most_running
        return most + max(ENOUGH_WAITING * most, SPREAD * sqrt(most)) if most else inf

    @property
    def look_within(self) -> float:
        """Soon after a step, while the gauges may tell that the server takes more, and later and later."""
        if self._phase == "start" and self._in_use and self._answers >= MIN_SKIP:
            return max(LOOKS_APART, (self._answered_at - self._moved_at) / LOOKS_A_STEP)
        return inf

    def on_success(self, now: float, *, taken: float) -> None:
        """Count towards the round's throughput, and take the next step when the round is over."""
        if now > self._answered_at:
            self._in_use = taken - self._taken >= IN_USE * self._limit * (now - self._answered_at)
        if not self._answers:
            self._moved_at = now
        self._answered_at, self._taken = now, taken
        if now < self._cool_until:
            return
        self._answers += 1
        rate = self._meter.add(now, taken)
        if rate is not None:
            self._end_round(rate, now)

    def on_refusal(self, now: float, *, retry_after: float) -> None:
        """Cut by a fifth, or back to before the step that is tried, once per cool-down."""
        if now < self._cool_until:
            return
        self._ceiling, self._ceiling_set = float(self._limit), now
        self._cool_until = now + max(COOL_DOWN, retry_after)
        cut = int(self._limit * CUT)
        if self._phase in ("start", "up") and self._came_from <= cut:
            cut, self._ups = self._came_from, 1  # what lies between the two is tried first
        self._settle_at(max(1, cut), rate=None)

    def on_chance(self) -> None:
        """Search anew, if a refusal has cut it."""
        if self._ceiling < inf:
            self._ceiling, self._cool_until = inf, 0.0
            self._double_from(self._limit, None)

    def on_fault(self, now: float) -> None:
        """Measure anew: no step on the word of a failing server."""
        self._answers, self._taken_before = 0, self._taken
        self._restart_round()

    def on_load(self, now: float, *, running: float, waiting: float, preempted: float) -> None:
        """Do not grow while the server has enough waiting, by leaps while it has not though all slots are taken; shrink
        at once where it evicts running calls."""
        self._running, self._server_full = running, waiting > max(1.0, running * ENOUGH_WAITING)
        if not running or self._taken - self._taken_before < LONG * self._answers:
            self._most_running = 0.0
        elif self._most_running or (self._server_full and self._answers >= MIN_SKIP):
            self._most_running = max(self._most_running, running)
        if preempted > 0 and now >= self._cool_until:
            self._cool_until = now + COOL_DOWN
            self._settle_at(max(1, int(self._limit * CUT)), rate=None)
        elif not self._server_full and running + waiting >= SEEN * self._limit and self.look_within < inf:
            self._leap()

    def _leap(self) -> None:
        """To no more than would soon be answered if more brought nothing: calls must not wait until they time out."""
        rate = self._limit * self._answers / max(self._taken - self._taken_before, SHORTEST)
        if self._base_rate is not None:  # the limit may have been moved within a burst, the rest of which came at once
            rate = min(rate, self._base_rate * self._limit / self._base)
        limit = min(LEAP * self._limit, int(SOON * rate), self._max)
        if limit > self._limit:
            self._move_to(limit)

    def _end_round(self, rate: float, now: float) -> None:
        match self._phase:
            case "start":
                self._after_start(rate)
            case "base":
                self._after_base(rate, now)
            case "up" | "down":
                self._after_trial(rate, now)

    def _after_start(self, rate: float) -> None:
        if self._base_rate is not None and rate < DOUBLING_PAYS * self._base_rate:
            self._settle_at(self._base, rate=self._base_rate)
        elif self._server_full and self._limit >= OVERFULL * self._running > 0:  # else others than we may fill it
            self._settle_at(ceil(OVERFULL * self._running), rate=rate)
        elif self._limit == self._max:
            self._settle_at(self._limit, rate=rate)
        else:
            self._double_from(self._limit, rate)

    def _after_base(self, rate: float, now: float) -> None:
        old = self._base_rate
        changed = old is not None and not 1 / CHANGED < rate / old < CHANGED
        self._base_rate = rate
        self._rested += 1
        if changed:
            self._rest = 1
        if self._rested < self._rest and not changed:
            self._restart_round()
        elif self._ups >= UPS_PER_DOWN and self._base > 1:
            self._begin_trial("down", self._step_down())
        else:
            self._ups += 1
            self._begin_trial("up", self._step_up(now))

    def _after_trial(self, rate: float, now: float) -> None:
        assert self._base_rate is not None
        step = abs(self._limit - self._base) / self._base
        gain = rate / self._base_rate
        if self._phase == "up":
            accepted = gain >= 1 + UP_PAYS * step
            self._ups = 1 if accepted else self._ups
        else:
            accepted = gain >= DOWN_PAYS
            self._ups = self._ups if accepted else 0
        if accepted:
            self._rest = 1
            if self._phase == "up" and not self._server_full and not self._near_ceiling(2 * self._limit, now):
                self._double_from(self._limit, rate)
            else:
                self._settle_at(self._limit, rate=rate)
        else:
            self._rest = min(self._rest + 1, MAX_REST)
            self._settle_at(self._base, rate=self._base_rate)

    def _step_down(self) -> int:
        fewer = min(self._base - 1, int(self._base * STEP_DOWN))
        if not self._server_full:
            return fewer
        return min(max(fewer, ceil(self._running * (1 + ENOUGH_WAITING))), self._base)

    def _step_up(self, now: float) -> int:
        if self._server_full:
            return self._base
        factor = STEP_NEAR_CEILING if self._near_ceiling(self._base * STEP_UP, now) else STEP_UP
        return min(max(self._base + 1, ceil(self._base * factor)), self._max)

    def _near_ceiling(self, limit: float, now: float) -> bool:
        return now - self._ceiling_set <= CEILING_MEMORY and limit > self._ceiling * CUT

    def _double_from(self, limit: int, rate: float | None) -> None:
        self._phase = "start"
        self._base, self._base_rate = limit, rate
        self._move_to(min(2 * limit, self._max))

    def _begin_trial(self, phase: Phase, limit: int) -> None:
        if limit == self._base:
            self._rested = 0
            self._restart_round()
            return
        self._phase = phase
        self._move_to(limit)

    def _settle_at(self, limit: int, *, rate: float | None) -> None:
        self._phase = "base"
        self._base, self._base_rate = limit, rate
        self._rested = 0
        self._move_to(limit)

    def _move_to(self, limit: int) -> None:
        before, self._limit = self._limit, limit
        self._came_from, self._answers, self._taken_before = before, 0, self._taken
        self._restart_round(skip=MIN_SKIP if before == limit else before)

    def _restart_round(self, *, skip: int = MIN_SKIP) -> None:
        self._meter = self._new_meter(skip=skip)

    def _new_meter(self, *, skip: int) -> Meter:
        rounds = 1 if self._phase == "start" else 2  # a doubling shows clearly, a trial does not
        target = max(rounds * self._limit, rounds * MIN_ROUND)
        return Meter(limit=self._limit, skip=max(skip, MIN_SKIP), target=target)


def make_control(
    concurrency: int | Literal["auto"], *, upper_bound: int, endpoints: int = 1, metered: bool = False
) -> ConcurrencyControl:
    """The control for a lane's setting; `metered` if the lane keeps to rate limits that are known from the start."""
    if concurrency != "auto":
        return ConcurrencyControl(concurrency)
    return AutoConcurrency(upper_bound=upper_bound, first=FIRST_METERED if metered else FIRST * endpoints)
