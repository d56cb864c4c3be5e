"""Health checks of the endpoints of one lane (looks): whether a start or a probe went well, how busy each is.

Synchronous, told the time. When the next look is due is known by `Endpoints`; whoever drives the lane looks.
"""

from collections.abc import Mapping

from metaspo.backends import BackendError, FatalError, RequestRejected, Unreachable
from metaspo.scheduling.lanes.calls_out import CallsOut
from metaspo.scheduling.lanes.endpoints import LOAD_PERIOD, Endpoint, Endpoints, Health
from metaspo.scheduling.lanes.recovery import Recovery
from metaspo.scheduling.lanes.unanswered import Unanswered
from metaspo.scheduling.limits.throttle import Throttle


class Looks:
    """What follows from the looks at one lane's endpoints."""

    def __init__(
        self, unanswered: Unanswered, recovery: Recovery, *, endpoints: Endpoints, throttle: Throttle, calls: CallsOut
    ) -> None:
        self._endpoints = endpoints
        self._throttle = throttle
        self._calls = calls
        self._unanswered = unanswered
        self._recovery = recovery

    def __repr__(self) -> str:
        return f"<Looks {self._endpoints}>"

    def went_well(self, endpoint: Endpoint, was: Health, gauges: Mapping[str, float], now: float) -> None:
        """A look at an endpoint did (`was`: its health when it began). What has changed meanwhile stays."""
        if endpoint.health is not was:
            return
        told = gauges or endpoint.load  # gauges that it told before hold no longer
        if was is Health.COLD or (was is Health.UP and (told or not endpoint.answered)):  # some have none at first
            self._endpoints.look_next(endpoint, now + LOAD_PERIOD)
        if was is not Health.UP:
            endpoint.health = Health.UP if was is Health.COLD else Health.TRIAL
        elif told:
            running, waiting, preempted = self._endpoints.hear_load(endpoint, gauges)
            self._throttle.heard_load(now, running=running, waiting=waiting, preempted=preempted)

    def failed(self, endpoint: Endpoint, was: Health, error: BaseException, now: float) -> None:
        """A look at an endpoint went wrong. Cases: it answers calls, so that its gauges can wait; it refuses what a
        probe asks, but answers, and whether calls work only a call can tell; only a person can mend it; it is still not
        there; a mistake in the backend, which does not matter where only gauges were asked for."""
        if endpoint.health is not was:
            return
        if was is Health.UP and isinstance(error, BackendError):
            self._endpoints.look_next(endpoint, now + LOAD_PERIOD)
        elif isinstance(error, FatalError | RequestRejected) and was is Health.DOWN:
            endpoint.health = Health.TRIAL
        elif isinstance(error, FatalError):
            self._endpoints.look_next(endpoint, now + LOAD_PERIOD)  # counts once the verdict is over, if it ever is
            self._unanswered.stop(error, now)
        elif isinstance(error, BackendError):
            if isinstance(error, Unreachable) and error.refused and self._calls.cost_time:
                self._calls.lose(endpoint)  # where tokens cost money, an answer may come over its open connection
            self._recovery.rest(endpoint, error, now)
        elif was is not Health.UP:
            self._endpoints.look_next(endpoint, now + LOAD_PERIOD)
            self._unanswered.fail_waiting(error, now)
