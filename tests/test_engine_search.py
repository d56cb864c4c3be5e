"""Searches through the whole engine: every one of them replays, resumes, and keeps within what was planned."""

from functools import cache
from typing import Any

import pytest
from engine_sessions import Runs, whole_but_own
from world import World, make_config, make_task

from metaspo.backends import Request
from metaspo.engine import Observer, RunConfig, RunResult, selections
from metaspo.engine.config.calls import count_calls
from metaspo.engine.strategies import UnknownStrategy, inner_strategy, outer_strategy
from metaspo.engine.strategies.registry import SEARCHES

SMALL: dict[str, dict[str, Any]] = {
    "ape": {"inductions": 3, "resample": 1, "top": 2, "variations": 2},
    "evoprompt-de": {"population": 4, "generations": 2},
    "evoprompt-ga": {"population": 3, "generations": 2},
    "gepa": {"steps": 3, "minibatch": 2},
    "mipro": {"instructions": 3, "sets": 3, "trials": 6, "minibatch": 4, "full_every": 2},
    "opro": {"steps": 2, "samples": 3},
    "protegi": {"rounds": 2, "beam": 2, "minibatch": 4, "gradients": 2, "errors": 2, "select_rounds": 2},
    "sprig": {"steps": 2, "beam": 2, "questions": 3, "add_candidates": 2, "paraphrases": 2, "max_candidates": 5},
    "textgrad": {"epochs": 1, "steps": 2},
}
TASKS = (make_task("a", train=7), make_task("b", train=5), make_task("unseen", role="target"))
BOTH = sorted(name for name in SEARCHES if name != "sprig")


def config_of(name: str, *, loop: str, early_rejection: bool = True) -> RunConfig:
    """Two iterations with the search in one loop, and MetaSPO's own strategy in the other."""
    table = {"strategy": name, "options": SMALL[name], "candidates": 3}
    return make_config(
        {loop: {**table, **({"keep": 2} if loop == "inner" else {})}, "early_rejection": early_rejection}
    )


CASES = [(name, loop) for name in sorted(SEARCHES) for loop in ("inner", "outer") if loop == "outer" or name in BOTH]


def runs_of(config: RunConfig, *, timing: int, width: int) -> Runs:
    return Runs(config, TASKS, World(5, malformed=0.1), timing=timing, width=width)


class Counting(Observer):
    """Adds up what was planned and what is settled."""

    def __init__(self) -> None:
        self.ahead = 0

    def planned(self, *, base_calls: int, optimizer_calls: int) -> None:
        self.ahead += base_calls + optimizer_calls

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        self.ahead -= base_calls + optimizer_calls
        assert self.ahead >= 0, "more is settled than was planned"


@cache
def finished(name: str, loop: str) -> tuple[Runs, RunResult]:
    """One undisturbed session, which several laws look at; its observer raises if it is told too much."""
    runs = Runs(config_of(name, loop=loop), TASKS, World(5, malformed=0.1), timing=3, width=4, observer=Counting())
    result = runs.session()
    assert result is not None
    return runs, result


@pytest.mark.parametrize(("name", "loop"), whole_but_own(CASES))
def test_a_search_selects_the_same_at_any_concurrency_and_after_any_interruption(name: str, loop: str) -> None:
    undisturbed, result = finished(name, loop)
    disturbed = runs_of(config_of(name, loop=loop), timing=50, width=7)
    for stop_after in (3.0, 9.0):
        disturbed.session(stop_after=stop_after)
    assert disturbed.session() == result
    assert selections(disturbed.journal.events) == selections(undisturbed.journal.events)
    assert len(disturbed.answered) == len(set(disturbed.answered)), "an answered call was asked again"


@pytest.mark.parametrize(("name", "loop"), whole_but_own(CASES))
def test_early_rejection_changes_no_selection_of_a_search(name: str, loop: str) -> None:
    whole = runs_of(config_of(name, loop=loop, early_rejection=False), timing=2, width=1)
    cut, result = finished(name, loop)
    assert whole.session() == result
    assert selections(whole.journal.events) == selections(cut.journal.events)


@pytest.mark.parametrize(("name", "loop"), whole_but_own(CASES))
def test_a_search_keeps_within_what_was_planned(name: str, loop: str) -> None:
    config = config_of(name, loop=loop, early_rejection=False)
    runs = Runs(config, TASKS, World(5, malformed=0.0), timing=4, width=4)
    assert runs.session() is not None
    planned = count_calls(config, TASKS)
    assert sum(is_base(request) for request in runs.answered) <= planned.base
    assert sum(not is_base(request) for request in runs.answered) <= planned.optimizer


@pytest.mark.parametrize(("name", "loop"), whole_but_own(CASES))
def test_a_finished_search_runs_again_without_a_call_and_progress_never_passes_what_was_planned(
    name: str, loop: str
) -> None:
    runs, result = finished(name, loop)
    asked = len(runs.answered)
    assert runs.session() == result
    assert len(runs.answered) == asked


def is_base(request: Request) -> bool:
    return request.model == "answerer"


@pytest.mark.parametrize(("name", "loop"), whole_but_own(CASES))
def test_a_search_finds_something_in_a_world_where_prompts_matter(name: str, loop: str) -> None:
    _, result = finished(name, loop)
    assert result.train_after > result.train_before


@pytest.mark.parametrize(
    ("options", "named"), [({"stepz": 3}, "did you mean 'steps'"), ({"steps": 0}, "steps"), ({"steps": "x"}, "steps")]
)
def test_an_option_that_cannot_be_used_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UnknownStrategy, match=named):
        outer_strategy("opro", options)


def test_a_search_is_refused_where_it_cannot_look() -> None:
    with pytest.raises(UnknownStrategy, match="user prompts"):
        inner_strategy("sprig")
