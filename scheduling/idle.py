"""A clock that runs while a lane has nothing to do."""


class IdleClock:
    """Seconds in which there were free slots and nothing in the queue; synchronous, told the time."""

    __slots__ = ("_seconds", "_since")

    def __init__(self, now: float) -> None:
        self._since: float | None = now
        self._seconds = 0.0

    def note(self, idle: bool, now: float) -> None:
        """From now on the lane is idle, or is not."""
        if idle and self._since is None:
            self._since = now
        elif not idle and self._since is not None:
            self._seconds += now - self._since
            self._since = None

    def seconds(self, now: float) -> float:
        """So far."""
        return self._seconds + (now - self._since if self._since is not None else 0.0)
