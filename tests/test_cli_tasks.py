"""`metaspo tasks` and configs that name a domain, from the command line."""

import json
import tomllib
from pathlib import Path

import pytest
from command_line import here

from metaspo.engine.domains import domains


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METASPO_DATA", raising=False)
    return tmp_path


def write_safety(folder: Path, *, leave_out: str = "") -> None:
    """A few examples of our own for every task of the domain, but for one file."""
    for task in domains()["safety"].tasks:
        for split in ("train", "test"):
            path = folder / task.file(split)
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [{"question": f"{split} text {n}", "answer": "yes" if n % 2 else "no"} for n in range(6)]
            if task.file(split) != leave_out:
                path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_without_a_folder_every_task_is_listed_with_where_to_get_it(folder: Path) -> None:
    ended = here("tasks")
    assert ended.code == 0
    for domain in domains().values():
        for task in domain.tasks:
            assert f" {task.name} " in ended.out
            assert task.hub.repository in ended.out
    assert "METASPO_DATA" in ended.err
    assert "medical/ob_gyn/train.jsonl" in ended.err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("run.toml", "run.toml: here stand the domains' tasks (--domain NAME); `metaspo check CONFIG` shows those of"),
        ("medical", "give a domain as --domain medical"),
        ("my data", "my data is a folder: for one with the domains' data give --data 'my data'"),
    ],
)
def test_what_is_given_in_place_of_an_option_is_told_what_it_is_for(folder: Path, given: str, says: str) -> None:
    (folder / "my data").mkdir()
    ended = here("tasks", given)
    assert (ended.code, ended.out) == (2, "")
    assert ended.errors[0].startswith(says)


def test_what_is_there_is_counted_and_what_is_missing_is_named(folder: Path) -> None:
    write_safety(folder / "data", leave_out="safety/liar/test.jsonl")
    ended = here("tasks", "--domain", "safety", "--data", "data", "--json")
    found = {row["task"]: row for row in ended.data}
    assert (found["ethos"]["train"], found["ethos"]["test"], found["ethos"]["ready"]) == (6, 6, True)
    assert (found["liar"]["train"], found["liar"]["test"], found["liar"]["ready"]) == (6, None, False)
    assert found["liar"]["missing"] == ["safety/liar/test.jsonl"]
    assert found["liar"]["hub"]["repository"] == "ucsbnlp/liar"
    assert "missing: liar: safety/liar/test.jsonl in data" in here("tasks", "--domain", "safety", "--data", "data").err


def test_a_file_that_cannot_be_used_is_told_by_line(folder: Path) -> None:
    write_safety(folder / "data")
    (folder / "data" / "safety" / "ethos" / "test.jsonl").write_text('{"question": "q", "answer": "perhaps"}\n')
    ended = here("tasks", "--domain", "safety", "--data", "data")
    assert "cannot be used: " in ended.err
    assert "test.jsonl:1: the answer 'perhaps' does not fit" in ended.err


def test_the_folder_may_come_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_safety(folder / "data")
    monkeypatch.setenv("METASPO_DATA", str(folder / "data"))
    ended = here("tasks", "--domain", "safety")
    assert ended.err == ""
    assert "Hugging Face" not in ended.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--domain", "saftey"], "--domain: there is no domain 'saftey' (did you mean 'safety'?)"),
        (["--data", "nowhere"], "--data: nowhere: no such folder"),
    ],
)
def test_mistakes_are_told_in_a_line(folder: Path, options: list[str], message: str) -> None:
    ended = here("tasks", *options)
    assert ended.code == 2
    (error,) = ended.errors
    assert error.startswith(message)


def test_a_domains_starter_is_a_config_that_can_be_planned(folder: Path) -> None:
    assert here("init", "mine", "--domain", "safety").code == 0
    written = (folder / "mine" / "metaspo.toml").read_text(encoding="utf-8")
    assert tomllib.loads(written)["domain"] == "safety"
    assert 'name = "liar"' in written
    write_safety(folder / "mine" / "data")
    ended = here("plan", "mine/metaspo.toml", "--set", "data=data", "--set", "train_size=4", "--json")
    assert ended.code == 0, ended.err
    (plan,) = ended.data
    # 4 source tasks of 4 train examples; 6 test examples each; 3 kept user prompts.
    assert plan["calls"]["initial"] == 4 * 4
    assert plan["calls"]["outer"] == 3 * 9 * 4 * 3 * 4


def test_every_domain_has_a_starter(folder: Path) -> None:
    for name in domains():
        assert here("init", name, "--domain", name).code == 0
        assert tomllib.loads((folder / name / "metaspo.toml").read_text(encoding="utf-8"))["domain"] == name


@pytest.mark.parametrize(("name", "looked_at"), [("safety", True), ("all", True), ("math", False), ("code", False)])
def test_next_is_to_look_for_data_that_do_not_come_along_to_check_and_to_optimize(
    folder: Path, name: str, looked_at: bool
) -> None:
    steps = here("init", "mine", "--domain", name).out.splitlines()[1:]
    file = Path("mine") / "metaspo.toml"
    looks = [f"  metaspo tasks --domain {name}"] if looked_at else []
    assert steps == [*looks, *(f"  metaspo {step} {file}" for step in ("check", "plan", "optimize"))]
    written = file.read_text(encoding="utf-8")
    assert ("Hugging Face" in written, "come with metaspo" in written) == (looked_at, not looked_at)


@pytest.mark.parametrize(
    ("name", "meant"), [("maths", "math"), ("coding", "code"), ("medicine", "medical"), ("reviews", "review")]
)
def test_a_domain_that_is_meant_is_named(folder: Path, name: str, meant: str) -> None:
    assert f"did you mean '{meant}'?" in here("init", "mine", "--domain", name).errors[0]


@pytest.mark.parametrize("name", ["nope", "poetry", "x"])
def test_no_domain_is_named_where_none_is_like_it(folder: Path, name: str) -> None:
    (error,) = here("init", "mine", "--domain", name).errors
    assert "did you mean" not in error
    assert "known: medical" in error


def test_a_starter_for_no_domain_writes_nothing(folder: Path) -> None:
    ended = here("init", "mine", "--domain", "poetry")
    assert ended.code == 2
    assert not (folder / "mine").exists()


def test_a_missing_file_of_a_domain_is_named_with_its_task(folder: Path) -> None:
    write_safety(folder / "data", leave_out="safety/liar/test.jsonl")
    here("init", "mine", "--domain", "safety")
    ended = here("plan", "mine/metaspo.toml", "--set", "data=../data")
    assert ended.code == 2
    (error,) = ended.errors
    assert "safety/liar/test.jsonl: no such file" in error
    assert "[task 'liar']" in error
