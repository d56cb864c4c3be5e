"""Running what a command waits for, and how it is interrupted."""

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, TypeVar

from metaspo.backends.loops.event_loop import new_event_loop
from metaspo.backends.loops.garbage import leave_alone_what_stays
from metaspo.console import ExitCode, HurriedInterrupt, err, say_hurried, say_note
from metaspo.interrupts import SIGNALS, heard
from metaspo.scheduling.file_limit import raise_limit

T = TypeVar("T")

SOON = 1.0  # seconds in which an end needs no word
AT_ONCE = 3.0  # seconds that code of a user's own may hold up an end at once
ENDING = (
    "Ending when calls that may have to be paid for anyway are answered, and servers started here have ended. "
    "Ctrl-C again ends at once."
)


def _cancel_once(task: asyncio.Task[Any], times: Iterator[int]) -> None:
    """`times` counts; whether the task is being cancelled does not tell, for a cap on time cancels, too."""
    if next(times):
        return
    task.cancel()
    asyncio.get_running_loop().call_later(SOON, say_note, ENDING)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # asyncio's would cancel once more


@contextmanager
def _handlers_restored() -> Iterator[None]:
    """Handle signals as before afterwards, but for those to be ignored: uvloop leaves handlers that do nothing."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)


@contextmanager
def _last_resort() -> Iterator[threading.Timer]:
    """Once it is started it ends the process, unless all else has ended by then: code may catch what would end it."""

    def end() -> None:
        try:
            say_hurried()
            if err.is_terminal:  # below what is still drawn there, by whoever hid the cursor
                err.write("\n")
                err.show_cursor()
        finally:
            os._exit(ExitCode.INTERRUPTED)

    timer = threading.Timer(AT_ONCE, end)
    timer.daemon = True
    try:
        yield timer
    finally:
        timer.cancel()


def _end_all(runner: asyncio.Runner) -> None:
    """End every task: an interrupt that hit one of them goes on to those that wait for it, and stops the loop again."""

    async def end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    while True:
        with suppress(KeyboardInterrupt):
            return runner.run(end())


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end; the first Ctrl-C, SIGTERM or SIGHUP cancels cleanly, a Ctrl-C after it is immediate.

    A SIGTERM or SIGHUP after it is passed over: what the first one began, as a server's last answers, is not cut off.
    Raises `KeyboardInterrupt` for all of them.
    """
    cancelled = False

    async def with_signals() -> T:
        nonlocal cancelled
        loop, task, times = asyncio.get_running_loop(), asyncio.current_task(), count()
        if task is not None:
            for number in heard():
                loop.add_signal_handler(number, _cancel_once, task, times)
        try:
            return await main
        except asyncio.CancelledError:
            cancelled = True
            raise

    raise_limit()
    leave_alone_what_stays()
    with _handlers_restored(), _last_resort() as last_resort, asyncio.Runner(loop_factory=new_event_loop) as runner:
        try:
            return runner.run(with_signals())
        except KeyboardInterrupt:
            if cancelled:
                raise
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third one must not cut off what is said of the second
            last_resort.start()
            _end_all(runner)
            raise HurriedInterrupt from None
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
