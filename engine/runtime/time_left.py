"""How long a run still takes, as a range: the plan is an upper bound, and what it loses is learned on the way."""

from bisect import bisect_right
from dataclasses import dataclass, field
from math import inf

WINDOWS = (1.0, 0.5)  # of the time so far, over which a speed is measured
# By 64 simulated runs of many shapes, looked at 39 times each: what is left lies within the range 93 times in 100.
MIN_TIMES, MAX_TIMES, MAX_LATE = 0.42, 1.08, 0.7
SAMPLES = 512
MIN_SECONDS = 3.0  # before which nothing is said
WIDEST = 10.0  # a range whose ends are further apart says nothing, unless both are within MINUTE
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0  # seconds


@dataclass(slots=True)
class TimeLeft:
    """Is told when planned calls are settled: answered, or no longer needed. Knows nothing of clocks.

    Attributes:
        planned: calls that the plan has at most.
        settled: of these, how many are.
        found: of these, how many were answered from the cache, which says nothing of how fast others are.
        stops: when a cap on time stops it.
    """

    planned: int = 0
    settled: int = 0
    found: int = 0
    stops: float = inf
    _optimizer: int = 0  # the optimizer model's calls that are planned and not settled: further ones are in no plan
    _times: list[float] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)

    def begin(self, base: int, optimizer: int = 0, *, now: float) -> None:
        """The run starts with so many calls of the base and of the optimizer model ahead."""
        self.planned, self.settled, self.found, self._optimizer = base + optimizer, 0, 0, optimizer
        self._times, self._counts = [now], [0]

    def more(self, planned: int, *, now: float) -> None:
        """Another run, with so many calls ahead, goes on beside those told of before."""
        if not self._times:
            self.begin(0, now=now)
        self.planned += planned

    def settle(self, base: int, optimizer: int = 0, *, now: float) -> None:
        """So many more are settled, or fewer again; a plan that turns out too short is all settled, and no more."""
        planned = min(optimizer, self._optimizer)
        self._optimizer -= planned
        self.settled = min(self.planned, self.settled + base + planned)
        if not self._times:
            return
        if len(self._times) > 1 and (now - self._times[-2]) * SAMPLES < now - self._times[0]:
            self._times[-1], self._counts[-1] = now, self._asked
            return
        self._times.append(now)
        self._counts.append(self._asked)
        if len(self._times) > 2 * SAMPLES:
            self._times[1:], self._counts[1:] = self._times[2::2], self._counts[2::2]

    def seconds(self, *, now: float) -> tuple[float, float] | None:
        """The least and the most that is likely to be left; None while nothing can be said."""
        left = self.planned - self.settled
        if not self._times:
            return None  # a model is fetched, or loaded
        if left <= 0:
            return (0.0, 0.0)
        elapsed = now - self._times[0]
        if elapsed < MIN_SECONDS or not self._asked:
            return None
        speeds = [self._speed(now - share * elapsed, now) for share in WINDOWS]
        slowest, fastest = min(filter(None, speeds), default=None), max(speeds)
        if not slowest:
            return None
        most = MAX_TIMES + MAX_LATE * self.settled / self.planned  # what is left last has no round to be dropped from
        least, most = MIN_TIMES * left / fastest, most * left / slowest
        return (least, most) if most <= max(MINUTE, WIDEST * least) else None

    def words(self, *, now: float) -> str:
        """The same in words, and where the cap stops it if that comes sooner."""
        seconds = self.seconds(now=now)
        done = self.settled / self.planned if self.planned else 1.0
        return spoken(seconds, stops_in=self.stops - now, done=done)

    @property
    def _asked(self) -> int:
        """Of those that are settled, how many took the time that calls take."""
        return max(0, self.settled - self.found)

    def _speed(self, since: float, now: float) -> float:
        """Calls asked and settled a second since then."""
        start = max(0, bisect_right(self._times, since) - 1)
        return max(0, self._asked - self._counts[start]) / max(now - since, 1e-9)


def spoken(seconds: tuple[float, float] | None, *, stops_in: float = inf, done: float = 0.0) -> str:
    """A range in words, and where a cap on time stops what is `done` to this share, if that likely comes sooner."""
    likely, stops_in = sum(seconds or (0.0, 0.0)) / 2, max(0.0, stops_in)
    if likely <= stops_in:
        return _range(seconds)
    when = f"{stops_in / HOUR:.1f} h" if stops_in >= 1.5 * HOUR else f"{stops_in / MINUTE:.0f} min"
    return f"{_range(seconds)}, stops in {when} at about {done + (1 - done) * stops_in / likely:.0%}"


def _range(seconds: tuple[float, float] | None) -> str:
    """In words, in units that one can plan by."""
    if seconds is None:
        return "time left unknown"
    low, high = seconds
    if high < MINUTE:
        return "under a minute left"
    if high < 1.5 * HOUR:
        low, high = max(1, round(low / MINUTE)), max(1, round(high / MINUTE))
        return f"{low} min left" if low == high else f"{low} to {high} min left"
    if high < 3 * DAY:
        return f"{low / HOUR:.1f} to {high / HOUR:.1f} h left"
    return f"{low / DAY:.1f} to {high / DAY:.1f} days left"
