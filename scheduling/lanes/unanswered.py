"""What becomes of flights without an answer: their calls fail or are broken off, nobody waits, the lane stops.

Synchronous, told the time. With `LaneState` the only writer of a flight's state while it is under way; what a failure
means is decided by `Recovery`, `Doubt` and `Verdicts`.
"""

from metaspo.backends import BackendError, FatalError, RequestRejected, TransientError, WrongForm
from metaspo.scheduling import events
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.lanes.books import Books
from metaspo.scheduling.lanes.calls_out import CallsOut, Hung
from metaspo.scheduling.lanes.flight import WAITING_STATES, Call, Flight, Home, State
from metaspo.scheduling.lanes.recovery import UNTIL_SURE, UNWANTED, Outcome, Recovery
from metaspo.scheduling.lanes.surroundings import Surroundings
from metaspo.scheduling.lanes.waiting import Waiting
from metaspo.scheduling.limits.throttle import Throttle


class Unanswered:
    """Ends the flights of one lane that get no answer, or has them asked again.

    Attributes:
        recovery: who tries again, and when.
    """

    def __init__(
        self,
        home: Home,
        around: Surroundings,
        *,
        calls: CallsOut,
        waiting: Waiting,
        throttle: Throttle,
        books: Books,
        recovery: Recovery,
    ) -> None:
        self._home = home
        self._around = around
        self._flights = around.flights
        self._calls = calls
        self._waiting = waiting
        self._throttle = throttle
        self._books = books
        self._verdicts = recovery.verdicts
        self.recovery = recovery

    def __repr__(self) -> str:
        return f"<Unanswered {self.recovery}>"

    # One flight

    def failed(self, call: Call, error: BaseException, now: float) -> None:
        """A call brought no answer: book it, and do what the table in `retry` says. Where another call of its flight is
        out, or was answered, a failure that may pass says nothing of that one."""
        flight = call.flight
        self._ended(call)
        self.recovery.heard(error)
        self._books.failed(call, error, now)
        error = self.recovery.meant_by(error, call)
        if isinstance(error, TransientError):
            decision = self.recovery.decide(call, error, now)
            held = self._throttle.failed(call.reservation, error, decision, now)
            if _was_its_last(flight):
                outcome = self.recovery.failed(call, error, decision, now, held=held)
                self._meet(flight, outcome, now, keeps_slot=decision.keeps_slot)
            elif flight.state is State.FLYING and not self.recovery.blames(call, error, decision, now):
                flight.hung += not decision.hold  # and the next call beside is not soon, which the hold sees to
        elif isinstance(error, WrongForm) and self._around.many_programs:
            self._refused(flight, RequestRejected(str(error)))
        elif isinstance(error, FatalError):
            self._refused(flight, self.stop(error, now, model=flight.request.model))
        else:
            self._refused(flight, error)

    def cancelled(self, call: Call, now: float) -> None:
        """A call was broken off: because it hung (which says nothing of the server, nor of the request), by the lane
        for another reason, or because everything ends. If it was not its flight's last one, it is only booked."""
        reason, flight = call.abort_reason, call.flight
        if isinstance(reason, BackendError) and not isinstance(reason, Hung):
            self.failed(call, reason, now)
            return
        self._ended(call)
        self._books.broken_off(call, now)
        if isinstance(reason, Hung):
            flight.hung += 1
            self.recovery.hangs(call, reason, now)
        if not _was_its_last(flight):
            return
        if isinstance(reason, Hung):
            self._meet(flight, self.recovery.again(flight, reason, 0.0, now), now)
        else:
            self._flights.fail(flight, RunStopped("The gateway was closed while a call was under way."))

    def broken(self, call: Call, mistake: BaseException, now: float) -> None:
        """A mistake in here, as a call's end was booked: nobody may be left waiting for ever. A flight whose other call
        has brought an answer, which is on its way to the store, ends with that."""
        flight = call.flight
        answered = flight.state is State.LANDED and flight.sent != call.sent
        self.fail_waiting(mistake, now)
        if flight.state is State.LANDED and not answered:
            self._home.stored()
        try:
            if not call.booked:
                self._books.at_most(call, now)
        finally:
            if not answered:
                self._flights.fail(flight, mistake)

    def withdraw(self, flight: Flight, now: float) -> None:
        """Nobody waits for this flight any more."""
        if flight.state in WAITING_STATES:
            self._flights.drop(flight)  # before its funds are released: it is nobody's to pay any more
            self._take_out(flight, now)
            flight.state = State.OVER
            self._around.wake()
        elif self._calls.cost_time:
            self._break_off(flight, UNWANTED)

    def fail(self, flight: Flight, error: BaseException, now: float) -> None:
        """A flight that waits somewhere ends."""
        self._take_out(flight, now)
        self._flights.fail(flight, error)

    # All of them

    def stop(self, error: FatalError, now: float, *, model: str | None = None) -> RunStopped:
        """Nothing can succeed, of one model or of any, until a person does something. Returns what all that wait are
        told."""
        verdict = self._verdicts.of(model)
        if verdict is None:
            verdict = self._verdicts.add(error, now, model=model)
            self._say_given_up(verdict, now, final=self._verdicts.final)
        self.fail_waiting(verdict, now, model=model)
        return verdict

    def give_up(self, reason: str, now: float) -> None:
        """Fail what waits; what comes later is tried anew."""
        patience = self.recovery.patience
        error = patience.unavailable(reason)
        patience.start_anew()
        self._say_given_up(error, now, final=False)
        self.fail_waiting(error, now)

    def close(self, now: float) -> None:
        """Send nothing from now on, fail what waits, and break off what only costs time."""
        reason = RunStopped("The gateway was closed while requests were waiting; everything answered is kept.")
        self._verdicts.close(reason)
        self.fail_waiting(reason, now)
        if self._calls.cost_time:
            for flight in self._flights:
                if flight.home is self._home:
                    self._break_off(flight, reason)

    def fail_waiting(self, error: BaseException, now: float, *, model: str | None = None) -> None:
        """Fail every flight of this lane, or of one model on it, that is not out."""
        for flight in self._flights:
            if flight.home is not self._home or flight.state not in WAITING_STATES:
                continue
            if model is None or flight.request.model == model:
                self.fail(flight, error, now)

    def _say_given_up(self, error: RunStopped, now: float, *, final: bool) -> None:
        self._around.emit(events.LaneGaveUp(lane=self._home.name, at=now, reason=str(error), final=final))

    # Where they go

    def _ended(self, call: Call) -> None:
        self._calls.ended(call)
        self._around.wake()

    def _meet(self, flight: Flight, outcome: Outcome, now: float, *, keeps_slot: bool = False) -> None:
        """What becomes of a flight whose call failed: it ends, goes again at once or later, or waits for a proof."""
        if isinstance(outcome, BaseException):
            self._flights.fail(flight, outcome)
        elif outcome <= 0:
            self._home.resume(flight, now)
        else:
            flight.state, flight.since = State.BACKING_OFF, now
            if outcome == UNTIL_SURE:
                self._waiting.stand_in(self.recovery.doubt.suspects, flight)
            else:
                self._waiting.back_off(flight, now + outcome, keeps_slot=keeps_slot)

    def _refused(self, flight: Flight, error: BaseException) -> None:
        """A call of it was: there is no answer, unless another call has brought one, or is about to."""
        if flight.state is State.FLYING:
            self._calls.abort_all(flight, UNWANTED)
            if not flight.out:
                self._flights.fail(flight, error)

    def _break_off(self, flight: Flight, reason: RunStopped) -> None:
        """Nobody may join it any more, unless its answer is here already."""
        if flight.state is State.FLYING:
            self._calls.abort_all(flight, reason)
            if not flight.out:
                self._flights.drop(flight)

    def _take_out(self, flight: Flight, now: float) -> None:
        """Remove a flight from wherever it waits, and release what is reserved for it."""
        self._calls.claiming -= flight.state is State.CLAIMING
        self._waiting.remove(flight)
        self._books.release(flight, now)


def _was_its_last(flight: Flight) -> bool:
    """Whether nothing more is to come of a flight whose call has just ended, nor has come."""
    return flight.state is State.FLYING and not flight.out
