"""The `metaspo` command, also `python -m metaspo`: a Ctrl-C while all the rest is imported ends it in a line, and so
does what a system sends instead (SIGTERM, SIGHUP), here as later."""

import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from time import monotonic

from metaspo.interrupts import heard

INTERRUPTED = 130  # exit status, as `metaspo.console` has it, which is not imported yet
ENOUGH = 1.0  # seconds for threads to end that were told to


def main() -> None:
    """The command with the process's own arguments; ends in `SystemExit`."""
    gc.disable()  # what is imported stays; a command begins with garbage collected
    interrupts = heard()
    for number in interrupts:
        signal.signal(number, _end_interrupted)
    from metaspo.cli import main as command

    for number in interrupts:
        signal.signal(number, signal.default_int_handler)
    try:
        command()
    except KeyboardInterrupt:  # while the command line is read, as a rule; a command tells its own
        _end_interrupted()
    except SystemExit as end:
        if _is_held_up():
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


def _end_interrupted(*_: object) -> None:
    """Without a word of whatever module is being imported."""
    with suppress(OSError):
        os.write(2, b"\nInterrupted.\n")
    os._exit(INTERRUPTED)


def _is_held_up() -> bool:
    """Whether a function of a user's own is still at work in a thread, which nobody can end: all that is to be kept is
    on disk."""
    until = monotonic() + ENOUGH
    workers = [thread for thread in threading.enumerate() if thread.name == "AnyIO worker thread"]
    for thread in workers:
        thread.join(max(0.0, until - monotonic()))
    return any(thread.is_alive() for thread in workers)


if __name__ == "__main__":
    main()
