"""GEPA: the front, acceptance on a minibatch, merges, counts, replays."""

from collections.abc import Mapping
from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_search import Answer, Grade, ScriptedArena, check_bound_and_replay, examples, numbered, tagged, wanted

from metaspo.engine.strategies.base import NoProposal
from metaspo.engine.strategies.gepa import Gepa, drawn, front
from metaspo.engine.strategies.search import Search, Trial

Level = Literal["user", "system"]
ROWS = 4


def prompt(name: str) -> str:
    return f"{name}: {{question}}"


def trial(name: str, *grades: float) -> Trial:
    return Trial(prompt=name, score=sum(grades) / len(grades), grades=grades, wrong=())


def by_row(grades: Mapping[str, str]) -> Grade:
    """The prompt called X is right on the rows whose place in grades[X] holds a 1."""
    return lambda text, _task, row: float(grades[text.split(":")[0]][row])


def arena(grades: Mapping[str, str], answers: Answer | Mapping[str, str], *, seed: int = 0) -> ScriptedArena:
    return ScriptedArena(
        level="user",
        tasks={"t": examples(ROWS)},
        first=[prompt("V0")],
        grade=by_row(grades),
        answers=answers,
        seed=seed,
    )


def full_arena(level: Level, *, seed: int = 0, jitter: int | None = None) -> ScriptedArena:
    tasks = {"t": examples(6)} if level == "user" else {"a": examples(5, task="a"), "b": examples(7, task="b")}
    users = None if level == "user" else {"a": ["A {question}", "B {question}"], "b": ["C {question}"]}
    rest = " {question}" if level == "user" else ""
    return ScriptedArena(
        level=level,
        tasks=tasks,
        users=users,
        first=[f"first{rest}"],
        grade=lambda text, task, row: round(Random(f"{text}/{task}/{row}").random()),
        answers=lambda step, request: tagged(wanted(request), f"{step}{rest}"),
        seed=seed,
        jitter=jitter,
    )


def prompts(pool: list[Trial]) -> list[str]:
    return [standing.trial.prompt for standing in front(pool)]


def test_the_front_holds_who_is_best_at_something() -> None:
    pool = [trial("half", 1, 1, 0, 0), trial("other half", 0, 0, 1, 0), trial("nowhere best", 0, 0.5, 0.5, 0)]
    assert [(s.trial.prompt, s.best_on) for s in front(pool)] == [("half", 3), ("other half", 2)]


def test_who_is_replaced_everywhere_is_not_on_the_front() -> None:
    pool = [trial("first row", 1, 0, 0), trial("last row", 0, 0, 1), trial("both", 1, 0, 1)]
    assert prompts(pool) == ["both"]
    assert prompts([trial("a", 1, 0), trial("the same", 1, 0)]) == ["a"]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=3), min_size=1, max_size=6))
def test_for_every_example_somebody_of_the_front_is_best_and_nobody_of_it_can_go(grades: list[list[float]]) -> None:
    pool = [trial(f"p{number}", *of) for number, of in enumerate(grades)]
    kept = [standing.trial for standing in front(pool)]
    tops = [max(of[row] for of in grades) for row in range(3)]
    assert [max(one.grades[row] for one in kept) for row in range(3)] == tops
    for left_out in kept if len(kept) > 1 else []:
        others = [one for one in kept if one is not left_out]
        assert [max(one.grades[row] for one in others) for row in range(3)] != tops


def test_a_parent_is_drawn_the_likelier_the_more_it_is_best_on() -> None:
    on_front = front([trial("three", 1, 1, 1, 0), trial("one", 0, 0, 0, 1)])
    rng = Random(5)
    counts = [drawn(on_front, rng=rng).prompt for _ in range(2_000)].count("three")
    assert 1_400 < counts < 1_600


async def test_only_what_is_better_on_its_minibatch_is_scored_on_all_rows() -> None:
    grades = {"V0": "1000", "same": "1000", "more": "1100"}
    answers = {
        "step=1/reflect": tagged("user_prompt", prompt("same")),
        "step=2/reflect": tagged("user_prompt", prompt("more")),
    }
    place = arena(grades, answers)
    found = await Gepa(steps=2, minibatch=ROWS, merges=0).search(place)
    assert found == [prompt("more")]
    assert [scored.prompts for scored in place.scored if scored.rows is None] == [(prompt("more"),)]


async def test_the_writer_sees_the_parents_wrong_answers_on_the_minibatch_and_no_others() -> None:
    place = arena({"V0": "1100", "more": "1110"}, {"step=1/reflect": tagged("user_prompt", prompt("more"))})
    await Gepa(steps=1, minibatch=ROWS, merges=0).search(place)
    request = place.requests["step=1/reflect"]
    assert [f"question t{row}" in request for row in range(ROWS)] == [False, False, True, True]
    assert prompt("V0") in request


async def test_a_minibatch_without_a_wrong_answer_is_drawn_again_and_never_reflected_on() -> None:
    place = arena({"V0": "1110"}, {})
    with pytest.raises(NoProposal):
        await Gepa(steps=8, minibatch=1, merges=0).search(place)
    looks = [scored.rows for scored in place.scored]
    assert len(place.asked) == sum(rows == ((3,),) for rows in looks) < len(looks)
    assert len(place.asked) >= 7


async def test_prompts_that_are_best_on_different_examples_are_merged_once_if_that_is_no_worse() -> None:
    grades = {"V0": "1000", "other": "0110", "both": "1110", "worse": "0000", "equal": "1001"}
    for merged, expected in (
        ("both", [prompt("both"), prompt("other")]),
        ("equal", [prompt("other"), prompt("equal")]),
        ("worse", [prompt("other")]),
    ):
        answers = {
            "step=1/reflect": tagged("user_prompt", prompt("other")),
            "step=1/merge/write": tagged("user_prompt", prompt(merged)),
        }
        place = arena(grades, answers)
        assert await Gepa(steps=1, minibatch=ROWS).search(place) == expected
        request = place.requests["step=1/merge/write"]
        assert "the first one 1" in request
        assert "the second one 2" in " ".join(request.split())


async def test_a_round_ends_where_no_prompt_fits_any_more() -> None:
    place = full_arena("user")
    place.room = 0
    with pytest.raises(NoProposal):
        await Gepa().search(place)
    assert place.asked == []


@pytest.mark.parametrize("level", ["user", "system"])
@settings(max_examples=20)
@given(seed=st.integers(0, 99), steps=st.integers(1, 5), minibatch=st.integers(1, 9), merges=st.integers(0, 3))
async def test_it_takes_no_more_than_it_says_and_replays_in_any_order(
    level: Level, seed: int, steps: int, minibatch: int, merges: int
) -> None:
    search: Search = Gepa(steps=steps, minibatch=minibatch, merges=merges)
    places = [full_arena(level, seed=seed, jitter=jitter) for jitter in (None, 1, 2)]
    await check_bound_and_replay(search, places)


async def test_nothing_wrong_is_nothing_to_reflect_on() -> None:
    place = arena({"V0": "1111"}, numbered)
    with pytest.raises(NoProposal, match="no failures"):
        await Gepa().search(place)
    assert not place.asked
