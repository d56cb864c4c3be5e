"""The process around a server that we start: run by this file's path, with a grace in seconds and a command.

It ends the command, and all that the command has started, when its own standard input ends, which it does however the
parent dies, or when it is told to end (SIGTERM): politely first, by force when the grace is over. It exits as the
command did.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from types import FrameType

_TOLD = (signal.SIGTERM,)
NOT_STARTED = 127  # exit status, as a shell's


def main() -> int:
    """Run the command until it ends or is to end; returns the exit status."""
    grace, command = float(sys.argv[1]), sys.argv[2:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)  # until there is a command to end
    try:
        child = subprocess.Popen(  # noqa: S603 - what the user's config names
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(_end_with_parent, os.getpid()),  # no thread is there yet
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - into the server's log
        return NOT_STARTED

    def end(_number: int, _frame: FrameType | None) -> None:
        child.terminate()
        forced = threading.Timer(grace, _kill_group, [child.pid])
        forced.daemon = True
        forced.start()

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
    threading.Thread(target=_end_with_input, daemon=True).start()
    status = child.wait()
    _kill_group(child.pid)  # what it has left behind may hold a GPU's memory
    return status if status >= 0 else 128 - status


def _end_with_parent(parent: int) -> None:
    """Where this process is killed itself, the kernel tells the command to end; it may have been killed already."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(NOT_STARTED)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)


def _end_with_input() -> None:
    while os.read(0, 1 << 12):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
