"""The README's own examples run as they are shown, but for the address of the server."""

import contextlib
import io
import re
import runpy
import tomllib
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import here

from metaspo.engine import load_config
from metaspo.engine.domains import find_domains
from metaspo.engine.studies import GridConfig, prepare_grid

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
SHOWN = "http://127.0.0.1:8000/v1"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run_script(code: str, folder: Path) -> str:
    """What it prints, run in a folder as `python` runs it, but in this process."""
    (folder / "shown.py").write_text(code, encoding="utf-8")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path("shown.py", run_name="__main__")
    return printed.getvalue()


def test_the_config_shown_is_a_config(tmp_path: Path) -> None:
    shown, _ = blocks("toml")
    path = tmp_path / "reviews.toml"
    path.write_text(shown, encoding="utf-8")
    config = load_config(path)
    assert config.optimizer is not None
    assert (config.optimizer.tier, config.budget.dollars, config.iterations) == (1, 5.0, 3)


def test_the_grid_shown_is_a_grid(tmp_path: Path) -> None:
    """Its domains take their data from the hub or a folder; without them it is a grid over a config's own tasks."""
    assert here("init", str(tmp_path)).code == 0
    starter = tmp_path / "metaspo.toml"
    text = starter.read_text(encoding="utf-8")
    target = 'test = "tasks/meal.test.jsonl"'  # the domains' target tasks have train examples
    assert target in text
    text = text.replace(target, f'{target}\ntrain = "tasks/meal.test.jsonl"')
    text += '\n[optimizer]\nmodel = "m"\nendpoints = ["http://127.0.0.1:8000/v1"]\n'  # the starter has none
    starter.write_text(text, encoding="utf-8")
    _, shown = blocks("toml")
    tables = tomllib.loads(shown)
    assert {domain.name for domain in find_domains(tables.pop("domains"))} == {"medical", "review"}
    (tmp_path / "mine.txt").write_text("Be brief.", encoding="utf-8")
    grid = prepare_grid(GridConfig.model_validate({"name": "grid", **tables}), folder=tmp_path)
    assert len(grid.cells) == len(tables["methods"]) * len(tables["seeds"])


def test_optimize_and_evaluate_from_python_as_shown(tmp_path: Path) -> None:
    with ChatServer(lambda _request: "bus") as server:
        assert here("init", str(tmp_path / "my-run")).code == 0
        config = tmp_path / "my-run" / "metaspo.toml"
        text = config.read_text(encoding="utf-8")
        text = text.replace('backend = "local"', f'endpoints = ["{server.url}"]', 1)
        config.write_text(text, encoding="utf-8")
        printed = run_script(blocks("python")[0], tmp_path)
    assert "You are" in printed
    assert "target" in printed
    assert "('transport', 0.3333333333333333)" in printed


def test_a_program_of_its_own_asks_through_the_engine_as_shown(tmp_path: Path) -> None:
    with ChatServer(lambda request: "4" if "2 + 2" in request.messages[-1].content else "8") as server:
        code = blocks("python")[1].replace(SHOWN, server.url)
        first = run_script(code, tmp_path)
        second = run_script(code, tmp_path)
        assert server.asked.total() == 2
    assert first.split() == second.split() == ["4", "8"]


@pytest.mark.parametrize("command", re.findall(r"^(metaspo \w+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
def test_every_command_shown_exists(command: str) -> None:
    assert here(*command.split()[1:], "--help").code == 0
