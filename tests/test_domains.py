"""The paper's domains: their tasks, their data in a folder or on Hugging Face, and how a config names them."""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hub_standin
import pytest

from metaspo.engine import ConfigError
from metaspo.engine.config.load import load_config, parse_config
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.domains import (
    DomainTask,
    UnknownDomain,
    domain_tasks,
    domains,
    find_domains,
    find_task,
    given_user_prompts,
    task_spec,
)
from metaspo.engine.domains.survey import survey
from metaspo.engine.tasks import DataSource, Example, TaskError, TaskSpec, build_format, build_metric, load_task

DATA = Path(
    os.environ.get("METASPO_DATA", "") or Path(__file__).resolve().parent.parent.parent / "shared" / "data"
).absolute()
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the domains' data are not at {DATA}; set METASPO_DATA")
TASKS = [task for domain in domains().values() for task in domain.tasks]
BASE = {"base": {"model": "m", "endpoints": ["http://127.0.0.1:8000/v1"]}}
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def config(environment: dict[str, str] | None = None, /, **keys: object) -> Any:  # noqa: ANN401 - read by attribute
    return parse_config({**BASE, **keys}, source="run.toml", environment=environment or {})


def refusal(keys: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        config(**keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_there_are_the_papers_five_domains_with_twenty_source_and_fourteen_target_tasks() -> None:
    assert list(domains()) == ["medical", "review", "reasoning", "safety", "grounding"]
    roles = [task.role for task in TASKS]
    assert (roles.count("source"), roles.count("target")) == (20, 14)
    assert len({task.name for task in TASKS}) == 34
    sizes = {name: TaskSpec.model_fields[name].default for name in ("train_size", "test_size")}
    assert (sizes, RunConfig.model_fields["seed"].default) == ({"train_size": 50, "test_size": 500}, 42)


@each_task
def test_a_first_user_prompt_asks_and_says_how_to_answer(task: DomainTask) -> None:
    assert task.user_prompt.count("{question}") == 1
    rule = task.user_prompt.partition("{question}")[2]
    if task.answer.tag:
        assert f"between <{task.answer.tag}> and </{task.answer.tag}>" in rule
    else:
        assert "answer alone" in rule


@each_task
def test_the_metric_is_the_papers(task: DomainTask) -> None:
    wanted = {"safety": "macro-f1", "grounding": "exact-match"}.get(task.domain, "accuracy")
    assert task.metric == wanted
    assert build_metric(task.metric, base_dir=Path()).name == wanted


@needs_data
def test_every_domain_loads_from_a_folder(tmp_path: Path) -> None:
    for spec in domain_tasks("all", data=DATA):
        task = load_task(spec, base_dir=tmp_path, seed=42)
        assert len(task.train) == 50
        assert 150 <= len(task.test) <= 500
        assert not {one.question for one in task.train} & {one.question for one in task.test}


@needs_data
def test_the_counts_are_the_lines_of_the_files() -> None:
    for state in survey(find_domains(["all"]), data=DATA):
        lines = [len((DATA / state.task.file(split)).read_bytes().splitlines()) for split in ("train", "test")]
        assert [state.train, state.test] == lines
        assert state.ready


@needs_data
@each_task
def test_every_answer_of_the_data_is_read_back_out_of_a_reply(task: DomainTask) -> None:
    """A model that writes an accepted answer in the form asked for scores 1."""
    answer_format = build_format(task.answer)
    metric = build_metric(task.metric, base_dir=Path())
    reply = f"I see. <{task.answer.tag}> {{}} </{task.answer.tag}>" if task.answer.tag else "{}"
    spec = task_spec(task, data=DATA, train_size="all", test_size="all")
    loaded = load_task(spec, base_dir=Path(), seed=0)
    for example in (*loaded.train, *loaded.test):
        for answer in example.answers:
            assert metric.grade(answer_format.parse(reply.format(answer)), example).score == 1


def test_what_a_folder_lacks_is_listed_and_what_it_has_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "medical" / "ob_gyn"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"question": "q", "answer": "B"}\n' * 3, encoding="utf-8")
    (tmp_path / "medical" / "dental").mkdir()
    (tmp_path / "medical" / "dental" / "test.jsonl").write_text('{"question": "q", "answer": "E"}\n', encoding="utf-8")
    states = {state.task.name: state for state in survey(find_domains(["medical"]), data=tmp_path)}
    assert (states["ob_gyn"].train, states["ob_gyn"].test) == (3, None)
    assert states["ob_gyn"].missing == ("medical/ob_gyn/test.jsonl",)
    assert states["dental"].missing == ("medical/dental/train.jsonl",)
    assert "the answer 'E' does not fit" in states["dental"].faults[0]
    assert states["surgery"].missing == ("medical/surgery/train.jsonl", "medical/surgery/test.jsonl")
    assert not any(state.ready for state in states.values())


def hub_examples(task: DomainTask) -> list[list[Example]]:
    """Both splits of a task, taken from what stands for Hugging Face."""
    loaded = []
    for split in ("train", "test"):
        source = task.hub.train if split == "train" else task.hub.test
        spec = task_spec(task, data=None, train_size="all").model_copy(update={"train": source, "test": None})
        try:
            loaded.append(list(load_task(spec, base_dir=Path(), seed=0).train))
        except TaskError as error:
            if "holds no examples" not in str(error):  # a part of a few rows may be empty
                raise
            loaded.append([])
    return loaded


@each_task
def test_the_rows_of_hugging_face_become_questions_and_answers(
    task: DomainTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", hub_standin)
    splits = hub_examples(task)
    check_hub_examples(task, splits)
    if task.hub.train.part:
        assert not {one.question for one in splits[0]} & {one.question for one in splits[1]}


def check_hub_examples(task: DomainTask, splits: Sequence[Sequence[Example]]) -> None:
    found = {one.question: one.answers for split in splits for one in split}
    if task.name == "anthropic_harmless":
        assert len(found) == 24
        assert all(found[question] == ("yes",) for question in found if question.endswith("Assistant: Sure."))
        assert all(found[question] == ("no",) for question in found if question.endswith("Assistant: No."))
        assert set(found.values()) == {("yes",), ("no",)}
        return
    right = hub_standin.right_of(task.name, task.domain, "".join(task.hub.train.where.get("subject_name", ())))
    if not task.hub.columns.choices:
        assert found == right
        return
    chosen = {}
    for question, (letter,) in found.items():
        stem, *options = re.split(r"\n\([A-Z]\) ", question)
        chosen[stem] = (options["ABCDEFGH".index(letter)],)
    assert chosen == right


@each_task
def test_the_real_library_gives_the_same(task: DomainTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `datasets` itself, from a Parquet file with the classes and nested columns of the dataset."""
    datasets = pytest.importorskip("datasets")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table = hub_standin.table_for(task.hub.train.dataset or "", task.hub.train.config, task.hub.train.files or "")
    classes = {column: datasets.ClassLabel(names=label.names) for column, label in table.features.items()}
    rows = pyarrow.Table.from_pylist(list(table.rows))
    features = datasets.Features({**datasets.Features.from_arrow_schema(rows.schema), **classes})
    parquet.write_table(rows.cast(features.arrow_schema), tmp_path / "rows.parquet")
    there = {"dataset": "parquet", "files": str(tmp_path / "rows.parquet"), "config": None, "split": "train"}
    hub = {split: getattr(task.hub, split).model_copy(update=there) for split in ("train", "test")}
    local = type(task.hub)(**hub, columns=task.hub.columns, note=task.hub.note)
    splits = hub_examples(type(task)(**{**{f: getattr(task, f) for f in task.__slots__}, "hub": local}))
    check_hub_examples(task, splits)


def test_options_in_an_order_of_their_own_are_the_same_every_time_and_not_always_the_datas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", hub_standin)
    first, again = (hub_examples(find_task("temporal_sequences")) for _ in range(2))
    assert first == again
    assert {one.answers for split in first for one in split} != {("A",)}


def test_a_config_names_a_domain_and_its_folder() -> None:
    tasks = config(domain="medical", data="../data").tasks
    assert [task.name for task in tasks] == [task.name for task in domains()["medical"].tasks]
    assert tasks[0].train.path == "../data/medical/ob_gyn/train.jsonl"
    assert tasks[0].test.path == "../data/medical/ob_gyn/test.jsonl"
    assert [(task.train_size, task.test_size) for task in tasks] == [(50, 500)] * 8


def test_a_config_may_name_several_domains_or_all() -> None:
    assert len(config(domain=["review", "safety", "review"], data="d").tasks) == 13
    assert len(config(domain="all", data="d").tasks) == 34


def test_the_folder_comes_from_the_config_then_the_environment_then_hugging_face(tmp_path: Path) -> None:
    environment = {"METASPO_DATA": str(tmp_path)}
    paths = [
        config(environment, domain="review", data="mine").tasks[0].train.path,
        config(environment, domain="review").tasks[0].train.path,
    ]
    assert paths == ["mine/review/beauty/train.jsonl", f"{tmp_path}/review/beauty/train.jsonl"]
    for hub in (config(environment, domain="review", data="huggingface"), config(domain="review")):
        assert hub.tasks[0].train == find_task("beauty").hub.train
        assert hub.tasks[0].columns == find_task("beauty").hub.columns


def test_a_task_beside_a_domain_changes_the_one_of_its_name_or_is_added() -> None:
    own = {"name": "mine", "role": "target", "test": "mine.jsonl"}
    changed = {"name": "beauty", "train_size": 7, "role": "target"}
    tasks = config(domain="review", data="d", train_size=20, test_size="all", tasks=[own, changed]).tasks
    assert [task.name for task in tasks] == [*(task.name for task in domains()["review"].tasks), "mine"]
    assert (tasks[0].role, tasks[0].train_size, tasks[0].test_size) == ("target", 7, None)
    assert (tasks[1].role, tasks[1].train_size, tasks[1].test_size) == ("source", 20, None)
    assert tasks[0].user_prompt == find_task("beauty").user_prompt
    assert (tasks[-1].train_size, tasks[-1].test_size) == (50, 500)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"domain": "medcal"},
            "run.toml: domain: there is no domain 'medcal' (did you mean 'medical'?); known: medical",
        ),
        ({"domain": 3}, "run.toml: domain: must be a name or a list of names"),
        ({"domain": []}, "run.toml: domain: must be a name or a list of names"),
        ({"domain": "review", "data": 3}, "run.toml: data: must be a folder"),
        ({"domain": "review", "train_size": 0}, "run.toml: train_size: must be a number from 1 up"),
        ({"data": "d", "tasks": []}, "run.toml: data: belongs to domain"),
        ({"test_size": 3, "tasks": []}, "run.toml: test_size: belongs to domain"),
        ({"domian": "review", "tasks": [{"name": "a", "train": "a.csv"}]}, "did you mean 'domain'?"),
        ({"domain": "review", "tasks": 3}, "run.toml: tasks: "),
        ({"domain": "review", "tasks": [{"name": "beauty", "metrik": "x"}]}, "run.toml: tasks.0.metrik: unknown key"),
    ],
)
def test_what_is_wrong_with_a_domain_is_told_with_file_and_key(keys: dict[str, object], message: str) -> None:
    assert message in refusal(keys)


def test_a_task_goes_by_the_references_name_too() -> None:
    assert find_task("antropic_harmless") is find_task("anthropic_harmless")
    with pytest.raises(UnknownDomain, match="did you mean 'ob_gyn'"):
        find_task("ob_gin")


def test_a_table_by_the_references_name_changes_the_task() -> None:
    plain = config(domain="safety", data="data")
    changed = config(domain="safety", data="data", tasks=[{"name": "antropic_harmless", "test_size": 7}])
    assert [task.name for task in changed.tasks] == [task.name for task in plain.tasks]
    assert {task.name: task.test_size for task in changed.tasks}["anthropic_harmless"] == 7


def test_a_name_that_is_no_text_is_told() -> None:
    assert "tasks.6.name" in refusal({"domain": "safety", "tasks": [{"name": ["liar"]}]})


@pytest.mark.parametrize("spelling", ["anthropic_harmless", "antropic_harmless"])
def test_files_are_found_under_either_spelling(tmp_path: Path, spelling: str) -> None:
    """Also from a config beside the data folder, wherever the command runs; where there are none the first is named."""
    folder = tmp_path / "data" / "safety" / spelling
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text('{"question": "q", "answer": "yes"}\n', encoding="utf-8")
    (tmp_path / "run.toml").write_text(
        'domain = "safety"\ndata = "data"\n[base]\nmodel = "m"\nendpoints = ["http://127.0.0.1:8000/v1"]\n'
    )
    named = {task.name: task for task in load_config(tmp_path / "run.toml").tasks}
    for source in (named["anthropic_harmless"].train, named["anthropic_harmless"].test):
        assert (tmp_path / str(source and source.path)).is_file()
    assert named["liar"].train == DataSource(path=str(Path("data/safety/liar/train.jsonl")))
    (state,) = (state for state in survey([domains()["safety"]], data=tmp_path / "data") if state.train)
    assert (state.task.name, state.train, state.test, state.missing) == ("anthropic_harmless", 1, 1, ())


@pytest.mark.parametrize("slot", ["{question}", "{{question}}", "{ question }", "{{ question }}", "{Question}"])
def test_a_given_prompts_slot_is_written_our_way_once(tmp_path: Path, slot: str) -> None:
    (tmp_path / "pet.json").write_text(json.dumps([f"Rate {{this}}: {slot}!"]), encoding="utf-8")
    assert given_user_prompts(tmp_path, "pet") == ("Rate {this}: {question}!",)


def test_given_prompts_are_found_in_the_data_folder_and_under_the_references_name(tmp_path: Path) -> None:
    folder = tmp_path / "unseen_user_prompts"
    folder.mkdir()
    (folder / "antropic_harmless.json").write_text('["{question}"]', encoding="utf-8")
    assert given_user_prompts(tmp_path, "anthropic_harmless") == ("{question}",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["{question}", "none"]', r"pet\.json: prompt 2: .* holds it 0 times"),
        ('["{question} {{question}}"]', r"pet\.json: prompt 1: .* holds it 2 times"),
        ('{"a": 1}', r"pet\.json: must be a list"),
        ("[1]", r"pet\.json: must be a list"),
        ("[]", r"pet\.json: must be a list"),
        ("[", r"pet\.json: cannot be read as JSON"),
        (None, r"pet\.json: no such file"),
    ],
)
def test_what_is_wrong_with_given_prompts_is_told_in_a_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "pet.json").write_text(content, encoding="utf-8")
    with pytest.raises(TaskError, match=message) as caught:
        given_user_prompts(tmp_path, "pet")
    assert "\n" not in str(caught.value)


@needs_data
def test_the_references_prompts_for_all_target_tasks_can_be_used() -> None:
    if not (DATA / "unseen_user_prompts").is_dir():
        pytest.skip(f"no unseen_user_prompts in {DATA}")
    for task in TASKS:
        if task.role == "target":
            prompts = given_user_prompts(DATA, task.name)
            assert len(prompts) == 30
            assert {prompt.count("{question}") for prompt in prompts} == {1}


@each_task
def test_the_documents_table_has_every_task_as_it_is(task: DomainTask) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "domains.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if f"| `{task.name}` |" in line]
    domain, role, _, answer, metric, place = [cell.strip() for cell in row.strip("|").split("|")]
    assert (domain, role, metric) == (task.domain, task.role, task.metric)
    assert ("<answer>" in answer) == (task.answer.tag == "answer")
    assert place.startswith(task.hub.repository)
