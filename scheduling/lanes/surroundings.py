"""What is around the decisions of one lane: whose flights it has, who hears of it, and who drives it."""

from collections.abc import Callable
from typing import NamedTuple

from metaspo.scheduling import events
from metaspo.scheduling.lanes.flight import Flight, State
from metaspo.scheduling.lanes.single_flight import FlightTable


def _unclaimed(flight: Flight) -> State | None:
    """No other process asks the same."""


class Surroundings(NamedTuple):
    """Of one lane of an open gateway.

    Attributes:
        flights: the gateway's.
        emit: is told what users may want to see; wake: that something may start.
        claim: says where a flight goes whose call may not be made now; None if it may (see `Claimer`).
        many_programs: the form of one request says nothing of the next, and no verdict is for good.
    """

    flights: FlightTable
    emit: Callable[[events.Event], None]
    wake: Callable[[], None]
    claim: Callable[[Flight], State | None] = _unclaimed
    many_programs: bool = False
