"""Who is told how a run goes."""

from metaspo.engine.journal.warn import log_warning
from metaspo.scheduling import Event


class Observer:
    """Is told how a run goes; this one ignores it, all but warnings. A progress display overrides what it shows."""

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        """The run starts; at most so many calls are ahead."""

    def stops_in(self, seconds: float) -> None:
        """A cap on time stops it in so many seconds, unless it has its result by then; comes first."""

    def stage(self, name: str) -> None:
        """A stage begins, e.g. "iteration 1 of 3: outer loop"."""

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        """So many of the planned calls are answered, or no longer needed."""

    def found(self, calls: int) -> None:
        """So many of the planned calls that are answered by now were in the cache, as near as is known: a call that
        counts once may be several, as of a program or for a grade. Those that `calls_done` tells of next included."""

    def new_best(self, *, score: float, address: str) -> None:
        """After a selection: the mean over the source tasks of each one's best prompts on its train split."""

    def spent(self, *, dollars: float, unpriced: int, left: float | None) -> None:
        """What this session has spent, about once a second; `unpriced` calls are not in it, `left` of a cap is."""

    def optimizer_asked(self) -> None:
        """A call of the optimizer begins."""

    def optimizer_answered(self) -> None:
        """A call of the optimizer has ended, however it did."""

    def lane(self, event: Event) -> None:
        """Something changed on a lane: an endpoint went down, a limit was hit, a call is tried again."""

    def warn(self, text: str) -> None:
        """Something the user has to know, though the run goes on: a sentence for the log unless you show it."""
        log_warning(text)

    def finished(self) -> None:
        """The run has its result."""
