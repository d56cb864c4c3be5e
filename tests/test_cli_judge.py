"""`metaspo judge`: a judge beside people."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from command_line import here

from metaspo.actions.judge import on_scale
from metaspo.backends import Request
from metaspo.engine.tasks.judges import Judge, judge_grader
from metaspo.engine.tasks.metric_spec import MetricTable

ROWS: Sequence[tuple[str, str, object]] = (
    ("Which animal gives wool?", "the sheep", 5),
    ("What do bees make?", "honey", 5),
    ("How many legs has a spider?", "six", 1),
    ("Where do fish live?", "in trees", 1),
    ("What is ice?", "frozen water, mostly", 4),
)


def said(request: Request) -> str:
    """A judge that finds sixes right and cannot make up its mind on ice."""
    asked = request.messages[0].content
    return "Hm." if "ice" in asked else '{"reasons": "so", "score": 1}' if "trees" in asked else '{"score": 5}'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": q, "response": response, "score": score} for q, response, score in ROWS]
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.jsonl").write_text('{"question": "What do cows give?", "answer": "milk"}\n')
    return tmp_path


def config(folder: Path, url: str, *, metric: str = '{judge = "It is right."}') -> None:
    model = f'model = "m"\nendpoints = ["{url}"]\n'
    task = f'[[tasks]]\nname = "a"\ntrain = "a.jsonl"\nmetric = {metric}\n'
    (folder / "run.toml").write_text(f"iterations = 0\n[base]\n{model}\n[judge]\n{model}\n{task}")


def test_it_says_how_far_judge_and_people_agree_and_asks_nothing_twice(project: Path) -> None:
    with ChatServer(said) as server:
        config(project, server.url)
        done = here("judge", "run.toml", "labelled.jsonl", "--json")
        assert done.code == 0, done.err
        calls = server.calls
        shown = here("judge", "run.toml", "labelled.jsonl")
        assert server.calls == calls == 4 + 3, "what cannot be read is asked for twice more"
    agreed = done.data["agreement"]
    assert (agreed["answers"], agreed["same"]) == (4, 0.75)
    assert agreed["kappa"] == pytest.approx(0.5)
    assert [row["judge"] for row in done.data["answers"]] == [1.0, 1.0, 1.0, 0.0, None]
    assert "75% of 4 answers" in shown.out
    assert "Cohen's kappa, weighted by squared distance: 0.50 (95% interval" in shown.out
    assert "1 without a grade, the first labelled.jsonl:5: no grade: the judge's answer cannot be read" in shown.out
    assert "labelled.jsonl:3" in shown.out


def test_it_ends_with_its_hours(project: Path) -> None:
    with ChatServer(said) as server:
        config(project, server.url)
        server.hold_after(2)
        with (project / "run.toml").open("a") as file:
            file.write("[budget]\nhours = 1e-5\n")
        ended = here("judge", "run.toml", "labelled.jsonl")
    assert ended.code == 3
    assert "the 1e-05 hours of this start are over" in ended.errors[0]


def test_a_score_that_is_not_on_the_scale_is_told_with_its_row(project: Path) -> None:
    with ChatServer(said) as server:
        config(project, server.url, metric='{judge = "It is right.", scale = 3}')
        ended = here("judge", "run.toml", "labelled.jsonl")
        assert server.calls == 0
    assert ended.code == 2
    assert "labelled.jsonl:1: column 'score' is '5'; it must be one of 1, 2, 3" in ended.err


def test_the_datas_answers_are_taken_as_a_run_takes_them(project: Path) -> None:
    asked: list[str] = []

    def judge(request: Request) -> str:
        asked.append(request.messages[0].content)
        return '{"score": 5}'

    row = {"question": "How many legs has a spider?", "response": "8", "score": 5}
    answers = (["#### 8", "#### 8.0", "#### eight: 8 or 9 #### 9"], "#### 1,000", None)
    lines = [{**row, "question": f"{at} {row['question']}", "answer": answer} for at, answer in enumerate(answers)]
    (project / "labelled.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, row]))
    (project / "a.jsonl").write_text('{"question": "How many legs has a cow?", "answer": "#### 4"}\n')
    with ChatServer(judge) as server:
        config(project, server.url)
        with (project / "run.toml").open("a") as file:
            file.write('answer = {kind = "number", gold_pattern = "#### (\\\\S+)"}\n')
        done = here("judge", "run.toml", "labelled.jsonl", "--json")
        assert done.code == 0, done.err
    golds = [text.partition("<right_answer>\n")[2].partition("\n")[0] for text in sorted(asked)]
    assert golds == ["8 or 9", "1000", "", ""]


def test_an_answer_that_no_run_would_take_is_told_with_its_row(project: Path) -> None:
    config(project, "http://127.0.0.1:1/v1", metric='{judge = "It is right.", against = "gold"}')
    ended = here("judge", "run.toml", "labelled.jsonl")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "labelled.jsonl:1: no column 'answer'" in ended.err


def test_a_scale_of_one_score_is_one_mistake(project: Path) -> None:
    config(project, "http://127.0.0.1:1/v1", metric='{judge = "It is right.", scale = 1}')
    ended = here("plan", "run.toml")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "tasks.0.metric.scale: " in ended.err


def test_a_column_that_is_not_there_is_told_without_advice_on_columns_of_the_task(project: Path) -> None:
    (project / "labelled.jsonl").write_text('{"question": "q", "score": 5}\n')
    config(project, "http://127.0.0.1:1/v1")
    ended = here("judge", "run.toml", "labelled.jsonl")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "no column 'response'; there are: question, score" in ended.err
    assert "tasks.columns" not in ended.err


def test_a_file_that_is_not_there_is_told_with_the_folder_where_it_was_looked_for(project: Path) -> None:
    (project / "configs").mkdir()
    config(project / "configs", "http://127.0.0.1:1/v1")
    (project / "configs" / "a.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    ended = here("judge", "configs/run.toml", "nowhere.jsonl")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert f"no such file in {project}" in ended.err
    assert "config file's folder" not in ended.err


def test_plan_and_runs_name_the_role_of_each_model(project: Path) -> None:
    """Of which base and judge may be the same."""
    with ChatServer(said) as server:
        config(project, server.url)
        assert here("optimize", "run.toml", "--quiet").code == 0
    rows = [line.split() for line in here("plan", "run.toml").out.splitlines()]
    assert {("base", "m"), ("judge", "m")} <= {tuple(row[:2]) for row in rows}
    listed = here("runs").out
    assert "base m" in listed
    assert "judge m" in listed


def test_where_the_data_have_no_answers_none_is_shown_as_expected(project: Path) -> None:
    with ChatServer(said) as server:
        for rows, expected in (('{"question": "q", "answer": "milk"}\n', True), ('{"question": "q"}\n', False)):
            (project / "a.jsonl").write_text(rows)
            config(project, server.url)
            assert here("optimize", "run.toml", "--quiet").code == 0
            shown = [here("check", "run.toml").out, here("answers", "--split", "train").out]
            assert [" expected " in text for text in shown] == [expected] * 2


def test_differences_are_shown_on_the_files_own_scale_and_a_poor_judge_is_not_to_be_optimized_by(project: Path) -> None:
    with ChatServer(lambda _request: '{"score": 4}') as server:
        config(project, server.url)
        shown = here("judge", "run.toml", "labelled.jsonl").out
        agreed = here("judge", "run.toml", "labelled.jsonl", "--json").data["agreement"]
    assert "do not optimize by this judge" in shown
    assert "gives all answers one and the same score" in shown
    assert "interval" not in shown
    assert (agreed["kappa"], agreed["interval"]) == (0.0, None), "no draw of answers would say anything else"
    cells = [line.split() for line in shown.splitlines() if "labelled.jsonl:3" in line]
    assert cells[0][-2:] == ["1", "4"], "people 1, judge 4"


def test_a_judge_that_agrees_is_not_warned_of(project: Path) -> None:
    with ChatServer(said) as server:
        config(project, server.url)
        assert "do not optimize" not in here("judge", "run.toml", "labelled.jsonl").out


@pytest.mark.parametrize(
    ("settings", "grade", "name"),
    [
        ({"scale": 5}, 0.75, "4"),
        ({"scale": 5}, 0.875, "4.50"),
        ({"scale": ("poor", "fair", "good")}, 0.5, "fair"),
        ({"scale": ("poor", "fair", "good")}, 0.75, "fair to good"),
        ({"against": "gold"}, 0.5, "0.5"),
        ({"against": "gold"}, 0.0, "0"),
    ],
)
def test_a_grade_is_named_as_people_write_it(settings: dict[str, Any], grade: float, name: str) -> None:
    metric = judge_grader(MetricTable(judge="It is right.", **settings), base_dir=Path())
    assert isinstance(metric.function, Judge)
    assert on_scale(metric.function, grade) == name


def test_the_template_ships_answers_to_hold_its_judge_against(project: Path) -> None:
    made = here("init", "new", "--template", "judge")
    assert "metaspo judge new/metaspo.toml new/labelled.jsonl" in made.out
    with ChatServer(lambda _request: "right") as server:
        changes = ("backend=openai-compatible", "model=m", f'endpoints=["{server.url}"]')
        sets = [word for role in ("base", "judge") for change in changes for word in ("--set", f"{role}.{change}")]
        found = here("judge", "new/metaspo.toml", "new/labelled.jsonl", "--json", *sets)
    assert found.code == 0, found.err
    assert {row["score"] for row in found.data["answers"]} == {0.0, 1.0}
    assert found.data["agreement"]["kappa"] == 0.0


def test_a_config_without_a_judge_is_told(project: Path) -> None:
    config(project, "http://127.0.0.1:1/v1", metric='"token-f1"')
    ended = here("judge", "run.toml", "labelled.jsonl")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "no task has a judge" in ended.err


def test_a_check_reaches_the_judge_and_has_it_grade_an_example(project: Path) -> None:
    with ChatServer(said) as server:
        config(project, server.url)
        found = here("check", "run.toml", "--json").data
    assert [row["role"] for row in found["servers"]] == ["base", "judge"]
    (task,) = found["tasks"]
    assert (task["outcome"]["grade"], task["outcome"]["status"]) == (1.0, "scored")


def test_a_check_grades_nothing_by_a_judge_that_cannot_be_reached(project: Path) -> None:
    with ChatServer(said) as server:
        config(project, server.url)
        ended = here("check", "run.toml", "--set", "judge.endpoints=['http://127.0.0.1:1/v1']", "--json")
    assert ended.code == 3
    assert [error.partition(":")[0] for error in ended.errors] == ["judge"]
    assert ended.data["tasks"] == []


def test_answers_come_with_what_the_judge_said(project: Path) -> None:
    def reasons(request: Request) -> str:
        return '{"reasons": "it is curt", "score": 2}' if "You grade" in request.messages[0].content else "milk"

    with ChatServer(reasons) as server:
        config(project, server.url)
        assert here("optimize", "run.toml", "--quiet").code == 0
    (task,) = here("answers", "--split", "train", "--json").data["tasks"]
    (example,) = task["examples"]
    assert (example["before"]["grade"], example["before"]["feedback"]) == (0.25, "it is curt")


def test_methods_are_not_compared_by_what_is_not_the_same_for_all(project: Path) -> None:
    config(project, "http://127.0.0.1:1/v1", metric='{judge = "It is right.", against = "first"}')
    (project / "grid.toml").write_text('config = "run.toml"\nmethods = ["default", "cot"]\n')
    ended = here("compare", "grid.toml")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert 'tasks.metric.against: "first" means other prompts for each method' in ended.err
