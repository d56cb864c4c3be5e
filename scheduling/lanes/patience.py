"""How long a lane waits for its server while nothing succeeds, and what it says when it gives up."""

from math import inf

from metaspo.backends import BackendError, TransientError
from metaspo.backends.counted import counted
from metaspo.scheduling.errors import Unavailable
from metaspo.scheduling.retry import NotHere, Retries
from metaspo.scheduling.settings import LaneSettings


class Patience:
    """Runs from the first failure that is not a request's own until a call is answered; synchronous, told the time.

    Attributes:
        attempts: how often a request may fail before it is given up.
        failing_since: when it began to run; None while it does not.
        heard: whether a server of this lane has ever shown signs of life.
        told: whether anybody was told that it runs.
        last_error: what failed last, or only a person can mend; None since a call was answered.
    """

    __slots__ = ("_first", "_lane", "_usual", "attempts", "failing_since", "heard", "last_error", "told")

    def __init__(self, lane: str, settings: LaneSettings) -> None:
        self.failing_since: float | None = None
        self.heard = self.told = False
        self.last_error: BackendError | None = None
        self._lane = lane
        self.attempts = settings.attempts
        self._usual = settings.patience
        self._first = min(settings.patience, settings.first_patience)

    @property
    def seconds(self) -> float:
        """How long it lasts: less where nothing was ever heard, for then most likely the address is wrong."""
        return self._usual if self.heard else self._first

    @property
    def deadline(self) -> float:
        """When it is over; infinite while it does not run."""
        return inf if self.failing_since is None else self.failing_since + self.seconds

    def succeeded(self) -> None:
        """A call was answered: whatever was wrong is over."""
        self.failing_since = self.last_error = None
        self.heard, self.told = True, False

    def met(self, error: BackendError) -> None:
        """It failed so: to be said at the end, unless it runs since something that does not pass by itself."""
        if self.failing_since is None or not isinstance(self.last_error, NotHere):
            self.last_error = error

    def start_anew(self) -> None:
        """What failed before counts no longer: nobody waited for it any more, or it was given up."""
        self.failing_since = None

    def failing(self, now: float) -> None:
        """Nothing succeeds for a reason that is not a request's own: it runs."""
        if self.failing_since is None:
            self.failing_since = now

    def ended(self, now: float) -> str:
        """What to say when the deadline is past."""
        return f"nothing succeeded for {duration(now - (self.failing_since or 0.0))}"

    def used_up(self, past: Retries) -> bool:
        """Whether a request has no attempts left."""
        return past.attempts >= self.attempts

    def reason_to_give_up(self, past: Retries, error: TransientError, *, wait: float) -> str:
        """Why a request that has attempts left is not worth another one, so many seconds from now, and the server is to
        blame; "" if it is."""
        if error.retry_after is not None and error.retry_after > self.seconds:
            return f"it asks to wait for {duration(error.retry_after)}"
        if (waited := past.refused_for - wait) > self.seconds:
            return f"a request was refused for {duration(waited)}"
        return ""

    def unavailable(self, reason: str) -> Unavailable:
        """The error for whoever waits no longer."""
        last = f" (last: {describe(self.last_error)})" if self.last_error is not None else ""
        message = f"The lane {self._lane} gave up: {reason}{last}; everything answered is kept."
        return Unavailable(message, lane=self._lane)


def describe(error: BaseException) -> str:
    """An error's sentence; its class where it says nothing."""
    return str(error) or type(error).__name__


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 120:
        return counted(round(seconds), "second")
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
