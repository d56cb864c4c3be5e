"""Shapes by name: what they plan, who wins where a config says something itself, and what a gate costs."""

from typing import Any

import numpy as np
import pytest
from engine_sessions import Runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sizes import examples
from test_engine_plan import Prolific
from world import World, make_config, make_task

from metaspo.engine import ConfigError, RunConfig, selections
from metaspo.engine.config.calls import count_calls
from metaspo.engine.config.load import parse_config, with_overrides
from metaspo.engine.config.plan import plan_run
from metaspo.engine.config.presets import PLUS, in_papers_shape, planned_for, shape
from metaspo.engine.journal.events import Rejected
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.studies.methods import method

TASKS = tuple(make_task(name, train=20) for name in "ab")


def raw(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - values of a config
    model = {"model": "m", "endpoints": ["http://127.0.0.1:1/v1"]}
    tasks = [{"name": name, "train": "a.jsonl", "user_prompt": "{question}"} for name in "ab"]
    return {"base": model, "optimizer": model, "tasks": tasks, **changes}


def plus(calls: int, **changes: Any) -> RunConfig:  # noqa: ANN401 - values of a config
    return make_config({**shape(calls, sources=2, optimizer=True), "redraws": 0, **changes})


def test_what_a_config_says_itself_wins_over_its_preset() -> None:
    planned = parse_config(raw(preset=PLUS, train_calls=1_000))
    said = parse_config(raw(preset=PLUS, train_calls=1_000, rows=5, outer={"candidates": 7}))
    assert (planned.rows, planned.inner.keep, planned.outer.under) == (22, 1, "induced")
    assert (said.rows, said.outer.candidates) == (5, 7)
    assert said.outer.gate == planned.outer.gate


def test_a_gain_has_to_be_shared_where_user_prompts_are_the_same_from_round_to_round() -> None:
    assert parse_config(raw(preset=PLUS)).outer.shared
    assert parse_config(raw(preset=PLUS, outer={"under": "first"})).outer.shared
    assert not parse_config(raw(preset=PLUS, outer={"under": "kept"})).outer.shared
    assert not parse_config(raw(preset=PLUS, train_calls=200, outer={"under": "kept"})).outer.shared_margin
    assert not parse_config(raw(preset=PLUS, train_calls=200, outer={"shared": False})).outer.shared_margin
    with pytest.raises(ConfigError, match=r"outer.shared wants outer.under"):
        parse_config(raw(outer={"shared": True}))
    with pytest.raises(ConfigError, match=r"outer.shared_margin .*: it wants outer.shared = true"):
        parse_config(raw(outer={"shared_margin": 5}))


def test_with_many_calls_two_system_prompts_compete_in_a_round_and_one_user_prompt_of_each_task() -> None:
    for calls, systems in ((499, 1), (500, 2), (20_000, 2)):
        config = parse_config(raw(preset=PLUS, train_calls=calls))
        assert (config.outer.candidates, config.outer.induced, config.inner.candidates) == (systems, systems, 1)


def test_a_program_may_say_calls_and_a_no_in_numpy_s_kinds() -> None:
    """What a preset plans goes by them as by Python's own; such a config had none of it."""
    for table in ({"gate_doubles": False}, {"shared": False}):
        plainly = parse_config(raw(preset=PLUS, train_calls=200, outer=table))
        said = raw(preset=PLUS, train_calls=np.int64(200), outer=dict.fromkeys(table, np.False_))
        assert parse_config(said) == plainly


def test_with_few_calls_first_steps_are_larger() -> None:
    few, many = (parse_config(raw(preset=PLUS, train_calls=calls)).outer for calls in (299, 300))
    assert (few.first_passes, few.shared_margin, few.candidates) == (2, 9.6, 1)
    assert (many.first_passes, many.shared_margin, many.candidates) == (1, 9.6, 1)
    said = raw(train_calls=299, outer={"under": "first", "shared": True, "first_passes": 3, "shared_margin": 4})
    assert parse_config(with_overrides(said, planned_for(299))).outer == few
    paper = in_papers_shape(parse_config(raw(preset=PLUS, train_calls=299))).outer
    assert (paper.first_passes, paper.shared_margin) == (1, 0)


def test_a_gain_has_to_be_shared_by_what_it_would_have_by_luck() -> None:
    """Which falls with the root of the answers that it is told by: rows of a task, under each induced prompt."""
    for calls in (600, 2_000, 20_000):
        config = parse_config(raw(preset=PLUS, train_calls=calls))
        answers = (config.rows or 0) * config.outer.induced
        assert config.outer.shared_margin == pytest.approx(100 / 3 / answers**0.5, abs=0.05)


def test_planning_for_calls_replaces_the_shape_of_a_config_and_nothing_else() -> None:
    shaped = raw(iterations=3, racing=0.1, inner={"strategy": "embedded", "candidates": 9}, outer={"failures": 1})
    config = parse_config(with_overrides(shaped, planned_for(2_000)))
    expected = parse_config(raw(preset=PLUS, train_calls=2_000, inner={"strategy": "embedded"}))
    assert config == expected


CHANGES: dict[str, list[Any]] = {
    "preset": ["metaspo"],
    "train_calls": [100, 4_000],
    "rows": [5],
    "racing": [0.1],
    "inner.gate": [0, 3],
    "outer.under": ["kept", "first", "mixed"],
    "outer.shared": [False, True],
    "outer.shared_margin": [3.0],
    "outer.first_passes": [1],
    "outer.gate": [0, 2],
    "outer.gate_doubles": [True, False],
    "outer.reserve": [True, False],
    "optimizer": [None],
}


def changes_of(calls: int) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in CHANGES.items()})
    return st.one_of(st.just({"train_calls": calls}), keys)


@given(changes_of(200), changes_of(3_000), st.sampled_from([150, 400, 2_000]))
def test_what_a_preset_chose_is_planned_anew_where_a_config_made_in_python_is_changed(
    said: dict[str, Any], changes: dict[str, Any], calls: int
) -> None:
    """It is nobody's wish, so none that a change could be at odds with."""
    config = with_overrides(raw(preset=PLUS, train_calls=calls), said)

    def outcome(config: dict[str, Any]) -> object:
        try:
            return parse_config(with_overrides(config, changes))
        except ConfigError as error:
            return str(error)

    try:
        made = parse_config(config)
    except ConfigError:
        return
    assert outcome(made.model_dump(exclude_unset=True)) == outcome(config)
    assert RunConfig(**{name: getattr(made, name) for name in made.model_fields_set}) == made


def test_the_papers_shape_is_what_a_config_without_a_preset_has() -> None:
    assert parse_config(raw(preset="metaspo")) == parse_config(raw())


def test_without_an_optimizer_model_no_user_prompts_are_induced() -> None:
    config = raw(preset=PLUS)
    del config["optimizer"]
    assert parse_config(config).outer.under == "mixed"


def test_a_preset_that_there_is_not_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"preset: there is no preset 'metaspo-plus'.*metaspo, metaspo\+"):
        parse_config(raw(preset="metaspo-plus"))


def test_gates_that_double_want_one_and_a_reserve_wants_calls_to_leave() -> None:
    for loop in ("inner", "outer"):
        with pytest.raises(ConfigError, match=rf"{loop}.gate_doubles .* no {loop}.gate"):
            parse_config(raw(**{loop: {"gate_doubles": True}}))
    with pytest.raises(ConfigError, match=r"outer.reserve .* of train_calls"):
        parse_config(raw(outer={"reserve": True}))


def test_from_150_calls_a_task_on_the_outer_gate_of_metaspo_plus_doubles_unless_a_config_wants_it_otherwise() -> None:
    planned = parse_config(raw(preset=PLUS)).outer
    assert (planned.gate, planned.gate_doubles, planned.reserve) == (1, True, True)
    for gate in (0, 3):
        assert not parse_config(raw(preset=PLUS, outer={"gate": gate})).outer.gate_doubles, "a config's own is single"
    assert parse_config(raw(preset=PLUS, outer={"gate": 3, "gate_doubles": True})).outer.gate_doubles
    assert not parse_config(raw(preset=PLUS, racing=0.1)).outer.gate_doubles
    single = parse_config(raw(preset=PLUS, outer={"gate_doubles": False})).outer
    assert (single.gate, single.gate_doubles) == (3, False)
    few = parse_config(raw(preset=PLUS, train_calls=299)).outer
    assert (few.gate, few.gate_doubles, few.reserve) == (2, False, False)


def test_racing_and_a_gate_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="leave out one of them"):
        parse_config(raw(racing=0.05, inner={"gate": 4}))


def test_a_raced_run_in_the_presets_shape_has_no_gate() -> None:
    config = parse_config(raw(preset=PLUS, racing=0.1))
    assert (config.racing, config.inner.gate, config.outer.gate) == (0.1, 0, 0)
    assert config.rows == parse_config(raw(preset=PLUS)).rows


def test_several_system_prompts_are_kept_only_where_their_scores_stay_what_they_are() -> None:
    assert parse_config(raw(outer={"keep": 2, "under": "induced"})).outer.keep == 2
    for under in ("kept", "mixed"):
        with pytest.raises(
            ConfigError, match=f'outer.keep = 2 wants outer.under = "first" or "induced": with "{under}"'
        ):
            parse_config(raw(outer={"keep": 2, "under": under}))


def test_the_method_of_a_comparison_has_the_presets_shape_whatever_the_config_has() -> None:
    changes = method("metaspo+").overrides(3)
    config = parse_config(with_overrides(raw(iterations=9, outer={"candidates": 4}), changes))
    assert config.outer == parse_config(raw(preset=PLUS)).outer
    assert config.train_calls == 2_000


@given(st.integers(1, 10**6), st.integers(1, 30))
def test_more_calls_never_plan_fewer_rows_or_candidates(calls: int, sources: int) -> None:
    less, more = (shape(count, sources=sources, optimizer=True) for count in (calls, 2 * calls))
    assert less["rows"] <= more["rows"]
    assert less["outer"]["candidates"] <= more["outer"]["candidates"]
    assert all(one["outer"]["gate"] <= one["inner"]["gate"] <= one["rows"] for one in (less, more))


def test_the_plan_tells_what_the_papers_shape_would_take() -> None:
    paper = make_config({"iterations": 3, "inner": {"candidates": 3}, "outer": {"candidates": 9}})
    plan = plan_run(plus(300), TASKS)
    assert plan.calls.initial + plan.calls.inner + plan.calls.outer == 300
    assert plan.paper == count_calls(paper, TASKS)


@settings(max_examples=examples(2, random=20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    calls=st.integers(80, 500), world=st.integers(0, 10**6), timing=st.integers(0, 10**6), stops=st.floats(1.0, 30.0)
)
def test_a_planned_run_keeps_to_its_calls_and_finds_the_same_in_any_timing(
    calls: int, world: int, timing: int, stops: float
) -> None:
    config = plus(calls)
    first = Runs(config, TASKS, World(world), timing=1, width=1)
    result = first.session()
    assert result is not None
    disturbed = Runs(config, TASKS, World(world), timing=timing, width=9)
    disturbed.session(stop_after=stops)
    assert disturbed.session() == result
    assert selections(disturbed.journal.events) == selections(first.journal.events)
    asked = [request for request in first.answered if request.model == "answerer"]
    tests = [request for request in asked if "test number" in request.messages[-1].content]
    assert len(asked) - len(tests) <= result.train_calls <= calls


def test_what_a_gate_spares_goes_into_further_rounds() -> None:
    """As many calls are taken with it as without; the same calls see more proposals."""
    rounds = {}
    for gate in (0, 3):
        loops = {loop: {**shape(400, sources=2, optimizer=True)[loop], "gate": gate} for loop in ("inner", "outer")}
        loops["outer"]["gate_doubles"] = gate > 0
        runs = Runs(plus(400, **loops), TASKS, Prolific(5), timing=1, width=4)
        result = runs.session()
        assert result is not None
        assert 400 - 3 * 40 < result.train_calls <= 400
        rounds[gate] = sum(request.model == "writer" for request in runs.answered)
    assert rounds[3] > rounds[0]


def test_who_does_not_pass_the_gate_is_asked_its_rows_only() -> None:
    config = make_config({"inner": {"candidates": 3, "gate": 5, "keep": 1}, "outer": {"candidates": 0}})
    runs = Runs(config, TASKS, Prolific(3), timing=1, width=64)
    assert runs.session() is not None
    out = [event for event in runs.journal.events if isinstance(event, Rejected) and event.gate is not None]
    assert out
    assert {event.unasked for event in out} == {15}


@pytest.mark.parametrize("loop", ["inner", "outer"])
def test_in_either_loop_who_falls_at_a_further_gate_is_asked_the_rows_of_that_one(loop: str) -> None:
    """Of 20 rows gates have 1, 2, 4 and 8."""
    off = {"inner": {"candidates": 0, "keep": 1}, "outer": {"candidates": 0}}
    doubling = {"candidates": 6, "gate": 1, "gate_doubles": True}
    config = make_config({"iterations": 2, **off, loop: {**off[loop], **doubling}})
    runs = Runs(config, TASKS, Prolific(3), timing=1, width=64)
    assert runs.session() is not None
    out = [event for event in runs.journal.events if isinstance(event, Rejected) and event.gate is not None]
    tasks = 1 if loop == "inner" else 2
    asked = {20 - event.unasked / tasks for event in out}
    assert len(asked) > 1
    assert asked <= {1, 2, 4, 8}


def test_nobody_who_is_right_on_all_rows_of_a_gate_is_out_for_it() -> None:
    """What it starts from would have all of them right, too, so that nothing could pass."""
    loop = {"candidates": 3, "gate": 1, "keep": 1}
    runs = Runs(make_config({"iterations": 3, "inner": loop, "outer": loop}), TASKS, Prolific(1), timing=1, width=64)
    assert runs.session() is not None
    out = [event.gate for event in runs.journal.events if isinstance(event, Rejected) and event.gate is not None]
    assert out
    assert max(out) < 1


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 5},
        {"outer": {"under": "first"}},
        {"inner": {"gate": 2}},
        {"outer": {"gate": 1}},
        {"outer": {"first_passes": 2}},
        {"train_calls": 99},
    ],
)
def test_a_key_that_changes_the_result_changes_the_runs_name(changes: dict[str, Any]) -> None:
    assert fingerprint(parse_config(raw(**changes)), TASKS) != fingerprint(parse_config(raw()), TASKS)


@pytest.mark.parametrize("table", [{"outer": {"reserve": True}}, {"outer": {"gate": 1, "gate_doubles": True}}])
def test_how_gates_go_on_and_what_is_reserved_change_a_runs_name(table: dict[str, Any]) -> None:
    without = {"outer": {key: value for key, value in table["outer"].items() if value is not True}}
    there = {"train_calls": 99}
    assert fingerprint(parse_config(raw(**there, **table)), TASKS) != fingerprint(
        parse_config(raw(**there, **without)), TASKS
    )


def test_how_much_a_gain_has_to_be_shared_changes_a_runs_name() -> None:
    asked = {"under": "first", "shared": True}
    prints = {fingerprint(parse_config(raw(outer={**asked, "shared_margin": margin})), TASKS) for margin in (0, 5, 10)}
    assert len(prints) == 3
    assert fingerprint(parse_config(raw(outer=asked)), TASKS) in prints


def test_the_name_of_a_preset_alone_changes_no_runs_name() -> None:
    assert fingerprint(parse_config(raw(preset="metaspo")), TASKS) == fingerprint(parse_config(raw()), TASKS)
