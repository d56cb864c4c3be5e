"""What commands share: the two streams, exit codes, and how mistakes and stops are told."""

import errno
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NoReturn, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from metaspo.backends import BackendError, ModelFileUnavailable, NotInstalled
from metaspo.backends.printable import printable
from metaspo.backends.secrets import without_held
from metaspo.cache import StoreError, StoreNotInstalled
from metaspo.engine import ConfigError, PromptError, RunDirectoryError
from metaspo.engine.strategies import StrategyError, UnknownStrategy
from metaspo.engine.tasks import MetricError, TaskError
from metaspo.plain_signs import ERRORS
from metaspo.scheduling import BudgetExhausted, RunStopped


class ExitCode(IntEnum):
    """What a command's exit status says."""

    OK = 0
    FAILED = 1
    MISTAKE = 2
    STOPPED = 3
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit status: 0 done; 1 a fault that is not yours; 2 a mistake in the config, the data, the command or the "
    "environment (a key that is not set); 3 stopped cleanly (budget, server, refused key, cache), run again to go on; "
    "130 interrupted, run again to go on."
)
MISTAKES = (ConfigError, MetricError, PromptError, RunDirectoryError, StrategyError, TaskError, UnknownStrategy)
OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
KEPT = "Everything paid for is kept."
LOST = "Answers that were still on their way are lost, though they may have to be paid for."
GO_ON = "To go on from here, run the same command again"
RAISE_CAP = " with a higher cap in [budget]"

WIDTH = 120  # of tables where there is no terminal
HALF_LINE = 700  # characters of an error's line, of which the middle goes
NARROWEST, WIDEST = 20, 1_000  # that tables are drawn for


class HarmlessConsole(Console):
    """A console that shows what others wrote, models and servers above all, as text: no terminal obeys any of it.

    Whoever reads may leave, as `head` does, or have no room left: then no more is written, and the command goes on to
    its own end. `fault` says why, where it is one that the reader did not mean.
    """

    fault: OSError | None = None

    def _check_buffer(self) -> None:
        """Writes what was printed: at the end of each print, and of a capture, which has nothing to write."""
        try:
            super()._check_buffer()
        except OSError as fault:
            self.give_up(fault)

    def on_broken_pipe(self) -> None:
        """The reader has left."""
        self.give_up(None)

    def write(self, text: str) -> None:
        """Write a text that is harmless already, as it is."""
        if not self.quiet:
            try:
                self.file.write(text)
                self.file.flush()
            except BrokenPipeError:
                self.on_broken_pipe()
            except OSError as fault:
                self.give_up(fault)

    def write_into(self, stream: TextIO) -> None:
        """From here on everything goes to a stream that is no terminal."""
        self.file, self._color_system = stream, None

    def give_up(self, fault: OSError | None) -> None:
        """Nothing more is written, for this fault or because the reader has left."""
        self.quiet, self.fault = True, fault
        try:  # what is still on its way must not be a fault again as the process ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        except (OSError, ValueError):
            return

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders it, which cares for markup only."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def _width(stream: TextIO | None) -> int | None:
    """What COLUMNS says, if a terminal can be as wide, its own, or one for a file; none is where a shell closed it."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and len(told) < 6 and int(told):
        return min(max(int(told), NARROWEST), WIDEST)
    return None if stream is not None and stream.isatty() else WIDTH


def _console(stream: TextIO | None, *, stderr: bool = False) -> HarmlessConsole:
    """Texts are no markup, whoever wrote them, and have no emoji: a model called "x:free:y" keeps its name. What no
    terminal has for COLUMNS and LINES is passed over."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return HarmlessConsole(
        stderr=stderr,
        soft_wrap=True,
        markup=False,
        highlight=False,
        emoji=False,
        width=_width(stream),
        _environ=environment,
    )


out = _console(sys.stdout)
err = _console(sys.stderr, stderr=True)


def say_error(message: str) -> None:
    """One line per fault on standard error, without markup or a traceback; a name of thousands of letters is cut."""
    for line in without_held(message).splitlines():
        shown = line if len(line) <= 2 * HALF_LINE else f"{line[:HALF_LINE]} […] {line[-HALF_LINE:]}"
        _say(Text.assemble(("error:", "bold red"), f" {shown}"))


def say_note(message: str) -> None:
    """What goes on now, on standard error."""
    _say(Text(message))


def say_warning(message: str) -> None:
    """What has to be known though the command goes on, on standard error."""
    _say(Text(f"warning: {without_held(message)}"))


def say_how_to_go_on(*reasons: Exception | str) -> None:
    """What to do after a stop for these reasons, and that everything is kept, unless one of them has said so."""
    kept = "" if any("is kept" in str(reason) for reason in reasons) else f"{KEPT} "
    capped = reasons and all(isinstance(reason, BudgetExhausted) and reason.cap != "hours" for reason in reasons)
    _say(Text(f"{kept}{GO_ON}{RAISE_CAP if capped else ''}."))


def exit_stopped(*reasons: Exception | str) -> NoReturn:
    """Say how to go on after a stop for these reasons. Where something is not installed, and nothing else is wrong, it
    is a mistake, and they have said it all."""
    if reasons and all(isinstance(getattr(reason, "error", None), NotInstalled) for reason in reasons):
        raise typer.Exit(ExitCode.MISTAKE) from None
    say_how_to_go_on(*reasons)
    raise typer.Exit(ExitCode.STOPPED) from None


def _say(text: Text) -> None:
    """Wrapped at words on a terminal, one line elsewhere, for programs that look for it."""
    err.print(text, soft_wrap=not err.is_terminal)


def hold_closed_streams() -> None:
    """A stream that a shell has closed goes nowhere: else a connection has its number, and gets what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free


def take_any_text() -> None:
    """A character that a stream's encoding (latin-1, ASCII) does not have becomes "?" (an arrow "->"), and no fault."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def end_of(status: object) -> object:
    """A command's exit status, once it is known whether its output could be written."""
    if out.fault is None:
        return status
    say_error(f"standard output cannot be written: {out.fault.strerror}; `metaspo runs` lists the runs there are")
    return status or ExitCode.STOPPED


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a user's mistake or a stop into its sentence and exit status."""
    try:
        yield
    except MISTAKES as error:
        say_error(str(error))
        raise typer.Exit(ExitCode.MISTAKE) from None
    except RunStopped as stop:
        say_error(str(stop))
        exit_stopped(stop)
    except (ModelFileUnavailable, StoreNotInstalled) as error:
        say_error(str(error))
        raise typer.Exit(ExitCode.MISTAKE) from None
    except (BackendError, StoreError) as error:
        say_error(str(error))
        raise typer.Exit(ExitCode.STOPPED) from None
    except OSError as error:
        say_error(f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
        raise typer.Exit(ExitCode.STOPPED if error.errno in OF_THE_MACHINE else ExitCode.MISTAKE) from None
    except HurriedInterrupt:
        say_hurried()
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except KeyboardInterrupt:
        _say(Text(f"\nInterrupted. {KEPT} {GO_ON}."))
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def say_hurried() -> None:
    """Of an end at once, what becomes of the run."""
    _say(Text(f"\nInterrupted at once. {LOST} {GO_ON}."))


class HurriedInterrupt(KeyboardInterrupt):
    """A second Ctrl-C, before what the first one began was over."""
