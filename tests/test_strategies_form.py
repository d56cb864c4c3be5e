"""Searches for a system prompt: what their writers are told of the form of answers."""

import pytest
from scripted_search import ScriptedArena, examples, numbered

from metaspo.engine.runs.identity import TOLD_OF_FORM
from metaspo.engine.strategies import outer_strategy
from metaspo.engine.strategies.proposers import AllAtOnce
from metaspo.engine.strategies.registry import SEARCHES


@pytest.mark.parametrize("name", sorted(TOLD_OF_FORM))
@pytest.mark.parametrize("reads", [True, False])
async def test_a_system_prompt_may_set_a_form_where_most_wrong_answers_cannot_be_read(name: str, reads: bool) -> None:
    """Else nothing that it says of the rest would ever show in a score."""
    arena = ScriptedArena(
        level="system",
        tasks={"a": examples(5, task="a"), "b": examples(5, task="b")},
        first=["You are helpful."],
        grade=lambda prompt, _task, row: float("by" in prompt or row > 2),
        answers=numbered,
        candidates=4,
        reads=reads,
    )
    proposer = outer_strategy(name)
    assert isinstance(proposer, AllAtOnce)
    await proposer.search.search(arena)
    told = [request for request in arena.requests.values() if "task, subject, label or example" in request]
    assert told
    for request in told:
        assert ("how an answer has to look" in request) is not reads
        assert ("answer format" in request) is reads


def test_runs_of_every_search_that_asks_an_optimizer_model_begin_anew_with_it() -> None:
    assert SEARCHES.keys() - {"sprig"} == TOLD_OF_FORM
