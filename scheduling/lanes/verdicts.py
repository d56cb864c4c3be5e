"""What stops a lane, or one model on it, until a person does something: a key, credit, a model that is not there.

A circuit breaker: what a call meets opens it, for its model only where it may be about that alone; for good, or, where
many programs ask, until it is tried again. Synchronous, told the time.
"""

from math import inf

from metaspo.backends import FatalError
from metaspo.scheduling.errors import LaneStopped, RunStopped

FIRST_LASTS = 1.0  # seconds, where many programs ask: somebody mends a key or tops up while they go on
LONGEST_LASTS = 60.0  # each that follows without an answer between lasts twice as long as the one before


class Verdicts:
    """Why one lane, or a model on it, is asked nothing.

    Attributes:
        final: whether they are for good; else it is tried again soon, and then less and less often.
        reopens_at: when that is; infinite while there is nothing to try again.
    """

    __slots__ = ("_closed", "_in_a_row", "_lane", "_models", "_whole", "final", "reopens_at")

    def __init__(self, lane: str, *, final: bool) -> None:
        self.final = final
        self.reopens_at = inf
        self._closed = False
        self._in_a_row: dict[str | None, int] = {}  # by model (None: any), that no answer of it came between
        self._lane = lane
        self._whole: RunStopped | None = None  # all of it
        self._models: dict[str, LaneStopped] = {}

    def __repr__(self) -> str:
        return f"<Verdicts {self.any!r} models={sorted(self._models)}>"

    @property
    def any(self) -> RunStopped | None:
        """Why nothing of the lane, or of one model on it, may be sent any more; None while all may."""
        return next(iter(self._models.values()), self._whole)

    def of(self, model: str | None) -> RunStopped | None:
        """Why nothing may be sent to a model (None: to any); None while something may."""
        return self._models.get(model, self._whole) if self._models and model is not None else self._whole

    def add(self, error: FatalError, now: float, *, model: str | None) -> LaneStopped:
        """Nothing can succeed, of one model or of any."""
        verdict = LaneStopped(
            str(error) or f"The lane {self._lane} cannot go on ({type(error).__name__}).",
            lane=self._lane,
            error=error,
        )
        verdict.__cause__ = error
        if model is None:
            self._whole = verdict
        else:
            self._models[model] = verdict
        if not self.final:
            before = self._in_a_row.get(model, 0)
            lasts = min(FIRST_LASTS * 2.0 ** min(before, 30), LONGEST_LASTS)
            self.reopens_at = min(self.reopens_at, now + lasts)
            self._in_a_row[model] = before + 1
        return verdict

    def answered(self, model: str) -> bool:
        """A call was: what is met next is new. Returns whether that is the model's first answer after a verdict."""
        if not self._in_a_row or self.of(model) is not None:
            return False
        return self._in_a_row.pop(model, 0) + self._in_a_row.pop(None, 0) > 0

    def close(self, reason: RunStopped) -> None:
        """The gateway is closed: nothing goes any more, whatever was said before."""
        self._closed = True
        self._whole = self._whole or reason

    def clear(self) -> None:
        """Somebody has mended what they were about: ask again."""
        self._models.clear()
        self.reopens_at = inf
        if not self._closed:
            self._whole = None
