"""A clock that can be stopped, to add up the seconds for which something held."""


class Stopwatch:
    """Synchronous, told the time.

    Attributes:
        running: whether it runs.
    """

    __slots__ = ("_seconds", "_since", "running")

    def __init__(self) -> None:
        self.running = False
        self._since = 0.0
        self._seconds = 0.0

    def run(self, running: bool, now: float) -> None:
        """Let it run from now on, or stop it."""
        if self.running:
            self._seconds += now - self._since
        self._since, self.running = now, running

    def seconds(self, now: float) -> float:
        """So far."""
        return self._seconds + (now - self._since if self.running else 0.0)
