"""Whatever a server, a config or a data file does, a command ends with its status and a sentence; the books agree."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from command_line import task_table, write_data
from fuzzing import TIME_LIMIT, TOOK, Odd, Server, check, run, simulated, within
from fuzzing_files import ANSWERS, COLUMNS, FOREIGN, data_file, foreign_file, mangled_config, mangled_record
from fuzzing_replies import SEEDS, servers
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.view import RunView

PATIENCE, ATTEMPTS, CAP = 30, 3, 60
MAX_SECONDS = 4_000
MODELS = "".join(
    f'[{role}]\nmodel = "{model}"\nendpoints = ["http://server.example/v1"]\nmax_tokens = 64\nconcurrency = 4\n'
    f"attempts = {ATTEMPTS}\npatience = {PATIENCE}\nfirst_patience = 20\ntime_limit = {TIME_LIMIT}\n"
    "prices = {input = 1, output = 2}\n"
    for role, model in (("base", "answerer"), ("optimizer", "writer"))
)
LOOPS = "[inner]\ncandidates = 1\nkeep = 1\n[outer]\ncandidates = 1\n"


MANY = (pytest.mark.slow, pytest.mark.timeout(900))  # all of them together some three minutes on a quiet machine


def fuzz(cases: int, drawn: st.SearchStrategy[Any], law: Callable[[Any], None]) -> None:
    """Try a law on so many cases."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    settings(max_examples=cases, suppress_health_check=checks)(given(drawn)(law))()


def project(folder: Path) -> None:
    """A config with a source and a target task, and their data."""
    for name in ("a", "unseen"):
        write_data(folder, name, train=3, test=2)
    tasks = task_table("a") + task_table("unseen", role="target")
    head = 'seed = 7\niterations = 1\nearly_rejection = false\ncache = ""\n'
    (folder / "run.toml").write_text(f"{head}{MODELS}{LOOPS}[budget]\ncalls = {CAP}\n{tasks}", encoding="utf-8")


@pytest.mark.parametrize("cases", [20, pytest.param(2_100, marks=MANY)])
def test_whatever_a_server_answers(cases: int, tmp_path: Path) -> None:
    """Status, bounds in time and requests, and money: what was booked is what was charged."""
    project(tmp_path)

    def law(case: tuple[str, Server]) -> None:
        command, server = case
        shutil.rmtree(tmp_path / ".metaspo", ignore_errors=True)
        with within(tmp_path), simulated(server):
            ended = run(command, "run.toml", "--quiet")
        check(ended)
        assert ended.seconds <= MAX_SECONDS
        (journal,) = tmp_path.glob(".metaspo/runs/**/journal.jsonl")
        spent = RunView.of(StoredJournal(journal)).spent
        booked = spent.of_budget
        charged = server.answered * TOOK["total_tokens"]
        assert server.answered <= booked.calls <= CAP
        assert booked.tokens >= charged
        assert booked.dollars >= server.answered * (40 + 2 * 60) / 1e6 - 1e-9
        if not server.odd.may_charge:
            assert (booked.calls, booked.tokens) == (server.answered, charged)

    fuzz(cases, st.tuples(st.sampled_from(("evaluate", "evaluate", "optimize")), servers()), law)


GRID = 'config = "run.toml"\nmethods = ["default", "metaspo"]\nseeds = [1, 2]\n'
COMMANDS = (
    ("plan",),
    ("plan",),
    ("plan", "--json"),
    ("evaluate", "--quiet"),
    ("optimize", "--quiet"),
    ("cache", "key"),
)


@pytest.mark.parametrize("cases", [16, pytest.param(1_500, marks=MANY)])
def test_whatever_a_config_says(cases: int, tmp_path: Path) -> None:
    """A run's and a comparison's; what is asked is within the cap."""
    project(tmp_path)
    config = (tmp_path / "run.toml").read_text(encoding="utf-8")

    def law(case: tuple[tuple[str, ...], Random]) -> None:
        command, rng = case
        shutil.rmtree(tmp_path / ".metaspo", ignore_errors=True)
        server = Server(Odd(), lambda number, body: False)
        odd = mangled_config(config, rng)
        note(odd.decode(errors="replace"))
        (tmp_path / "odd.toml").write_bytes(odd)
        with within(tmp_path), simulated(server):
            check(run(*command, "odd.toml"))

    fuzz(cases, st.tuples(st.sampled_from(COMMANDS), SEEDS), law)


@pytest.mark.parametrize("cases", [15, pytest.param(300, marks=MANY)])
def test_whatever_a_comparisons_config_says(cases: int, tmp_path: Path) -> None:
    project(tmp_path)

    def law(rng: Random) -> None:
        (tmp_path / "grid.toml").write_bytes(mangled_config(GRID, rng))
        with within(tmp_path), simulated(None):
            check(run("compare", "grid.toml", "--plan"))

    fuzz(cases, SEEDS, law)


@pytest.mark.parametrize("cases", [16, pytest.param(1_000, marks=MANY)])
def test_whatever_a_file_of_data_holds(cases: int, tmp_path: Path) -> None:
    """In every form, for every kind of answer."""
    project(tmp_path)
    config = (tmp_path / "run.toml").read_text(encoding="utf-8")

    def law(case: tuple[str, str, str, str, Random]) -> None:
        command, kind, answer, columns, rng = case
        table = (
            f'[[tasks]]\nname = "odd"\nrole = "target"\ntest = "odd.{kind}"\nanswer = {answer}\ncolumns = {columns}\n'
        )
        (tmp_path / "odd.toml").write_text(f"{config}{table}", encoding="utf-8")
        odd = data_file(kind, rng)
        note(odd[:2_000].decode(errors="replace"))
        (tmp_path / f"odd.{kind}").write_bytes(odd)
        with within(tmp_path), simulated(Server(Odd(), lambda number, body: False)):
            check(run(command, "odd.toml"))

    kinds = st.sampled_from(("jsonl", "jsonl", "csv", "tsv"))
    drawn = st.tuples(
        st.sampled_from(("plan", "evaluate")),
        kinds,
        st.sampled_from(ANSWERS),
        st.sampled_from(COLUMNS),
        SEEDS,
    )
    fuzz(cases, drawn, law)


TOOLS = ("text", "messages", "promptfoo", "dspy", "mlflow", "langchain", "ollama", "inspect", "sft")
RECORDS = ("config.json", "origin.json", "journal.jsonl", "result.json", "summary.json")


@pytest.mark.parametrize("cases", [15, pytest.param(300, marks=MANY)])
def test_whatever_a_runs_directory_holds(cases: int, tmp_path: Path) -> None:
    """It is shown, gone on with, or its file is named."""
    project(tmp_path)
    honest = Server(Odd(), lambda number, body: False)
    with within(tmp_path), simulated(honest):
        assert run("optimize", "run.toml", "--quiet").code == 0
    (folder,) = (path for path in (tmp_path / ".metaspo" / "runs").iterdir() if (path / "config.json").exists())
    good = {name: (folder / name).read_bytes() for name in RECORDS}
    commands = (
        *(("show", folder.name), ("show", folder.name, "--all"), ("show", folder.name, "--json"), ("runs", "--json")),
        *(("runs",), ("answers", folder.name), ("optimize", "run.toml", "--quiet")),
        *(("runs", "diff", folder.name, folder.name), ("report", folder.name), ("answers", folder.name, "--json")),
        *(("export", folder.name, "--to", tool, "--out", f"out-{tool}", "--json") for tool in TOOLS),
        ("evaluate", "run.toml", "--run", folder.name, "--quiet"),
    )

    def law(case: tuple[tuple[str, ...], str, Random]) -> None:
        command, name, rng = case
        for each, content in good.items():
            (folder / each).write_bytes(content)
        odd = mangled_record(name, good[name], rng)
        note(odd[:2_000].decode(errors="replace"))
        (folder / name).write_bytes(odd)
        for written in tmp_path.glob("out-*"):
            shutil.rmtree(written)
        with within(tmp_path), simulated(Server(Odd(), lambda number, body: False)):
            check(run(*command))

    fuzz(cases, st.tuples(st.sampled_from(commands), st.sampled_from(RECORDS), SEEDS), law)


@pytest.mark.parametrize("cases", [20, pytest.param(1_000, marks=MANY)])
def test_whatever_a_file_of_another_tool_holds(cases: int, tmp_path: Path) -> None:
    """It becomes a config that is one, or is told."""

    def law(case: tuple[str, Random]) -> None:
        name, rng = case
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        odd = foreign_file(name, rng)
        note(odd[:2_000].decode(errors="replace"))
        (tmp_path / name).write_bytes(odd)
        with within(tmp_path), simulated(None):
            ended = run("import", name, "--out", "out")
            check(ended)
            if ended.code == 0:
                check(run("plan", "out/metaspo.toml"))

    fuzz(cases, st.tuples(st.sampled_from(sorted(FOREIGN)), SEEDS), law)


@pytest.mark.parametrize(
    "tests",
    [
        [{"vars": {name: list(range(100)) for name in "abcdef"}}],
        "file://promptfooconfig.json",
        ["file://promptfooconfig.json"] * 2,
    ],
)
def test_a_file_of_another_tool_that_stands_for_more_than_it_holds_is_told(tmp_path: Path, tests: object) -> None:
    """Lists of which every combination counts, and files that name themselves."""
    config = {"prompts": ["{{a}}"], "tests": tests}
    (tmp_path / "promptfooconfig.json").write_text(json.dumps(config), encoding="utf-8")
    with within(tmp_path), simulated(None):
        check(run("import", "promptfooconfig.json", "--out", "out"))
