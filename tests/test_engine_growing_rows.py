"""Rows that grow as calls are used: how many there are when, and that nothing else of a run changes its ways."""

from itertools import pairwise
from typing import Any

import pytest
from engine_sessions import Runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import World, make_config, make_task

from metaspo.engine import RunConfig, selections
from metaspo.engine.optimize.growing_rows import stage_at, stages
from metaspo.engine.runs.identity import fingerprint

TASKS = (make_task("a", train=20), make_task("b", train=14), make_task("unseen", role="target", test=4))


def growing(*, calls: int = 400, rows: int = 3, rows_end: int = 16, **changes: Any) -> RunConfig:  # noqa: ANN401
    shape = {"rows": rows, "rows_end": rows_end, "train_calls": calls, "redraws": 0}
    return make_config({**shape, "inner": {"candidates": 1, "keep": 1}, "outer": {"candidates": 2}, **changes})


def asked_rows(runs: Runs, task: str) -> list[int]:
    """The rows of a task that the base model was asked, in the order of asking."""
    questions = {example.question: row for each in TASKS if each.name == task for row, example in enumerate(each.train)}
    texts = [request.messages[-1].content for request in runs.answered if request.model == "answerer"]
    return [row for text in texts for question, row in questions.items() if question in text]


@given(st.integers(1, 50), st.integers(1, 400), st.integers(1, 5_000))
def test_rows_begin_with_few_are_doubled_and_are_all_in_the_end(rows: int, more: int, calls: int) -> None:
    config = growing(calls=calls, rows=rows, rows_end=rows + more)
    sizes = stages(config)
    assert (sizes[0], sizes[-1]) == (rows, rows + more)
    assert all(before < after <= 2 * before for before, after in pairwise(sizes))
    reached = [stage_at(config, taken) for taken in range(calls + 1)]
    assert reached[0] == 0
    assert reached[-1] == len(sizes) - 1
    assert reached == sorted(reached)


def test_rows_that_do_not_grow_have_no_stage() -> None:
    assert stages(make_config({"rows": 5, "train_calls": 100})) == []


def test_a_run_looks_at_few_rows_first_and_at_all_of_them_for_the_last() -> None:
    runs = Runs(growing(), TASKS, World(4), timing=1, width=1)
    result = runs.session()
    assert result is not None
    assert result.train_calls <= 400
    for task, size in (("a", 16), ("b", 14)):  # b has 14 examples, fewer than the rows grow to
        asked = asked_rows(runs, task)
        first = [asked.index(row) for row in range(size)]
        assert max(asked) == size - 1
        ends = [min(end, size) for end in (0, *stages(growing()))]
        parts = [first[start:end] for start, end in pairwise(ends) if start < end]
        assert all(max(before) < min(after) for before, after in pairwise(parts))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    world=st.integers(0, 10**6),
    under=st.sampled_from(["kept", "first", "mixed"]),
    keep=st.integers(1, 2),
    gate=st.integers(0, 2),
    stop=st.floats(0.5, 30),
)
def test_it_finds_the_same_in_any_timing_and_asks_nothing_twice(
    world: int, under: str, keep: int, gate: int, stop: float
) -> None:
    beam = keep if under == "first" else 1
    config = growing(outer={"candidates": 2, "under": under, "keep": beam, "gate": gate})
    first = Runs(config, TASKS, World(world), timing=1, width=1)
    second = Runs(config, TASKS, World(world), timing=5, width=9)
    result = first.session()
    assert result is not None
    second.session(stop_after=stop)
    assert second.session() == result
    assert selections(second.journal.events) == selections(first.journal.events)
    assert len(second.answered) == len(set(second.answered))
    assert result.train_calls <= 400


def test_more_rows_than_the_calls_allow_do_not_come() -> None:
    runs = Runs(growing(calls=30, rows=3, rows_end=20), TASKS, World(4), timing=1, width=3)
    result = runs.session()
    assert result is not None
    assert result.train_calls <= 30


@pytest.mark.parametrize(
    "changes", [{"train_calls": None}, {"rows": None}, {"rows": 17}], ids=["no cap", "no rows", "more rows at first"]
)
def test_rows_can_grow_only_from_fewer_and_within_calls(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rows_end goes with train_calls and rows"):
        growing(**{"calls": 400, **changes})


def test_growing_rows_are_another_run() -> None:
    assert fingerprint(growing(), TASKS) != fingerprint(growing(rows_end=15), TASKS)
