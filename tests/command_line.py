"""Runs `metaspo` commands in this process or in one of their own, on a small project in a folder.

Every command is checked for what holds of all of them: no control characters off a terminal, no traceback.
"""

import json
import os
import sqlite3
import subprocess
import time
import tomllib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import warm
from chat_server import ChatServer
from typer.testing import CliRunner
from warm import Process

from metaspo.cli import app

LIMIT = 90.0
EXHAUSTIVE = "early_rejection = false"


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever the command printed
        """Standard output as JSON: all of it, or it fails."""
        return json.loads(self.out)

    @property
    def errors(self) -> list[str]:
        """The `error:` lines."""
        return [line.removeprefix("error: ") for line in self.err.splitlines() if line.startswith("error:")]


def here(*args: str) -> Ended:
    """Run a command in this process."""
    result = CliRunner().invoke(app, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return _checked(Ended(result.exit_code, result.stdout, result.stderr))


def start(*args: str, folder: Path, environment: dict[str, str] | None = None, stdout: Path | None = None) -> Process:
    """Start a command in a process of its own, which may print into a file."""
    inherited = {name: value for name, value in os.environ.items() if "KEY" not in name}
    return warm.start(list(args), folder=folder, environment={**inherited, **(environment or {})}, stdout=stdout)


def end(process: Process | subprocess.Popen[str]) -> Ended:
    """Wait for the end of a started command."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode is not None
    return _checked(Ended(process.returncode, out, err))


def apart(*args: str, folder: Path, environment: dict[str, str] | None = None) -> Ended:
    """Run a command in a process of its own."""
    return end(start(*args, folder=folder, environment=environment))


def _checked(ended: Ended) -> Ended:
    for text in (ended.out, ended.err):
        assert all(char >= " " or char == "\n" for char in text), repr(text)
        assert "Traceback" not in text, text
    return ended


def write_data(folder: Path, name: str, *, train: int, test: int) -> None:
    """Data files of a task that asks whether numbers are even, as the world of `world.py` answers it."""
    for split, size in (("train", train), ("test", test)):
        rows = [
            {"question": f"{name} {split} number {n}", "answer": "yes" if n % 2 == 0 else "no"} for n in range(size)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.{split}.jsonl").write_text(text, encoding="utf-8")


def task_table(name: str, *, role: str = "source", test: bool = True) -> str:
    """The `[[tasks]]` table of such a task."""
    train = f'train = "{name}.train.jsonl"\n' if role == "source" else ""
    tested = f'test = "{name}.test.jsonl"\n' if test else ""
    return (
        f'[[tasks]]\nname = "{name}"\nrole = "{role}"\n{train}{tested}'
        'answer = {kind = "label", labels = ["yes", "no"]}\nmetric = "accuracy"\n'
        f'user_prompt = "About {name}: is {{question}} even?"\n'
    )


def write_project(folder: Path, url: str, *, lane: str = "", head: str = EXHAUSTIVE, iterations: int = 1) -> Path:
    """A config with two source tasks and a target one, and their data; returns the config's path.

    Unless `head` says otherwise every candidate is scored to the end, so that which calls are made does not depend on
    timing.
    """
    for name in ("a", "b", "unseen"):
        write_data(folder, name, train=6, test=4)
    models = "".join(
        f'[{role}]\nmodel = "{model}"\nendpoints = ["{url}"]\nmax_tokens = 64\nconcurrency = 4\n{lane}\n'
        for role, model in (("base", "answerer"), ("optimizer", "writer"))
    )
    text = (
        f"seed = 7\niterations = {iterations}\n{head}\n{models}\n"
        "[inner]\ncandidates = 2\nkeep = 2\n\n[outer]\ncandidates = 3\n\n"
        + "\n".join([task_table("a"), task_table("b"), task_table("unseen", role="target")])
    )
    tomllib.loads(text)
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Pictures are empty from now on: to draw one takes as long as a small run."""
    for module in ("page", "study_page"):
        patch.setattr(f"metaspo.engine.report.{module}.draw", lambda *_: b'<svg xmlns="http://www.w3.org/2000/svg"/>')


def wait_until_kept(folder: Path, entries: int) -> None:
    """Wait until another process has put so many answers into the cache of a folder."""
    database = f"file:{folder / '.metaspo' / 'cache' / 'cache.db'}?mode=ro"
    deadline = time.monotonic() + LIMIT
    found = -1
    while found != entries:
        assert time.monotonic() < deadline, f"{found} of {entries} answers are kept"
        time.sleep(0.005)
        with closing(sqlite3.connect(database, uri=True)) as connection:
            (found,) = connection.execute("SELECT count(*) FROM Cache").fetchone()


def run_into(folder: Path, server: ChatServer, *options: str, calls: int) -> Process:
    """A run under way that has so many more answers, all of them kept, and waits for others."""
    before = server.calls
    server.hold_after(calls)
    running = start("optimize", "run.toml", *options, folder=folder)
    server.wait_for(answered=before + calls)
    wait_until_kept(folder, before + calls)
    return running


def result_bytes(folder: Path) -> bytes:
    """The `result.json` of the only run in a folder."""
    (found,) = folder.glob(".metaspo/runs/*/result.json")
    return found.read_bytes()
