"""Hands what the lanes do to the runs that are going on: into their journals, and to their observers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from metaspo.engine.journal.events import LaneEvent
from metaspo.engine.journal.journal import Journal
from metaspo.engine.runtime.observer import Observer
from metaspo.scheduling import Event

Listener = Callable[[Event], None]


class LaneEvents:
    """A gateway's `on_event` that any number of runs can listen to."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def __call__(self, event: Event) -> None:
        """Tell everyone who listens."""
        for listener in tuple(self._listeners):
            listener(event)

    @contextmanager
    def heard_by(self, journal: Journal, observer: Observer) -> Iterator[None]:
        """Write events to a run's journal and tell its observer, for as long as the run goes on."""

        def listen(event: Event) -> None:
            details = asdict(event)
            del details["at"]  # the journal has its own clock
            journal.write(LaneEvent(what=type(event).__name__, details=details))
            observer.lane(event)

        self._listeners.append(listen)
        try:
            yield
        finally:
            self._listeners.remove(listen)
