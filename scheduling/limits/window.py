"""The two ways to count against a limit: a bucket that paces, and a window that never forgets too early.

Synchronous; the time (seconds) is an argument.
"""

WINDOW_SLOTS = 240  # a window forgets in steps of period / 240
_SIZE = WINDOW_SLOTS + 1
SLACK = 1e-6  # rounding of floats, in units of whatever is counted


class Bucket:
    """Refills continuously at `rate` per second; holds at most `burst`, or what the call that waits needs."""

    __slots__ = ("_cap", "_level", "_updated", "burst", "rate")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._cap = burst
        self._level = burst
        self._updated = now

    def __repr__(self) -> str:
        return f"<Bucket rate={self.rate:g}/s level={self._level:g} of {self._cap:g}>"

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be taken; 0.0 if it may be now, or before the clock shows a difference. The bucket
        saves up for the amount last asked."""
        self._cap = self.burst if self.burst > amount else amount
        if now != self._updated or self._level > self._cap:
            self._refill(now)
        missing = amount - self._level
        wait = missing / self.rate
        return wait if missing > SLACK and now + wait > now else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take without asking; a negative amount gives back."""
        if now != self._updated:  # much of what happens, happens at one moment
            self._refill(now)
        level = self._level - amount
        self._level = level if level < self._cap else self._cap

    def change_rate(self, rate: float, now: float) -> None:
        """Refill at another rate from now on."""
        self._refill(now)
        self.rate = rate

    def lower_to(self, level: float, now: float) -> None:
        """Hold no more than `level`, which may be negative."""
        self._refill(now)
        self._level = min(self._level, level)

    def _refill(self, now: float) -> None:
        level = self._level + self.rate * (now - self._updated)
        self._level = level if level < self._cap else self._cap
        self._updated = now


class Window:
    """Counts what was taken in the last `period` seconds, never less than the truth, in bounded memory.

    Time is cut into slots; what was taken in a slot is forgotten a whole period after that slot's end.
    """

    __slots__ = ("_counts", "_slot", "_slot_ends", "_width", "period", "used")

    def __init__(self, *, period: float) -> None:
        self.period = period
        self.used = 0
        self._width = period / WINDOW_SLOTS
        self._counts = [0] * _SIZE
        self._slot = 0
        self._slot_ends = self._width

    def __repr__(self) -> str:
        return f"<Window used={self.used} in {self.period:g} s>"

    def wait(self, amount: int, limit: int, now: float) -> float:
        """Seconds until `amount` more fits into the limit; an amount above the limit waits for an empty window."""
        if now >= self._slot_ends:
            self._advance(now)
        excess = self.used + amount - limit if amount < limit else self.used
        if excess <= 0:
            return 0.0
        for age in reversed(range(_SIZE)):
            slot = self._slot - age
            excess -= self._counts[slot % _SIZE]
            if excess <= 0:
                return (slot + 1) * self._width + self.period - now
        raise AssertionError("a window's slots do not add up to what it has used")

    def take(self, amount: int, now: float) -> int:
        """Count an amount; returns the slot it was counted in."""
        if now >= self._slot_ends:
            self._advance(now)
        self._counts[self._slot % _SIZE] += amount
        self.used += amount
        return self._slot

    def correct(self, slot: int, change: int, now: float) -> None:
        """Change what was counted in a slot, unless that is forgotten already."""
        if now >= self._slot_ends:
            self._advance(now)
        if self._slot - slot < _SIZE:
            self._counts[slot % _SIZE] += change
            self.used += change

    def _advance(self, now: float) -> None:
        """Go on to the slot of `now`, which lies beyond the present one's end; forget what is too old."""
        slot = int(now / self._width)
        if slot - self._slot >= _SIZE:
            self._counts = [0] * _SIZE
            self.used = 0
        else:
            for passed in range(self._slot + 1, slot + 1):
                self.used -= self._counts[passed % _SIZE]
                self._counts[passed % _SIZE] = 0
        self._slot = slot
        self._slot_ends = (slot + 1) * self._width
