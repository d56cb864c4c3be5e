"""A cap on time: when its hours are over, what goes on is ended as an interrupt ends it."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import NamedTuple, Self

import anyio

from metaspo.engine.runtime.observer import Observer
from metaspo.engine.runtime.time_left import HOUR
from metaspo.scheduling import BudgetExhausted
from metaspo.scheduling.errors import KEPT


class TimeCap(NamedTuple):
    """Of two, the lesser is over first.

    Attributes:
        over: when it is, by the event loop's clock: what is set on the machine's clock meanwhile changes nothing.
        hours: how long it was.
    """

    over: float = inf
    hours: float = inf

    @classmethod
    def of(cls, hours: float | None) -> Self:
        """From now on; None for no cap."""
        return cls() if hours is None else cls(anyio.current_time() + HOUR * hours, hours)

    def require_left(self) -> None:
        """Raises `BudgetExhausted` when it is over."""
        if anyio.current_time() >= self.over:
            raise self._exhausted

    @contextmanager
    def kept(self, told: Observer | None = None) -> Iterator[None]:
        """Cancel what is still going on when it is over. Raises `BudgetExhausted` then."""
        if told and self.over < inf:
            told.stops_in(self.over - anyio.current_time())
        with anyio.CancelScope(deadline=self.over) as scope:
            yield
        if scope.cancelled_caught:
            raise self._exhausted

    @property
    def _exhausted(self) -> BudgetExhausted:
        hours = f"{self.hours:g} hour{'' if self.hours == 1 else 's'}"
        return BudgetExhausted(
            f"The budget is used up: the {hours} of this start are over",
            cap="hours",
            limit=self.hours,
            spent=self.hours,
            advice=f"{KEPT} start it again or",
        )


UNTIMED = TimeCap()
