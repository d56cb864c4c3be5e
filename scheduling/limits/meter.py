"""How fast a server answers while all its slots are in use: one round of the search for how many there are to be.

Synchronous, told the time.
"""

IN_USE = 0.8  # of the slots must be taken for a measurement to say anything about the limit
MIN_SKIP = 4  # answers


class Meter:
    """Measures answers per second over one round, between two pauses in the stream of answers.

    Servers that batch answer in bursts; a round that began or ended within one would be off by a whole burst. So the
    answers to calls of the time before are skipped first, which tells how far apart answers are on average, and the
    round begins and ends where two are at least half of that apart. A round in which slots stay free, because there is
    nothing to ask or something else holds the lane back, says nothing: it begins anew, with as many to skip as slots.
    """

    __slots__ = (
        "_began",
        "_count",
        "_first",
        "_last",
        "_limit",
        "_skip",
        "_skipped",
        "_taken",
        "_taken_before",
        "_target",
    )

    def __init__(self, *, limit: int, skip: int, target: int) -> None:
        self._limit = limit
        self._target = target
        self._first = self._last = self._taken = self._taken_before = 0.0
        self._began: float | None = None
        self._begin_anew(skip)

    def add(self, now: float, taken: float) -> float | None:
        """Count an answer; returns the answers per second, were all slots in use, when the round is over."""
        last, self._last = self._last, now
        taken_before, self._taken = self._taken, taken
        if self._began is None:
            if self._skipped == 0:
                self._first = taken
            pause = now > last and now - last >= (taken - self._first) / self._limit / (self._skipped + 1) / 2
            if self._skipped < self._skip or not pause:
                self._skipped += 1
                return None
            self._began, self._taken_before = last, taken_before
        elif self._count >= self._target and now - last > (last - self._began) / self._count / 2:
            seconds = last - self._began
            return self._count / min(seconds, (taken_before - self._taken_before) / self._limit)
        self._count += 1
        if self._count >= MIN_SKIP and taken - self._taken_before < IN_USE * self._limit * (now - self._began):
            self._begin_anew(max(self._limit, MIN_SKIP))
        return None

    def _begin_anew(self, skip: int) -> None:
        self._skip = skip
        self._skipped = self._count = 0
        self._began = None
