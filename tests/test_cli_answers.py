"""`metaspo answers`: what a run's examples were answered, as the run read it, out of its cache alone."""

import json
from collections import Counter
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from command_line import end, here, run_into, write_data, write_project
from world import World

from metaspo.backends import Request
from metaspo.engine.evaluation.answers import ORDER, AnsweredExample, TaskAnswers, read_as
from metaspo.engine.evaluation.scorecard import Outcome, Status
from metaspo.engine.tasks.base import Example

HOSTILE = "[red]yes[/red] \x1b[2J</script><b>no</b>"


class Hostile(World):
    """Now and then answers with markup and orders to the terminal."""

    def base(self, request: Request) -> str:
        said = super().base(request)
        return HOSTILE if said not in ("yes", "no") else said


WORLD = Hostile(3, malformed=0.1)


def answers(*options: str) -> dict[str, Any]:
    """What `metaspo answers --json` says."""
    data: dict[str, Any] = here("answers", *options, "--json").data
    return data


def test_every_answer_is_graded_as_the_run_graded_it(finished: Path, server: ChatServer) -> None:
    (path,) = finished.glob(".metaspo/runs/*/result.json")
    rows = {(row["task"], row["stage"]): row for row in json.loads(path.read_bytes())["tests"] if row["prompt"] == 0}
    found = answers()
    assert [task["task"] for task in found["tasks"]] == ["a", "b", "unseen"]
    for task in found["tasks"]:
        for stage in ("before", "after"):
            by_line = sorted(task["examples"], key=lambda each: int(each["where"].rpartition(":")[2]))
            assert [each[stage]["grade"] for each in by_line] == rows[task["task"], stage]["grades"]
            malformed = sum(each[stage]["status"] == "malformed" for each in by_line)
            assert malformed == rows[task["task"], stage]["malformed"]


@pytest.mark.usefixtures("undrawn")
def test_a_grade_that_the_run_did_not_give_is_told(finished: Path) -> None:
    """The metric, or how answers are read, is another one than then: the page and the result would contradict."""
    assert answers()["changed"] == ""
    (path,) = finished.glob(".metaspo/runs/*/result.json")
    result = json.loads(path.read_bytes())
    grades = result["tests"][0]["grades"]
    grades[0] = 1 - grades[0]
    path.write_text(json.dumps(result), encoding="utf-8")
    told = "1 grades are other than in the run's result"
    assert told in answers()["changed"]
    assert told in here("answers").err
    assert here("report", "--out", "page.html").code == 0
    assert told in unescape((finished / "page.html").read_text(encoding="utf-8"))


def test_a_run_without_test_examples_says_so_and_shows_its_train_answers(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_project(tmp_path, server.url)
    text = config.read_text(encoding="utf-8")
    lines = text[: text.index('name = "unseen"')].removesuffix("[[tasks]]\n").splitlines(keepends=True)
    config.write_text("".join(line for line in lines if not line.startswith("test = ")), encoding="utf-8")
    told = "Nothing was scored on a test split"
    assert told in here("optimize", "run.toml", "--quiet").out
    assert told in here("show").out
    assert [len(task["examples"]) for task in answers()["tasks"]] == [6, 6]


def test_nothing_is_asked_for_an_answer(finished: Path, server: ChatServer) -> None:
    calls = server.calls
    assert answers()["missing"] == ""
    assert answers("--split", "train")["tasks"]
    assert server.calls == calls


def test_what_the_cache_does_not_have_is_said(finished: Path, server: ChatServer) -> None:
    (finished / ".metaspo" / "cache").rename(finished / "elsewhere")
    calls = server.calls
    shown = here("answers")
    assert "24 of 24 answers are not in the cache" in shown.err
    assert "not in the cache" in shown.out
    assert server.calls == calls
    assert not (finished / ".metaspo" / "cache").exists(), "looking makes no cache"


def test_regressions_come_first_and_a_filter_keeps_its_own(finished: Path) -> None:
    for task in answers()["tasks"]:
        places = [ORDER.index(each["change"]) for each in task["examples"]]
        assert places == sorted(places)
        assert Counter(each["change"] for each in task["examples"]) == Counter(
            {change: count for change, count in task["counts"].items() if count}
        )
    whole = [each for task in answers()["tasks"] for each in task["examples"]]
    filters: dict[str, Callable[[dict[str, Any]], bool]] = {
        "--worse": lambda each: each["change"] == "worse",
        "--better": lambda each: each["change"] == "better",
        "--wrong": lambda each: each["after"]["grade"] < 1,
        "--malformed": lambda each: each["after"]["status"] == "malformed",
    }
    for flag, keeps in filters.items():
        kept = [each for task in answers(flag)["tasks"] for each in task["examples"]]
        assert kept == [each for each in whole if keeps(each)]
    assert here("answers", "--worse", "--wrong").code == 2


def test_where_nothing_is_as_asked_for_it_is_said_unless_it_is_not_known(project: Path, server: ChatServer) -> None:
    none = ("--set", "inner.candidates=0", "--set", "outer.candidates=0")
    assert here("optimize", "run.toml", "--quiet", *none).code == 0
    said = "No answer got worse; --wrong shows those that are wrong."
    assert said in here("answers", "--worse").out.splitlines()
    assert said not in here("answers").out
    assert "No answer is wrong." not in here("answers", "--wrong").out
    (project / ".metaspo" / "cache").rename(project / "elsewhere")
    assert said not in here("answers", "--worse").out


def test_one_task_and_a_name_that_is_none(finished: Path) -> None:
    assert [task["task"] for task in answers("--task", "unseen")["tasks"]] == ["unseen"]
    refused = here("answers", "--task", "unsen")
    assert (refused.code, "did you mean 'unseen'" in refused.err) == (2, True)


def test_labels_against_labels_count_every_answer(finished: Path) -> None:
    for task in answers()["tasks"]:
        for stage in ("before", "after"):
            table = task["confusion"][stage]
            assert set(table) == {"yes", "no"}
            assert sum(count for row in table.values() for count in row.values()) == 4
            right = sum(table[label].get(label, 0) for label in table)
            assert right == sum(each[stage]["grade"] == 1 for each in task["examples"])


def test_the_answers_are_found_from_another_folder(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = finished.glob(".metaspo/runs/*")
    (finished / "beside").mkdir()
    monkeypatch.chdir(finished / "beside")
    assert answers(str(run))["missing"] == ""


@pytest.mark.usefixtures("undrawn")
def test_what_a_model_wrote_is_text_on_the_terminal_and_on_the_page(finished: Path) -> None:
    shown = here("answers", "--all")  # which looks for control characters
    assert "[red]yes[/red]" in shown.out
    assert here("report").code == 0
    (page,) = finished.glob(".metaspo/runs/*/report.html")
    text = page.read_text(encoding="utf-8")
    assert "&lt;/script&gt;&lt;b&gt;no&lt;/b&gt;" in text
    assert "<b>no</b>" not in text.replace("<b>no</b></dd>", "").replace("read as: <b>no</b>", "")
    assert text.count("<script") == 1, "the one of the copy buttons"


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_goes_on_shows_the_best_so_far(project: Path, server: ChatServer) -> None:
    running = run_into(project, server, calls=80)
    found = answers()
    assert found["after"] == "the best prompts so far"
    assert {task["split"] for task in found["tasks"]} == {"train"}
    assert [task["task"] for task in found["tasks"]] == ["a", "b"]
    assert all(each["before"] for task in found["tasks"] for each in task["examples"])
    server.release()
    end(running)


@pytest.mark.usefixtures("undrawn")
def test_train_examples_of_a_target_task_which_a_run_asks_nothing_about_are_shown_by_name_alone(
    project: Path, server: ChatServer
) -> None:
    write_data(project, "unseen", train=6, test=4)
    config = (project / "run.toml").read_text(encoding="utf-8")
    both = config.replace('test = "unseen.test.jsonl"', 'train = "unseen.train.jsonl"\ntest = "unseen.test.jsonl"')
    (project / "run.toml").write_text(both, encoding="utf-8")
    here("optimize", "run.toml", "--quiet")
    shown = answers("--split", "train")
    assert [task["task"] for task in shown["tasks"]] == ["a", "b"]
    assert shown["missing"] == ""
    named = answers("--split", "train", "--task", "unseen")
    assert [task["missing"] for task in named["tasks"]] == [12]


def test_an_evaluation_says_every_answer_in_its_json(project: Path, server: ChatServer) -> None:
    data = here("evaluate", "run.toml", "--json").data
    for row in data["scores"]:
        told = data["answers"][row["task"]]
        assert [each["answer"]["grade"] for each in told] == row["grades"]
        assert all(each["question"] and each["expected"] for each in told)


def test_an_answer_is_told_as_it_was_read() -> None:
    """What is not known, what there was none of and what is not in the format are three things."""
    example = Example("Is it?", ("yes",))
    read = Outcome(example=example, status=Status.SCORED, text="It is yes.", prediction="yes", grade=1.0)
    assert read_as(read) == "yes"
    failed = Outcome(example=example, status=Status.FAILED, reason="too long")
    assert read_as(failed) == "no answer: too long"
    words = {read_as(None), read_as(read._replace(prediction=None)), read_as(failed), read_as(read)}
    assert len(words) == 4


def test_a_grade_that_fell_is_worse_also_between_wrong_and_partly_right() -> None:
    def graded(grade: float | None) -> Outcome:
        status = Status.SCORED if grade is not None else Status.FAILED
        return Outcome(example=Example("q", ("a",)), status=status, grade=grade)

    def change(before: float | None, after: float | None) -> str:
        return AnsweredExample(example=Example("q", ("a",)), before=graded(before), after=graded(after)).change

    assert [change(1, 1), change(0.5, 0.5), change(0, 0)] == ["right", "not right", "not right"]
    assert [change(1, 0.5), change(0.5, 0), change(0.5, 1), change(0, 0.5)] == ["worse", "worse", "better", "better"]
    assert [change(None, 1), change(1, None)] == ["unknown", "unknown"]
    assert AnsweredExample(example=Example("q", ("a",)), before=None, after=graded(1)).change == "unknown"
    assert TaskAnswers(task="t", role="source", split="test", examples=()).missing == 0
