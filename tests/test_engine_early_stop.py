"""The loops end early where another iteration is unlikely to bring anything, and say what going on would cost."""

from dataclasses import replace
from io import StringIO

import pytest
from engine_sessions import Runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from sizes import examples
from world import World, make_config, make_task

from metaspo.engine import RunConfig, selections
from metaspo.engine.config.calls import count_calls
from metaspo.engine.optimize.early_stop import EarlyStop, odds
from metaspo.engine.optimize.state import RunState
from metaspo.engine.runs.identity import fingerprint
from metaspo.tables.runs import print_run_data

TASKS = (make_task("a", train=9), make_task("b", train=9), make_task("unseen", role="target"))


def idle_run(**changes: object) -> Runs:
    """No proposal can be read, so no iteration brings anything."""
    return Runs(make_config({"redraws": 0, **changes}), TASKS, World(2, malformed=1.0), timing=1, width=4)


@given(st.integers(0, 100))
def test_the_odds_are_even_at_first_and_fall_with_every_idle_iteration(idle: int) -> None:
    assert odds(0) == 0.5
    assert odds(idle + 1) < odds(idle)


def test_four_idle_iterations_are_enough_for_odds_below_a_fifth() -> None:
    runs = idle_run(iterations=10, stop_below=0.2)
    result = runs.session()
    assert result is not None
    assert {event.address for event in runs.journal.events if event.address.endswith("/outer")} == {
        f"iter={number}/outer" for number in range(1, 5)
    }
    config = make_config({"redraws": 0, "iterations": 10})
    of_all, of_four = (count_calls(config.model_copy(update={"iterations": n}), TASKS) for n in (10, 4))
    more = of_all.inner + of_all.outer - of_four.inner - of_four.outer
    assert result.ended_early.startswith("ended after iteration 4: 4 in a row brought no gain")
    assert f"up to {more:,} more base calls and {of_all.optimizer - of_four.optimizer} calls" in result.ended_early


def test_an_iteration_that_brings_something_begins_the_count_anew() -> None:
    config = make_config({"iterations": 9, "stop_below": 0.3})
    early = EarlyStop(config, TASKS, RunState(system="a", tasks=()))
    said = [early.after(n, RunState(system=system, tasks=()), left=100) for n, system in enumerate("bbccc", start=1)]
    assert [bool(one) for one in said] == [False, False, False, False, True]
    assert "ended after iteration 5: 2 in a row brought no gain" in said[-1]
    assert "100 more base calls" in said[-1]


def test_one_iteration_without_a_gain_is_no_row() -> None:
    early = EarlyStop(make_config({"stop_below": 0.34}), TASKS, RunState(system="a", tasks=()))
    assert early.after(1, RunState(system="a", tasks=()), left=9).startswith(
        "ended after iteration 1: it brought no gain"
    )


def test_a_run_at_its_end_anyhow_says_nothing_of_stopping() -> None:
    result = idle_run(iterations=4, stop_below=0.2).session()
    assert result is not None
    assert result.ended_early == ""


@settings(max_examples=examples(2, random=15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=st.integers(0, 10**6), below=st.sampled_from([0.2, 0.3, 0.4]), cap=st.none() | st.integers(100, 400))
def test_what_it_finds_is_what_so_many_iterations_find_in_any_timing(world: int, below: float, cap: int | None) -> None:
    def of(config: RunConfig, timing: int) -> Runs:
        return Runs(config, TASKS, World(world, malformed=0.6), timing=timing, width=timing)

    changes = {"iterations": 6, "redraws": 0, "train_calls": cap}
    config = make_config({**changes, "stop_below": below})
    first, second = of(config, 1), of(config, 7)
    result = first.session()
    assert result is not None
    assert second.session(stop_after=9.0) in (None, result)
    assert second.session() == result
    found = selections(first.journal.events)
    whole = of(make_config(changes), 3)
    assert whole.session() is not None
    every = selections(whole.journal.events)
    assert found == {address: every[address] for address in found}
    if result.ended_early:
        ended = int(result.ended_early.split("iteration ")[1].split(":")[0])
        fixed = of(make_config({**changes, "iterations": ended}), 3).session()
        assert fixed is not None
        if cap is None:
            assert replace(result, ended_early="") == fixed
    else:
        assert found == every


def test_a_run_with_such_a_limit_has_a_name_of_its_own() -> None:
    plain, limited = make_config(), make_config({"stop_below": 0.2})
    assert fingerprint(plain, TASKS) != fingerprint(limited, TASKS)


@pytest.mark.parametrize("below", [0, 0.5, -1])
def test_odds_that_no_iteration_could_have_are_refused(below: float) -> None:
    with pytest.raises(ValueError, match="stop_below"):
        make_config({"stop_below": below})


def test_the_result_is_printed_with_it() -> None:
    out = StringIO()
    result = idle_run(iterations=9, stop_below=0.2).session()
    assert result is not None
    data = {"name": "x", "result": result.as_json(), "summary": None, "directory": None, "status": "finished"}
    print_run_data(Console(file=out, width=1_000), data)
    assert "The loops ended after iteration 4" in out.getvalue()
