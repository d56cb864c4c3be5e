"""The server's log of what its lanes do, and of what its clients are not told; what becomes of single requests is
otherwise in `/metrics` alone."""

import asyncio
import logging
from typing import Final

from metaspo.scheduling import (
    BudgetReached,
    Doubted,
    EndpointDown,
    EndpointUp,
    Event,
    LaneAnswers,
    LaneGaveUp,
    Retried,
    Waiting,
)
from metaspo.scheduling.telemetry.event_words import sentence_of

LOG = logging.getLogger(__name__)
SAID_AGAIN_AFTER = 60.0  # seconds
OF_ONE_REQUEST: Final = (Doubted, Retried)


class LaneLog:
    """A gateway's listener. That something is down is said once: probes fail again and again, and clients ask again."""

    def __init__(self) -> None:
        self._down: set[str] = set()
        self._capped: set[str] = set()
        self._said: dict[str, float] = {}  # of what clients are not told the latest, and when

    def __call__(self, event: Event) -> None:
        """Log one event."""
        if isinstance(event, LaneGaveUp):
            self._note(event.reason)
        LOG.log(self._level(event), "%s", sentence_of(event))

    def withheld(self, error: BaseException, *, mistake: bool = False) -> None:
        """Log why a client had no answer, where it was not told and the log does not say so; `mistake`: in here."""
        if self._note(str(error)):
            LOG.warning("a request has no answer: %s", error, exc_info=error if mistake else None)

    def _note(self, words: str) -> bool:
        """Note that they are said now; whether they were not said lately."""
        now = asyncio.get_running_loop().time()
        self._said = {said: at for said, at in self._said.items() if now < at + SAID_AGAIN_AFTER}
        lately = words in self._said
        self._said.setdefault(words, now)
        return not lately

    def _level(self, event: Event) -> int:
        match event:
            case EndpointUp():
                self._down -= {event.endpoint, event.lane}
                return logging.INFO
            case LaneAnswers():
                self._down.discard(event.lane)
                return logging.INFO
            case EndpointDown() | Waiting():
                what = event.endpoint if isinstance(event, EndpointDown) else event.lane
                level = logging.DEBUG if what in self._down else logging.WARNING
                self._down.add(what)
                return level
            case BudgetReached():
                level = logging.DEBUG if event.account in self._capped else logging.WARNING
                self._capped.add(event.account)
                return level
            case LaneGaveUp():
                return logging.WARNING
        return logging.DEBUG if isinstance(event, OF_ONE_REQUEST) else logging.INFO
