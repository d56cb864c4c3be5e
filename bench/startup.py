"""How soon a command begins: each a process of its own, in turns, beside an empty Python and what calls need.

What ends by itself is measured to its end; what asks a server, to its first request: the benchmark listens for it, and
kills the process when it comes. CPU time is all of the process, as the system counts it.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from select import select
from typing import Final

from metaspo.bench.measure import Timing, spread
from metaspo.bench.overhead import fast_server
from metaspo.bench.report import Report, Row
from metaspo.engine.errors import ConfigError

AIM: Final = 0.35  # seconds of CPU
POLL: Final = 0.5  # seconds between two looks at a process that has asked nothing yet
METASPO: Final = (sys.executable, "-P", "-m", "metaspo")
EMPTY, LIBRARIES = "python -c pass", "import aiohttp, orjson, diskcache"
ENDING: Final = (  # in a folder of a run that has finished
    "--version",
    "runs",
    "show",
    "answers",
    "tasks",
    "cache info",
    "plan metaspo.toml",
    "init new-NUMBER",
    "export",
)
ASKING: Final = ("check metaspo.toml", "evaluate metaspo.toml", "optimize metaspo.toml")


@dataclass(frozen=True, slots=True)
class _Folder:
    """Where commands run: a starter config, and what a run of it has left.

    Attributes:
        environment: theirs; compiled code is kept, for an installed package is compiled.
    """

    path: Path
    environment: Mapping[str, str]

    def run(self, command: Sequence[str]) -> Timing:
        """One process to its end. Raises `subprocess.CalledProcessError` for any other status than 0."""
        wall, process = time.perf_counter(), self._process(command)
        timing = _end(process, wall)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        return timing

    def to_first_request(self, command: str) -> Timing:
        """One process until something comes from it at a server of its own, and what is in no cache is asked.

        Raises `subprocess.CalledProcessError` where it ends and nothing has come.
        """
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            options = _served_at(server.getsockname()[1], model="new")
            wall, process = time.perf_counter(), self._process([*METASPO, *command.split(), *options])
            while not select([server], [], [], POLL)[0]:
                if process.poll() is not None:
                    raise subprocess.CalledProcessError(process.returncode, process.args)
            with server.accept()[0] as connection:
                connection.recv(1)
                process.kill()
            return _end(process, wall)

    def _process(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(  # noqa: S603 - our own words
            command,
            cwd=self.path,
            env=dict(self.environment),
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
        )


def _end(process: "subprocess.Popen[bytes]", wall: float) -> Timing:
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Timing(used.ru_utime + used.ru_stime, time.perf_counter() - wall)


def measure_startup(*, helps: Sequence[str] = (), turns: int, only: Sequence[str] = ()) -> Report:
    """Commands that end, the help of all and of those named, and those that ask; `only` those that begin so.

    The first turn, in which code is compiled, is not counted. Raises `ConfigError` for one with which none begins.
    """
    commands = (*ENDING, "--help", *(f"{command} --help" for command in helps), *ASKING)
    if unknown := [words for words in only if not any(command.startswith(words) for command in commands)]:
        raise ConfigError(f"--command {unknown[0]!r}: no command that is measured begins so")
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as name:
        folder = _finished(Path(name))
        contenders: dict[str, Callable[[], Timing]] = {
            EMPTY: lambda: folder.run([sys.executable, "-P", "-c", "pass"]),
            LIBRARIES: lambda: folder.run([sys.executable, "-P", "-c", LIBRARIES]),
        }
        for command in commands:
            if not only or command.startswith(tuple(only)):
                contenders[_name(command)] = _contender(folder, command)
        timings: dict[str, list[Timing]] = {name: [] for name in contenders}
        for turn in range(turns + 1):
            for name, take in contenders.items():
                timings[name] += [take()] * bool(turn)
    slow = [name for name, measured in timings.items() if spread(timing.cpu for timing in measured).least > AIM]
    notes = (
        f"The aim is {AIM} s of CPU. Over it: {'; '.join(slow) or 'none'}.",
        "The starter of `metaspo init`, on a server of this machine; show, answers, export: of a finished run of it.",
    )
    rows = [_row(name, measured) for name, measured in timings.items()]
    return Report(scenario="startup", title="Start-up of commands", rows=rows, notes=notes)


def _name(command: str) -> str:
    return f"metaspo {command}{', to its first request' if command in ASKING else ''}".replace("-NUMBER", "")


def _contender(folder: _Folder, command: str) -> Callable[[], Timing]:
    if command in ASKING:
        return lambda: folder.to_first_request(command)
    numbers = count(1)
    return lambda: folder.run([*METASPO, *command.replace("NUMBER", str(next(numbers))).split()])


def _served_at(port: int, model: str) -> tuple[str, ...]:
    """Options that put a server of this machine in place of the starter's model."""
    changes = (
        "base.backend='openai-compatible'",
        f"base.model='{model}'",
        f"base.endpoints=['http://127.0.0.1:{port}/v1']",
    )
    return tuple(f"--set={change}" for change in changes)


def _finished(path: Path) -> _Folder:
    """A folder with a finished run."""
    folder = _Folder(path / "project", _environment(path))
    folder.path.mkdir()
    folder.run([*METASPO, "init", "."])
    with fast_server() as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        folder.run([*METASPO, "optimize", "metaspo.toml", *_served_at(port, model="old")])
    return folder


def _environment(path: Path) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if sys.dont_write_bytecode:
        environment["PYTHONPYCACHEPREFIX"] = str(path / "compiled")
    return environment


def _row(name: str, measured: Sequence[Timing]) -> Row:
    cpu, wall = spread(timing.cpu for timing in measured), spread(timing.wall for timing in measured)
    return {
        "command": name,
        "cpu s (least)": cpu.least,
        "cpu s (median)": cpu.middle,
        "wall s (least)": wall.least,
        "wall s (median)": wall.middle,
    }
