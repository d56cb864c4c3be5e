"""The domains `math` and `code`, whose rows come with metaspo."""

import json
import sys
from pathlib import Path

import pytest
from command_line import here

from metaspo.engine.config.load import parse_config
from metaspo.engine.domains import DomainTask, domain_tasks, domains, find_task, own_domains, task_spec
from metaspo.engine.domains.survey import survey
from metaspo.engine.tasks import Task, load_task
from metaspo.engine.tasks.formats.code_sandbox import confinement

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from domain_rows import FOLDER, TEST, TRAIN, files  # noqa: E402 - tools is no package

TASKS = [task for domain in own_domains().values() for task in domain.tasks]
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
BASE = {"base": {"model": "m", "endpoints": ["http://127.0.0.1:8000/v1"]}}


def loaded(task: DomainTask) -> Task:
    if task.domain == "code" and confinement():
        pytest.skip(f"code cannot be confined here: {confinement()}")
    return load_task(task_spec(task, data=None), base_dir=Path(), seed=0)


def test_the_rows_are_those_that_the_tool_draws() -> None:
    shipped = {path: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.jsonl")}
    assert files() == shipped


def test_there_is_no_name_that_the_paper_has() -> None:
    assert not own_domains().keys() & domains().keys()
    assert not {task.name for task in TASKS} & {task.name for domain in domains().values() for task in domain.tasks}


@each_task
def test_a_task_loads_and_its_prompt_asks_and_says_how_to_answer(task: DomainTask) -> None:
    ready = loaded(task)
    assert (len(ready.train), len(ready.test)) == (TRAIN, TEST)
    assert not {row.question for row in ready.train} & {row.question for row in ready.test}
    assert task.user_prompt.count("{question}") == 1
    rule = task.user_prompt.partition("{question}")[2]
    assert ("between <answer> and </answer>" if task.answer.tag else "one block of code") in rule


@each_task
def test_a_right_reply_is_right_and_another_rows_is_wrong(task: DomainTask) -> None:
    ready = loaded(task)
    first = ready.test[0]
    other = next(row for row in ready.test if row.answers != first.answers)
    for row, score in ((first, 1), (other, 0)):
        prediction = ready.answer_format.parse(reply(task, row.answers[0]))
        assert ready.metric.grade(prediction, first).score == score


def reply(task: DomainTask, answer: str) -> str:
    if task.domain == "math":
        return f"So it is <answer>{answer}</answer>."
    tests = json.loads(answer)
    table = {json.dumps(arguments): returned for arguments, returned in tests["calls"]}
    body = f"return json.loads({json.dumps(table)!r})[json.dumps(given)]"
    return f"```python\nimport json\ndef {tests['function']}(*given):\n    {body}\n```"


def test_they_need_neither_a_data_folder_nor_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METASPO_DATA", raising=False)
    ended = here("tasks", "--domain", "math", "--domain", "code", "--json")
    assert ended.err == ""
    assert [(row["train"], row["test"], row["ready"]) for row in ended.data] == [(TRAIN, TEST, True)] * len(TASKS)
    assert all(state.ready for state in survey(own_domains().values(), data=tmp_path))


def test_a_config_names_them_beside_the_papers() -> None:
    config = parse_config({**BASE, "domain": ["review", "math"], "data": "mine"}, source="run.toml", environment={})
    named = {task.name: task for task in config.tasks}
    assert named["beauty"].train is not None
    assert str(named["beauty"].train.path).startswith("mine")
    assert named["fractions"].train == find_task("fractions").hub.train
    assert len(named) == 14
    assert len(domain_tasks("all", data=None)) == 34
