"""Task weights: a weighted mean in every place where tasks are averaged, and the plain one if there are none."""

import math
from dataclasses import replace
from typing import Any

import pytest
from engine_sessions import Runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle
from pydantic import ValidationError
from sizes import examples
from test_engine_final import row
from test_engine_oracle import SIZES, count_words
from test_engine_scoring import RIGHT, WRONG, card
from world import World, make_config, make_task

from metaspo.engine import selections
from metaspo.engine.optimize.test_splits import gains
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.selection.objective import KeepBest, Objective, mean
from metaspo.engine.tasks import TaskSpec

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=12)
WEIGHT = st.floats(0.01, 100)


@given(SCORES, WEIGHT)
def test_equal_weights_give_the_plain_mean_to_the_last_bit(scores: list[float], weight: float) -> None:
    plain = round(math.fsum(scores) / len(scores), 12)
    assert mean(scores) == mean(scores, weights=[weight] * len(scores)) == plain


@given(SCORES, st.data())
def test_a_weighted_mean_never_falls_when_a_score_rises(scores: list[float], data: st.DataObject) -> None:
    """So the mean of bounds is a bound, and early rejection stays exact."""
    weights = [data.draw(WEIGHT) for _ in scores]
    place = data.draw(st.integers(0, len(scores) - 1))
    higher = [*scores[:place], data.draw(st.floats(scores[place], 1)), *scores[place + 1 :]]
    assert mean(higher, weights=weights) >= mean(scores, weights=weights)


def test_a_task_of_weight_three_counts_as_three_tasks() -> None:
    heavy, light = replace(card(RIGHT, RIGHT), weight=3.0), card(WRONG, WRONG)
    value = Objective().value
    assert value([heavy, light]) == value([card(RIGHT, RIGHT)] * 3 + [light]) == 0.75


@settings(max_examples=examples(5, random=12), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=SIZES,
    world=st.integers(0, 10**6),
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 7.3]), min_size=3, max_size=3),
    timing=st.integers(0, 10**6),
    width=st.integers(1, 40),
)
def test_selections_by_weighted_means_equal_the_oracles(
    sizes: dict[str, Any], world: int, weights: list[float], timing: int, width: int
) -> None:
    sources = [make_task(name, train=4 + n, weight=weights[n]) for n, name in enumerate("abc")]
    tasks = (*sources, make_task("unseen", role="target"))
    config = make_config(sizes)
    oracle = Oracle(config, list(tasks), World(world).answer, count_tokens=count_words)
    oracle.run()
    runs = Runs(config, tasks, World(world), timing=timing, width=width, count_tokens=count_words)
    assert runs.session() is not None
    assert selections(runs.journal.events) == oracle.selections


def test_weights_change_what_is_selected_and_early_rejection_does_not() -> None:
    chosen = {}
    for weight, early in [(1.0, True), (50.0, True), (50.0, False)]:
        tasks = (make_task("a", train=20, weight=weight), make_task("b", train=20))
        config = make_config({"iterations": 1, "outer": {"candidates": 8}, "early_rejection": early})
        runs = Runs(config, tasks, World(8), timing=1, width=8)
        assert runs.session() is not None
        chosen[weight, early] = selections(runs.journal.events)
    assert chosen[1.0, True] != chosen[50.0, True] == chosen[50.0, False]


def test_gains_are_weighted_means() -> None:
    tests = [row("a", "before", [0.0]), row("a", "after", [1.0]), row("b", "before", [0.0]), row("b", "after", [0.0])]
    (gain,) = gains([replace(test, weight=3.0 if test.task == "a" else 1.0) for test in tests])
    assert gain.gain == pytest.approx(0.75)


def test_another_weight_is_another_run() -> None:
    prints = [fingerprint(make_config(), [make_task("a", weight=weight)]) for weight in (1.0, 2.0)]
    assert prints[0] != prints[1]


@pytest.mark.parametrize("weight", [0, -1, math.inf, math.nan])
def test_a_weight_is_a_number_above_zero(weight: float) -> None:
    with pytest.raises(ValidationError, match="weight"):
        TaskSpec.model_validate({"name": "t", "train": "t.jsonl", "weight": weight})


def test_a_prompt_that_can_still_tie_with_a_later_one_stays_in_the_inner_loop() -> None:
    """Of thirds too, whose rounded bound lies below the score itself."""
    old, later = card(WRONG, WRONG, WRONG), card(RIGHT, WRONG, WRONG)
    objective = Objective(ties="earlier")
    best = KeepBest(1, [objective.scored(0, "{question}", [old])])
    best.add(objective.scored(2, "Later: {question}", [later]))
    assert not best.rejects(objective.rank(1, "Early: {question}", mean([1 / 3])))
    assert best.rejects(objective.rank(3, "Third: {question}", mean([1 / 3])))
