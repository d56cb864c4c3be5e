"""What call records add up to: counts by lane, model and status, and how the seconds are spread."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from metaspo.scheduling.lanes.call_record import CallRecord

BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0)  # seconds


class Group(NamedTuple):
    """What is counted together."""

    lane: str
    model: str
    status: str


@dataclass(slots=True)
class Spread:
    """How many values lie at or below each bound; the last count is of those above all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS, value)] += 1
        self.total += value


@dataclass(slots=True)
class Totals:
    """Of one group: tokens and dollars of its answers, whether they were paid for or not; attempts: calls sent."""

    requests: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0


class CallTotals:
    """An observer of calls that adds them up: some microseconds a call. May be read from any thread.

    Attributes:
        groups: by lane, model and status; queue, server: seconds of calls that were answered, by lane.
    """

    def __init__(self) -> None:
        self.groups: dict[Group, Totals] = {}
        self.queue: dict[str, Spread] = {}
        self.server: dict[str, Spread] = {}

    def __call__(self, record: CallRecord) -> None:
        """Count one call."""
        group = Group(record.lane, record.request.model, record.status)
        totals = self.groups.get(group)
        if totals is None:
            totals = self.groups[group] = Totals()
        usage = record.usage
        totals.requests += 1
        totals.prompt_tokens += usage.prompt_tokens
        totals.cached_tokens += usage.cached_tokens
        totals.completion_tokens += usage.completion_tokens
        totals.dollars += record.dollars or 0.0
        if record.status == "miss":
            totals.attempts += record.attempts
            self.queue.setdefault(record.lane, Spread()).add(record.queue_seconds + record.limiter_seconds)
            self.server.setdefault(record.lane, Spread()).add(record.server_seconds)
