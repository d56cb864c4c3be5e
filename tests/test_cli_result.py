"""What is printed of a finished run fits a screen; lists say what changed; without a name it is the latest run."""

import io
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from command_line import draw_nothing, here, write_project
from rich.console import Console
from world import World, make_task

from metaspo.backends import Completion, Request, Usage
from metaspo.engine import read_journal
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.evaluation.scorecard import grade_answer
from metaspo.engine.evaluation.test_score import ScoreRow, unreadable
from metaspo.engine.journal.address import Address
from metaspo.engine.journal.events import Barrier, Candidate, Event, Kept, Proposal, Rejected, Score, Select, Start
from metaspo.engine.journal.system_search import SystemTrials
from metaspo.engine.journal.view import RunView
from metaspo.engine.runs.command import command_of
from metaspo.engine.runs.directory import find_runs
from metaspo.engine.runs.listing import COLUMNS, LONGEST, differing_keys, list_runs
from metaspo.overrides import all_overrides
from metaspo.tables.runs import print_result

WORLD = World(3, malformed=0.1)
TABLES: dict[str, Any] = {
    "name": "a",
    "base": {"backend": "openai", "model": "m"},
    "optimizer": {"backend": "openai", "model": "m"},
    "tasks": [{"name": "t", "train": "t.jsonl", "test": "t.jsonl", "answer": "label"}],
}


def result_lines(*, tasks: int, prompt: str, width: int, after: Sequence[float] = (0.0, 1.0)) -> list[str]:
    """The result of a run with so many tasks, each of whose examples come to so much after, on a terminal."""
    row: dict[str, Any] = {
        "role": "source",
        "metric": "accuracy",
        "prompt": 0,
        "examples": 2,
        "malformed": 0,
        "failed": 0,
    }
    row |= {"system": "s", "user": "{question}", "grades": [1.0, 0.0], "score": 0.5}
    sides = (("before", [1.0, 0.0]), ("after", list(after)))
    tests = [{**row, "task": f"task-{n}", "stage": stage, "grades": of} for n in range(tasks) for stage, of in sides]
    gain = {"role": "source", "tasks": tasks, "before": 0.5, "after": 0.5, "interval": {"low": -0.1, "high": 0.1}}
    result = {"system_prompt": prompt, "first_system_prompt": "s", "strategies": {}, "tests": tests}
    gains = [{**gain, "role": role, "over_tasks": {"low": -0.3, "high": 0.4}} for role in ("target", "source")]
    lost = {"made": 12, "unusable": 8, "last_reason": "analyze: malformed 4 times: " + "no tag; " * 30}
    summary = {"finished": True, "usage": {"lanes": {}}, "gains": gains, "proposals": lost}
    out = io.StringIO()
    terminal = Console(file=out, width=width, force_terminal=True, color_system=None)
    print_result(terminal, {"name": "r", "directory": ".metaspo/runs/r", "result": result, "summary": summary})
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("tasks", [1, 4, 40])
@pytest.mark.parametrize("prompt", ["Be exact.", "A long sentence that says something. " * 60 + "\n" * 30])
def test_the_result_fits_a_screen_however_many_tasks_and_however_long_a_prompt(
    width: int, tasks: int, prompt: str
) -> None:
    lines = result_lines(tasks=tasks, prompt=prompt, width=width)
    assert len(lines) <= 23, "a screen of 24, with the shell's prompt"
    assert max(map(len, lines)) <= width
    assert any("metaspo answers r --worse" in line for line in lines)
    assert any("only 4 of the 12 proposals could be used" in line for line in lines)
    assert prompt[:9] in " ".join(lines)
    assert sum("task-" in line for line in lines) == 1 if tasks == 1 else sum("task-" in line for line in lines) >= 3


@pytest.mark.parametrize("after", [(1.0, 0.0), (1.0, 1.0)])
def test_what_got_worse_is_recommended_only_where_something_did(after: tuple[float, float]) -> None:
    lines = result_lines(tasks=2, prompt="p", width=120, after=after)
    assert any("Next: metaspo answers r, metaspo report r" in line for line in lines)


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_where_a_page_cannot_be_written_yet_what_it_needs_is_told(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaspo.tables.runs.find_spec", lambda name: None if name == missing else name)
    lines = result_lines(tasks=2, prompt="p", width=120)
    assert any("metaspo report r (pip install 'metaspo[report]'), metaspo show" in line for line in lines)


def test_what_to_do_next_finds_a_run_that_is_kept_elsewhere_in_place_of_another_one_of_its_name(finished: Path) -> None:
    told = here("optimize", "run.toml", "--quiet", "--set", "runs=else where").out
    (line,) = (line for line in told.splitlines() if line.startswith("Next: "))
    for command in line.removeprefix("Next: ").split(", "):
        assert Path(shlex.split(command)[2]).parent == Path("else where")
    assert here(*shlex.split(line.split(", ")[-1])[1:]).code == 0


def test_the_tasks_that_got_worse_stand_first(finished: Path) -> None:
    data = here("show", "--json").data
    by_change = sorted(data["tasks"], key=lambda row: row["change"])
    text = here("show").out
    places = [text.index(f"\n{row['task']} ") for row in by_change]
    assert places == sorted(places)


def test_why_no_system_prompt_was_adopted_is_said_in_words(project: Path, server: ChatServer) -> None:
    assert here("optimize", "run.toml", "--quiet", "--set", "outer.candidates=0").code == 0
    text = here("show").out
    assert "No system prompt was adopted" in text
    assert "+0.0 points (95% interval +0.0 to +0.0)" not in text
    assert "as before: nothing that they are asked with has changed" in text


def trials(*events: Event) -> str:
    told = SystemTrials()
    for event in events:
        told.apply(event, Address.parse(event.address))
    return told.search.sentence


def test_every_system_prompt_that_was_tried_has_a_reason() -> None:
    tried = [Proposal(address=f"iter=1/outer/cand={n}", system=f"p{n}") for n in range(1, 6)]
    fell: list[Event] = [
        Rejected(address="iter=1/outer/cand=1", bound=0.1),
        Candidate(address="iter=1/outer/cand=2", score=0.25),
        Candidate(address="iter=1/outer/cand=3", score=0.5),
        Rejected(address="iter=1/outer/cand=4", invalid="too long"),
        Rejected(address="iter=1/outer/cand=5", gate=0.4, unasked=12),
    ]
    none = Select(address="iter=1/outer", system="s", chosen=0, score=0.625)
    text = trials(*tried, *fell, none)
    assert "of 5 tried: 1 dropped" in text
    assert "1 did not pass the gate" in text
    assert "2 scored no better on the train examples (the best of them 50.0% against 62.5%)" in text
    assert "1 not to be selected, whatever the score (too long)" in text
    assert trials(*tried, *fell, Select(address="iter=1/outer", system="p3", chosen=3, score=0.5)) == ""
    assert trials(Proposal(address="iter=1/inner/task=a/cand=1", user="{question}")).endswith("none was tried.")
    nothing = Proposal(address="iter=1/outer/cand=1", none="every train answer is right already")
    assert trials(nothing).endswith("none was tried: every train answer is right already.")
    lost = Proposal(address="iter=1/outer/cand=1", none="malformed", unusable=True)
    assert trials(lost).endswith("none that could be used was proposed: malformed.")


def test_the_score_on_the_way_is_of_the_best_prompts_however_many_are_kept() -> None:
    """One first prompt at 0.6; three kept at 0.8, 0.5 and 0.4; a system prompt that lifts them to 0.9, 0.7 and 0.5."""
    nodes = [
        Score(address=f"iter=1/outer/cand=2/score/task=a/prompt={n}", task="a", score=score)
        for n, score in enumerate((0.7, 0.9, 0.5))
    ]
    events = [
        Start(),
        Score(address="init/task=a", task="a", score=0.6),
        Select(address="iter=1/inner/task=a", kept=[Kept(f"u{s}", s) for s in (0.8, 0.5, 0.4)]),
        Barrier(address="iter=1/inner"),
        *nodes,
        Candidate(address="iter=1/outer/cand=2", score=0.7),
        Select(address="iter=1/outer", system="s", chosen=2, score=0.7),
        Select(address="iter=2/inner/task=a", kept=[Kept("u", 0.9)]),
        Select(address="iter=2/outer", system="s", chosen=0, score=0.7),
    ]
    points = RunView.of(events).history.points({})
    assert [(point.address, point.score) for point in points] == [
        ("init", 0.6),
        ("iter=1/inner", 0.8),
        ("iter=1/outer", 0.9),
        ("iter=2/inner", 0.9),
        ("iter=2/outer", 0.9),
    ]


def test_a_task_that_no_round_has_bettered_counts_with_its_first_score() -> None:
    """Also where only others have come out of their inner loops."""
    events = [
        Start(),
        Score(address="init/task=a", task="a", score=0.6),
        Score(address="init/task=b", task="b", score=0.4),
        Score(address="init/task=a", task="a", score=0.0),  # told again, by a session that began anew
        Select(address="iter=1/inner/task=a", kept=[Kept("u", 0.8)]),
        Barrier(address="iter=1/inner"),
        Select(address="iter=1/outer", system="s", chosen=0, score=0.6),
    ]
    points = RunView.of(events).history.points({})
    assert [point.address for point in points] == ["init", "iter=1/inner", "iter=1/outer"]
    assert [point.score for point in points] == pytest.approx([0.5, 0.6, 0.6])


def test_a_list_of_runs_says_what_changed_and_two_can_be_set_side_by_side(finished: Path) -> None:
    assert (
        here("optimize", "run.toml", "--quiet", "--set", "inner.candidates=1", "--set", "base.concurrency=2").code == 0
    )
    latest, first = (run["line"] for run in here("runs", "--json").data)
    assert (latest["changed"], first["changed"]) == (["inner.candidates = 1"], [])
    assert (latest["base"], latest["optimizer"]) == ("answerer", "writer")
    assert "inner.candidates" in here("runs").out
    both = here("runs", "diff", first["run"], latest["run"], "--json").data
    assert both["keys"] == {"inner.candidates": ["2", "1"]}
    assert "inner.candidates" in here("runs", "diff", first["run"], latest["run"]).out
    assert here("show", "--json").data["name"] == latest["run"], "the latest"
    assert here("show", "run", "--json").data["name"] == latest["run"], "the latest of those that it fits"
    assert here("evaluate", "run.toml", "--run", "run").code == 2, "prompts are taken of a run that is named clearly"


def test_what_needs_a_finished_run_takes_the_latest_that_has_finished(finished: Path) -> None:
    name = here("show", "--json").data["name"]
    assert here("optimize", "run.toml", "--quiet", "--set", "seed=8", "--set", "budget.calls=5").code != 0
    assert here("show", "--json").data["name"] != name, "the latest is one that stopped at its cap"
    for given in ("", "run"):
        assert here("export", *filter(None, [given]), "--to", "text", "--out", f"out{given}").code == 0
        about = json.loads((finished / f"out{given}/about.json").read_text())
        assert about["run"] == name


def test_a_run_that_cannot_be_read_says_why_and_hides_no_other(finished: Path) -> None:
    spoilt = {
        "torn": "{",
        "list": "[]",
        "words": "\xff",
        "judge": '{"judge": 0.5}',
        "base": '{"base": [1]}',
        "tasks": '{"tasks": ["a"]}',
        "weight": '{"tasks": [{"name": "a", "weight": 0}]}',
        "name": '{"name": [1]}',
    }
    for name, text in spoilt.items():
        (finished / ".metaspo/runs" / name).mkdir()
        (finished / ".metaspo/runs" / name / "config.json").write_text(text, encoding="latin-1")
    listed = here("runs", "--json")
    lines = {run["name"]: run["line"] for run in listed.data}
    assert listed.code == 0
    assert sorted(line["state"] for line in lines.values()) == ["finished", *["unreadable"] * len(spoilt)]
    assert all("config.json: cannot be read" in lines[name]["unreadable"] for name in spoilt)
    assert "unreadable" in here("runs").out
    assert here("runs", "diff", "torn", "list").code == 2
    assert [here(command, "judge").code for command in ("show", "report", "answers")] == [2] * 3


def test_a_page_that_cannot_be_written_is_told_with_what_to_do(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_nothing(monkeypatch)
    (finished / "taken").write_text("mine", encoding="utf-8")
    ended = here("report", "--out", "taken/page.html")
    says = "taken/page.html: cannot be written: taken is a file; name another page with --out"
    assert (ended.code, ended.errors) == (2, [says])


def test_two_runs_are_set_side_by_side_in_the_folder_that_is_named_on_either_side(finished: Path) -> None:
    (finished / ".metaspo/runs").rename(finished / "elsewhere")
    assert here("runs", "--runs", "elsewhere", "diff", "run", "run", "--json").data["keys"] == {}
    assert here("runs", "diff", "run", "run", "--runs", "elsewhere", "--json").data["keys"] == {}


def test_tasks_are_told_apart_by_name_where_configs_differ() -> None:
    old = {"tasks": [{"name": "a", "train_size": 5}, {"name": "b", "train_size": 5}], "seed": 1}
    new = {"tasks": [{"name": "b", "train_size": 9}], "seed": 1}
    assert differing_keys(old, new) == [("tasks.a.train_size", "5", "–"), ("tasks.b.train_size", "5", "9")]


def test_the_score_of_a_run_in_the_list_is_that_of_its_result(finished: Path) -> None:
    (run,) = here("runs", "--json").data
    (path,) = finished.glob(".metaspo/runs/*/journal.jsonl")
    assert run["line"]["after"] == run["result"]["train_after"]
    points = RunView.of(read_journal(path)).history.points({})
    assert points[-1].score == pytest.approx(run["result"]["train_after"])
    assert points[0].score == pytest.approx(run["result"]["train_before"])


def test_a_run_without_a_result_has_the_score_of_what_it_selected_last(finished: Path) -> None:
    """A system prompt that is better under other user prompts may bring the best ones down: a result would say so."""
    (path,) = finished.glob(".metaspo/runs/*/journal.jsonl")
    path.with_name("result.json").unlink()
    first = RunView.of(read_journal(path)).history.points({})[0].score
    fall = {"event": "select", "address": "iter=9/outer", "system": "x", "chosen": 1, "score": 0.0}
    with path.open("a") as journal:
        journal.write(json.dumps(fall) + "\n")
    (run,) = here("runs", "--json").data
    assert (run["line"]["before"], run["line"]["after"]) == (first, 0.0)


def test_a_key_that_an_older_version_did_not_write_down_has_not_changed_and_values_are_as_toml_has_them() -> None:
    old = {"name": "a", "inner": {"candidates": 3}, "tasks": [{"name": "a"}]}
    new = {
        "name": "a",
        "inner": {"candidates": 3, "strategy": "metaspo", "gate": 2},
        "telemetry": {"otel": True},
        "track": {"tensorboard": "tb"},
        "outer": {"under": "first"},
        "test": {"baseline": False},
        "tasks": [{"name": "a", "weight": 1.0, "program": None, "answer": {"kind": "label", "labels": ["x", "y"]}}],
    }
    assert differing_keys(old, new) == [
        ("inner.gate", "0", "2"),
        ("outer.under", '"kept"', '"first"'),
        ("test.baseline", "true", "false"),
        ("tasks.a.answer.kind", '"text"', '"label"'),
        ("tasks.a.answer.labels", "[]", '["x", "y"]'),
    ]


def test_what_a_preset_plans_is_not_among_what_changed_but_what_is_said_beside_it_is() -> None:
    def stored(calls: int, /, **said: object) -> dict[str, Any]:
        raw = {**TABLES, "preset": "metaspo+", "train_calls": calls, **said}
        return RunConfig.model_validate(raw).model_dump(mode="json")

    def keys(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
        return [key for key, _, _ in differing_keys(old, new)]

    small, paper = stored(300), RunConfig.model_validate(TABLES).model_dump(mode="json")
    assert keys(small, stored(4000)) == keys(stored(4000), small) == ["train_calls"], "both ways"
    assert keys(small, stored(4000, inner={"gate": 1})) == ["train_calls", "inner.gate"]
    assert keys(paper, stored(2000)) == ["preset"], "with the calls that it takes where nothing is said"
    assert keys(paper, stored(300)) == ["preset", "train_calls"]


def test_a_changed_value_takes_one_line_in_the_list(project: Path) -> None:
    assert here("optimize", "run.toml").code == 0
    text = (project / "run.toml").read_text()
    prompt = "Line.\n" * 40
    (project / "run.toml").write_text(f'system_prompt = """{prompt}"""\n{text}')
    assert here("optimize", "run.toml").code == 0
    latest, _ = (run["line"] for run in here("runs", "--json").data)
    assert latest["changed"] == [f"system_prompt = {json.dumps(prompt)}"]
    (line,) = (line for line in list_runs(find_runs(Path(".metaspo/runs"))) if line.changed)
    assert len(COLUMNS["changed"](line).splitlines()) == 1
    assert len(COLUMNS["changed"](line)) <= LONGEST


def test_what_begins_counts_the_tasks_of_each_role_there_is(project: Path) -> None:
    for role, said in (("target", "2 source, 1 target tasks"), ("guard", "2 source, 1 guard tasks")):
        path = project / "run.toml"
        text = path.read_text()
        if role == "guard":
            path.write_text(text.replace('role = "target"', 'role = "guard"\ntrain = "a.train.jsonl"'))
        assert f"run: {said}, base model answerer" in here("optimize", "run.toml").err


def test_a_report_on_an_unfinished_run_names_the_config_to_go_on_with(project: Path) -> None:
    assert here("optimize", "run.toml", "--set", "budget.calls=20").code == 3
    (error,) = here("report").errors
    assert "`metaspo optimize run.toml --set budget.calls=40` goes on with it" in error


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        (
            "Let me see: first",
            "length",
            "answers were cut off and are not in the form asked for: raise [base] max_tokens",
        ),
        ("Let me see: first", "stop", "answers are not in the form asked for: see to the answer format"),
        ("", "stop", "of them empty): see to the answer format"),
        ("yes", "stop", ""),
    ],
)
def test_a_result_whose_answers_cannot_be_read_says_what_to_do(
    text: str, reason: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: Request) -> str:
        return text if request.model == "answerer" else WORLD.answer(request)

    def form(request: Request, text: str) -> dict[str, Any]:
        ended = reason if request.model == "answerer" else "stop"
        choice = {"index": 0, "finish_reason": ended, "message": {"role": "assistant", "content": text}}
        return {"model": request.model, "choices": [choice], "usage": {"prompt_tokens": 20, "completion_tokens": 64}}

    monkeypatch.chdir(tmp_path)
    with ChatServer(answer, form=form) as server:
        write_project(tmp_path, server.url)
        ended = here("optimize", "run.toml")
        texts = [ended.out, here("evaluate", "run.toml", "--quiet").out, here("show", "run", "--all").out]
    assert ("warning: under the first prompts" in ended.err) is bool(said), "before a search is paid for"
    assert all(said in " ".join(text.split()) for text in texts)
    assert ["form asked for" in text for text in texts] == [bool(said)] * 3


@pytest.mark.parametrize(("cut", "answers", "said"), [(0, 0, False), (0, 9, False), (1, 11, False), (1, 10, True)])
def test_a_tenth_of_cut_answers_is_told_and_less_is_not(cut: int, answers: int, said: bool) -> None:
    row = ScoreRow(
        task="t", role="target", metric="accuracy", stage="after", prompt=0, score=0.0, examples=answers + 1, failed=1
    )
    assert bool(unreadable([row, replace(row, cut=cut, examples=1)])) is said


def test_an_answer_that_ends_too_soon_and_can_be_read_is_not_cut() -> None:
    task = make_task("a")
    outcomes = [
        grade_answer(
            Completion(text=text, finish_reason=reason, usage=Usage(1, 1), latency=0.0),
            task.train[0],
            answer_format=task.answer_format,
            metric=task.metric,
        )
        for text in ("yes", "well")
        for reason in ("length", "stop")
    ]
    assert [outcome.cut for outcome in outcomes] == [False, False, True, False]


@pytest.mark.parametrize("calls", [None, 120])
@pytest.mark.parametrize(
    "sets", [[], ["seed=7"], ["name=a b", "outer.gate=3", "outer.fixed=['x']"], ["train_calls=90"]]
)
def test_the_command_that_a_run_is_gone_on_with_sets_what_its_own_has_set(calls: int | None, sets: list[str]) -> None:
    """A cap apart: that may be what stopped it. `--calls` clears what `--set` cannot."""
    own = all_overrides(calls, sets)
    words = shlex.split(command_of(Path("run.toml"), {**own, "budget.calls": 5}))
    options = list(zip(words[3::2], words[4::2], strict=True))
    planned = [int(value) for option, value in options if option == "--calls"]
    again = all_overrides(planned[0] if planned else None, [value for option, value in options if option == "--set"])
    assert words[:3] == ["metaspo", "optimize", "run.toml"]
    assert again == own
