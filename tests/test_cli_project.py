"""Cache and runs are the project's, wherever within it one stands."""

import json
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import here
from world import World

from metaspo.engine.project import project_folder

WORLD = World(3)


def test_commands_within_a_project_find_its_runs_and_its_cache(
    project: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here("optimize", "run.toml", "--quiet").code == 0
    calls = server.calls
    (project / "notes" / "deep").mkdir(parents=True)
    monkeypatch.chdir(project / "notes" / "deep")
    assert [run["name"] for run in here("runs", "--json").data] == [p.name for p in project.glob(".metaspo/runs/run-*")]
    assert here("answers", "--json").code == 0
    assert here("optimize", "../../run.toml", "--quiet").code == 0
    assert here("cache", "info", "--json").data["entries"] > 0
    assert server.calls == calls
    assert not Path(".metaspo").exists()


def test_a_config_of_a_project_is_run_in_it_from_anywhere(
    project: Path, server: ChatServer, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here("optimize", "run.toml", "--quiet").code == 0
    calls = server.calls
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    (run,) = json.loads(here("optimize", str(project / "run.toml"), "--quiet", "--json").out)
    assert Path(run["directory"]).is_relative_to(project)
    assert server.calls == calls
    assert list(elsewhere.iterdir()) == []


def test_the_home_folder_and_what_others_own_are_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".metaspo").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert project_folder() == tmp_path
    monkeypatch.setattr("os.getuid", lambda: 12345)
    assert project_folder() == Path()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert project_folder() == Path()
