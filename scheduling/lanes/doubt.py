"""Whether a request without attempts left is to blame for that, or its server.

Where nothing else is answered meanwhile, one request of the same model that was answered before, the witness, is asked
once more (as a canary), and that decides about all who are in doubt. Synchronous, told the time.
"""

from collections.abc import Callable, Sequence
from contextvars import Context
from itertools import count

from metaspo.backends import Completion, Request
from metaspo.cache import request_key
from metaspo.scheduling import events
from metaspo.scheduling.budget.account import Account
from metaspo.scheduling.errors import BudgetExhausted, GivenUp, LaneStopped, RunStopped
from metaspo.scheduling.lanes.flight import Flight, Home
from metaspo.scheduling.lanes.surroundings import Surroundings
from metaspo.scheduling.queue import PriorityQueue, Ticket

LAST_NUMBER = -2  # of the places of proofs in the lane's queue: before whatever else is asked


class Doubt:
    """The requests of one lane that may be to blame for their failures, and what is to show it.

    Attributes:
        suspects: flights without attempts left, the server being in doubt.
    """

    __slots__ = ("_emit", "_flights", "_home", "_numbers", "_proof", "_wake", "_witnesses", "suspects")

    def __init__(self, home: Home, around: Surroundings) -> None:
        self._home = home
        self._flights = around.flights
        self._emit = around.emit
        self._wake = around.wake
        # By model what was answered last, now or in an earlier session: one of some requests, made if need be.
        self._witnesses: dict[str, tuple[Sequence[Request], int]] = {}
        self._proof: Flight | None = None  # asks a witness once more
        self._numbers = count(LAST_NUMBER, -1)  # one that proves nothing any more may be on its way still
        self.suspects: PriorityQueue[Flight] = PriorityQueue()

    def __repr__(self) -> str:
        return f"<Doubt suspects={len(self.suspects)} proof={self._proof}>"

    def answered_before(self, model: str, requests: Sequence[Request], position: int) -> None:
        """The model has answered one of these, some time: asked again, it shows whether the server answers at all."""
        self._witnesses[model] = requests, position

    def answered(self, flight: Flight) -> None:
        """The server answers: what has no attempts left is to blame for that."""
        self.answered_before(flight.request.model, (flight.request,), 0)
        if self.suspects or flight is self._proof:
            self._proof = None
            for suspect in self._clear():
                self._flights.fail(suspect, given_up(suspect))

    def is_proof(self, flight: Flight) -> bool:
        """Whether it is the witness that is asked once more."""
        return flight is self._proof

    def ask_witness(self, flight: Flight, now: float) -> bool:
        """Have the flight's witness asked once more, unless one is; false where there is none to ask, or it is asked
        for its own sake, so that its answer would say nothing."""
        among = self._witnesses.get(flight.request.model)
        if among is None or self.is_proof(flight):
            return False
        if self._proof is not None:
            return True
        requests, position = among
        witness = requests[position]
        key = request_key(witness)
        if self._flights.get(key) is not None:
            return False
        self._proof = Flight(key, witness, _Proof(flight.payer, self._failed), home=self._home, priority=())
        self._flights.add(self._proof)
        self._proof.ticket = Ticket((), next(self._numbers))
        self._emit(events.Doubted(lane=self._home.name, at=now, key=key))
        self._home.resume(self._proof, now)
        return True

    def ask_anew(self, now: float) -> list[Flight]:
        """Where a witness could not be asked, for a reason of its own or of who was to pay: have another one asked, on
        another account. Returns those for whom there is none."""
        alone: list[Flight] = []
        if self.suspects and self._proof is None:
            for suspect in self._clear():
                if self.ask_witness(suspect, now):
                    suspect.line, suspect.line_ticket = self.suspects, self.suspects.push(suspect)
                else:
                    alone.append(suspect)
        return alone

    def _failed(self, proof: Flight, error: BaseException) -> None:
        """Cases: the server does not answer, or everything ends: whoever has no attempts left is told the same; it was
        the witness, its model or its payer, and says nothing of others: see `ask_anew`; it was to prove something no
        more."""
        if not self.is_proof(proof):
            return
        self._proof = None
        if isinstance(error, RunStopped) and not isinstance(error, BudgetExhausted | LaneStopped):
            for suspect in self._clear():
                self._flights.fail(suspect, error)
            return
        if not isinstance(error, BudgetExhausted):
            self._witnesses.pop(proof.request.model, None)
        self._wake()

    def _clear(self) -> list[Flight]:
        return [self.suspects.pop() for _ in range(len(self.suspects))]


class _Proof:
    """Waits for the answer of a request that is asked again to see whether the server answers at all."""

    def __init__(self, account: Account, failed: Callable[[Flight, BaseException], None]) -> None:
        self.account = account
        self.context: Context | None = None
        self._failed = failed

    def asked(self, flight: Flight) -> int:
        """One call."""
        return 1

    def resolve(self, flight: Flight, completion: Completion) -> None:
        """Nothing more: its lane knew when the answer came."""

    def fail(self, flight: Flight, error: BaseException) -> None:
        """Hand on that the witness was not answered, or could not be asked."""
        self._failed(flight, error)


def given_up(flight: Flight) -> GivenUp:
    """The error for a request that is to blame itself."""
    return GivenUp(f"{flight.verdict}, while the server answered other requests")
