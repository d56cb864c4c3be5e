"""What a lane does that its users may want to see. `at` is in seconds of the event loop's clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something changed on a lane."""

    lane: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried(Event):
    """A call failed, or hangs, and goes again after `wait` seconds; it was the `attempt`-th, from 1 on."""

    attempt: int
    wait: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubted(Event):
    """A request has no attempts left, and nothing else is answered: `key`'s, which was before, is asked once more."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyChanged(Event):
    """The number of calls allowed in flight went from `before` to `after`."""

    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack(Event):
    """The provider refused for the rate: nothing is sent for `wait` seconds."""

    wait: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsLearned(Event):
    """The headers told other limits than were known (None: no limit known)."""

    requests_per_minute: int | None
    tokens_per_minute: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDown(Event):
    """An endpoint is rested; it is probed again after `wait` seconds."""

    endpoint: str
    wait: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointUp(Event):
    """An endpoint answers again."""

    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Event):
    """Nobody answers the lane, for that `reason` last; it gives up after `patience` seconds without success, or once a
    request has failed `attempts` times (0: these failures do not count)."""

    patience: float
    reason: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneGaveUp(Event):
    """The lane stopped (for good if `final`) and failed its waiting requests."""

    reason: str
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneAnswers(Event):
    """What the lane had stopped for, not for good, or waited for, is mended: it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReached(Event):
    """An account's cap was reached."""

    account: str
    reason: str
