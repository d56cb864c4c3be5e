"""Commands in processes of their own that need not import metaspo first: they are forked from one that has.

Each is a real process: it gets signals, is killed, and ends as an interpreter does, but that what was imported before
the fork is not taken down. What only a start from nothing shows (`PYTHON...` in the environment, a shell around it) is
for `subprocess`.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

CALLS_AND_FIGURES = ("aiohttp", "numpy", "scipy.special", "structlog")  # are imported where they are used


class Process:
    """A command that was started, as `subprocess.Popen` has it.

    Attributes:
        returncode: None until it is known to have ended; the signal, negative, if one ended it.
    """

    def __init__(self, stdout: int, stderr: int, status: int) -> None:
        self.stdout, self.stderr = os.fdopen(stdout, encoding="utf-8"), os.fdopen(stderr, encoding="utf-8")
        self._status = os.fdopen(status, encoding="utf-8")
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its `returncode`, looked for now."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Until it ends. Raises `subprocess.TimeoutExpired`."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("metaspo", timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Its output, once it has ended. Raises `subprocess.TimeoutExpired`."""
        with ThreadPoolExecutor(2) as readers:
            texts = [readers.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            finally:
                self.kill()  # which lets the readers come to an end
        self.stdout.close()
        self.stderr.close()
        return texts[0].result(), texts[1].result()

    def send_signal(self, number: int) -> None:
        """Nothing happens to one that has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """At once."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode


def start(arguments: list[str], *, folder: Path, environment: Mapping[str, str], stdout: Path | None = None) -> Process:
    """Start a command in a folder; what it prints goes to `stdout`, where that is given."""
    (out, out_end), (err, err_end), (status, status_end) = os.pipe(), os.pipe(), os.pipe()
    if stdout is not None:
        os.close(out_end)
        out_end = os.open(stdout, os.O_WRONLY)
    ends = [out_end, err_end, status_end]
    order = {"arguments": arguments, "folder": str(folder.absolute()), "environment": dict(environment)}
    socket.send_fds(_waiting(), [json.dumps(order).encode()], ends)
    for end in ends:
        os.close(end)
    return Process(out, err, status)


@cache
def _waiting() -> socket.socket:
    """The way to the process that the others are forked from."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=there.fileno(),
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a process with threads should not fork
    )
    there.close()

    def end() -> None:
        here.close()
        process.wait()

    atexit.register(end)
    return here


def _fork_for_ever() -> None:
    imported: set[str] = set()
    atexit.register(lambda: [sys.modules.pop(name, None) for name in imported])  # the first is the last to be called
    from metaspo import actions
    from metaspo.late_commands import import_all

    import_all()
    for name in actions.__all__:
        getattr(actions, name)  # which is what takes long
    for library in CALLS_AND_FIGURES:
        import_module(library)
    imported |= {*sys.modules} - {"__main__", "builtins", "sys"}
    gc.freeze()  # as with what an end pops above: to look through it, or to free it, would copy it first

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a shell's Ctrl-C ends the tests, and they end this
    orders = socket.socket(fileno=0)
    while True:
        order, ends, *_ = socket.recv_fds(orders, 1 << 20, 3)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not order:
            return
        if os.fork() == 0:
            _run_and_tell(json.loads(order), *ends)
        for end in ends:
            os.close(end)


def _run_and_tell(order: dict[str, object], out: int, err: int, status: int) -> NoReturn:
    """Run a command in one more process, and tell its number and how it ended."""
    process = os.fork()
    if process == 0:
        os.close(status)
        _run(out, err, **order)  # type: ignore[arg-type]
    for end in (out, err):
        os.close(end)
    os.write(status, f"{process}\n".encode())
    _, how = os.waitpid(process, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(how)}\n".encode())
    os._exit(0)


def _run(out: int, err: int, *, arguments: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    for end, standard in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
        os.dup2(end, standard)
        os.close(end)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False, errors="backslashreplace")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which the tests may have been told to ignore, as under nohup
    sys.argv = ["metaspo", *arguments]
    runpy.run_module("metaspo", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _fork_for_ever()
