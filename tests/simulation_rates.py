"""What a lane owes a server that refuses: to wait as long as it is told, to want less, to grow slowly from there."""

from collections.abc import Callable

from metaspo.scheduling import ConcurrencyChanged, LaneSettings, LaneStatistics

MINUTE = 60.0
MOMENT = 1e-6
MIN_HOLD = 0.75  # seconds that a refusal holds a lane back which does not say for how long
COOL_DOWN = 15.0  # seconds in which a storm of refusals cuts, or slows down, once
CUT = 0.8
TO_KNOW_CHANCE = 2  # refusals after which the next one may be one by chance
RAMP_CUT, RAMP_GROWTH, RAMP_PERIOD = 0.7, 1.5, 900.0
RAMP_LOOK = 600.0  # seconds for which a ramp is looked at: later it may be over


class Rates:
    """One lane's, told of every call that reaches a server and of every refusal; `breaks` is told what must not be."""

    def __init__(self, lane: str, settings: LaneSettings, *, breaks: Callable[[str], None]) -> None:
        self._lane = lane
        self._breaks = breaks
        self._cuts = settings.concurrency == "auto"
        self._arrivals: list[float] = []
        self._holds: list[tuple[float, float]] = []  # when each refusal was heard, and until when it holds
        self._held_at: set[float] = set()  # when the lane said that one holds it
        self._ramp: tuple[float, float] | None = None  # when the lane was told to slow down, and its rate from there
        self._since_ramp = 0
        self._limit: int | None = None
        self._cut_at = -COOL_DOWN  # no step is taken for a while after that ...
        self._cool_until = 0.0  # ... and perhaps until then
        self._refusals: list[tuple[float, float]] = []  # when one was heard, and how long it asks to wait
        self._overloads: list[float] = []  # when it was a server that is too full
        self._too_many: list[tuple[float, int]] = []  # calls at once, more than allowed by then

    def go(self, now: float) -> None:
        """A call is sent."""
        for heard, until in self._holds:
            if heard < now < until - MOMENT and not self._may_be_by_chance(heard):
                self._breaks(f"{self._lane} sends {until - now:.2f} seconds before a refusal is over")
        self._holds = [hold for hold in self._holds if hold[1] > now]
        if self._ramp is not None and now > self._ramp[0]:
            self._since_ramp += 1
            seconds = now - self._ramp[0]
            most = 2 + self._ramp[1] * RAMP_GROWTH ** (seconds / RAMP_PERIOD) * seconds
            if self._since_ramp > most + MOMENT and seconds < RAMP_LOOK:
                self._breaks(
                    f"{self._lane} was told to slow down, and sends {self._since_ramp} in {seconds:.1f} seconds"
                )
        self._check_cuts(now)

    def _may_be_by_chance(self, heard: float) -> bool:
        """Whether a refusal may say nothing of limits: the lane did not say that it is held, and was refused at a lower
        pace before, too."""
        return heard not in self._held_at and sum(at < heard for at in self._held_at) >= TO_KNOW_CHANCE

    def arrive(self, now: float) -> None:
        """A call has reached a server that listens, and counts there."""
        self._arrivals.append(now)

    def held(self, now: float) -> None:
        """The lane says that a refusal holds it."""
        self._held_at.add(now)

    def hold(self, now: float, seconds: float | None) -> None:
        """The provider refuses a call for the rate, and says for how long, or does not."""
        self._holds.append((now, now + (MIN_HOLD if seconds is None else seconds)))
        self._refusals.append((now, seconds or 0.0))

    def slow_down(self, now: float, said: LaneStatistics) -> None:
        """... and says that the traffic grew too fast."""
        if self._ramp is None or now - self._ramp[0] >= COOL_DOWN:
            self._ramp, self._since_ramp = (now, max(said.requests_in_minute, 1) / MINUTE * RAMP_CUT), 0

    def overload(self, now: float, seconds: float | None, *, alone: bool) -> None:
        """A server wants fewer calls at once; `alone`: no other one is up that may take them."""
        self._refusals.append((now, seconds or 0.0))
        if alone and self._cuts and self._limit is not None:
            self._overloads.append(now)

    def change(self, event: ConcurrencyChanged) -> None:
        """The lane goes on with another number of calls in flight."""
        at, before, after = event.at, event.before, event.after
        self._too_many = [entry for entry in self._too_many if entry[0] != at or entry[1] > before]
        if self._limit not in (None, before) or after == before or after < 1:
            self._breaks(f"{self._lane} had {self._limit} calls at once and goes on {event}")
        waits = [wait for heard, wait in self._refusals if heard == at]
        searches_anew = bool(waits) and self._may_be_by_chance(at)
        if self._cut_at < at < self._cut_at + COOL_DOWN - MOMENT and not searches_anew:
            self._breaks(f"{self._lane} takes a step {at - self._cut_at:.1f} seconds after a cut: {event}")
        self._limit = after
        if waits and after <= max(1, int(before * CUT)):  # less where a step that was tried is taken back
            self._cut_at, self._cool_until = at, at + max(COOL_DOWN, *waits)
            self._overloads = [heard for heard in self._overloads if heard != at]

    def look(self, said: LaneStatistics, *, in_flight: int, now: float) -> None:
        """What the lane says of itself, as it sends a call: calls at once within its limit, and its counts true."""
        self.close(now)
        if in_flight > said.concurrency:
            self._too_many.append((now, in_flight))  # unless it was cut at this very moment
        truth = sum(at > now - MINUTE for at in self._arrivals)
        if said.requests_in_minute < truth:
            self._breaks(f"{self._lane} counts {said.requests_in_minute} requests in the last minute, {truth} came")

    def close(self, now: float) -> None:
        """No later event explains what there was."""
        if any(at < now for at, _ in self._too_many):
            self._breaks(f"more calls at once on {self._lane} than it allows itself: {self._too_many}")

    def _check_cuts(self, now: float) -> None:
        """A server that wanted less got less, unless the lane was cut shortly before or asks one by one already."""
        for heard in [heard for heard in self._overloads if heard < now]:
            self._overloads.remove(heard)
            if heard >= self._cool_until and self._limit is not None and self._limit > 1:
                self._breaks(f"{self._lane} was told at {heard:g} that it is too much, and goes on with {self._limit}")
        self._refusals = [refusal for refusal in self._refusals if refusal[0] >= now]
