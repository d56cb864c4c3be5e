"""What commands share: the two streams, exit codes, and how mistakes and stops are told."""

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, TextIO, TypeVar

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from metaspo.backends import BackendError, ModelFileUnavailable
from metaspo.backends.printable import printable
from metaspo.cache import StoreError
from metaspo.engine import ConfigError, PromptError, RunDirectoryError
from metaspo.engine.strategies import UnknownStrategy
from metaspo.engine.tasks import MetricError, TaskError
from metaspo.scheduling import BudgetExhausted, RunStopped

T = TypeVar("T")


class ExitCode(IntEnum):
    """What a command's exit status says."""

    OK = 0
    FAILED = 1
    MISTAKE = 2
    STOPPED = 3
    INTERRUPTED = 130


EXIT_CODES = (
    "Exit status: 0 done; 1 a fault that is not yours; 2 a mistake in the config, the data or the command; "
    "3 stopped cleanly (budget, server, key, cache), run again to go on; 130 interrupted, run again to go on."
)
MISTAKES = (ConfigError, MetricError, PromptError, RunDirectoryError, TaskError, UnknownStrategy)
KEPT = "Everything paid for is kept."
GO_ON = "To go on from here, run the same command again"
RAISE_CAP = " with a higher cap in [budget]"

WIDTH = 120  # of tables where there is no terminal


class HarmlessConsole(Console):
    """A console that shows what others wrote, models and servers above all, as text: no terminal obeys any of it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich renders it, which cares for markup only."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def _width(stream: TextIO | None) -> int | None:
    """The terminal's own, or one for a file; Python has no stream at all where the shell closed it (`>&-`)."""
    return None if stream is not None and stream.isatty() else WIDTH


# No emoji: a model called "x:free:y" keeps its name.
out = HarmlessConsole(soft_wrap=True, emoji=False, width=_width(sys.stdout))
err = HarmlessConsole(stderr=True, soft_wrap=True, emoji=False, width=_width(sys.stderr))


def say_error(message: str) -> None:
    """One line per fault on standard error, without markup or a traceback."""
    for line in message.splitlines():
        err.print(Text.assemble(("error:", "bold red"), f" {line}"))


def say_how_to_go_on(*reasons: Exception | str) -> None:
    """What to do after a stop for these reasons, and that everything is kept, unless one of them has said so."""
    kept = "" if any("is kept" in str(reason) for reason in reasons) else f"{KEPT} "
    capped = reasons and all(isinstance(reason, BudgetExhausted) for reason in reasons)
    err.print(f"{kept}{GO_ON}{RAISE_CAP if capped else ''}.", highlight=False, markup=False)


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
        say_how_to_go_on(stop)
        raise typer.Exit(ExitCode.STOPPED) from None
    except ModelFileUnavailable as error:
        say_error(str(error))
        raise typer.Exit(ExitCode.MISTAKE) from None
    except (BackendError, StoreError) as error:
        say_error(str(error))
        raise typer.Exit(ExitCode.STOPPED) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        err.print("\nInterrupted. ", end="")
        say_how_to_go_on()
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end; the first Ctrl-C or SIGTERM cancels cleanly, a second Ctrl-C is immediate."""

    async def with_sigterm() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if sys.platform != "win32" and task is not None:
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
        return await main

    gc.freeze()  # what is imported stays: the collector need not look at it again and again while a run goes on
    with asyncio.Runner() as runner:
        return runner.run(with_sigterm())
