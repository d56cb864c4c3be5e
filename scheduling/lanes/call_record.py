"""One record a request, once it has its answer or will have none, for whoever wants to be told: off by default."""

import logging
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from typing import Literal, NamedTuple

from metaspo.backends import Completion, Request, RequestRejected, Usage
from metaspo.scheduling.budget.account import Account
from metaspo.scheduling.lanes.flight import Flight
from metaspo.scheduling.log_context import about

LOG = logging.getLogger(__name__)
CallStatus = Literal["hit", "miss", "joined", "refused", "failed"]
NO_USAGE = Usage(0, 0)


class CallRecord(NamedTuple):
    """What became of one request.

    Attributes:
        status: "hit" (its answer was in the cache), "miss" (asked for now: the one that is paid for), "joined"
            (somebody else had asked for it), "refused" (the server will never answer it), "failed" (no answer).
        endpoint: who was asked last; "" if nobody was.
        request, completion: what was asked and answered, prompts included: mind where you send them.
        dollars: what its call cost (a miss), or would have; None where no price is known, or nothing was answered.
        queue_seconds, limiter_seconds, retry_seconds: waited for a slot or an endpoint, for the rate limit, and
            between tries.
        server_seconds: of the call that was answered.
        attempts: calls that were sent.
        account, address: who asked (a run's name), and where in it, as `log_context` has it.
        error: the class of what ended it; "" for nothing.
    """

    lane: str
    status: CallStatus
    key: str
    request: Request
    completion: Completion | None = None
    endpoint: str = ""
    dollars: float | None = None
    queue_seconds: float = 0.0
    limiter_seconds: float = 0.0
    retry_seconds: float = 0.0
    server_seconds: float = 0.0
    attempts: int = 0
    account: str = ""
    address: str = ""
    error: str = ""

    @property
    def usage(self) -> Usage:
        """Tokens of the answer; of a hit, those it took when it was asked for."""
        return self.completion.usage if self.completion is not None else NO_USAGE


OnCall = Callable[[CallRecord], object]


def to_both(first: OnCall, second: OnCall | None) -> OnCall:
    """One observer for two, the second of which may be none. Each is told, though the other raises."""
    if second is None:
        return first

    def on_call(record: CallRecord) -> None:
        try:
            first(record)
        finally:
            second(record)

    return on_call


class CallReports:
    """Makes the records of one gateway, and tells each in the context of whoever asked.

    An observer that raises is told of once, and nothing else comes of it.
    """

    def __init__(self, on_call: OnCall) -> None:
        self._on_call = on_call
        self._has_failed = False

    def hit(
        self, request: Request, completion: Completion, *, lane: str, key: str, account: Account, dollars: float | None
    ) -> None:
        """A request whose answer was in the store."""
        record = CallRecord(
            lane=lane,
            status="hit",
            key=key,
            request=request,
            completion=completion,
            dollars=dollars,
            account=account.name,
            address=about().get("address", ""),
        )
        self._tell(((copy_context(), record),))

    def over(self, flight: Flight, end: Completion | BaseException) -> None:
        """A flight that is over, for everybody who waits for it; an answer that nobody waits for any more is a miss."""
        completion = end if isinstance(end, Completion) else None
        status: CallStatus = "refused" if isinstance(end, RequestRejected) else "failed"
        if completion is not None:
            status = "hit" if flight.in_store else "miss"
        dollars = flight.home.price_of(completion.usage) if completion is not None else None
        served = completion is not None and flight.calls > 0 and not flight.in_store

        def told(status: CallStatus, account: str, context: Context) -> tuple[Context, CallRecord]:
            record = CallRecord(
                lane=flight.home.name,
                status=status,
                key=flight.key,
                request=flight.request,
                completion=completion,
                endpoint=flight.endpoint.name if flight.endpoint is not None else "",
                dollars=dollars,
                queue_seconds=flight.queue_seconds,
                limiter_seconds=flight.limiter_seconds,
                retry_seconds=flight.retry_seconds,
                server_seconds=flight.since - flight.sent if served else 0.0,
                attempts=flight.calls,
                account=account,
                address=about(context).get("address", ""),
                error=type(end).__name__ if isinstance(end, BaseException) else "",
            )
            return context, record

        nobody = Context()  # and so nothing that the call would be a part of
        asked = [
            (each.account.name, each.context or nobody) for each in flight.waiters for _ in range(each.asked(flight))
        ]
        first, *others = asked or [("", nobody)]
        joined: CallStatus = "joined" if status == "miss" else status
        self._tell((told(status, *first), *(told(joined, *each) for each in others)))

    def _tell(self, told: Iterable[tuple[Context, CallRecord]]) -> None:
        try:
            for context, record in told:
                context.run(self._on_call, record)
        except Exception as mistake:
            if not self._has_failed:
                LOG.warning("Who is told of calls fails, and is told on: %s", type(mistake).__name__, exc_info=mistake)
            self._has_failed = True
