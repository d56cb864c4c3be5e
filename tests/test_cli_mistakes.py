"""Every mistake of a user's gets one `error:` line that names file, key or line and says what to do; exit status 2."""

import json
import sys
from pathlib import Path

import pytest
from command_line import Ended, here, write_project

DEAD = "http://127.0.0.1:9/v1"  # nothing listens there; no test here gets as far as a call


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good config `run.toml`; commands run there."""
    write_project(tmp_path, DEAD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(project: Path, old: str, new: str) -> None:
    path = project / "run.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def mistake(ended: Ended, *says: str) -> None:
    """One error line that says all of it, exit status 2, nothing on standard output."""
    assert (ended.code, ended.out, len(ended.errors)) == (2, "", 1), ended
    for part in says:
        assert part in ended.errors[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("optimise run.toml", "no such command 'optimise'. Did you mean 'optimize'? `metaspo --help` says"),
        ("optimize", "missing argument 'CONFIG'; `metaspo optimize --help` says"),
        ("optimize run.toml --quit", "no such option: --quit"),
        ("bench pag", "no such command 'pag'"),
        ("bench page --rate many", "invalid value for '--rate'"),
        ("plan run.toml --calls many", "invalid value for '--calls': must be a whole number; `metaspo plan --help`"),
        ("plan run.toml --calls 0", "invalid value for '--calls': must be greater than or equal to 1; `metaspo plan"),
        ("--log yaml runs", "'yaml' is not one of 'console', 'json'; `metaspo --help` says"),
        ("optimize run.toml --set", "option '--set' requires an argument"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_told_as_every_other_mistake(words: str, says: str) -> None:
    ended = here(*words.split())
    mistake(ended, says)
    assert ended.err.count("\n") == 1


def test_a_missing_config() -> None:
    mistake(here("optimize", "nowhere.toml"), "nowhere.toml", "metaspo init")


def test_a_config_that_is_not_toml(project: Path) -> None:
    (project / "bad.toml").write_text("a = = 1\n", encoding="utf-8")
    mistake(here("plan", "bad.toml"), "bad.toml", "line 1")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("candidates = 3", "candidate = 3", ("run.toml", "outer.candidate", "candidates")),
        ("iterations = 1", "iterations = -2", ("run.toml", "iterations", "-2")),
        ("max_tokens = 64", "max_tokens = 'many'", ("run.toml", "base.max_tokens")),
        ("a.train.jsonl", "gone.jsonl", ("gone.jsonl", "no such file", "'a'")),
        ("[inner]\n", "[inner]\nstrategy = 'metaspro'\n", ("inner.strategy", "metaspro", "metaspo")),
        ("concurrency = 4", "concurrency = 4\ntier = 77", ("base", "tier 77")),
        ('endpoints = ["http://127.0.0.1:9/v1"]', 'endpoints = ["localhost:9"]', ("base.endpoints", "http://")),
        ('endpoints = ["http://127.0.0.1:9/v1"]', "", ("base", "endpoints")),
        ('model = "writer"', 'model = "writer"\napi_key_env = "sk-not-a-name"', ("optimizer.api_key_env", "NAME")),
        ("is {question} even?", "is it even?", ("user_prompt", "{question}")),
        ('metric = "accuracy"', 'metric = "accuracies"', ("metric", "accuracy")),
        ("seed = 7", 'seed = 7\nsystem_prompt = " "', ("system_prompt", "empty")),
        ("seed = 7", 'seed = 7\nsystem_prompt = "{question}"', ("system_prompt", "{question}")),
        ('name = "b"', 'name = "a"', ("two tasks", "'a'")),
        ('name = "b"', f'name = "{"n" * 256}"', ("tasks.1.name", "256 characters")),
        ("seed = 7", 'seed = 7\nname = ""', ("run.toml", "name", "must not be empty")),
        ("seed = 7", f'seed = 7\nname = "{"n" * 256}"', ("run.toml", "name", "200")),
        ('name = "b"', f'name = "b"\ntest_size = {10**30}', ("tasks.1.test_size", "9223372036854775807")),
        ("[inner]\n", f"[base.extra]\nx = {10**30}\n[inner]\n", ("run.toml", "64-bit")),
        ("iterations = 1", "iterations = 1_000_001", ("iterations", "1000000")),
        ("concurrency = 4", "concurrency = 4\ntime_limit = inf", ("base.time_limit", "finite")),
        ("seed = 7", 'seed = 7\ncache = "http://x"', ("run.toml: cache", "redis://HOST:PORT/DB")),
        ("seed = 7", 'seed = 7\ncache = "redis://x:y/z"', ("run.toml: cache", "redis://HOST:PORT/DB")),
    ],
)
def test_a_bad_key(project: Path, old: str, new: str, says: tuple[str, ...]) -> None:
    edit(project, old, new)
    mistake(here("optimize", "run.toml"), *says)
    assert not (project / ".metaspo").exists()


@pytest.mark.parametrize("command", [["optimize"], ["evaluate"], ["adapt", "--system", "run.toml"]])
def test_a_comparisons_config_where_a_runs_is_wanted(project: Path, command: list[str]) -> None:
    """One line that says which command is meant, not one for each unknown key."""
    (project / "grid.toml").write_text('config = "run.toml"\nmethods = ["metaspo"]\nseeds = [1]\n', encoding="utf-8")
    mistake(here(*command, "grid.toml"), "grid.toml: this is a comparison's config", "metaspo compare", "run.toml")


def test_a_comparisons_config_stays_one_whatever_is_set(project: Path) -> None:
    (project / "grid.toml").write_text('methods = ["metaspo"]\n', encoding="utf-8")
    mistake(here("plan", "grid.toml", "--set", "base.model=x"), "comparison's config", "`metaspo compare grid.toml`")


def test_a_runs_config_where_a_comparisons_is_wanted() -> None:
    mistake(here("compare", "run.toml"), "run.toml: this is a run's config", 'config = "run.toml"', "compare --help")


def test_a_config_that_is_of_both_kinds_is_told_its_faults_one_by_one(project: Path) -> None:
    """It might be either: a run's with a key too many, or the other way round."""
    edit(project, "seed = 7", 'seed = 7\nmethods = ["metaspo"]')
    mistake(here("plan", "run.toml"), "run.toml: methods: unknown key")
    errors = here("compare", "run.toml").errors
    assert "run.toml: config: is missing" in errors
    assert len(errors) > 5


@pytest.mark.parametrize(
    "words",
    [
        "plan odd.txt",
        "evaluate run.toml --system odd.txt",
        "evaluate run.toml --user a=odd.txt",
        "generalize run.toml --system odd.txt",
        "import odd.txt --out there",
        "compare grid.toml --plan",
    ],
)
def test_a_text_in_another_encoding_is_told_in_words_for_people(project: Path, words: str) -> None:
    (project / "odd.txt").write_bytes("Sei höflich.".encode("latin-1"))
    (project / "grid.toml").write_text('config = "run.toml"\nmethods = ["file:odd.txt"]\n', encoding="utf-8")
    mistake(here(*words.split()), "odd.txt", "cannot be read: not UTF-8 text; save the file as UTF-8")


def test_a_missing_optimizer(project: Path) -> None:
    text = (project / "run.toml").read_text(encoding="utf-8")
    before, _, rest = text.partition("[optimizer]")
    (project / "run.toml").write_text(before + rest[rest.index("[inner]") :], encoding="utf-8")
    mistake(here("optimize", "run.toml"), "run.toml", "optimizer", "embedded")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", "not valid JSON"),
        (json.dumps({"question": "x number 1"}), "answer"),
        (json.dumps({"question": "x number 1", "answer": "perhaps"}), "perhaps"),
        (json.dumps({"question": "half a pair \ud800 number 1", "answer": "yes"}), "surrogate"),
    ],
)
def test_a_bad_line_of_data(project: Path, line: str, says: str) -> None:
    with (project / "a.train.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    mistake(here("optimize", "run.toml"), "a.train.jsonl:7", says)


def test_a_key_that_is_not_set(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    edit(project, "concurrency = 4", 'concurrency = 4\napi_key_env = "SOME_KEY"')
    mistake(here("optimize", "run.toml"), "SOME_KEY", ".env")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--system", "gone.txt"], ("--system", "gone.txt")),
        (["--system", "empty.txt"], ("empty.txt", "empty")),
        (["--user", "a=gone.txt"], ("--user", "gone.txt")),
        (["--user", "a=plain.txt"], ("plain.txt", "{question}")),
        (["--user", "c=good.txt"], ("'c'", "no such task")),
        (["--user", "a"], ("--user a", "TASK=FILE")),
        (["--run", "nobody"], ("nobody", "metaspo runs")),
        (["--split", "dev"], ("--split", "dev")),
        (["--set", "seed"], ("--set seed", "KEY=VALUE")),
        (["--set", "seed.x=1"], ("--set seed.x",)),
        (["--set", "tasks.0.name=x"], ("--set tasks.0.name", "tasks")),
        (["--set", "sed=1"], ("sed", "seed")),
    ],
)
def test_a_bad_option_of_evaluate(project: Path, options: list[str], says: tuple[str, ...]) -> None:
    (project / "empty.txt").write_text("\n", encoding="utf-8")
    (project / "good.txt").write_text("So: {question}\n", encoding="utf-8")
    (project / "plain.txt").write_text("No place for it.\n", encoding="utf-8")
    mistake(here("evaluate", "run.toml", *options), *says)


def test_an_unknown_run() -> None:
    mistake(here("show", "nobody"), "nobody", "metaspo runs")


def test_a_run_directory_that_cannot_be_written(project: Path) -> None:
    (project / "file").write_text("", encoding="utf-8")
    mistake(here("optimize", "run.toml", "--set", "runs=file/runs"), "file/runs", "`runs`")


def test_a_spoilt_run_directory(project: Path) -> None:
    spoilt = project / ".metaspo" / "runs" / "old"
    spoilt.mkdir(parents=True)
    (spoilt / "config.json").write_text("{}", encoding="utf-8")
    (spoilt / "journal.jsonl").write_text('{"event": "start", "address": ""}\n', encoding="utf-8")
    for text in ("{half", '{"all_sessions": [1]}', '{"all_sessions": {"sessions": "-3"}}'):
        (spoilt / "summary.json").write_text(text, encoding="utf-8")
        for command in (["show", "old"], ["show", "old", "--json"]):
            mistake(here(*command), "summary.json: cannot be read: ", "started again, writes it anew")
        for command in (["runs"], ["runs", "--json"]):
            listed = here(*command)
            assert (listed.code, "summary.json" in listed.out) == (0, True), "it hides no other"
    (spoilt / "summary.json").unlink()
    (spoilt / "safety.json").write_text("{half", encoding="utf-8")
    mistake(here("show", "old"), "safety.json: cannot be read: ", "; `metaspo safety` writes it anew")


@pytest.mark.parametrize("command", [["bench", "live", "foo"], ["bench", "order", "--url", "foo"]])
def test_an_address_that_is_none(command: list[str]) -> None:
    mistake(here(*command, "--model", "x"), "foo: a base URL looks like http://")


def test_an_address_with_a_password_is_refused_without_repeating_it() -> None:
    ended = here("bench", "live", "http://me:hidden@127.0.0.1:9/v1", "--model", "x")
    mistake(ended, "must not hold")
    assert "hidden" not in ended.err


def test_the_same_run_twice_in_one_command() -> None:
    mistake(here("optimize", "run.toml", "run.toml"), "run", "twice")


def test_several_faults_get_a_line_each(project: Path) -> None:
    edit(project, "candidates = 2", "candidats = 2")
    edit(project, "candidates = 3", "candidats = 3")
    ended = here("plan", "run.toml")
    assert ended.code == 2
    assert [error.split(":")[1].strip() for error in ended.errors] == ["inner.candidats", "outer.candidats"]


def test_nothing_to_optimize_on_is_said(project: Path) -> None:
    text = (project / "run.toml").read_text(encoding="utf-8")
    tables = text.split("[[tasks]]")
    (project / "run.toml").write_text(
        tables[0].replace("iterations = 1", "iterations = 0") + "[[tasks]]" + tables[3], encoding="utf-8"
    )
    mistake(here("optimize", "run.toml"), "source", "evaluate")


def test_a_cache_that_is_a_file_is_told(project: Path) -> None:
    ended = here("evaluate", "run.toml", "--set", "cache=run.toml")
    assert ended.code == 3
    assert ended.errors == ["run.toml is a file: name a folder for the cache, which is made if there is none."]


def test_a_message_shows_no_whole_books(project: Path) -> None:
    line = json.dumps({"question": "x number 1", "answer": "perhaps" * 50_000})
    (project / "a.train.jsonl").write_text(line + "\n", encoding="utf-8")
    (error,) = here("plan", "run.toml").errors
    assert "a.train.jsonl:1" in error
    assert len(error) < 400


DEEP = "[" * 20_000
TOO_MUCH = {
    "nested": f"a = {DEEP}",
    "closed": f"[base]\nextra = {'{a = ' * 900}1{'}' * 900}",
    "dotted": f"{'.'.join('a' * 3_000)} = 1",
    "number": f"seed = {'1' * 5_000}",
}


@pytest.mark.parametrize("what", TOO_MUCH)
@pytest.mark.parametrize("command", [("plan",), ("compare", "--plan"), ("serve",)])
def test_a_config_that_is_more_than_can_be_read_is_told(project: Path, what: str, command: tuple[str, ...]) -> None:
    (project / "odd.toml").write_text(TOO_MUCH[what], encoding="utf-8")
    ended = here(*command, "odd.toml")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert ended.errors[0].startswith("odd.toml: not valid TOML: ")


def test_an_override_that_is_more_than_can_be_read_is_a_text(project: Path) -> None:
    ended = here("plan", "run.toml", "--set", f"base.extra={DEEP}")
    assert ended.code == 2
    assert "base.extra: must be a table" in ended.errors[0]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
@pytest.mark.parametrize(
    "command", [["plan", "/dev/zero"], ["evaluate", "run.toml", "--system", "/dev/zero"], ["import", "/dev/zero"]]
)
def test_a_file_without_an_end_is_not_read_to_it(project: Path, command: list[str]) -> None:
    ended = here(*command, *(["--out", "new"] if command[0] == "import" else []))
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "/dev/zero" in ended.errors[0]
    assert "has more than 8,000,000 characters, so nobody wrote it" in ended.errors[0]


PATHS = {
    "cache": ("seed = 7", 'seed = 7\ncache = "{}"'),
    "runs": ("seed = 7", 'seed = 7\nruns = "{}"'),
    "tasks.0.train": ('train = "a.train.jsonl"', 'train = "{}.jsonl"'),
    "tasks.0.train.": ('train = "a.train.jsonl"', 'train = {{dataset = "json", split = "train", files = "{}"}}'),
}


@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize(
    ("path", "told"),
    [("a\\u0000b", "no file's name can have"), ("~nobody-here/x", "home folder of somebody who is not")],
)
def test_a_path_that_no_file_can_have_is_told_with_its_key(project: Path, key: str, path: str, told: str) -> None:
    old, new = PATHS[key]
    edit(project, old, new.format(path))
    ended = here("optimize", "run.toml", "--quiet")
    mistake(ended, told)
    assert key.rstrip(".") in ended.errors[0]


@pytest.mark.parametrize(
    ("package", "set_to", "extra"),
    [
        ("xllamacpp", ["base.backend=local", "base.model=smollm2", "base.endpoints=[]"], "local"),
        ("metaspo.cache.redis.store", ["cache=redis://127.0.0.1:9/0"], "redis"),
        ("metaspo.cache.redis.store", ["cache=redis://127.0.0.1:9/0", "cache_failure=continue"], "redis"),
        ("optuna", ["inner.strategy=mipro"], "mipro"),
        ("mlflow", ["track.mlflow=sqlite:///runs.db"], "mlflow"),
        ("tokenizers", ["outer.max_prompt_tokens=900"], "tokens"),
    ],
)
def test_an_extra_that_is_not_installed_is_a_mistake_with_its_command(
    monkeypatch: pytest.MonkeyPatch, package: str, set_to: list[str], extra: str
) -> None:
    """Whatever it is for: the same command again would end the same way, so nobody is sent to give it."""
    monkeypatch.setitem(sys.modules, package, None)
    mistake(here("optimize", "run.toml", "--quiet", *(f"--set={change}" for change in set_to)), f"metaspo[{extra}]")
