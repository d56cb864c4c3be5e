"""Where a run starts: several first prompts to choose among, or what a finished run came to."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_sessions import Runs
from oracle import Oracle
from test_engine_oracle import SYSTEMS, USERS
from test_engine_plan import PAPER, Counting, Prolific, run_of
from world import World, make_config, make_task

from metaspo.backends import Request
from metaspo.engine import ConfigError, RunConfig, count_calls, prepare, selections
from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.config.load import parse_config
from metaspo.engine.journal.events import Candidate, Proposal, Rejected, Select
from metaspo.engine.journal.view import RunView
from metaspo.engine.runs.directory import RunDirectory, write_json
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.runs.prepare import tell_notices
from metaspo.engine.tasks import Task

ONLY_CHOOSING: dict[str, Any] = {"iterations": 0, "system_prompts": SYSTEMS}


def several(name: str = "a", *, count: int = 2, train: int = 12) -> Task:
    return replace(make_task(name, train=train), user_prompts=USERS[:count])


def test_the_best_of_the_first_prompts_is_where_the_search_starts() -> None:
    """Without any iteration it is the result, and what it is compared with are the ones named first."""
    config, tasks = make_config(ONLY_CHOOSING), (several(count=3, train=30), make_task("b", train=30))
    world = World(5)
    runs = Runs(config, tasks, world, timing=1, width=4)
    result = runs.session()
    assert result is not None
    oracle = Oracle(config, list(tasks), world.answer)
    oracle.run()
    assert selections(runs.journal.events) == oracle.selections
    assert [event.address for event in runs.journal.events if isinstance(event, Select)] == ["inner/task=a", "outer"]
    assert {request.model for request in runs.answered} == {"answerer"}, "nobody was asked to write"
    assert result.first_system_prompt == config.system_prompt
    assert result.system_prompt in SYSTEMS
    assert set(result.user_prompts["a"]) & set(USERS)
    assert len(result.user_prompts["a"]) == config.inner.keep
    assert result.train_before < result.train_after


def test_candidates_of_the_first_iteration_start_from_what_was_chosen() -> None:
    config = make_config({**ONLY_CHOOSING, "iterations": 1, "inner": {"candidates": 1, "keep": 1}})
    runs = Runs(config, (several(train=30),), World(5), timing=1, width=4)
    assert runs.session() is not None
    view = RunView.of(runs.journal.events, texts=True)
    chosen = {event.address: event.prompts for event in runs.journal.events if isinstance(event, Select)}
    later = [one for one in view.history.proposals({}) if one.address.startswith("iter=1/")]
    assert later
    assert {one.parent for one in later if one.level == "user"} == set(chosen["inner/task=a"])
    assert {one.parent for one in later if one.level == "system"} == set(chosen["outer"])
    points = [point.address for point in view.history.points({})]
    assert points == ["init", "inner", "outer", "iter=1/inner", "iter=1/outer"]
    assert view.history.points({})[0].score < view.history.points({})[2].score


def test_while_first_prompts_are_chosen_among_a_run_is_at_its_first_prompts() -> None:
    runs = Runs(make_config(ONLY_CHOOSING), (several(),), World(5), timing=1, width=4)
    assert runs.session() is not None
    given = [event for event in runs.journal.events if isinstance(event, Proposal)]
    assert len(given) == 2 + len(SYSTEMS)
    assert RunView.of(runs.journal.events).stage(iterations=1, sources=2) == "first prompts"


@pytest.mark.parametrize("under", ["kept", "first", "mixed", "induced"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"inner": {"candidates": 3, "keep": 2}}, {"iterations": 0}, {"outer": {"candidates": 0}}],
)
def test_the_plan_counts_the_calls_of_every_first_prompt(changes: dict[str, Any], under: str) -> None:
    outer = {"candidates": 3, "under": under, "induced": 1, **changes.get("outer", {})}
    config = make_config({**PAPER, "iterations": 1, **changes, "outer": outer, "system_prompts": SYSTEMS[:2]})
    tasks = [several("a", count=2, train=8), several("b", count=1, train=6), make_task("g", role="guard", train=5)]
    tasks[2] = replace(tasks[2], tolerance=1.0)
    observer = Counting()
    report = run_of(config, tasks, Prolific(3), observer)
    calls, use = count_calls(config, tasks), report.usage.lanes["base"]
    assert use.hits + use.joined + use.calls <= calls.base
    assert observer.ahead == calls.base + calls.optimizer
    assert observer.done <= observer.ahead
    if under == "kept":
        assert observer.done == observer.ahead
        kept = [3, 2]  # of what there is before the first iteration; at most three are
        systems = 2 * (kept[0] * 8 + kept[1] * 6 + 5) if config.inner.keep == 3 else 2 * (2 * 8 + 2 * 6 + 5)
        assert calls.initial == (8 + 6 + 5) + (2 * 8 + 1 * 6) + systems


def test_a_cap_on_train_calls_has_to_hold_what_the_first_prompts_take() -> None:
    tasks = [several(count=2, train=10)]
    for cap, enough in ((10 + 20 + 3 * 10 - 1, False), (10 + 20 + 3 * 10, True)):
        config = make_config({"train_calls": cap, "system_prompts": SYSTEMS, "inner": {"candidates": 0, "keep": 1}})
        if enough:
            check_optimizable(config, tasks, source="run.toml")
        else:
            with pytest.raises(ConfigError, match="the first prompts alone take 60, one call for each train example"):
                check_optimizable(config, tasks, source="run.toml")


def test_further_first_prompts_are_a_part_of_a_runs_identity() -> None:
    plain, task = make_config({"ties": "earlier"}), make_task("a")
    more = plain.model_copy(update={"system_prompts": SYSTEMS})
    prints = {fingerprint(plain, [task]), fingerprint(more, [task]), fingerprint(plain, [several()])}
    assert len(prints) == 3


BASE = {"model": "m", "endpoints": ["http://127.0.0.1:1/v1"]}


@pytest.mark.parametrize(
    ("keys", "task", "said"),
    [
        ({"system_prompts": ["a", "a"]}, {}, "a prompt is there twice"),
        ({"system_prompt": "a", "system_prompts": ["a"]}, {}, "a prompt is there twice"),
        ({"system_prompts": [" "]}, {}, "system_prompts: "),
        ({}, {"user_prompts": ["no place"]}, "must hold {question} exactly once"),
        ({}, {"user_prompts": ["{question}", "{question}"]}, "a prompt is there twice"),
        ({}, {"role": "target", "test": "t.jsonl", "user_prompts": ["{question}"]}, "they are for a source task"),
    ],
)
def test_first_prompts_that_cannot_be_are_told_in_a_sentence(
    keys: dict[str, Any], task: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config({"base": BASE, **keys, "tasks": [{"name": "a", "train": "a.jsonl", **task}]})
    assert said in str(raised.value)


def test_a_further_first_prompt_has_to_keep_to_the_wording() -> None:
    config = make_config({"system_prompts": ["Short.", "A longer one."], "outer": {"max_chars": 8}})
    with pytest.raises(ConfigError, match="number 2 does not: it has 13 characters, and max_chars = 8"):
        check_optimizable(config, [make_task("a")], source="run.toml")


ROWS = [{"question": "number 1", "answer": "no"}]


def started(folder: Path, *, start: str, tasks: Sequence[dict[str, Any]] = (), **keys: object) -> RunConfig:
    table = {"base": BASE, "start": start, "runs": "runs", "tasks": list(tasks) or [{"name": "a", "train": ROWS}]}
    return prepare({**table, **keys}, folder=folder).config


def finished_run(folder: Path, name: str = "old-12345678") -> RunDirectory:
    run = RunDirectory(folder / "runs" / name)
    run.path.mkdir(parents=True)
    write_json(run.config, {})
    users = {"a": ["Best: {question}", "Next: {question}"], "gone": ["{question}"]}
    result = {"system_prompt": "Found.", "user_prompts": users, "strategies": {}, "tests": []}
    write_json(run.result, {**result, "train_before": 0.1, "train_after": 0.2})
    return run


@pytest.mark.parametrize("how", ["name", "path"])
def test_a_finished_runs_prompts_are_the_first_ones(tmp_path: Path, how: str) -> None:
    run = finished_run(tmp_path)
    start = {"name": "old-12345678", "path": str(run.path)}[how]
    config = started(
        tmp_path,
        start=start,
        system_prompt="Mine.",
        system_prompts=["Other.", "Found."],
        tasks=[
            {"name": "a", "train": ROWS, "user_prompt": "Old: {question}", "user_prompts": ["More: {question}"]},
            {"name": "new", "train": ROWS, "user_prompt": "New: {question}"},
        ],
    )
    assert (config.system_prompt, config.system_prompts, config.start) == ("Found.", ("Other.",), "")
    old, new = config.tasks
    assert old.user_prompt == "Best: {question}"
    assert old.user_prompts == ("Next: {question}", "More: {question}")
    assert (new.user_prompt, new.user_prompts) == ("New: {question}", ())


@pytest.mark.parametrize(
    ("keys", "sentence", "remarks"),
    [
        ({}, "its system prompt and the user prompts of a.", []),
        ({"system_prompt": "Mine."}, "its system prompt and the user prompts of a.", ["system_prompt counts for"]),
        ({"tasks": [{"name": "z", "train": ROWS}]}, "its system prompt alone.", ["shares no source task"]),
    ],
)
def test_what_a_start_takes_and_what_it_leaves_is_said(
    tmp_path: Path, keys: dict[str, Any], sentence: str, remarks: list[str]
) -> None:
    finished_run(tmp_path)
    table = {"base": BASE, "runs": "runs", "start": "old-12345678", "tasks": [{"name": "a", "train": ROWS}]}
    prepared = prepare({**table, **keys}, folder=tmp_path)
    said: list[str] = []
    tell_notices([prepared, prepared], said.append)
    assert prepared.start.sentence == f"Starts from old-12345678: {sentence}"
    assert len(said) == len(remarks)
    assert all(remark in text for remark, text in zip(remarks, said, strict=True))
    assert prepare({**table, "start": ""}, folder=tmp_path).start.sentence == ""


def test_rows_left_out_of_both_splits_are_told_of_both_and_of_several_runs_once(tmp_path: Path) -> None:
    split = {"given": [*ROWS, {"question": "", "answer": ""}], "bad_rows": "skip"}
    table = {"base": BASE, "runs": "runs", "tasks": [{"name": "a", "train": split, "test": split}]}
    prepared = prepare(table, folder=tmp_path)
    said: list[str] = []
    tell_notices([prepared, prepared], said.append)
    left_out = [text.partition(" row")[0] for text in said if "left out" in text]
    assert left_out == ["task a: 1 train", "task a: 1 test"]


def test_a_task_that_is_a_guard_by_now_is_held_to_the_best_prompt_of_then(tmp_path: Path) -> None:
    finished_run(tmp_path)
    tasks = [{"name": "a", "role": "guard", "train": ROWS}, {"name": "b", "train": ROWS}]
    guard, _ = started(tmp_path, start="old-12345678", tasks=tasks).tasks
    assert (guard.user_prompt, guard.user_prompts) == ("Best: {question}", ())


def test_who_starts_from_a_run_is_named_by_its_prompts_and_does_without_it_later(tmp_path: Path) -> None:
    finished_run(tmp_path)
    first = prepare(
        {"base": BASE, "start": "old-12345678", "runs": "runs", "tasks": [{"name": "a", "train": ROWS}]},
        folder=tmp_path,
    )
    again = prepare(first.config, folder=tmp_path)
    assert again.directory == first.directory
    written = {
        "system_prompt": "Found.",
        "tasks": [
            {"name": "a", "train": ROWS, "user_prompt": "Best: {question}", "user_prompts": ["Next: {question}"]}
        ],
    }
    assert prepare({"base": BASE, "runs": "runs", **written}, folder=tmp_path).directory == first.directory


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("odl-12345678", r"config: start: no run 'odl-12345678' in .*runs .did you mean 'old-12345678'\?"),
        ("old", "config: start: give the whole name, 'old-12345678': 'old' may fit other runs later"),
        ("half-12345678", "config: start: .*half-12345678: this run has no result yet; start it again to finish it"),
    ],
)
def test_a_run_that_cannot_be_started_from_is_told(tmp_path: Path, start: str, said: str) -> None:
    finished_run(tmp_path)
    half = finished_run(tmp_path, "half-12345678")
    half.result.unlink()
    with pytest.raises(ConfigError, match=said):
        started(tmp_path, start=start)


def test_named_prompts_go_on_from_named_prompts_of_the_same_form_alone(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    code = {"program": "os:getcwd", "max_calls": 1}
    task = {"name": "a", "train": ROWS, **code, "prompts": {"ask": "{question}?"}}
    with pytest.raises(ConfigError, match="start: what that run has for task 'a' does not fit: a user prompt of this"):
        started(tmp_path, start="old-12345678", tasks=[task])
    kept = "=== ask ===\nWell, {question}?"
    write_json(run.result, {**json.loads(run.result.read_text()), "user_prompts": {"a": [kept]}})
    (again,) = started(tmp_path, start="old-12345678", tasks=[task]).tasks
    assert (again.user_prompt, again.user_prompts) == (kept, ())


def test_no_first_prompt_is_lost_to_a_gate() -> None:
    """They are not held against each other on a few rows: each is scored for what it is."""
    gates = {"inner": {"candidates": 2, "gate": 3}, "outer": {"candidates": 3, "gate": 3}}
    config = make_config({"iterations": 1, "system_prompts": SYSTEMS, **gates})
    runs = Runs(config, (several(count=3, train=30),), World(5), timing=1, width=4)
    assert runs.session() is not None
    gated = [event.address for event in runs.journal.events if isinstance(event, Rejected) and event.gate is not None]
    assert gated
    assert all(address.startswith("iter=1/") for address in gated)


@pytest.mark.parametrize(("penalty", "chosen"), [(9.95, True), (10.05, False)])
def test_a_prompt_that_is_100_characters_longer_has_to_be_better_by_the_penalty(penalty: float, chosen: bool) -> None:
    """The longer one is right once more in ten: ten points. Its score is told without the penalty."""

    class Tenth(World):
        def base(self, request: Request) -> str:
            """Right on the first half; under the longer prompt on one more."""
            number = int(request.messages[-1].content.split("number ")[1].split(" ")[0])
            right = number < (6 if len(request.messages[0].content) > 100 else 5)
            return "yes" if (number % 2 == 0) == right else "no"

    longer = "Help." + 50 * " x"
    table = {"candidates": 0, "length_penalty": penalty}
    config = make_config(
        {
            "iterations": 0,
            "system_prompt": "Help.",
            "system_prompts": [longer],
            "outer": table,
            "test": {"source": "none"},
        }
    )
    runs = Runs(config, (make_task("a", train=10),), Tenth(1), timing=1, width=2)
    result = runs.session()
    assert result is not None
    assert result.system_prompt == (longer if chosen else "Help.")
    assert result.train_after == pytest.approx(0.6 if chosen else 0.5)
    [selected] = [event for event in runs.journal.events if isinstance(event, Select)]
    assert selected.score == pytest.approx(0.6 if chosen else 0.5)
    scored = [event.score for event in runs.journal.events if isinstance(event, Candidate)]
    dropped = [event.bound for event in runs.journal.events if isinstance(event, Rejected)]
    told, other = (scored, dropped) if chosen else (dropped, scored)
    assert told == [pytest.approx(0.6)], "which is no more than its length costs: it is dropped before it is through"
    assert other == []
