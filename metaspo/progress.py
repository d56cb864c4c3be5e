"""How a run's progress is shown: live on a terminal, a line now and then elsewhere. Always on standard error."""

import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from metaspo.backends.counted import counted
from metaspo.backends.secrets import without_secrets
from metaspo.engine import Observer
from metaspo.engine.journal.address import Address
from metaspo.engine.money import show_dollars
from metaspo.engine.runtime.time_left import TimeLeft
from metaspo.scheduling import EndpointDown, EndpointUp, Event, HeldBack, LaneAnswers, Waiting
from metaspo.scheduling.telemetry.event_words import sentence_of

LINE_EVERY = 15.0  # seconds between lines where there is no terminal
LONG_WAIT = 20.0  # seconds of being held back that are worth a line
OFTEN = 20  # times that a lane is held back, after which it is worth one
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
BAR = 20  # cells at most
SHORTEST, NAME = 8, 24  # cells of a name where there is little room, and at most

Clock = Callable[[], float]


class ProgressDisplay:
    """Shows any number of runs; use as a context manager and hand `observer(name)` to each run."""

    def __init__(self, console: Console, *, quiet: bool = False, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._quiet = quiet
        self._clock = clock
        self._started = clock()
        self._tenths = 0  # of the model's file, as last said
        self._shown: list[_Live] = []
        self._left = TimeLeft()  # of all runs together
        self._live = Live(self, console=console, refresh_per_second=4, transient=True) if self._is_live else None

    @property
    def _is_live(self) -> bool:
        """On a dumb terminal nothing can be drawn anew."""
        return self._console.is_terminal and not self._console.is_dumb_terminal and not self._quiet

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What is shown now."""
        yield from self.lines(width=options.max_width, height=console.height - 1)

    def lines(self, *, width: int, height: int) -> list[Text]:
        """What is shown now, in so many lines at most: of many runs a total, and those that go on."""
        now = self._clock()
        lines = [_line(text, width) for text in self._total(now, width)] if len(self._shown) > 1 else []
        cheapest_first = sorted(self._shown, key=lambda run: run.left.planned)
        going = [run for run in cheapest_first if not run.done] if len(self._shown) > 1 else self._shown
        for run in going[: max(1, (height - len(lines)) // 2)]:
            lines += [_line(text, width) for text in run.texts(now, width)]
        return lines

    def _total(self, now: float, width: int) -> list[Text]:
        planned = sum(run.left.planned for run in self._shown)
        settled = sum(run.left.settled for run in self._shown)
        done = sum(run.done for run in self._shown)
        self._left.stops = max(run.left.stops for run in self._shown)
        left = f"  {self._left.words(now=now)}" if done < len(self._shown) else ""
        spent = _spent(sum(run.dollars for run in self._shown), sum(run.unpriced for run in self._shown), None)
        name, at = f"all {len(self._shown)} runs", f" {_share(settled, planned)}  {_clock_text(now - self._started)}"
        done_of_all = f"  {done} done"
        below = len(name + at + done_of_all + left + spent) >= width
        text = Text.assemble(at, "" if below else done_of_all, (left, "cyan"), "" if below else spent)
        line = _behind_bar(name, text, settled, planned, width)
        return [line, Text(done_of_all + spent)] if below else [line]

    def downloaded(self, done: int, total: int) -> None:
        """Shows how far a model's file has been fetched, in bytes."""
        tenths = 10 * done // max(total, 1)
        if not self._quiet and tenths > self._tenths:
            self._tenths = tenths
            self._console.print(f"fetching the model: {done >> 20} of {total >> 20} MiB")

    def warn(self, text: str) -> None:
        """Shows what has to be known even where no progress is shown."""
        self._console.print(Text(f"warning: {without_secrets(text)}"), soft_wrap=not self._console.is_terminal)

    def observer(self, name: str) -> Observer:
        """An observer that shows one run."""
        if self._quiet:
            return Observer()
        if not self._is_live:
            return _Lines(self._console, name, self._clock)
        self._shown.append(_Live(self._console, name, self._clock, self._left))
        return self._shown[-1]


class _Said(Observer):
    """Keeps how far a run is, and says in a line what a person has to know of the models' servers."""

    def __init__(self, console: Console, name: str, clock: Clock) -> None:
        self._console = console
        self._name = name
        self._clock = clock
        self._down: set[str] = set()  # what is known to be down: probes fail again and again, which is no news
        self._held: Counter[str] = Counter()
        self.left = TimeLeft()

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self.left.begin(base_calls, optimizer_calls, now=self._clock())

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        self.left.settle(base_calls, optimizer_calls, now=self._clock())

    def found(self, calls: int) -> None:
        self.left.found = calls

    def stops_in(self, seconds: float) -> None:
        self.left.stops = self._clock() + seconds

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}")

    def lane(self, event: Event) -> None:
        match event:
            case EndpointDown(endpoint=endpoint) if endpoint not in self._down:
                self._down.add(endpoint)
                self._say(sentence_of(event))
            case EndpointUp(endpoint=endpoint):
                self._down -= {endpoint, event.lane}
                self._say(sentence_of(event))
            case LaneAnswers(lane=lane):
                self._down.discard(lane)
                self._say(sentence_of(event))
            case Waiting(lane=lane) if lane not in self._down:
                self._down.add(lane)
                self._say(sentence_of(event))
            case HeldBack(wait=wait, lane=lane, reason=reason):
                self._held[lane] += 1
                if wait >= LONG_WAIT:
                    self._say(sentence_of(event))
                elif self._held[lane] == OFTEN:
                    self._say(f"calls to the {lane} model were held back {OFTEN} times by now; none is lost: {reason}")
            case _:
                pass

    def _say(self, text: str) -> None:
        self._console.print(Text(f"{self._name}: {without_secrets(text)}"), soft_wrap=not self._console.is_terminal)


class _Live(_Said):
    """Two lines that are drawn anew several times a second."""

    def __init__(self, console: Console, name: str, clock: Clock, every: TimeLeft) -> None:
        """`every` is of all runs that are shown together."""
        super().__init__(console, name, clock)
        self._every = every
        self._started = clock()
        self._stage = "starting"
        self._first: float | None = None
        self._best = self._now = 0.0
        self._asked = 0
        self._asked_since = 0.0
        self.done = False
        self.dollars, self.unpriced = 0.0, 0
        self._dollars_left: float | None = None

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        super().planned(base_calls=base_calls, optimizer_calls=optimizer_calls)
        self._every.more(base_calls + optimizer_calls, now=self._clock())

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        before = self.left.settled
        super().calls_done(base_calls=base_calls, optimizer_calls=optimizer_calls)
        self._every.settle(self.left.settled - before, now=self._clock())

    def found(self, calls: int) -> None:
        self._every.found += calls - self.left.found
        super().found(calls)

    def stage(self, name: str) -> None:
        self._stage = name

    def new_best(self, *, score: float, address: str) -> None:
        self._first = score if self._first is None else self._first
        self._best, self._now = max(score, self._best), score

    def spent(self, *, dollars: float, unpriced: int, left: float | None) -> None:
        self.dollars, self.unpriced, self._dollars_left = dollars, unpriced, left

    def optimizer_asked(self) -> None:
        if not self._asked:
            self._asked_since = self._clock()
        self._asked += 1

    def optimizer_answered(self) -> None:
        self._asked -= 1

    def finished(self) -> None:
        self._stage, self.done = "done", True
        self._every.settle(self.left.planned - self.left.settled, now=self._clock())

    def texts(self, now: float, width: int) -> list[Text]:
        """How far it is, on one line as far as it goes; what it is at, behind what was spent if that had no room."""
        left, elapsed = self.left, now - self._started
        first = Text(f" {_share(left.settled, left.planned)}  {_clock_text(elapsed)}")
        if not self.done:
            first.append(f"  {left.words(now=now)}", style="cyan")
        spent = _spent(self.dollars, self.unpriced, self._dollars_left)
        below = f"{spent.strip()}; " if len(self._name[:SHORTEST]) + 1 + len(first) + len(spent) > width else ""
        first.append("" if below else spent)
        room = max(SHORTEST, min(NAME, width - len(first) - 1))
        name = self._name if len(self._name) <= room else f"{self._name[: room - 1]}…"
        second = Text(f"  {'' if self.done else SPINNER[int(now * 4) % len(SPINNER)] + ' '}{below}")
        second.append(self._stage, style="dim")
        if self._asked:
            prompts = counted(self._asked, "prompt")
            second.append(f"; {prompts} being written, {_clock_text(now - self._asked_since)}", style="dim")
        if self._first is not None:
            where = "" if self._asked else " (train examples)"
            fallen = f", now {self._now:.1%}" if self._now < self._best else ""
            second.append(f"; best {self._best:.1%}{fallen}, at first {self._first:.1%}{where}", style="green")
        return [_behind_bar(name, first, left.settled, left.planned, width), second]


class _Lines(_Said):
    """Stages and scores as they come, and how far the run is every few seconds."""

    def __init__(self, console: Console, name: str, clock: Clock) -> None:
        super().__init__(console, name, clock)
        self._spoke = clock()
        self._best = self._now = -1.0

    def stage(self, name: str) -> None:
        self._say(name)

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        super().calls_done(base_calls=base_calls, optimizer_calls=optimizer_calls)
        now = self._clock()
        if now - self._spoke >= LINE_EVERY:
            left = self.left
            self._say(f"{_share(left.settled, left.planned)} of the plan settled, {left.words(now=now)}")

    def new_best(self, *, score: float, address: str) -> None:
        if score > self._best:
            self._best = score
            self._say(f"best score on the source tasks' train splits {score:.1%} ({Address.parse(address).words})")
        elif score < self._now:  # a system prompt was kept under other user prompts than the best
            self._say(f"score on the source tasks' train splits now {score:.1%} ({Address.parse(address).words})")
        self._now = score

    def _say(self, text: str) -> None:
        self._spoke = self._clock()
        super()._say(text)


def _line(text: Text, width: int) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    text.truncate(width, overflow="ellipsis")
    return text


def _behind_bar(name: str, text: Text, settled: int, planned: int, width: int) -> Text:
    """A line that begins with a name and a bar as long as there is room for."""
    cells = max(0, min(BAR, width - len(name) - 1 - len(text)))
    full = round(cells * settled / planned) if planned else 0
    return Text.assemble((f"{name} ", "bold"), ("━" * full, "green"), ("─" * (cells - full), "dim"), text)


def _share(settled: int, planned: int) -> str:
    return f"{settled / planned:.0%}" if planned else "0%"


def _spent(dollars: float, unpriced: int, left: float | None) -> str:
    """What was spent so far; nothing where no price is known, or nothing costs anything."""
    if not dollars:
        return ""
    return f"  {show_dollars(dollars, unpriced=unpriced)}{'' if left is None else f' (${left:.2f} left)'}"


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
