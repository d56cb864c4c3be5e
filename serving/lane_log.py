"""The server's log of what its lanes do; what becomes of single requests is in `/metrics` alone."""

import logging
from typing import Final

from metaspo.scheduling import BudgetReached, Doubted, EndpointDown, EndpointUp, Event, LaneGaveUp, Retried, Waiting
from metaspo.scheduling.event_words import sentence_of

LOG = logging.getLogger(__name__)
OF_ONE_REQUEST: Final = (Doubted, Retried)


class LaneLog:
    """A gateway's listener. That something is down is said once: probes fail again and again."""

    def __init__(self) -> None:
        self._down: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Log one event."""
        LOG.log(self._level(event), "%s", sentence_of(event))

    def _level(self, event: Event) -> int:
        match event:
            case EndpointUp():
                self._down -= {event.endpoint, event.lane}
                return logging.INFO
            case EndpointDown() | Waiting():
                what = event.endpoint if isinstance(event, EndpointDown) else event.lane
                level = logging.DEBUG if what in self._down else logging.WARNING
                self._down.add(what)
                return level
            case BudgetReached() | LaneGaveUp():
                return logging.WARNING
        return logging.DEBUG if isinstance(event, OF_ONE_REQUEST) else logging.INFO
