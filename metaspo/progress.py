"""How a run's progress is shown: a bar on a terminal, a line now and then elsewhere. Always on standard error."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from metaspo.engine import Observer
from metaspo.scheduling import EndpointDown, EndpointUp, Event, HeldBack, Waiting

LINE_EVERY = 15.0  # seconds between lines where there is no terminal
LONG_WAIT = 20.0  # seconds of being held back that are worth a line


class Remaining(ProgressColumn):
    """The time left at the speed so far, if no candidate is dropped: it only gets shorter when one is."""

    def render(self, task: Task) -> Text:
        """Minutes and seconds, or a dash while nothing is known."""
        left = task.time_remaining
        countdown = "–:––" if left is None else f"{int(left) // 60}:{int(left) % 60:02d}"
        return Text(f"at most {countdown} left", style="cyan")


class ProgressDisplay:
    """Shows any number of runs; use as a context manager and hand `observer(name)` to each run."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tenths = 0  # of the model's file, as last said
        if console.is_terminal and not quiet:
            self._bars = Progress(
                TextColumn("[bold]{task.fields[run]}[/bold]"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                Remaining(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[best]}", style="green"),
                TextColumn("{task.description}", style="dim"),
                console=console,
                speed_estimate_period=120,
                refresh_per_second=4,
            )

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def downloaded(self, done: int, total: int) -> None:
        """Shows how far a model's file has been fetched, in bytes."""
        tenths = 10 * done // max(total, 1)
        if not self._quiet and tenths > self._tenths:
            self._tenths = tenths
            self._console.print(f"fetching the model: {done >> 20} of {total >> 20} MiB", highlight=False)

    def warn(self, text: str) -> None:
        """Shows what has to be known even where no progress is shown."""
        self._console.print(f"warning: {text}", highlight=False, markup=False)

    def observer(self, name: str) -> Observer:
        """A observer that shows one run."""
        if self._quiet:
            return Observer()
        return _Bar(self._bars, name) if self._bars else _Lines(self._console, name)


class _Said(Observer):
    """Says in a line what a person has to know of the models' servers; the rest is in the journal."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._down: set[str] = set()  # what is known to be down: probes fail again and again, which is no news

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}")

    def lane(self, event: Event) -> None:
        match event:
            case EndpointDown(endpoint=endpoint, reason=reason) if endpoint not in self._down:
                self._down.add(endpoint)
                self._say(f"{endpoint} does not answer: {reason}")
            case EndpointUp(endpoint=endpoint):
                self._down -= {endpoint, event.lane}
                self._say(f"{endpoint} answers again")
            case Waiting(lane=lane, patience=patience) if lane not in self._down:
                self._down.add(lane)
                self._say(f"no server of the {lane} model answers; waiting up to {patience:.0f} s")
            case HeldBack(lane=lane, wait=wait, reason=reason) if wait >= LONG_WAIT:
                self._say(f"calls to the {lane} model are held back for {wait:.0f} s: {reason}")
            case _:
                pass

    def _say(self, text: str) -> None:
        self._console.print(f"{self._name}: {text}", highlight=False, soft_wrap=True, markup=False)


class _Bar(_Said):
    def __init__(self, bars: Progress, name: str) -> None:
        super().__init__(bars.console, name)
        self._bars = bars
        self._task = bars.add_task("starting", total=None, run=name, best="")

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self._bars.update(self._task, total=base_calls + optimizer_calls)

    def stage(self, name: str) -> None:
        self._bars.update(self._task, description=name)

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        self._bars.advance(self._task, base_calls + optimizer_calls)

    def new_best(self, *, score: float, address: str) -> None:
        self._bars.update(self._task, best=f"best {score:.1%}")

    def finished(self) -> None:
        self._bars.update(self._task, description="done", completed=self._bars.tasks[self._task].total or 0)


class _Lines(_Said):
    """Stages and scores as they come, and how far the run is every few seconds."""

    def __init__(self, console: Console, name: str) -> None:
        super().__init__(console, name)
        self._planned = 0
        self._settled = 0
        self._started = self._said = time.monotonic()

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self._planned = base_calls + optimizer_calls

    def stage(self, name: str) -> None:
        self._say(name)

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        self._settled += base_calls + optimizer_calls
        now = time.monotonic()
        if now - self._said < LINE_EVERY:
            return
        left = (now - self._started) / self._settled * (self._planned - self._settled)
        self._say(f"{self._settled} of at most {self._planned} calls, at most {left / 60:.1f} min left")

    def new_best(self, *, score: float, address: str) -> None:
        self._say(f"best score on the source tasks' train splits {score:.1%} ({address})")

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        super()._say(text)
