"""What becomes of requests whose calls failed, and of endpoints that fail: who tries again, when, and who does not.

Synchronous, told the time. Decides by the table in `retry`; the lane's `Unanswered` does it.
"""

import random
from math import inf

from metaspo.backends import BackendError, FatalError, HalfAnswer, TransientError, UnknownModel, Unreachable, WrongForm
from metaspo.backends.alike import told_once
from metaspo.backends.counted import counted
from metaspo.scheduling import events, retry
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.lanes.calls_out import CallsOut
from metaspo.scheduling.lanes.doubt import Doubt, given_up
from metaspo.scheduling.lanes.endpoints import Endpoint, Endpoints, Health
from metaspo.scheduling.lanes.flight import Call, Flight, Home, Refusal
from metaspo.scheduling.lanes.patience import Patience, describe
from metaspo.scheduling.lanes.surroundings import Surroundings
from metaspo.scheduling.lanes.verdicts import Verdicts
from metaspo.scheduling.settings import LaneSettings

Outcome = BaseException | float
"""Of a flight whose call failed: the error it ends with, or the seconds until it tries again."""

UNTIL_SURE = inf
"""Seconds of a flight that waits until the doubt about its server is over."""

SILENT = 5.0  # seconds without an answer, after which it is told that a lane waits
DOUBTED = 4  # attempts after which it is asked whether the server answers others, if nobody else asks it

UNWANTED = RunStopped("Nobody waits for this call any more.")


class Recovery:
    """Decides what follows from the failed calls of one lane.

    Attributes:
        patience: how long it goes on while nothing succeeds; doubt: what shows whether its server answers; verdicts:
            what stops it.
    """

    __slots__ = ("_calls", "_emit", "_endpoints", "_lane", "_rng", "doubt", "patience", "verdicts")

    def __init__(
        self, home: Home, settings: LaneSettings, around: Surroundings, *, endpoints: Endpoints, calls: CallsOut
    ) -> None:
        self._lane = home.name
        self._calls = calls
        self._endpoints = endpoints
        self._emit = around.emit
        self._rng = random.Random(f"retries of {home.name}")  # nothing but waiting times depends on its draws
        self.patience = Patience(home.name, settings)
        self.doubt = Doubt(home, around)
        self.verdicts = Verdicts(home.name, final=not around.many_programs)

    def __repr__(self) -> str:
        return f"<Recovery of {self._lane!r} {self.verdicts} {self.doubt}>"

    def answered(self, call: Call, now: float) -> None:
        """A call was: its server answers, and its endpoint."""
        waited = self.patience.told
        self.patience.succeeded()
        mended = self.verdicts.answered(call.flight.request.model)
        self.doubt.answered(call.flight)
        up = call.endpoint.succeed(call.flight.key, now)
        if up:
            self._endpoints.look_next(call.endpoint, now)
            self._emit(events.EndpointUp(lane=self._lane, at=now, endpoint=call.endpoint.name))
        if mended or (waited and not up):
            self._emit(events.LaneAnswers(lane=self._lane, at=now))
        for endpoint, refusal in call.flight.refused_by.items():
            if endpoint.failed_alone(call.flight.key, since=refusal.at):
                self.rest(endpoint, refusal.error, now)

    def heard(self, error: BaseException) -> None:
        """A call failed: its server shows signs of life, unless nobody could be reached."""
        self.patience.heard = self.patience.heard or not isinstance(error, Unreachable)

    def meant_by(self, error: BaseException, call: Call) -> BaseException:
        """What a failure is where there are several replicas: what one says of itself need not hold for the others, and
        where it ends something, what is wrong with them is told, too.

        Where many programs ask, the model and the form are of one request, for which no replica is waited for.
        """
        if not isinstance(error, FatalError):
            return error
        closed = [*call.flight.closed_at(), call.endpoint]
        of_request = not self.verdicts.final and isinstance(error, UnknownModel | WrongForm)
        if of_request:
            return retry.NotHere(describe(error)) if self._endpoints.another(closed) else error
        call.endpoint.trouble = error
        elsewhere = self._endpoints.may_answer(closed)
        return retry.NotHere(describe(error)) if elsewhere else self._with_others(error, call.endpoint)

    def _with_others(self, error: FatalError, endpoint: Endpoint) -> FatalError:
        """The same error, naming each other replica of which the same is known, or what else is."""
        troubles = [
            (other.name, other.says(other.trouble))
            for other in self._endpoints.all
            if other is not endpoint and other.trouble is not None
        ]
        if not troubles:
            return error
        words = " ".join(told_once([(endpoint.name, endpoint.says(error)), *troubles]))
        named = type(error).__new__(type(error), words)  # a backend's own kind may take anything in `__init__`
        named.__dict__.update(vars(error))
        named.__cause__ = error
        return named

    def decide(self, call: Call, error: TransientError, now: float) -> retry.Decision:
        """What the table says of a failure."""
        flight, endpoint, past = call.flight, call.endpoint, call.flight.retries
        self.patience.met(error)
        another = self._endpoints.another({*flight.refused_by, endpoint})
        decision = retry.decide(
            error,
            failures=past.failures,
            quick_retries=past.quick,
            rng=self._rng,
            alone=endpoint.works_without(flight.key, failing_since=past.began_at),
            another=another,
            standby=not endpoint.standby and self._endpoints.may_answer(flight.closed_at(), standby=True),
            resting=another and endpoint.health is not Health.UP,
        )
        if decision.uses_attempt:
            endpoint.faulted(flight.key)
        if not decision.quick:
            flight.refused(endpoint, Refusal(error, now), another=another)
        return decision

    def failed(
        self, call: Call, error: TransientError, decision: retry.Decision, now: float, *, held: float
    ) -> Outcome:
        """Whether and when the flight of a failed call tries again; the failure holds the whole lane for `held`
        seconds. May rest the call's endpoint, doubt the server, and run the patience."""
        flight, patience, past = call.flight, self.patience, call.flight.retries
        on_trial = call.endpoint.health is Health.TRIAL
        rests = self.blames(call, error, decision, now)
        if decision.elsewhere:
            return self.again(flight, error, 0.0, now)
        counts = decision.uses_attempt and (decision.spoke or not rests)
        flight.retries = past.after(counts=counts, quick=decision.quick, wait=decision.wait, now=now)
        if not counts and not decision.quick:
            patience.failing(now)
            # A hold says itself for how long it is.
            if not decision.hold and patience.failing_since is not None and now >= patience.failing_since + SILENT:
                self._say_that_all_wait(now, attempts=0)
        if (stopped := self.verdicts.of(flight.request.model)) is not None:
            return stopped
        if patience.used_up(flight.retries):
            return self._without_attempts(call, past, error, now)
        if reason := patience.reason_to_give_up(flight.retries, error, wait=decision.wait):
            return patience.unavailable(reason)
        wait = self.again(flight, error, decision.wait if decision.wait > held else 0.0, now)
        if not flight.waiters:
            return wait
        if doubtful := not rests and self._is_doubtful(call):
            self._say_that_all_wait(now, attempts=patience.attempts)
        if doubtful or (rests and on_trial and decision.endpoint == "count" and not decision.spoke):
            self.doubt.ask_witness(flight, now)  # a better trial than one more of those that fail
        return wait

    def _say_that_all_wait(self, now: float, *, attempts: int) -> None:
        """Once, until something is answered."""
        patience = self.patience
        if not patience.told:
            patience.told = True
            reason = describe(patience.last_error) if patience.last_error else ""
            told = events.Waiting(lane=self._lane, at=now, patience=patience.seconds, reason=reason, attempts=attempts)
            self._emit(told)

    def blames(self, call: Call, error: TransientError, decision: retry.Decision, now: float) -> bool:
        """Whether a failure gets the call's endpoint rested. Cases: it is gone; several requests failed there, and it
        is not this one that fails while others are answered; it refuses in a trial, and there are others."""
        flight, endpoint, past = call.flight, call.endpoint, call.flight.retries
        match decision.endpoint:
            case "rest":
                rests = True
            case "count":
                rests = (
                    not endpoint.answers_since(past.tried_at)
                    and not endpoint.works_without(flight.key, failing_since=past.began_at)
                    and endpoint.fail(flight.key)
                )
            case "fine":
                refuses = endpoint.health is Health.TRIAL and not decision.quick
                rests = refuses and self._endpoints.another((endpoint,))
        if rests and endpoint.health is not Health.DOWN:
            self.rest(endpoint, error, now, limited=decision.wait if decision.elsewhere else 0.0)
        return rests

    def _is_doubtful(self, call: Call) -> bool:
        """Whether a request has used up some of its attempts while nothing at all was answered, nor is being worked on:
        who takes longer for an answer than this one for its failures has yet to say anything."""
        past = call.flight.retries
        if past.attempts < DOUBTED or past.refused_for or call.endpoint.answers_since(past.began_at):
            return False
        return not self._calls.out_since(past.began_at)

    def hangs(self, call: Call, error: TransientError, now: float) -> None:
        """A call hangs and is asked again. Its endpoint rests if several do of which it has answered none since, while
        another endpoint answers."""
        endpoint = call.endpoint
        silent = self._endpoints.silent(endpoint, call.sent) and endpoint.fail(call.flight.key)
        if silent and endpoint.health is not Health.DOWN:
            self.rest(endpoint, error, now)

    def again(self, flight: Flight, error: TransientError, wait: float, now: float) -> Outcome:
        """The flight tries again after so many seconds, if anybody waits for it; else it was left to finish into the
        cache, and has not."""
        if (stopped := self.verdicts.of(flight.request.model)) is not None:
            return stopped
        if not flight.waiters:
            return UNWANTED
        flight.payer.tally(self._lane).retries += 1
        self._emit(events.Retried(lane=self._lane, at=now, attempt=flight.calls, wait=wait, reason=describe(error)))
        return wait

    def _without_attempts(self, call: Call, past: retry.Retries, error: TransientError, now: float) -> Outcome:
        """A request has used up its attempts: is it to blame, or the server? Cases: that has answered others since
        the try before; it is asked once more what it could answer before, and that decides; nothing says that it ever
        answers, or this is the proof itself."""
        flight = call.flight
        since = call.sent if past.tried_at is None else past.tried_at
        flight.verdict = f"no answer in {counted(flight.retries.attempts, 'try', 'tries')} (last: {describe(error)})"
        if not flight.waiters:
            return UNWANTED
        if call.endpoint.answers_since(since) and not self.doubt.is_proof(flight):
            return given_up(flight)
        if self.doubt.ask_witness(flight, now):
            return UNTIL_SURE
        return self.patience.unavailable(f"a request failed {counted(flight.retries.attempts, 'time')}")

    def rest(self, endpoint: Endpoint, error: BackendError, now: float, *, limited: float = 0.0) -> None:
        """Send nothing to an endpoint until it answers a probe, nor for as many seconds as its limit asks for."""
        wait = endpoint.rest(now, limited=limited)
        endpoint.trouble = error
        self._endpoints.look_next(endpoint, now + wait)
        name = endpoint.name
        self._emit(events.EndpointDown(lane=self._lane, at=now, endpoint=name, wait=wait, reason=endpoint.says(error)))
        if self._endpoints.none_up():
            attempts = self.patience.attempts if isinstance(error, HalfAnswer) else 0
            self._emit(events.Waiting(lane=self._lane, at=now, patience=self.patience.seconds, attempts=attempts))
        self.patience.met(error)
