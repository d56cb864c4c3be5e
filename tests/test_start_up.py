"""What begins imports no more than it needs: each library that is named here takes as long as such a command itself."""

import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from command_line import here
from sizes import rest_is_slow

from metaspo.actions.init import TEMPLATES
from metaspo.engine.check.labelled import RESPONSE, SCORE
from metaspo.engine.domains import DATA_VARIABLE
from metaspo.engine.exchange.export import TOOLS
from metaspo.engine.studies import ablation_names

CALLS = {"aiohttp", "redis", "uvloop"}
NUMBERS = {"numpy", "scipy", "optuna", "matplotlib"}
STORES = {"diskcache", "sqlite3", "zstandard"}
LOOPS = {"asyncio", "anyio", "ssl"}
LATE: tuple[str, ...] = ("", ".backends", ".cache", ".engine", ".engine.domains", ".engine.strategies", ".engine.tasks")
LATE += (".actions", ".bench", ".engine.statistics", ".engine.tasks.formats", ".scheduling", ".serving")


def modules_of(code: str, folder: Path) -> set[str]:
    """The modules that a process has imported in the end; what it says is passed over."""
    code = f"import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n{code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return {*done.stderr.splitlines()[-1].split()}


def loaded(code: str, folder: Path) -> set[str]:
    """The libraries of them."""
    return {name.partition(".")[0] for name in modules_of(code, folder)}


@cache
def modules_of_command(command: str) -> frozenset[str]:
    """Those of a command where `metaspo init` was."""
    with TemporaryDirectory() as folder:
        assert here("init", folder).code == 0
        code = f"sys.argv = {['metaspo', *command.split()]}\nfrom metaspo.cli import main\nmain()"
        return frozenset(modules_of(code, Path(folder)))


def test_importing_metaspo_imports_no_library(tmp_path: Path) -> None:
    assert loaded("import metaspo", tmp_path) - loaded("", tmp_path) - sys.stdlib_module_names == {"metaspo"}


@pytest.mark.parametrize(
    ("command", "spared"),
    rest_is_slow(
        [
            ("--help", CALLS | NUMBERS | STORES | LOOPS | {"pydantic", "structlog", "email", "dotenv"}),
            ("plan metaspo.toml", CALLS | NUMBERS | STORES | {"asyncio", "ssl", "structlog"}),
            ("optimize no.toml", CALLS | NUMBERS | {"structlog"}),
            ("--version", CALLS | NUMBERS | STORES | LOOPS | {"pydantic", "structlog", "dotenv"}),
            ("runs", CALLS | NUMBERS | STORES | LOOPS | {"structlog", "dotenv"}),
            ("show", CALLS | NUMBERS | STORES | LOOPS | {"structlog", "dotenv"}),
            ("tasks", CALLS | NUMBERS | STORES | {"asyncio", "ssl", "structlog"}),
            ("answers", CALLS | NUMBERS | {"structlog"}),
            ("export", CALLS | NUMBERS | {"structlog"}),
            ("cache info", CALLS | NUMBERS | {"structlog"}),
            ("check no.toml", CALLS | NUMBERS | {"structlog"}),
        ],
        but=3,
    ),
)
def test_a_command_imports_no_library_that_it_does_without(command: str, spared: set[str]) -> None:
    assert {name.partition(".")[0] for name in modules_of_command(command)} & spared == set()


@pytest.mark.parametrize("command", ["runs", "plan --help"])
def test_no_garbage_is_looked_for_as_a_command_begins(command: str, tmp_path: Path) -> None:
    """What is imported stays: to look through it again and again took a quarter of the time."""
    code = f"""
import gc, sys
from metaspo.__main__ import main
sys.argv = {["metaspo", *command.split()]}
whole = []
gc.callbacks.append(lambda phase, about: whole.extend([about["generation"]] * (about["generation"] > 0)))
try:
    main()
finally:
    assert not whole, whole
"""
    modules_of(code, tmp_path)


def test_the_help_of_no_command_imports_what_the_command_does(tmp_path: Path) -> None:
    """What can be given is read without configs, loops or calls: whatever they take, help comes at once."""
    modules = modules_of("from metaspo.late_commands import import_all\nimport_all()", tmp_path)
    assert {"metaspo.commands.bench", "metaspo.commands.studies"} <= modules
    assert {name.partition(".")[0] for name in modules} & (CALLS | NUMBERS | STORES | LOOPS | {"structlog"}) == set()
    rooms = ("actions.", "bench.", "engine.config.schema", "engine.runs", "engine.studies", "engine.watch", "serving.")
    there = {name for name in modules if name.startswith(tuple(f"metaspo.{room}" for room in rooms))}
    assert there == {"metaspo.bench.defaults", "metaspo.bench.report"}


def test_what_help_says_is_what_there_is() -> None:
    """It names them in words of its own."""
    for command, names in (
        ("export", TOOLS),
        ("ablate", ablation_names()),
        ("init", TEMPLATES),
        ("judge", (RESPONSE, SCORE)),
        ("tasks", (DATA_VARIABLE,)),
    ):
        said = re.findall(r"\w+", here(command, "--help").out)
        assert {*names} <= {*said}, command


def test_a_plan_knows_of_no_journal_and_of_no_score() -> None:
    """Nothing has run: records that are made as Python begins take half a millisecond each."""
    modules = modules_of_command("plan metaspo.toml")
    assert "metaspo.engine.config.plan" in modules
    spared = (
        "metaspo.engine.journal.events",
        "metaspo.engine.statistics",
        "metaspo.engine.optimize",
        "metaspo.engine.evaluation",
        "metaspo.backends.http.errors",
        "metaspo.engine.runs.stored",
    )
    assert [name for name in modules if name.startswith(spared)] == []


def test_the_answers_of_a_run_are_read_without_its_events_and_without_who_proposes() -> None:
    """Its result says what the prompts are; a journal is read of a run that has none."""
    modules = modules_of_command("answers")
    assert "metaspo.engine.runs.answers" in modules
    spared = (
        "metaspo.engine.journal.events",
        "metaspo.engine.optimize",
        "metaspo.engine.runs.stored",
        "metaspo.engine.runs.summary",
        "metaspo.engine.strategies.base",
        "metaspo.engine.strategies.proposers",
    )
    assert [name for name in modules if name.startswith(spared)] == []


def test_a_run_imports_neither_studies_nor_clusters_nor_a_web_server() -> None:
    modules = modules_of_command("optimize no.toml")
    assert "metaspo.engine.runs.execute" in modules
    spared = (
        "metaspo.engine.studies",
        "metaspo.engine.cluster",
        "metaspo.engine.watch",
        "aiohttp.web",
        "metaspo.engine.track.follow",
        "metaspo.engine.exchange",
        "metaspo.engine.demo",
        "metaspo.tables.runs",
        "metaspo.engine.strategies.ape",
        "metaspo.backends.managed.gguf_tokens",
    )
    assert [name for name in modules if name.startswith(spared)] == []


def test_a_run_has_imported_nothing_that_only_its_end_or_other_configs_need_when_it_asks_first(tmp_path: Path) -> None:
    assert here("init", str(tmp_path)).code == 0
    server = ["backend='openai-compatible'", "model='m'", "endpoints=['http://127.0.0.1:9/v1']", "patience=1"]
    words = ["metaspo", "optimize", "metaspo.toml", *(f"--set=base.{setting}" for setting in server)]
    code = f"""
import os, socket
def tell(name, args):
    if name == "socket.__new__" and args[1] == socket.AF_INET:
        print(*sys.modules, file=sys.stderr, flush=True)
        os._exit(0)
sys.addaudithook(tell)
sys.argv = {words}
from metaspo.cli import main
main()"""
    modules = modules_of(code, tmp_path)
    assert "metaspo.backends.http.exchange" in modules
    spared = (
        "metaspo.backends.managed.local",
        "metaspo.cache.disk.maintenance",
        "metaspo.cache.files",
        "metaspo.cache.maintenance",
        "metaspo.engine.domains.records",
        "metaspo.engine.optimize.inner",
        "metaspo.engine.optimize.outer",
        "metaspo.engine.optimize.round",
        "metaspo.engine.runs.stored",
        "metaspo.engine.selection.race",
        "metaspo.engine.strategies.named_prompts",
        "metaspo.engine.strategies.passes",
        "metaspo.engine.tasks.judges",
    )
    assert [name for name in modules if name.startswith(spared)] == []


def test_a_verdict_imports_nothing_of_scipy_but_its_functions(tmp_path: Path) -> None:
    """A run ends with some, and the rest of scipy takes longer to import than a small run does."""
    code = """
from metaspo.engine.statistics.crossed import Part
from metaspo.engine.statistics.student import two_sided
assert 0.3 < two_sided(1.0, [Part(1.0, 3)]) < 0.4, two_sided(1.0, [Part(1.0, 3)])
"""
    modules = modules_of(code, tmp_path)
    assert "scipy.special" in modules
    assert {"scipy.optimize", "scipy.sparse", "scipy.stats"} & modules == set()


@pytest.mark.parametrize("package", LATE)
def test_no_name_that_is_handed_on_late_is_a_module_of_its_package(package: str) -> None:
    """Whichever was imported first would stand there."""
    handed_on = import_module(f"metaspo{package}")
    folder = Path(str(handed_on.__file__)).parent
    assert not {path.name.removesuffix(".py") for path in folder.iterdir()} & {*handed_on.__all__}


def test_what_is_not_handed_on_is_an_error_and_what_is_can_be_listed() -> None:
    metaspo = import_module("metaspo")
    assert {*metaspo.__all__} <= {*dir(metaspo)}
    with pytest.raises(AttributeError, match="module 'metaspo' has no attribute 'nothing'"):
        _ = metaspo.nothing
