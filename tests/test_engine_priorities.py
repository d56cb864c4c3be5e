"""Which of a run's calls goes first."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from metaspo.bench.instant import InstantModel
from metaspo.bench.workload import answer, make_run
from metaspo.cache import MemoryStore
from metaspo.engine import Observer
from metaspo.engine.evaluation.asking import Base
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.runs.session import make_context
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.scheduling import Gateway, Lane


def test_in_the_inner_loops_a_candidates_second_call_goes_after_the_first_calls_of_the_next() -> None:
    """And before those of the one after that."""
    first = [priorities.inner(1, task=0, candidate=number) for number in (1, 2, 3)]
    rewrite = priorities.chained(first[0], step=1)
    assert first[0] < first[1] < rewrite < first[2]
    assert priorities.chained(first[0], step=0) == first[0]


def test_in_the_outer_loop_the_first_calls_of_as_many_more_go_before_as_a_candidate_is_late() -> None:
    """So that the first system prompt is soon there, and the last call to go is not a first one."""
    first = [priorities.outer(1, candidate=number) for number in range(1, 7)]
    rewrites = [priorities.chained(place, step=1) for place in first]
    order = sorted([*first, *rewrites])
    names = [f"a{first.index(place) + 1}" if place in first else f"r{rewrites.index(place) + 1}" for place in order]
    assert names == ["a1", "a2", "r1", "a3", "a4", "r2", "a5", "a6", "r3", "r4", "r5", "r6"]
    assert priorities.chained(first[0], step=0) == first[0]


def test_runs_that_go_on_together_go_one_after_the_other_and_all_test_splits_last() -> None:
    own = [priorities.initial(2), priorities.inner(1, task=0, candidate=1), priorities.outer(3, candidate=9)]
    splits = [priorities.final(stage="before", task=0), priorities.final(stage="after", task=3)]
    loops = [priorities.beside_others(place, turn) for turn in range(3) for place in own]
    tests = [priorities.beside_others(place, turn) for turn in range(3) for place in splits]
    assert [*loops, *tests] == sorted([*loops, *tests])


async def test_all_models_of_a_run_are_asked_in_its_turn() -> None:
    prepared, names = make_run(), LaneNames(turn=3)
    prepared = replace(prepared, config=prepared.config.model_copy(update={"judge": prepared.config.base}))
    async with Gateway([Lane("base", [InstantModel(answer)])], store=MemoryStore()) as gateway:
        context = make_context(prepared, gateway, names, journal=MemoryJournal(), observer=Observer(), name="turn")
        alone = Base.of(prepared.config, gateway, names)
    models = (context.base, context.optimizer, context.judge, alone.model, alone.judge)
    assert [model and model.turn for model in models] == [3] * 5


@given(st.integers(1, 40), st.integers(0, 9), st.booleans())
def test_a_later_call_tells_its_candidates_first(candidate: int, step: int, system: bool) -> None:
    outer = priorities.outer(3, candidate=candidate)
    place = outer if system else priorities.inner(3, task=2, candidate=candidate)
    assert priorities.unchained(priorities.chained(place, step=step)) == place
