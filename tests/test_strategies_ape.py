"""APE by hand: what is induced from what, what is varied and scored, and what comes back."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_search import RULE, Answer, Grade, Scored, ScriptedArena, examples, numbered, tagged, user_prompt

from metaspo.engine.strategies import CallBound, Level, NoProposal, RoundSize, Search
from metaspo.engine.strategies.ape import Ape, completed

FIRST = "Read. {question}"


def graded(scores: Mapping[str, float], *, rows: int) -> Grade:
    """Of a prompt that begins with the name: right in the first rows, as many as make its score."""
    return lambda prompt, task, row: float(row < scores[prompt.split(" ")[0]] * rows)


def context(
    *,
    answers: Answer | Mapping[str, str] | Sequence[str],
    scores: Mapping[str, float] | None = None,
    rows: int = 4,
    candidates: int = 3,
    redraws: int = 0,
) -> ScriptedArena:
    """One task with `rows` examples, level "user"."""
    grade = graded({"Read.": 0.5, **(scores or {})}, rows=rows)
    return ScriptedArena(
        level="user",
        tasks={"t": examples(rows)},
        first=[FIRST],
        grade=grade,
        answers=answers,
        candidates=candidates,
        redraws=redraws,
    )


async def test_without_resampling_each_candidate_is_an_induction_and_nothing_is_scored() -> None:
    """MetaSPO-APE: three candidates, each from ten pairs of its own drawing."""
    place = context(answers=[tagged("user_prompt", name) for name in ("A", "B", "C")], rows=30)
    strategy: Search = Ape()
    assert await strategy.search(place) == [f"{name}\n\n{{question}}\n\n{RULE}" for name in ("A", "B", "C")]
    assert place.asked == ["induction=1/induce", "induction=2/induce", "induction=3/induce"]
    assert place.scored == []
    shown = [tuple(row for row in range(30) if f"question t{row}\n" in place.requests[step]) for step in place.asked]
    assert [len(rows) for rows in shown] == [10, 10, 10]
    assert len(set(shown)) == 3
    for row in shown[0]:
        assert f"<answer>answer t{row}</answer>" in place.requests["induction=1/induce"]


async def test_a_system_prompt_is_induced_from_pairs_of_every_task_shuffled_together() -> None:
    """Five of each task, in other orders than task by task."""
    place = ScriptedArena(
        level="system",
        tasks={"a": examples(9, task="a"), "b": examples(9, task="b")},
        first=["Be exact."],
        grade=lambda prompt, task, row: 0.5,
        answers=numbered,
        candidates=6,
    )
    assert await Ape().search(place) == [f"Read. by induction={number}/induce" for number in range(1, 7)]
    for request in place.requests.values():
        assert (request.count("question a"), request.count("question b")) == (5, 5)
        assert RULE not in request
    in_task_order = [request.rindex("question a") < request.index("question b") for request in place.requests.values()]
    assert not all(in_task_order)


async def test_equal_inductions_are_one_and_missing_ones_are_left_out() -> None:
    """The second answer is malformed, the third the same as the first, the fourth the prompt that is there."""
    answers = [tagged("user_prompt", "A"), "no tag", tagged("user_prompt", "A"), tagged("user_prompt", FIRST), ""]
    place = context(answers=[*answers[:3], tagged("user_prompt", "B")], candidates=4)
    assert await Ape().search(place) == [completed("A", RULE), completed("B", RULE)]
    with pytest.raises(NoProposal):
        await Ape().search(context(answers=["no tag"] * 3))


async def test_resampling_varies_the_best_and_ranks_everything_found() -> None:
    """Two rounds, two varied, one variation each; scores by name, four examples.

    Induced A .25, B .75; with the prompt that is there, .5: B, Read., A. Round 1 varies B to C (1.0) and Read. to D
    (.25). Round 2 varies C to E (.5) and B to B again: dropped. A, D and Read., E are equal: the earlier come first.
    """
    brought = {
        "induction=1/induce": "A",
        "induction=2/induce": "B",
        "resample=1/best=1/variation=1/vary": "C",
        "resample=1/best=2/variation=1/vary": "D",
        "resample=2/best=1/variation=1/vary": "E",
        "resample=2/best=2/variation=1/vary": "B",
    }
    place = context(
        answers={step: tagged("user_prompt", user_prompt(name)) for step, name in brought.items()},
        scores={"A": 0.25, "B": 0.75, "C": 1.0, "D": 0.25, "E": 0.5},
        candidates=2,
    )
    found = await Ape(resample=2, top=2, variations=1).search(place)
    assert found == [user_prompt(name) for name in ("C", "B", "E", "A", "D")]
    assert sorted(place.asked) == sorted(brought)
    assert user_prompt("B") in place.requests["resample=1/best=1/variation=1/vary"]
    assert FIRST in place.requests["resample=1/best=2/variation=1/vary"]
    assert user_prompt("C") in place.requests["resample=2/best=1/variation=1/vary"]
    a, b, c, d, e = (user_prompt(name) for name in "ABCDE")
    assert place.scored == [
        Scored("induced", (FIRST, a, b), None),
        Scored("resample=1", (b, FIRST, a, c, d), None),
        Scored("resample=2", (c, b, FIRST, a, d, e), None),
    ]


async def test_more_inductions_than_the_loop_looks_at_are_scored_first() -> None:
    """The best come first, so that the loop's cut falls on the worst."""
    place = context(
        answers=[tagged("user_prompt", user_prompt(name)) for name in "ABC"],
        scores={"A": 0.25, "B": 0.5, "C": 0.75},
        candidates=2,
    )
    assert await Ape(inductions=3).search(place) == [user_prompt(name) for name in "CBA"]
    assert [scored.step for scored in place.scored] == ["induced"]


async def test_ucb_estimates_on_samples() -> None:
    """Three prompts, two in a pull of two examples: first A and B, then C and the better of them, B; A has its mean.

    Right answers do not hang on the row here: A .25, B .75, C .5. Round 2: C was never pulled; B .75 + sqrt(ln 4 / 2) =
    1.58 against A 1.08.
    """
    fixed = {"A": 0.25, "B": 0.75, "C": 0.5}
    place = ScriptedArena(
        level="user",
        tasks={"t": examples(4)},
        first=[FIRST],
        grade=lambda prompt, task, row: fixed.get(prompt[0], 0.0),
        answers=[tagged("user_prompt", user_prompt(name)) for name in "ABC"],
        candidates=2,
    )
    strategy = Ape(inductions=3, select="ucb", ucb_rounds=2, ucb_width=2, ucb_examples=2)
    a, b, c = (user_prompt(name) for name in "ABC")
    assert await strategy.search(place) == [b, c, a]
    assert [scored.prompts for scored in place.scored] == [(a, b), (b, c)]
    assert [scored.step for scored in place.scored] == ["induced/pull=1", "induced/pull=2"]
    assert all(scored.rows is not None and len(scored.rows[0]) == 2 for scored in place.scored)
    assert place.base_calls <= strategy.work(place.size).base == 8


@pytest.mark.parametrize(("rows", "sample"), [(12, 10), (2, 1000)])
async def test_ucb_counts_the_examples_that_were_scored(rows: int, sample: int) -> None:
    """A .5 and B .38, ten examples each; then A. Round 4: ln 30 gives A .5 + .412 and B .38 + .583, so B.

    With two examples each, where the task has no more: ln 6 gives A .5 + .669 and B .38 + .947, so B again.
    """
    fixed = {"A": 0.5, "B": 0.38}
    place = ScriptedArena(
        level="user",
        tasks={"t": examples(rows)},
        first=[FIRST],
        grade=lambda prompt, task, row: fixed.get(prompt[0], 0.0),
        answers=[tagged("user_prompt", user_prompt(name)) for name in "AB"],
        candidates=1,
    )
    await Ape(inductions=2, select="ucb", ucb_rounds=4, ucb_width=1, ucb_examples=sample).search(place)
    assert "".join(scored.prompts[0][0] for scored in place.scored) == "ABAB"


def test_every_ranking_by_ucb_is_counted() -> None:
    """One pull of all on one example: of 3 induced, then with 2 varied, 2 more and 2 more: 3 + 5 + 7 + 9."""
    size = RoundSize(level="user", candidates=3, tasks=1, nodes=1, rows=100)
    strategy = Ape(resample=3, top=1, variations=2, select="ucb", ucb_rounds=1, ucb_examples=1)
    assert strategy.work(size) == CallBound(base=24, optimizer=9)


@pytest.mark.parametrize("level", ["user", "system"])
@pytest.mark.parametrize("resample", [0, 2])
async def test_the_calls_foretold_are_made(level: Level, resample: int) -> None:
    """Where every answer is a new prompt: 3 inductions, and 3 x 3 variations a round; each on all examples."""
    tasks = {"a": examples(3, task="a")} | ({"b": examples(2, task="b")} if level == "system" else {})
    place = ScriptedArena(
        level=level,
        tasks=tasks,
        first=[FIRST if level == "user" else "Be exact."],
        users={"a": ["{question} 1", "{question} 2"]},
        grade=lambda prompt, task, row: 0.5,
        answers=numbered,
    )
    strategy = Ape(resample=resample)
    found = await strategy.search(place)
    work = strategy.work(place.size)
    cells = 3 if level == "user" else 2 * 3 + 2
    assert len(found) == 3 + 9 * resample
    assert (work.optimizer, work.base) == (3 + 9 * resample, (3 + 9 * resample) * cells if resample else 0)
    assert (place.optimizer_calls, place.base_calls) == (work.optimizer, work.base)


@settings(max_examples=50, deadline=None)
@given(
    resample=st.integers(0, 2),
    inductions=st.integers(1, 5),
    select=st.sampled_from(["full", "ucb"]),
    rounds=st.integers(1, 4),
    width=st.integers(1, 4),
    sample=st.integers(1, 6),
    jitter=st.integers(0, 99),
)
async def test_timing_changes_nothing_and_the_calls_stay_below_those_foretold(
    resample: int, inductions: int, select: Literal["full", "ucb"], rounds: int, width: int, sample: int, jitter: int
) -> None:
    """Whichever way it is set up, and in whatever order answers come."""
    strategy = Ape(
        inductions=inductions,
        resample=resample,
        top=2,
        variations=2,
        select=select,
        ucb_rounds=rounds,
        ucb_width=width,
        ucb_examples=sample,
    )
    found = []
    for seed in (None, jitter):
        place = ScriptedArena(
            level="user",
            tasks={"t": examples(5)},
            first=[FIRST],
            grade=lambda prompt, task, row: float((len(prompt) + hash_of(prompt) + row) % 3 == 0),
            answers=numbered,
            candidates=2,
            jitter=seed,
        )
        found.append(await strategy.search(place))
        work = strategy.work(place.size)
        assert place.optimizer_calls == work.optimizer
        assert place.base_calls <= work.base
    assert found[0] == found[1]


def hash_of(text: str) -> int:
    """The same in every process."""
    return sum(text.encode())


def test_an_instruction_is_completed_with_what_it_lacks() -> None:
    """The question's place, the rule, both or nothing."""
    assert completed("Do it.", RULE) == f"Do it.\n\n{{question}}\n\n{RULE}"
    assert completed("Do {question}.", RULE) == f"Do {{question}}.\n\n{RULE}"
    assert completed(f"Do it. {RULE}", RULE) == f"Do it. {RULE}\n\n{{question}}"
    assert completed(user_prompt("A"), RULE) == user_prompt("A")


async def test_an_instruction_that_holds_the_place_twice_is_no_prompt() -> None:
    """It is drawn again; here the second draw is fine."""
    answers = [tagged("user_prompt", "{question} {question}"), tagged("user_prompt", "A")]
    assert await Ape(inductions=1).search(context(answers=answers, redraws=1)) == [completed("A", RULE)]


def test_options_out_of_range_are_refused() -> None:
    """No induction from nothing."""
    with pytest.raises(ValueError, match="demos"):
        Ape(demos=0)
