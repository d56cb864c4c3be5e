"""Run directories: named by all that the result depends on and nothing else, held by one, written whole."""

import fcntl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from world import make_config, make_task

from metaspo.engine import RunDirectory, RunDirectoryError, find_run, find_runs
from metaspo.engine.runs.directory import file_name, run_directory, write_json, write_text
from metaspo.engine.runs.identity import fingerprint

TASKS = (make_task("a"), make_task("unseen", role="target"))
BASE = {"model": "answerer", "endpoints": ["http://127.0.0.1:1/v1"], "max_tokens": 8}


def print_of(changes: dict[str, Any]) -> str:
    return fingerprint(make_config(changes), TASKS)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"budget": {"calls": 5}},
        {"cache": "elsewhere", "runs": "elsewhere"},
        {"base": {**BASE, "endpoints": ["http://127.0.0.1:2/v1", "http://127.0.0.1:3/v1"]}},
        {"base": {**BASE, "concurrency": 7, "requests_per_minute": 9, "attempts": 2, "api_key_env": "K"}},
        {"base": {**BASE, "prices": {"input": 1, "output": 2}}},
    ],
)
def test_where_how_fast_and_at_what_price_do_not_name_a_run(changes: dict[str, Any]) -> None:
    assert print_of(changes) == print_of({})


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"iterations": 1},
        {"system_prompt": "Other."},
        {"roles": "merged"},
        {"redraws": 1},
        {"inner": {"candidates": 1, "keep": 2}},
        {"outer": {"candidates": 3, "failures": 1}},
        {"test": {"baseline": False}},
        {"base": {**BASE, "model": "other"}},
        {"base": {**BASE, "revision": "2"}},
        {"base": {**BASE, "max_tokens": 9}},
        {"base": {**BASE, "temperature": 0.1}},
        {"base": {**BASE, "stop": ["."]}},
        {"base": {**BASE, "extra": {"top_k": 1}}},
    ],
)
def test_everything_that_the_result_depends_on_names_a_run(changes: dict[str, Any]) -> None:
    assert print_of(changes) != print_of({})


def test_other_data_are_another_run() -> None:
    task = TASKS[0]
    others = [
        replace(task, train=task.train[:-1]),
        replace(task, test=task.test[:-1]),
        replace(task, user_prompt="Now: {question}"),
        replace(task, role="target"),
        replace(task, train=(replace(task.train[0], answers=("no",)), *task.train[1:])),
    ]
    prints = {fingerprint(make_config(), (other, TASKS[1])) for other in [task, *others]}
    assert len(prints) == 1 + len(others)


def test_a_directory_is_named_after_its_config(tmp_path: Path) -> None:
    found = run_directory(make_config({"name": "my.run"}), TASKS, base=tmp_path)
    assert found.path == tmp_path / f"my.run-{print_of({})}"


@pytest.mark.parametrize(
    ("text", "name"), [("a b/c", "a-b-c"), ("../..", "unnamed"), ("", "unnamed"), ("x.y_z", "x.y_z")]
)
def test_a_file_name_never_leaves_its_folder(text: str, name: str) -> None:
    assert file_name(text) == name


def test_a_directory_is_held_by_one_and_free_again_after(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "deep" / "run")
    with run.held(), pytest.raises(RunDirectoryError, match="another process"), run.held():
        pass
    with run.held():
        pass


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": [1.5, None]})
    assert path.read_text(encoding="utf-8") == '{\n  "a": [\n    1.5,\n    null\n  ],\n  "b": 1\n}\n'
    with pytest.raises(TypeError):
        write_json(path, {"b": object()})
    write_text(tmp_path / "x.txt", "ä\nb")
    assert (tmp_path / "x.txt").read_bytes() == "ä\nb\n".encode()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.json", "x.txt"]
    assert b'"a"' in path.read_bytes()


def make_runs(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}", encoding="utf-8")


def test_a_run_is_found_by_name_start_or_path(tmp_path: Path) -> None:
    make_runs(tmp_path, "demo-1234", "demo-5678", "demo", "other-9")
    assert find_run("demo", base=tmp_path).name == "demo"
    assert find_run("oth", base=tmp_path).name == "other-9"
    assert find_run(str(tmp_path / "demo-5678"), base=Path("nowhere")).name == "demo-5678"


def test_a_run_of_exactly_that_config_goes_before_those_whose_names_only_begin_so(tmp_path: Path) -> None:
    make_runs(tmp_path, "live-10e75f42", "live3-58f642b8", "live-two-58f642b8")
    assert find_run("live", base=tmp_path).name == "live-10e75f42"
    make_runs(tmp_path, "live-00000000")
    with pytest.raises(RunDirectoryError, match=r"fits 2 runs: live-[0-9a-f]{8}, live-[0-9a-f]{8}$"):
        find_run("live", base=tmp_path)


@pytest.mark.parametrize(("name", "says"), [("demo-", "fits 2 runs"), ("dmeo-1234", "did you mean 'demo-1234'")])
def test_a_run_that_is_not_clear_is_not_guessed(tmp_path: Path, name: str, says: str) -> None:
    make_runs(tmp_path, "demo-1234", "demo-5678")
    with pytest.raises(RunDirectoryError, match=says):
        find_run(name, base=tmp_path)


def test_only_run_directories_are_listed(tmp_path: Path) -> None:
    make_runs(tmp_path, "one", "two")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert {run.name for run in find_runs(tmp_path)} == {"one", "two"}
    assert find_runs(tmp_path / "nowhere") == []


def test_who_only_looks_keeps_nobody_from_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that begins while somebody looks whether one is under way waits for the moment that takes."""
    directory = RunDirectory(tmp_path / "run")
    with directory.held():
        assert directory.in_use
    looker = (directory.path / ".lock").open("rb")
    fcntl.flock(looker, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: looker.close())
    with directory.held():
        assert looker.closed
    assert not directory.in_use
