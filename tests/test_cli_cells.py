"""One cell of a comparison in a process of its own, as a job of an array: `compare --cell N`."""

from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import apart, end, here, start, write_project
from real_redis import real_redis
from world import World

WORLD = World(3, malformed=0.1)
GRID = 'config = "run.toml"\nseeds = [1, 2]\nmethods = ["default", "metaspo"]\n'


@pytest.fixture
def project(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_project(tmp_path, server.url, head="")
    (tmp_path / "grid.toml").write_text(GRID, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_cells_in_processes_of_their_own_come_to_the_table_of_one_process(
    project: Path, server: ChatServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cells = [start("compare", "grid.toml", "--cell", str(number), "--quiet", folder=project) for number in (1, 2, 3, 4)]
    for ended in map(end, cells):
        assert ended.code == 0, ended.err
    asked = server.calls
    gathered = here("compare", "grid.toml", "--quiet", "--json").data
    assert server.calls == asked  # the tables come from the cache
    whole = tmp_path_factory.mktemp("whole")
    write_project(whole, server.url, head="")
    (whole / "grid.toml").write_text(GRID, encoding="utf-8")
    alone = apart("compare", "grid.toml", "--quiet", "--json", folder=whole).data
    for name in ("scores", "against", "seeds", "tasks"):
        assert gathered["tables"][name] == alone["tables"][name]


def test_the_numbers_of_cells_are_those_of_the_plan(project: Path) -> None:
    planned = here("compare", "grid.toml", "--plan", "--json").data
    third = next(cell["name"] for cell in planned if cell["cell"] == 3)
    ended = here("compare", "grid.toml", "--cell", "3", "--quiet")
    assert f"Cell 3 of 4, {third}, is done" in ended.err
    assert [path.name.rsplit("-", 1)[0] for path in (project / ".metaspo/runs").glob("grid*")] == [third]


@pytest.mark.parametrize("number", ["5", "99"])
def test_a_cell_that_there_is_not_is_a_mistake(project: Path, server: ChatServer, number: str) -> None:
    ended = here("compare", "grid.toml", "--cell", number)
    assert (ended.code, ended.errors) == (2, [f"--cell {number}: the cells of grid are 1 to 4"])
    assert server.calls == 0


def test_a_cap_that_each_of_many_processes_would_spend_is_refused(project: Path, server: ChatServer) -> None:
    path = project / "run.toml"
    path.write_text(path.read_text(encoding="utf-8") + "\n[budget]\ncalls = 50\n", encoding="utf-8")
    ended = here("compare", "grid.toml", "--cell", "1")
    assert ended.code == 2
    assert "a cap holds within one process" in ended.errors[0]
    assert server.calls == 0


def test_one_cell_makes_no_tables(project: Path) -> None:
    for options in (["--plan"], ["--out", "there"], ["--on", "auto"]):
        assert here("compare", "grid.toml", "--cell", "1", *options).code == 2


@pytest.mark.slow
def test_cells_in_processes_of_their_own_keep_the_cap_of_their_group(
    tmp_path: Path, server: ChatServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And go on under a higher one from what was answered."""
    lane = 'requests_per_minute = 6000\nlimit_group = "provider"\nprices = {input = 0, output = 0}'
    with real_redis(tmp_path_factory.mktemp("redis")) as store:
        for cap in (60, 100_000):
            path = write_project(tmp_path, server.url, lane=lane, head=f'cache = "{store.url}"')
            budget = f'\n[budget]\ncalls = {cap}\ngroup = "cells"\n'
            path.write_text(path.read_text(encoding="utf-8") + budget, encoding="utf-8")
            (tmp_path / "grid.toml").write_text(GRID, encoding="utf-8")
            cells = [start("compare", "grid.toml", "--cell", cell, "--quiet", folder=tmp_path) for cell in ("3", "4")]
            ends = [end(cell) for cell in cells]
            if cap == 60:
                assert server.calls == 60
                assert any("budget of the group cells is used up" in ended.err for ended in ends), ends
        assert [ended.code for ended in ends] == [0, 0], ends
        assert server.calls > 60
