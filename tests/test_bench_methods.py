"""The benchmark of methods: equal calls for all, figures by truth, GEPA's adapter as the package calls it."""

from types import SimpleNamespace

import pytest
from command_line import here

from metaspo.bench.gepa_peer import SYSTEM, Adapter
from metaspo.bench.known_truth_world import SOURCES, World
from metaspo.bench.methods import METHODS, Job, find, measure_methods

CALLS = 300


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_to_the_calls_it_is_given(name: str) -> None:
    found = find(Job(world=World(3), calls=CALLS, changes=METHODS[name](CALLS)))
    assert 0 < found.base <= CALLS
    assert 0 < found.source <= 0.9
    assert 0 < found.unseen <= 0.9
    assert found.dollars


def test_a_report_compares_each_method_with_ours_in_each_world_and_in_all() -> None:
    report = measure_methods(
        seeds=2, calls=[CALLS], methods=["textgrad"], worlds=["added up", "entangled"], first_seed=7
    )
    assert [(row["world"], row["method"]) for row in report.rows] == [
        (world, method) for world in ("added up", "entangled", "all") for method in ("metaspo+", "textgrad")
    ]
    assert [row["ahead, source"] == "–" for row in report.rows] == [True, False] * 3


def test_the_seeds_of_a_report_are_those_that_are_asked_for() -> None:
    options = ["--seeds", "2", "--first-seed", "7", "--calls", str(CALLS), "--method", "textgrad", "--json"]
    told = here("bench", "methods", *options).data
    known = measure_methods(seeds=2, calls=[CALLS], methods=["textgrad"], worlds=["added up"], first_seed=7)
    assert told["title"] == known.title
    assert told["rows"][0]["source"] == known.rows[0]["source"]


def test_the_adapter_grades_by_the_world_and_rewrites_only_what_has_failures() -> None:
    world = World(5)
    tasks = [task for task in world.tasks(train=12, test=1) if task.role == "source"]
    candidate = {SYSTEM: "You are a helpful assistant.", **{task.name: task.user_prompt for task in tasks}}
    adapter = Adapter(world)
    batch = [(tasks[0].name, example) for example in tasks[0].train]
    seen = adapter.evaluate(batch, candidate, capture_traces=True)
    assert 0 < sum(seen.scores) < len(batch)
    cases = adapter.make_reflective_dataset(candidate, seen, [SYSTEM, *SOURCES])
    assert len(cases[SYSTEM]) == len(cases[SOURCES[0]]) == len(batch) - sum(seen.scores)
    texts = adapter.write(candidate, cases, [SYSTEM, *SOURCES])
    assert texts[SYSTEM] != candidate[SYSTEM]
    assert {name for name in SOURCES if texts[name] != candidate[name]} <= {SOURCES[0]}
    nothing = adapter.make_reflective_dataset(candidate, SimpleNamespace(trajectories=[]), [SYSTEM])
    assert adapter.write(candidate, nothing, [SYSTEM]) == {SYSTEM: candidate[SYSTEM]}
