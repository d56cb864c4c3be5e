"""Other people's packages asking through their own clients and through metaspo's adapters: CPU of a call, what a second
process asks, and what is left of the questions at a server that refuses those above its rate.

Everything runs under a Python that has the packages, each measurement in a process of its own; the two take turns.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType

import orjson

from metaspo.bench import embedded
from metaspo.bench.embedded import WARM_UP
from metaspo.bench.measure import spread
from metaspo.bench.processes import ServerProcess, serving
from metaspo.bench.report import Report, Row
from metaspo.bench.servers import limited_server

RATE = 40  # requests a second that the limited server lets through
UNLIMITED = 1e9
LIMIT = 900.0  # seconds for one measurement
WHOSE = {"theirs": "its own", "ours": "metaspo"}
Figures = dict[str, float]


def installed(python: Path) -> list[str]:
    """The adapters whose packages that Python has. Raises `subprocess.SubprocessError` if it has no metaspo."""
    names: list[str] = orjson.loads(_run(python, []))
    return names


def measure_embed(*, python: Path, only: Sequence[str], questions: int, turns: int) -> Report:
    """For each adapter: fresh, and again in a new process; then once at a server that lets `RATE` a second through.

    Those whose packages that Python lacks are named; `only` none of them.
    """
    absent = sorted(embedded.ADAPTERS.keys() - set(installed(python)))
    rows = [row for name in only for row in _adapter(python, name, questions, turns)]
    notes = [
        f"{questions:,} questions of 1 KB, each asked once, 64 at once where a package can. CPU: of the whole process.",
        "again: in a new process, which finds what the one before it has left on disk.",
        f"At {RATE}/s: the server answers so many a second and refuses all others; {questions / RATE:.0f} s at best.",
        "metaspo is told the limit; the packages' own clients have no such setting.",
        "A score is what the package says of all questions, in percent; every answer is right.",
    ]
    if absent:
        notes.append(f"Not measured, because {python} has no such package: {', '.join(absent)}.")
    return Report(scenario="embed", title="Packages and their language models", rows=rows, notes=notes)


def _adapter(python: Path, name: str, questions: int, turns: int) -> list[Row]:
    fresh: dict[str, list[Figures]] = {whose: [] for whose in WHOSE}
    again: dict[str, list[Figures]] = {whose: [] for whose in WHOSE}
    asked_again: dict[str, int] = {}
    for _ in range(turns):
        for whose in WHOSE:
            with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as cache, _limited(python, UNLIMITED) as server:
                fresh[whose].append(_ask(python, name, whose, server.url, questions, cache))
                before = int(server.told()[0])
                again[whose].append(_ask(python, name, whose, server.url, questions, cache))
                asked_again[whose] = max(0, int(server.told()[0]) - before - WARM_UP)
    rows: list[Row] = []
    for whose, shown in WHOSE.items():
        with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as cache, _limited(python, RATE) as server:
            limited_figures = _ask(python, name, whose, server.url, questions, cache, per_minute=60 * RATE)
            refused = int(server.told()[1])
        rows.append(
            {
                "package": name,
                "client": shown,
                "cpu us, fresh": spread(turn["cpu"] for turn in fresh[whose]).least,
                "cpu us, again": spread(turn["cpu"] for turn in again[whose]).least,
                "calls, again": asked_again[whose],
                f"score at {RATE}/s": limited_figures["score"],
                "refused": refused,
                "seconds": limited_figures["seconds"],
            }
        )
    return rows


def _limited(python: Path, rate: float) -> AbstractContextManager[ServerProcess]:
    """A server that lets `rate` requests a second through; it tells how many it answered and refused."""
    return serving([str(python), *_file(limited_server), str(rate)])


def _ask(python: Path, name: str, whose: str, url: str, questions: int, cache: str, *, per_minute: int = 0) -> Figures:
    """One measurement; packages keep what they cache in the same folder as we do."""
    environment = {
        **os.environ,
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": url,
        "OPENAI_API_BASE": url,
        "DSPY_CACHEDIR": f"{cache}/dspy",
        "XDG_CACHE_HOME": f"{cache}/xdg",
        "LOGS": f"{cache}/logs",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    arguments = [name, whose, url, str(questions), f"{cache}/metaspo", str(per_minute)]
    figures: Figures = orjson.loads(_run(python, arguments, environment).splitlines()[-1])
    return figures


def _run(python: Path, arguments: Sequence[str], environment: dict[str, str] | None = None) -> bytes:
    done = subprocess.run(  # noqa: S603 - our own
        [str(python), *_file(embedded), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=LIMIT,
        env=environment,
    )
    return done.stdout


def _file(module: ModuleType) -> list[str]:
    """A module as a program, by its file: the whole package takes seconds to import."""
    assert module.__file__ is not None
    return ["-P", module.__file__]
