"""What a lane does about failed calls: try again, wait for better times, give up, or stop."""

import asyncio
import random
from collections.abc import Callable

from metaspo.backends import BackendError, FatalError, TransientError, Unreachable
from metaspo.scheduling import events, retry
from metaspo.scheduling.endpoints import Endpoint
from metaspo.scheduling.errors import LaneStopped, RunStopped, Unavailable
from metaspo.scheduling.flight import Flight, FlightTable, State
from metaspo.scheduling.funding import Funding
from metaspo.scheduling.pace import Pace
from metaspo.scheduling.settings import LaneSettings
from metaspo.scheduling.watch import EndpointWatch


class Recovery:
    """Carries the verdicts of `retry` out for one lane.

    Attributes:
        ended: why nothing of the lane may be sent any more; None while it may.
        retrying: flights that wait out a back-off.
        kept_slots: those of them that keep their slot, because a full server refused them.
    """

    def __init__(
        self,
        lane: str,
        settings: LaneSettings,
        *,
        flights: FlightTable,
        pace: Pace,
        funding: Funding,
        watch: EndpointWatch,
        requeue: Callable[[Flight], None],
        fail_waiting: Callable[[BaseException], None],
        emit: Callable[[events.Event], None],
    ) -> None:
        self.ended: RunStopped | None = None
        self.retrying = 0
        self.kept_slots = 0
        self._lane = lane
        self._settings = settings
        self._flights = flights
        self._pace = pace
        self._funding = funding
        self._watch = watch
        self._requeue = requeue
        self._fail_waiting = fail_waiting
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._rng = random.Random(f"retries of {lane}")  # nothing but waiting times depends on its draws
        self._heard = False  # whether a server of this lane has ever shown signs of life
        self._failing_since: float | None = None
        self._last_error: BackendError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def succeeded(self) -> None:
        """A call was answered: whatever was wrong is over."""
        self._failing_since = self._last_error = None
        self._heard = True

    def failed(self, flight: Flight, endpoint: Endpoint, error: BaseException) -> None:
        """A call brought no answer (its slot is free already): book it, and do what the table says."""
        now = self._loop.time()
        self._heard = self._heard or not isinstance(error, Unreachable)
        if isinstance(error, BackendError) and retry.may_be_charged(error, charges=self._settings.charges):
            self._funding.book_at_most(flight)
        else:
            self._funding.release(flight)
        verdict = retry.judge(error, failures=flight.failures, quick_retries=flight.quick_retries, rng=self._rng)
        if isinstance(error, TransientError):
            self._last_error = error
            self._pace.failed(flight, error, verdict, now)
            self._try_again(flight, endpoint, error, verdict, now)
        elif isinstance(error, FatalError):
            self.stop(error)
            self._flights.fail(flight, self.ended or error)
        else:
            self._flights.fail(flight, error)
        if self._failing_since is not None and now >= self._failing_since + self.patience:
            self.give_up(f"nothing succeeded for {duration(now - self._failing_since)}")

    def stop(self, error: FatalError) -> None:
        """Nothing can succeed until a person does something."""
        if self.ended is None:
            message = str(error) or f"The lane {self._lane} cannot go on ({type(error).__name__})."
            self.ended = LaneStopped(message, lane=self._lane)
            self.ended.__cause__ = error
            self._emit(events.LaneGaveUp(lane=self._lane, at=self._loop.time(), reason=message, final=True))
        self._fail_waiting(self.ended)

    def close(self, reason: RunStopped) -> None:
        """Nothing is tried again from now on."""
        self.ended = self.ended or reason
        self._fail_waiting(reason)
        if self._timer is not None:
            self._timer.cancel()

    def give_up(self, reason: str) -> None:
        """Fail what waits; what comes later is tried anew."""
        error = self._unavailable(reason)
        self._failing_since = None
        self._emit(events.LaneGaveUp(lane=self._lane, at=self._loop.time(), reason=str(error), final=False))
        self._fail_waiting(error)

    def failing(self, now: float) -> None:
        """Nothing succeeds for a reason that is not a request's own: the lane's patience runs."""
        if self._failing_since is None:
            self._failing_since = now
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(now + self.patience, self._out_of_patience, now)

    def note(self, error: BackendError) -> None:
        """Remember what to tell if the lane gives up."""
        self._last_error = error

    def end_back_off(self, flight: Flight) -> None:
        """The flight's back-off is over, or was cut short."""
        if flight.timer is not None:
            flight.timer.cancel()
            flight.timer = None
            self.retrying -= 1
            self.kept_slots -= flight.keeps_slot

    def _try_again(
        self, flight: Flight, endpoint: Endpoint, error: TransientError, verdict: retry.Verdict, now: float
    ) -> None:
        """Bring a failed flight back into the queue, at once or later, or give up on it."""
        rest = verdict.endpoint == "rest" or (verdict.endpoint == "count" and endpoint.fail(flight.key))
        if rest:
            self._watch.rest(endpoint, error)
        counts = verdict.uses_attempt and not rest
        if verdict.quick:
            flight.quick_retries += 1
        else:
            flight.failures += 1
            flight.attempts += counts
            if not counts:
                self.failing(now)
        reason = self._reason_to_give_up(flight, error, counts=counts or verdict.quick, now=now)
        if self.ended is not None:
            self._flights.fail(flight, self.ended)
        elif reason:
            self._flights.fail(flight, self._unavailable(reason))
        elif not flight.waiters:
            self._flights.drop(flight)  # it was left to finish into the cache, and it has not
            flight.state = State.OVER
        else:
            flight.keeps_slot = verdict.keeps_slot
            self._back_off(flight, 0.0 if verdict.hold else verdict.wait, error, now)

    def _reason_to_give_up(self, flight: Flight, error: TransientError, *, counts: bool, now: float) -> str:
        patience = self.patience
        if flight.attempts >= self._settings.attempts:
            return f"a request failed {flight.attempts} times"
        if error.retry_after is not None and error.retry_after > patience:
            return f"it asks to wait for {duration(error.retry_after)}"
        if counts:
            flight.refused_since = None
        elif flight.refused_since is None:
            flight.refused_since = now
        elif now - flight.refused_since > patience:
            return f"a request was refused for {duration(now - flight.refused_since)}"
        return ""

    def _back_off(self, flight: Flight, wait: float, error: TransientError, now: float) -> None:
        payer = flight.account
        assert payer is not None
        payer.tally(self._lane).retries += 1
        reason = describe(error)
        self._emit(events.Retried(lane=self._lane, at=now, attempt=flight.failures, wait=wait, reason=reason))
        if wait <= 0:
            self._requeue(flight)
            return
        flight.state = State.BACKING_OFF
        flight.backed_off_at = now
        self.retrying += 1
        self.kept_slots += flight.keeps_slot
        flight.timer = self._loop.call_later(wait, self._come_back, flight)

    def _come_back(self, flight: Flight) -> None:
        self.end_back_off(flight)
        flight.retry_seconds += self._loop.time() - flight.backed_off_at
        self._requeue(flight)

    @property
    def patience(self) -> float:
        patience = self._settings.patience
        return patience if self._heard else min(patience, self._settings.first_patience)

    def _out_of_patience(self, since: float) -> None:
        if self._failing_since == since and self._loop.time() < since + self.patience:  # it was heard of meanwhile
            self._timer = self._loop.call_at(since + self.patience, self._out_of_patience, since)
            return
        # Calls that are in flight may still succeed; if they fail, `failed` gives up.
        out = any(flight.state is State.FLYING and flight.lane.name == self._lane for flight in self._flights)
        if self._failing_since == since and not out:
            self.give_up(f"nothing succeeded for {duration(self._loop.time() - since)}")

    def _unavailable(self, reason: str) -> Unavailable:
        last = f" (last: {describe(self._last_error)})" if self._last_error is not None else ""
        message = f"The lane {self._lane} gave up: {reason}{last}; everything answered is kept, so start the run again."
        return Unavailable(message, lane=self._lane)


def describe(error: BaseException) -> str:
    """An error's class and sentence."""
    return f"{type(error).__name__}: {error}"


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
