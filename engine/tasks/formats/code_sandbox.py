"""Runs a function that a model wrote, in a process that can do nothing but think."""

import json
import math
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

_WORKER: Final = Path(__file__).with_name("code_worker.py")
_WALL: Final = 10  # seconds of waiting for each second of CPU time, on a machine that is busy with something else
_START_SECONDS: Final = 120.0
_MAX_OUTPUT: Final = 1 << 20  # bytes of all that the calls return
_LONGEST_ERROR: Final = 200  # characters
_NO_ANSWER: Final = "it wrote something that is no answer"


@dataclass(frozen=True, slots=True)
class Called:
    """What came of one call: a value, or in words what went wrong."""

    value: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """Calls functions of unknown code. Blocks while it does; safe in several threads.

    Attributes:
        seconds: of CPU time for a whole answer, rounded up to whole ones; ten times as many by the clock.
        unconfined: whether to run code also where the system cannot confine it.
    """

    seconds: float
    unconfined: bool = False

    def calls(self, code: str, function: str, arguments: Sequence[Sequence[Any]]) -> list[Called]:
        """What became of each call, in order."""
        seconds = math.ceil(self.seconds)
        output, cut = _run(
            {
                "code": code,
                "function": function,
                "arguments": arguments,
                "seconds": seconds,
                "unconfined": self.unconfined,
            },
            seconds=seconds * _WALL,
        )
        lines = [_line(line) for line in output.split(b"\n")[:-1]]
        if not lines or lines[0][0] != "ready":
            raise RuntimeError(f"the process that runs code did not start: {sys.executable} {_WORKER}")
        called = [Called(value=value) if kind == "value" else Called(error=_words(value)) for kind, value in lines[1:]]
        missing = Called(error=cut or "it ended the process, or took too much time or memory")
        return [*called, *[missing] * len(arguments)][: len(arguments)]


@cache
def confinement() -> str:
    """Why code cannot be confined on this system; "" where it can be."""
    job = {"code": "", "function": "", "arguments": [], "seconds": 10, "unconfined": False}
    output, _ = _run(job, seconds=_START_SECONDS)
    kind, why = _line(output.split(b"\n")[0])
    return "" if kind == "ready" else str(why) or "its process does not start"


def _run(job: Mapping[str, Any], *, seconds: float) -> tuple[bytes, str]:
    """What the worker wrote, and why it was cut off; "" where it ended by itself."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and a file of this package
        # As -I has it, but for PYTHONHASHSEED: the order of a set must be the same each time.
        [sys.executable, "-s", "-S", "-P", "-B", str(_WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/" if os.name == "posix" else None,
        env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin as stdin:
            stdin.write(json.dumps(job).encode())
    except OSError:
        pass  # it is gone: its output says how far it came
    try:
        return _read(process.stdout.fileno(), time.monotonic() + seconds)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _read(stream: int, deadline: float) -> tuple[bytes, str]:
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            if not (part := os.read(stream, 1 << 16)):
                return bytes(output), ""
            output += part
            if len(output) > _MAX_OUTPUT:
                return bytes(output), "it returns too much"
    return bytes(output), "it took too much time"


def _line(line: bytes) -> tuple[str, Any]:
    """A line of the worker's, which the code may have written as well."""
    try:
        kind, value = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return "error", _NO_ANSWER
    return str(kind), value


def _words(error: object) -> str:
    """An error in a short line that every encoding can hold: the code may have written it itself, past the worker."""
    if not isinstance(error, str):
        return _NO_ANSWER
    return " ".join(error.encode(errors="replace").decode().split())[:_LONGEST_ERROR] or _NO_ANSWER
