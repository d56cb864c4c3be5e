"""Run directories: named by all that the result depends on and nothing else, held by one, written whole."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from world import make_config, make_task

from metaspo.engine import Prepared, RunDirectory, RunDirectoryError, find_run, find_runs
from metaspo.engine.project import file_name
from metaspo.engine.runs.directory import run_directory, write_json, write_text
from metaspo.engine.runs.going_on import going_on
from metaspo.engine.runs.identity import fingerprint, later
from metaspo.engine.runs.listing import list_runs
from metaspo.engine.runs.reopened import reopen
from metaspo.engine.tasks import Task, TaskSpec
from metaspo.engine.tasks.base import AnswerFormat
from metaspo.engine.tasks.formats.texts import Text
from metaspo.engine.tasks.load import load_task

TASKS = (make_task("a"), make_task("unseen", role="target"))
BASE = {"model": "answerer", "endpoints": ["http://127.0.0.1:1/v1"], "max_tokens": 8}


THEN = make_config({"ties": "earlier"})  # what every config said before there was a choice


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
        {"ties": "earlier"},
        {"outer": {"candidates": 3, "length_penalty": 0.5}},
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
        replace(task, train=(replace(task.train[0], metadata={"limit": 3}), *task.train[1:])),
    ]
    prints = {fingerprint(make_config(), (other, TASKS[1])) for other in [task, *others]}
    assert len(prints) == 1 + len(others)


def test_a_directory_is_named_after_its_config(tmp_path: Path) -> None:
    found = run_directory(make_config({"name": "my.run"}), TASKS, base=tmp_path)
    assert found.path == tmp_path / f"my.run-{print_of({})}"


def directory_of(changes: dict[str, Any], tasks: Sequence[Task], *, base: Path) -> RunDirectory:
    prepared = Prepared(config=make_config({"runs": str(base), **changes}), tasks=tuple(tasks), folder=base)
    assert prepared.directory is not None
    return prepared.directory


def test_names_of_runs_stay_what_they_are() -> None:
    assert fingerprint(THEN, TASKS) == "acc1794a"
    assert fingerprint(make_config({"racing": 0.05, "rows": 3, "ties": "earlier"}), TASKS) == "b5314b66"


@pytest.mark.parametrize(
    ("changes", "begun"),
    [
        ({"outer": {"max_chars": 500}}, "42769fd3"),
        ({"outer": {"under": "first"}}, "102e682d"),
        ({"outer": {"under": "mixed"}}, "578fdc67"),
        ({"outer": {"strategy": "informed"}}, "29688e0d"),
        ({"inner": {"strategy": "informed"}}, "81181491"),
        ({"outer": {"strategy": "informed"}}, "46171c77"),
        ({"inner": {"strategy": "informed"}}, "02ae7bcd"),
        ({"outer": {"under": "induced"}}, "9c216726"),
        ({"outer": {"under": "first", "shared": True, "keep": 2}}, "c08edf81"),
        ({"outer": {"strategy": "informed"}}, "d2caee92"),
        ({"inner": {"strategy": "informed"}}, "317bc16b"),
        ({"outer": {"under": "induced"}}, "6ce53029"),
        ({"outer": {"under": "induced"}}, "3a0bc8ec"),
        ({"outer": {"strategy": "informed"}}, "43bf4d75"),
        ({"inner": {"strategy": "informed"}}, "5243a710"),
        ({"outer": {"under": "induced"}}, "432ac0ca"),
        ({"outer": {"strategy": "informed"}}, "9dd5b4f4"),
        ({"inner": {"strategy": "informed"}}, "2ece7acd"),
        ({"ties": "earlier"}, "c1ae6724"),
        ({"racing": 0.05, "rows": 3, "ties": "earlier"}, "72937ee4"),
    ],
)
def test_no_run_goes_on_under_other_rules_than_it_began_with(changes: dict[str, Any], begun: str) -> None:
    """`begun`: what named it under the rules of then."""
    assert print_of(changes) != begun


def test_a_rule_of_what_no_run_asks_names_none() -> None:
    """First passes are an outer loop's."""
    assert "rules" in later(make_config({"outer": {"first_passes": 2}}))
    assert "rules" not in later(make_config({"outer": {"first_passes": 2, "candidates": 0}}))


def test_a_run_whose_texts_were_asked_to_be_short_goes_on_under_no_other_rule() -> None:
    graded = [replace(task, answer_format=Text(), grading="{}") for task in TASKS]
    free = [replace(task, answer_format=Text(free=True)) for task in graded]
    assert fingerprint(make_config(), graded) != fingerprint(make_config(), free)


def loaded(folder: Path, **table: object) -> Task:
    (folder / "t.jsonl").write_text('{"question": "q", "answer": "3"}\n', encoding="utf-8")
    return load_task(TaskSpec.model_validate({"name": "t", "train": "t.jsonl", **table}), base_dir=folder, seed=1)


def test_every_key_of_an_answer_format_names_a_run(tmp_path: Path) -> None:
    answers: list[dict[str, object]] = [
        {"kind": "integer"},
        {"kind": "integer", "tag": True},
        {"kind": "integer", "number_words": True},
        {"kind": "number"},
        {"kind": "number", "absolute_tolerance": 0.1},
        {"kind": "number", "units": {"km": 1000}},
        {"kind": "label"},
        {"kind": "label", "labels": ["3", "4"]},
        {"kind": "text"},
        {"kind": "text", "gold_pattern": "[0-9]"},
        {"kind": "text", "unanswerable": True},
    ]
    prints = {fingerprint(make_config(), [loaded(tmp_path, answer=answer)]) for answer in answers}
    assert len(prints) == len(answers)


def test_how_a_class_is_called_and_what_fields_it_has_name_no_run() -> None:
    @dataclass(frozen=True)
    class Renamed:
        added: int

    assert print_of({}) == fingerprint(
        make_config(), [replace(task, answer_format=cast(AnswerFormat, Renamed(1))) for task in TASKS]
    )


def test_code_of_the_users_own_names_a_run(tmp_path: Path) -> None:
    prints = set()
    for code in ("return 1.0", "return 0.5", "return 1.0"):
        (tmp_path / "m.py").write_text(f"def fn(prediction, answers):\n    {code}\n", encoding="utf-8")
        prints.add(fingerprint(make_config(), [loaded(tmp_path, answer="integer", metric="m:fn")]))
    assert len(prints) == 2


def test_a_local_models_context_names_a_run() -> None:
    local = {"backend": "local", "model": "smollm2"}
    contexts: list[dict[str, Any]] = [{}, {"context": 4096}, {"context": 2048}]
    named = [print_of({"base": {**local, **context}}) for context in contexts]
    assert named[0] == named[1] != named[2]


def test_a_runs_directory_is_worked_out_once(tmp_path: Path) -> None:
    prepared = Prepared(config=make_config({"runs": "runs"}), tasks=TASKS, folder=tmp_path)
    assert prepared.directory is prepared.directory is not None
    other = replace(prepared, config=make_config({"runs": "runs", "seed": 8}))
    assert other.directory != prepared.directory


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


def test_where_no_file_can_be_locked_is_told_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of some file systems over a network, which say so of no file."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (
        pytest.raises(RunDirectoryError, match=f"{tmp_path}: cannot lock files there: No locks available; set `runs`"),
        RunDirectory(tmp_path).held(),
    ):
        pass


def test_a_link_to_nowhere_in_a_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone")
    told = "link is a link that leads to gone, where nothing is; set `runs`"
    with pytest.raises(RunDirectoryError, match=told), RunDirectory(tmp_path / "link" / "run-1").held():
        pass


def test_what_a_killed_writer_left_is_gone_when_the_directory_is_held_next_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "run-12345678")
    run.prompts.mkdir(parents=True)
    drafts: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda old, new: drafts.append(old))
        patch.setattr(Path, "unlink", Path.exists)  # as `kill -9` leaves it
        for path in (run.result, run.prompts / "system.txt"):
            write_text(path, "new")
    (young, _), mine = drafts, run.path / ".mine.new"
    mine.touch()
    for path in (drafts[1], mine):
        os.utime(path, (1.0, 1.0))
    with run.held():
        assert set(run.path.rglob("*new")) == {young, mine}
        os.utime(young, (1.0, 1.0))
    with run.held():
        assert set(run.path.rglob("*new")) == {mine}


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
    (tmp_path / "latest").symlink_to("one")
    (tmp_path / "elsewhere" / "runs").mkdir(parents=True)
    (tmp_path / "elsewhere" / "runs" / "linked").symlink_to(tmp_path / "two")
    assert {run.name for run in find_runs(tmp_path)} == {"one", "two"}
    assert [run.name for run in find_runs(tmp_path / "elsewhere" / "runs")] == ["linked"]
    assert find_runs(tmp_path / "nowhere") == []


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that a user without root's rights can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_another_users_run_hides_no_other(shared_folder: Path) -> None:
    """A run's directory is its owner's alone: in a folder that several users share others are listed all the same."""
    make_runs(shared_folder, "mine-0000000a", "theirs-0000000b", "grids")
    theirs, grids = shared_folder / "theirs-0000000b", shared_folder / "grids"
    list_runs(find_runs(shared_folder))  # what it imports is imported
    for folder in (theirs, grids):
        folder.chmod(0)
    with _without_roots_rights():
        runs = find_runs(shared_folder)
        assert [run.name for run in runs] == ["mine-0000000a", "theirs-0000000b"]
        mine, other = list_runs(runs)
        assert find_run("", base=shared_folder, latest=True, finished=True).name == mine.run
        theirs_run = find_run("theirs", base=shared_folder, latest=True, finished=True)
        with pytest.raises(RunDirectoryError, match=r"origin\.json: cannot be read: Permission denied$"):
            reopen(theirs_run)
    for folder in (theirs, grids):
        folder.chmod(0o700)
    assert (mine.unreadable, other.unreadable) == ("", f"{theirs}/config.json: cannot be read: Permission denied")


@contextmanager
def _without_roots_rights() -> Iterator[None]:
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


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


@pytest.mark.parametrize(
    "damaged", ["[1]", "{", '{"set": [1], "budget": 3, "cap": [], "config": "/c.toml"}', '{"config": 5}']
)
@pytest.mark.parametrize("part", ["origin", "config", "summary"])
def test_the_command_that_goes_on_with_a_run_is_left_out_where_files_do_not_tell_it(
    tmp_path: Path, part: str, damaged: str
) -> None:
    run, file = RunDirectory(tmp_path / "run"), tmp_path / "c.toml"
    run.path.mkdir()
    file.touch()
    write_json(run.config, {"budget": {"calls": 9}})
    write_json(run.origin, {"config": str(file), "set": {"budget.tokens": 5}})
    write_json(run.summary, {"cap": "calls"})
    whole = f"metaspo optimize {file} --set budget.tokens=5"
    assert going_on(run).command == f"{whole} --set budget.calls=18"
    getattr(run, part).write_text(damaged)
    without_set = f"metaspo optimize {file} --set budget.calls=18"
    assert going_on(run).command in ("", whole, without_set)
