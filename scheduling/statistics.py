"""Snapshots of what happened: safe to keep, made on demand."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields


@dataclass(slots=True, kw_only=True)
class LaneUse:
    """What one account did on one lane: running counts, or a copy of them.

    Attributes:
        calls: calls that were answered, or may have been worked on without an answer coming through.
        withdrawn: those of them that brought no answer and that nobody waited for any more.
        hits: requests answered from the cache.
        joined: requests that waited for an equal one already on its way.
        repeated: hits and joined ones that the account itself had asked before, if it remembers: with an empty cache,
            too, there would have been no call for them.
        dollars: spent; calls without a whole answer count at their most.
        dollars_saved: what the cache's answers would have cost again.
        unpriced, unpriced_saved: calls and cache's answers that are in neither, because no price is known.
        dollars_repeated, unpriced_repeated: of what was saved, what is of repeated requests.
        dollars_joined, unpriced_joined: what the joined ones that are no repeated ones would have cost alone.
        retries: calls that failed and were sent again.
        failed: requests that got no answer.
        queue_seconds, limiter_seconds, server_seconds, retry_seconds, store_seconds: where answered requests spent
            their time, added up over requests: waiting for a slot or an endpoint, for the rate limit, for the server,
            between tries, for the answer to be kept.
    """

    calls: int = 0
    withdrawn: int = 0
    hits: int = 0
    joined: int = 0
    repeated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    dollars: float = 0.0
    dollars_saved: float = 0.0
    dollars_repeated: float = 0.0
    dollars_joined: float = 0.0
    unpriced: int = 0
    unpriced_saved: int = 0
    unpriced_repeated: int = 0
    unpriced_joined: int = 0
    retries: int = 0
    failed: int = 0
    queue_seconds: float = 0.0
    limiter_seconds: float = 0.0
    server_seconds: float = 0.0
    retry_seconds: float = 0.0
    store_seconds: float = 0.0

    def worth_of_joined(self, dollars: float | None) -> None:
        """A request that joined another account's was answered, for so much; None where no price is known."""
        self.unpriced_joined += dollars is None
        self.dollars_joined += dollars or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatistics:
    """What one account did, by lane, and all lanes together."""

    name: str = ""
    lanes: Mapping[str, LaneUse]
    total: LaneUse = field(default_factory=LaneUse)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatistics:
    """One replica, or a `standby`: `health` is "cold", "up", "down" or "trial"."""

    name: str
    standby: bool
    health: str
    in_flight: int
    answered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatistics:
    """One lane now.

    Attributes:
        queued: requests waiting for their turn; `retrying` ones wait out a back-off and are not among them.
        concurrency: calls that may be in flight.
        requests_in_minute, tokens_in_minute: reserved in the last 60 s, next to the limits in force (None: unlimited).
        held: seconds for which a refusal still holds everything back.
        answered: calls answered since the gateway was opened.
        idle_seconds: in which there were free slots and nothing in the queue, since the gateway was opened.
        stopped: why the lane stopped for good; "" if it did not.
    """

    name: str
    queued: int
    in_flight: int
    retrying: int
    concurrency: int
    requests_in_minute: int
    requests_per_minute: int | None
    tokens_in_minute: int
    tokens_per_minute: int | None
    held: float
    answered: int
    idle_seconds: float
    stopped: str
    endpoints: tuple[EndpointStatistics, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayStatistics:
    """All lanes now; `waiting` counts the different requests that are under way."""

    lanes: Mapping[str, LaneStatistics]
    waiting: int


def add_up(uses: Mapping[str, LaneUse]) -> LaneUse:
    """The sum over lanes."""
    names = [each.name for each in fields(LaneUse)]
    return LaneUse(**{name: sum(getattr(use, name) for use in uses.values()) for name in names})
