"""SPRIG: edits of components, which are tried, which survive, traced by hand; counts; replays."""

from collections.abc import Mapping
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scripted_search import Answer, Grade, ScriptedArena, examples, tagged, wanted

from metaspo.engine.prompts import check_system_prompt
from metaspo.engine.strategies.base import Malformed, NoProposal
from metaspo.engine.strategies.search import CallBound, Search
from metaspo.engine.strategies.sprig import Sprig, credit, rewordings_reader
from metaspo.engine.strategies.sprig_edits import (
    Component,
    Edit,
    Prompt,
    edits,
    library,
    most_edits,
    promising,
    read,
    write,
)

X, Y = library()[7], library()[20]
SIZE = len(library())


def context(
    *,
    grade: Grade,
    first: str = "Incumbent.",
    answers: Answer | Mapping[str, str] | None = None,
    jitter: int | None = None,
) -> ScriptedArena:
    """Two tasks of 3 and 4 rows, the first under two user prompts: 10 answers on all rows."""
    return ScriptedArena(
        level="system",
        tasks={"a": examples(3, task="a"), "b": examples(4, task="b")},
        users={"a": ["A {question}", "B {question}"], "b": ["C {question}"]},
        first=[first],
        grade=grade,
        answers=answers or {},
        jitter=jitter,
    )


def even(grades: Mapping[str, float], *, other: float) -> Grade:
    """The same grade on every row; `other` for prompts that are not named."""
    return lambda text, task, row: grades.get(text, other)


def chance(text: str, task: str, row: int) -> float:
    return Random(f"{text}/{task}/{row}").random()


def reworded(step: str, request: str) -> str:
    return tagged("analysis", f"One way of {step}.\nAnother way of {step}.")


def texts(found: list[Edit]) -> list[str]:
    return [write(edit.prompt) for edit in found]


async def test_three_steps_of_adding_deleting_and_swapping() -> None:
    """From nothing, with one component to add after the first step; the incumbent scores 0.3."""
    grades = {"Incumbent.": 0.3, X: 0.9, Y: 0.8, f"{X}\n{Y}": 0.95, f"{Y}\n{X}": 0.7}
    world = context(grade=even(grades, other=0.1))
    strategy = Sprig(steps=3, beam=2, add_candidates=1, paraphrases=0, start="empty")
    found = await strategy.search(world)
    first, second, third = world.scored
    # 1: every component alone. X and Y survive; X gained 0.6, Y 0.5, all others lost 0.2, each tried once.
    assert first.prompts[0] == "Incumbent."
    assert sorted(first.prompts[1:]) == sorted(library())
    # 2: the best arm is X; one parent holds it already, so nothing is left to do there; it goes before and behind the
    #    other.
    assert second.prompts == (Y, f"{X}\n{Y}", f"{Y}\n{X}")
    # 3: X gained 0.15 and lost 0.1 more; its UCB is 0.217 + sqrt(2 ln 148 / 3) = 2.04, that of Y 0.5 + sqrt(2 ln 148)
    #    = 3.66, so Y is the arm, and it is in both parents. What is left are the deletions and the swaps.
    assert third.prompts == (f"{X}\n{Y}", f"{Y}\n{X}", Y, X, f"{Y}\n{X}", f"{X}\n{Y}")
    # 0.95 and 0.9 are the best of these.
    assert found == [f"{X}\n{Y}", X]
    assert world.asked == []


async def test_the_best_candidates_survive_though_their_parent_was_better() -> None:
    world = context(grade=even({"Incumbent.": 0.9}, other=0.1))
    found = await Sprig(steps=1, beam=3, paraphrases=0).search(world)
    assert len(found) == 3
    assert "Incumbent." not in found


async def test_parents_and_candidates_of_a_step_answer_the_same_questions_drawn_anew_for_each_step() -> None:
    world = context(grade=chance)
    await Sprig(steps=5, beam=2, questions=2, add_candidates=2, paraphrases=0).search(world)
    draws = [scored.rows for scored in world.scored]
    assert len(draws) == 5, "one call of score a step"
    assert all(rows is not None and [len(set(of)) for of in rows] == [2, 2] for rows in draws)
    assert len(set(draws)) > 1


async def test_rewordings_are_asked_once_and_tried_in_place() -> None:
    world = context(grade=chance, first="One.\nTwo.", answers=reworded)
    await Sprig(steps=2, beam=1, add_candidates=0, paraphrases=2, max_candidates=None).search(world)
    assert world.asked[:2] == ["step=1/rephrase=1", "step=1/rephrase=2"]
    assert "<sentence>\nTwo.\n</sentence>" in world.requests["step=1/rephrase=2"]
    scored = world.scored[0].prompts
    assert "One way of step=1/rephrase=1.\nTwo." in scored
    assert "One.\nAnother way of step=1/rephrase=2." in scored
    assert all(wanted(request) == "analysis" for request in world.requests.values())
    shown = [request.split("<sentence>")[1] for request in world.requests.values()]
    assert len(shown) == len(set(shown))


async def test_a_lost_rewording_costs_only_itself() -> None:
    world = context(grade=chance, first="One.\nTwo.", answers={"step=1/rephrase=2": tagged("analysis", "Deux.")})
    await Sprig(steps=1, paraphrases=2).search(world)
    assert "One.\nDeux." in world.scored[0].prompts


async def test_no_more_candidates_than_allowed_are_scored() -> None:
    world = context(grade=chance)
    strategy = Sprig(steps=3, beam=2, add_candidates=6, questions=2, paraphrases=0, max_candidates=5)
    await strategy.search(world)
    assert [len(scored.prompts) for scored in world.scored] == [1 + 5, 2 + 5, 2 + 5]
    assert strategy.work(world.size) == CallBound(base=(5 + 7 + 7) * 6, optimizer=0)


async def test_work_is_reached_by_a_first_step_from_nothing() -> None:
    world = context(grade=chance)
    strategy = Sprig(steps=1, questions=10, start="empty")
    await strategy.search(world)
    assert strategy.work(world.size) == CallBound(base=SIZE * 10, optimizer=0)
    assert world.base_calls == SIZE * 10


@settings(max_examples=15, deadline=None)
@given(
    steps=st.integers(1, 3),
    beam=st.integers(1, 3),
    add=st.integers(0, 3),
    paraphrases=st.integers(0, 2),
    cap=st.none() | st.integers(1, 20),
    start=st.sampled_from(["empty", "incumbent"]),
    longest=st.integers(1, 4),
    first=st.sampled_from(["One.", "One.\n\nTwo.", f"{X}\n{Y}\nThree.\nFour.\nFive."]),
)
async def test_work_is_a_bound(
    steps: int,
    beam: int,
    add: int,
    paraphrases: int,
    cap: int | None,
    start: Literal["empty", "incumbent"],
    longest: int,
    first: str,
) -> None:
    strategy = Sprig(
        steps=steps,
        beam=beam,
        questions=2,
        add_candidates=add,
        paraphrases=paraphrases,
        max_candidates=cap,
        start=start,
        longest=longest,
    )
    world = context(grade=chance, first=first, answers=reworded)
    try:
        found = await strategy.search(world)
    except NoProposal:
        found = []
    assert all(found)
    assert len(found) <= beam
    work = strategy.work(world.size)
    assert world.base_calls <= work.base
    assert world.optimizer_calls <= work.optimizer


async def test_the_incumbent_is_scored_as_it_stands() -> None:
    """Its text with other line breaks would be another prompt, and would have to be paid for."""
    world = context(grade=chance, first="One.\n\nTwo.")
    await Sprig(steps=1, paraphrases=0).search(world)
    assert world.scored[0].prompts[0] == "One.\n\nTwo."
    assert f"One.\n{X}\nTwo." in world.scored[0].prompts


async def test_a_search_replays_whatever_finishes_first() -> None:
    strategy: Search = Sprig(steps=3, beam=2, questions=2, add_candidates=3, paraphrases=2, max_candidates=20)
    plain = context(grade=chance, answers=reworded)
    found = await strategy.search(plain)
    for jitter in range(3):
        shaken = context(grade=chance, answers=reworded, jitter=jitter)
        assert await strategy.search(shaken) == found
        assert shaken.requests == plain.requests
        assert shaken.scored == plain.scored
    assert isinstance(strategy, Search)
    assert strategy.levels == {"system"}


async def test_without_failures_nothing_is_scored() -> None:
    world = context(grade=even({}, other=1.0))
    with pytest.raises(NoProposal, match="failures"):
        await Sprig().search(world)
    assert world.scored == []


@pytest.mark.parametrize("start", ["empty", "incumbent"])
async def test_where_no_edit_can_be_scored_nothing_is_found(start: Literal["empty", "incumbent"]) -> None:
    world = context(grade=lambda text, task, row: 0.5 if text == "Incumbent." else None)
    with pytest.raises(NoProposal):
        await Sprig(steps=2, paraphrases=0, start=start).search(world)


def foreign(*lines: str) -> Prompt:
    return tuple(Component(line) for line in lines)


def test_every_edit_of_a_prompt_of_two() -> None:
    prompt = (*foreign("One."), Component(X, 7))
    found = list(edits(prompt, arms=[20, 7], rewordings={X: ["X again."]}, longest=9))
    assert texts(found) == [
        f"{Y}\nOne.\n{X}",
        f"One.\n{Y}\n{X}",
        f"One.\n{X}\n{Y}",
        X,
        "One.",
        f"{X}\nOne.",
        "One.\nX again.",
    ]
    assert [(edit.added, edit.deleted) for edit in found] == [(20, None)] * 3 + [(None, None), (None, 7)] + [
        (None, None)
    ] * 2
    assert found[-1].prompt[1].arm == 7, "a rewording counts for its source"


def test_a_single_component_is_not_deleted_and_a_full_prompt_not_added_to() -> None:
    assert list(edits(foreign("One."), arms=[1, 2], rewordings={}, longest=1)) == []


@given(st.integers(0, 5), st.integers(0, 4), st.integers(0, 3), st.integers(1, 6))
def test_the_most_edits_are_those_of_the_length_that_has_most(
    up_to: int, arms: int, reworded: int, longest: int
) -> None:
    def count(length: int) -> int:
        names = [f"{place}." for place in range(length)]
        rewordings = {name: [f"{name}{number}" for number in range(reworded)] for name in names}
        return sum(1 for _ in edits(foreign(*names), arms=range(arms), rewordings=rewordings, longest=longest))

    most = most_edits(up_to=up_to, arms=arms, paraphrases=reworded, longest=longest)
    assert most == max(count(length) for length in range(up_to + 1))


def test_unseen_components_come_first_then_those_of_the_highest_bound() -> None:
    """N = 3: 0 + sqrt(2 ln 3 / 1) = 1.48 is more than 0.37 + sqrt(2 ln 3 / 2) = 1.42."""
    gains = [[0.0], [0.3, 0.44], []]
    assert promising(gains, 3, rng=Random(0)) == [2, 0, 1]
    assert promising(gains, 1, rng=Random(0)) == [2]


def test_ties_among_components_are_broken_at_random() -> None:
    first = {promising([[], [], []], 1, rng=Random(seed))[0] for seed in range(30)}
    assert first == {0, 1, 2}


def test_a_component_is_credited_when_added_and_debited_when_deleted_wherever_both_were_scored() -> None:
    gains: list[list[float]] = [[], [], []]
    moves = [
        ("parent", Edit(foreign("child"), added=0)),
        ("child", Edit(foreign("parent"), deleted=1)),
        ("parent", Edit(foreign("child"))),
        ("parent", Edit(foreign("unscored"), added=2)),
        ("refused", Edit(foreign("child"), added=2)),
    ]
    credit(gains, moves, {"parent": 0.25, "child": 0.75})
    assert gains == [[0.5], [0.5], []]


one_line = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(st.lists(one_line | st.sampled_from([X, Y]), min_size=1, max_size=5))
def test_a_prompt_is_read_line_by_line_and_the_library_s_lines_are_recognized(lines: list[str]) -> None:
    prompt = read("\n".join(lines), longest=5)
    assert write(prompt) == "\n".join(lines)
    assert [component.arm for component in prompt] == [{X: 7, Y: 20}.get(line) for line in lines]


def test_a_prompt_of_too_many_lines_is_one_component() -> None:
    assert read("One.\nTwo.\nThree.", longest=2) == foreign("One.\nTwo.\nThree.")


def test_rewordings_are_read_without_bullets_repeats_and_the_original() -> None:
    answer = tagged("analysis", "1. Uno.\n- Uno.\n\n* One.\n2) Ask {question}.\n  Een.\nEins.")
    assert rewordings_reader("One.", 2)(answer) == ["Uno.", "Een."]
    with pytest.raises(Malformed):
        rewordings_reader("One.", 2)(tagged("analysis", "- One."))


def test_the_library_holds_single_lines_each_once_all_usable() -> None:
    assert SIZE >= 100
    assert len(set(library())) == SIZE
    for component in library():
        assert check_system_prompt(component) == component.strip()
        assert "\n" not in component


@pytest.mark.parametrize("options", [{"steps": 0}, {"beam": 0}, {"max_candidates": 0}, {"paraphrases": -1}], ids=str)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Sprig(**options)
