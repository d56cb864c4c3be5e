"""What a node of a cluster does: one command in its copy of the project, and the run's folder goes back.

It is sent there as it stands, so it needs nothing but the standard library: a node without metaspo, or with another
version of it, can say so.
"""

import ctypes
import io
import platform
import signal
import subprocess
import sys
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LOOK = 0.2  # seconds between two looks whether the command is over: a task is only broken off between them
GRACE = 60.0  # seconds that a command which is to stop has for it
LINES = 8  # of its last words that are told
MISTAKE = 2  # the exit status of what cannot be started, as of the command line


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One command of metaspo that a node is to run.

    Attributes:
        name: what people call it.
        arguments: of the command line, with paths relative to the project.
        runs, run: the folder of runs and the name of the run's own in it; "" where the part leaves none.
        seen: a file that a node sees if it has the same cache; "" where that has an address of its own.
        version: of metaspo, which the node's must be.
    """

    name: str
    arguments: tuple[str, ...]
    runs: str
    run: str
    seen: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a part ended.

    Attributes:
        node: where it ran.
        status: the command's exit status.
        said: its last words, of one that did not get to its end.
        folder: the run's folder, as a tar archive; empty where there is none.
    """

    node: str
    status: int
    said: str = ""
    folder: bytes = b""


def run_part(part: Part) -> Outcome:
    """Run a part to its end, or to a clean stop if the task is broken off."""
    if refusal := _refusal(part):
        return Outcome(node=platform.node(), status=MISTAKE, said=refusal)
    command = [sys.executable, "-P", "-m", "metaspo", *part.arguments]
    # A cluster that was started in the background ignores SIGINT, and then its tasks cannot be broken off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(  # noqa: S603 - our own command
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=_end_with_parent,
    )
    said = _wait(process)
    archive = _packed(Path(part.runs).expanduser() / part.run) if part.run else b""
    words = "" if process.returncode == 0 else "\n".join(said.splitlines()[-LINES:])
    return Outcome(node=platform.node(), status=process.returncode, said=words, folder=archive)


def _refusal(part: Part) -> str:
    """Why this node cannot run it; "" if it can."""
    try:
        here = version("metaspo")
    except PackageNotFoundError:
        return f"metaspo is not installed for {sys.executable}: install version {part.version} there"
    if here != part.version:
        return f"metaspo {here} is installed there, and {part.version} here: install the same"
    if part.seen and not Path(part.seen).exists():
        folder = Path(part.seen).parent
        return (
            f"the folder of the cache, {folder}, is another one there: put it on a file system that all nodes have "
            'there, or set cache = "redis://…"'
        )
    return ""


def _wait(process: subprocess.Popen[str]) -> str:
    """What the command says on standard error until its end. Ctrl-C, or a task broken off, stops it cleanly."""
    while True:
        try:
            return process.communicate(timeout=LOOK)[1] or ""
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:
            process.terminate()  # Ray has its processes, and so theirs, ignore SIGINT
            try:
                return process.communicate(timeout=GRACE)[1] or ""
            except subprocess.TimeoutExpired:
                process.kill()
                return process.communicate()[1] or ""


def _end_with_parent() -> None:
    """Stop cleanly if the process that started it dies, as on a node that is taken down."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG


def _packed(folder: Path) -> bytes:
    if not folder.is_dir():
        return b""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, arcname=".", filter=lambda entry: None if "/.lock" in entry.name else entry)
    return packed.getvalue()
