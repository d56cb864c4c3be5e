"""ProTeGi by hand: which errors become which gradients, what is written from them, how the beam is chosen."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_search import RULE, Answer, ScriptedArena, examples, numbered, tagged, user_prompt, wanted

from metaspo.engine.strategies import CallBound, Level, NoProposal, RoundSize, Search
from metaspo.engine.strategies.protegi import ProTeGi, Select

FIRST = f"Read. {{question}} {RULE}"


def context(
    *,
    answers: Answer | Mapping[str, str],
    scores: Mapping[str, float],
    first: Sequence[str] = (FIRST,),
    rows: int = 4,
) -> ScriptedArena:
    """One task; a prompt's score is that of its first word, and its right answers come first."""
    return ScriptedArena(
        level="user",
        tasks={"t": examples(rows)},
        first=first,
        grade=lambda prompt, task, row: float(row < rows * scores[prompt.split(" ")[0]]),
        answers=answers,
    )


def script(prompts: Mapping[str, str]) -> Answer:
    """Prompts by step, given as names; the reason at every step is "because of" it."""

    def answer(step: str, request: str) -> str | None:
        if wanted(request) == "analysis":
            return tagged("analysis", f"because of {step}")
        return tagged("user_prompt", user_prompt(prompts[step])) if step in prompts else None

    return answer


def shown(request: str) -> set[str]:
    """The questions in a request."""
    return set(re.findall(r"question \w\d+", request))


def choice(select: Select, *, beam: int) -> tuple[ProTeGi, ScriptedArena]:
    """A search of one round with a budget of 2 x 3 x 2 among Read., A, B and C, which score alike on every row."""
    fixed = {"R": 0.5, "A": 0.25, "B": 0.75, "C": 0.9}
    strategy = ProTeGi(
        rounds=1,
        beam=beam,
        gradients=1,
        rewrites=3,
        paraphrases=0,
        select=select,
        select_rounds=2,
        select_width=3,
        select_examples=2,
    )
    place = ScriptedArena(
        level="user",
        tasks={"t": examples(6)},
        first=[FIRST],
        grade=lambda prompt, task, row: fixed[prompt[0]],
        answers=script({f"round=1/parent=1/gradient=1/step={step}/rewrite": "ABC"[step - 1] for step in (1, 2, 3)}),
    )
    return strategy, place


def choices(place: ScriptedArena) -> list[tuple[str, int]]:
    """Initials of the prompts, and the number of examples, of every pull; 0 examples are all."""
    return [
        ("".join(prompt[0] for prompt in scored.prompts), len(scored.rows[0]) if scored.rows else 0)
        for scored in place.scored
        if "select" in scored.step
    ]


async def test_two_rounds_of_a_beam_of_one() -> None:
    """Two gradients from all errors (at most four), one paraphrase of everything, the whole split decides.

    Round 1 on Read. (.5, wrong in t2 and t3): A .25 and its paraphrase C .5, B .75 and D .75, E .25 from Read. itself.
    B, found before D, stays. Round 2 on B (wrong in t3): the first rewrite is missing, the second is F (1.0), its
    paraphrase is missing and that of B is B. F stays.
    """
    brought = {
        "round=1/parent=1/gradient=1/step=1/rewrite": "A",
        "round=1/parent=1/gradient=2/step=1/rewrite": "B",
        "round=1/parent=1/gradient=1/step=1/variation=1/paraphrase": "C",
        "round=1/parent=1/gradient=2/step=1/variation=1/paraphrase": "D",
        "round=1/parent=1/variation=1/paraphrase": "E",
        "round=2/parent=1/gradient=2/step=1/rewrite": "F",
        "round=2/parent=1/variation=1/paraphrase": "B",
    }
    place = context(
        answers=script(brought), scores={"Read.": 0.5, "A": 0.25, "B": 0.75, "C": 0.5, "D": 0.75, "E": 0.25, "F": 1.0}
    )
    strategy: Search = ProTeGi(rounds=2, beam=1, gradients=2, paraphrases=1, select="full")
    assert await strategy.search(place) == [user_prompt("F")]
    a, b, c, d, e, f = (user_prompt(name) for name in "ABCDEF")
    assert [(scored.step, scored.prompts) for scored in place.scored] == [
        ("round=1/parent=1/minibatch", (FIRST,)),
        ("round=1/select", (FIRST, a, c, b, d, e)),
        ("round=2/parent=1/minibatch", (b,)),
        ("round=2/select", (b, f)),
    ]
    reasons = [f"round={turn}/parent=1/gradient={number}/reason" for turn in (1, 2) for number in (1, 2)]
    missing = [
        "round=2/parent=1/gradient=1/step=1/rewrite",
        "round=2/parent=1/gradient=2/step=1/variation=1/paraphrase",
    ]
    assert sorted(place.asked) == sorted([*brought, *reasons, *missing])
    assert [shown(place.requests[step]) for step in reasons] == [{"question t2", "question t3"}] * 2 + [
        {"question t3"}
    ] * 2
    rewrite = place.requests["round=1/parent=1/gradient=2/step=1/rewrite"]
    assert "because of round=1/parent=1/gradient=2/reason" in rewrite
    assert shown(rewrite) == {"question t2", "question t3"}
    assert RULE in rewrite
    assert a in place.requests["round=1/parent=1/gradient=1/step=1/variation=1/paraphrase"]
    assert FIRST in place.requests["round=1/parent=1/variation=1/paraphrase"]


async def test_each_gradient_has_errors_of_its_own_drawing() -> None:
    """Four of ten, not the same four each time; the rewrite sees those of its gradient."""
    place = context(answers=numbered, scores={"Read.": 0.0}, rows=10)
    with pytest.raises(NoProposal):
        await ProTeGi(rounds=1, select="full", beam=1).search(place)  # all are equal: what was there stays
    drawn = [shown(place.requests[f"round=1/parent=1/gradient={number}/reason"]) for number in range(1, 5)]
    assert [len(errors) for errors in drawn] == [4, 4, 4, 4]
    assert len({frozenset(errors) for errors in drawn}) > 1
    rewrites = [shown(place.requests[f"round=1/parent=1/gradient={number}/step=1/rewrite"]) for number in range(1, 5)]
    assert rewrites == drawn


async def test_the_published_counts_for_one_parent() -> None:
    """4 reasons, 4 rewrites, 2 paraphrases of these 4 and of the prompt; 8 of the 14 written go on, at random."""
    place = context(answers=numbered, scores={"Read.": 0.5})
    with pytest.raises(NoProposal):
        await ProTeGi(rounds=1, beam=1, select="full").search(place)
    assert len(place.asked) == 4 + 4 + 2 * 5
    chosen = place.scored[-1].prompts
    assert chosen[0] == FIRST
    assert len(set(chosen)) == 1 + 8
    written = [f"Read. by {step} {{question}}" for step in place.asked if not step.endswith("reason")]
    assert set(chosen[1:]) < set(written)
    assert any("gradient=4" in prompt or "parent=1/variation" in prompt for prompt in chosen), "not the first eight"


async def test_the_whole_beam_is_expanded_except_for_those_without_errors() -> None:
    """Of three prompts the beam of two takes the best; the first of them answers everything right."""
    first = [user_prompt(name) for name in ("P", "Q", "R")]
    place = context(
        answers=script({"round=1/parent=2/gradient=1/step=1/rewrite": "A"}),
        scores={"P": 1.0, "Q": 0.75, "R": 0.5, "A": 0.75},
        first=first,
    )
    with pytest.raises(NoProposal):
        await ProTeGi(rounds=1, beam=2, gradients=1, paraphrases=0, select="full").search(place)
    assert [scored.prompts for scored in place.scored] == [
        (first[0],),
        (first[1],),
        (first[0], first[1], user_prompt("A")),
    ]
    assert all(step.startswith("round=1/parent=2/") for step in place.asked)


async def test_with_no_failures_nothing_is_asked() -> None:
    """Nor chosen."""
    place = context(answers=numbered, scores={"Read.": 1.0})
    with pytest.raises(NoProposal):
        await ProTeGi().search(place)
    assert place.asked == []
    assert [scored.step for scored in place.scored] == ["round=1/parent=1/minibatch"]


async def test_a_round_without_answers_is_followed_by_the_next() -> None:
    """The beam stays, and is not scored again."""
    place = context(
        answers=script({"round=2/parent=1/gradient=1/step=1/rewrite": "A"}), scores={"Read.": 0.5, "A": 0.75}
    )
    assert await ProTeGi(rounds=2, gradients=1, paraphrases=0, select="full").search(place) == [user_prompt("A")]
    assert [scored.step for scored in place.scored] == [
        "round=1/parent=1/minibatch",
        "round=2/parent=1/minibatch",
        "round=2/select",
    ]


@pytest.mark.parametrize(
    ("select", "pulls"),
    [
        ("halving", [("RABC", 3)]),  # ceil(log2(4 / 2)) = 1 round: 12 / 4
        ("rejects", [("RABC", 2), ("RBC", 1)]),  # L = 2/3 + 1/3 + 1/4, 8/L = 6.4: 2 and 3 examples by 4 and 3 prompts
    ],
)
async def test_eliminations_stop_at_the_beam(select: Select, pulls: list[tuple[str, int]]) -> None:
    """Read. .5, A .25, B .75, C .9, a beam of two, budget 12."""
    strategy, place = choice(select, beam=2)
    assert await strategy.search(place) == [user_prompt("C"), user_prompt("B")]
    assert choices(place) == pulls


@pytest.mark.parametrize(
    ("select", "pulls"),
    [
        ("ucb", [("RAB", 2), ("RBC", 2)]),  # never pulled first; then C, and of three with equal counts the best two
        ("ucb-e", [("RAB", 2), ("RBC", 2)]),
        ("halving", [("RABC", 1), ("BC", 3)]),  # 12 / (4 x 2), then 12 / (2 x 2)
        ("rejects", [("RABC", 2), ("BC", 1)]),  # L = 19/12, 8/L = 5.05: 2, 2 and 3 examples by 4, 3 and 2 prompts
        ("full", [("RABC", 0)]),
    ],
)
async def test_the_beam_is_chosen_as_selected(select: Select, pulls: list[tuple[str, int]]) -> None:
    """Read. .5, A .25, B .75, C .9 on every row alike; budget 2 x 3 x 2 = 12. C is best for all."""
    strategy, place = choice(select, beam=1)
    assert await strategy.search(place) == [user_prompt("C")]
    assert choices(place) == pulls


@pytest.mark.parametrize("order", ["ABC", "CBA"])
async def test_the_cap_can_go_by_the_parents_errors(order: str) -> None:
    """Of three rewrites for one place, two are drawn and tried where the parent is wrong, in t2 and t3.

    A, B and C are right in 2, 3 and 4 of 4: whichever two are drawn, the one with more right goes on.
    """
    steps = [f"round=1/parent=1/gradient=1/step={number}/rewrite" for number in (1, 2, 3)]
    place = context(
        answers=script(dict(zip(steps, order, strict=True))), scores={"Read.": 0.5, "A": 0.5, "B": 0.75, "C": 1.0}
    )
    strategy = ProTeGi(rounds=1, beam=1, gradients=1, rewrites=3, paraphrases=0, cap=1, cap_by="errors", select="full")
    [best] = await strategy.search(place)
    tried = place.scored[1]
    assert (tried.step, tried.rows) == ("round=1/parent=1/cap", ((2, 3),))
    assert len(tried.prompts) == 2
    assert best == max(tried.prompts)  # A < B < C
    assert place.scored[2].prompts == (FIRST, best)
    assert place.base_calls == 2 * 2 + 2  # two on the errors, one of them on the other two


async def test_samples_are_shared_out_over_the_tasks() -> None:
    """Five examples over two tasks: three of each, also for the choice; all prompts of a pull see the same."""
    place = ScriptedArena(
        level="system",
        tasks={"a": examples(9, task="a"), "b": examples(9, task="b")},
        first=["Be exact."],
        grade=lambda prompt, task, row: 0.5,
        answers=numbered,
    )
    await ProTeGi(rounds=1, minibatch=5, select_examples=5).search(place)
    for scored in place.scored:
        assert scored.rows is not None
        assert [len(rows) for rows in scored.rows] == [3, 3]
    assert len({scored.rows for scored in place.scored}) > 1


@pytest.mark.parametrize("level", ["user", "system"])
async def test_the_calls_foretold_are_made(level: Level) -> None:
    """Two rounds, a beam of two, 2 + 2 + 3 answers and 5 new prompts a parent; a system prompt begins alone."""
    firsts = ["Read. {question}", "Look. {question}"] if level == "user" else ["Be exact."]
    place = ScriptedArena(
        level=level,
        tasks={"a": examples(3, task="a")} | ({"b": examples(2, task="b")} if level == "system" else {}),
        first=firsts,
        users={"a": ["{question} 1", "{question} 2"]},
        grade=lambda prompt, task, row: 0.5 if prompt in firsts else 0.6,
        answers=numbered,
    )
    strategy = ProTeGi(rounds=2, beam=2, gradients=2, paraphrases=1, select="full")
    assert len(await strategy.search(place)) == 2
    work = strategy.work(place.size)
    assert (work.optimizer, work.base) == ((28, 20 * 3) if level == "user" else (21, 15 * 8))
    assert (place.optimizer_calls, place.base_calls) == (work.optimizer, work.base)


def test_minibatches_and_choices_are_counted() -> None:
    """One prompt, one rewrite a round: 2 prompts on 1 example, then 10 examples for errors and 2 again."""
    strategy = ProTeGi(
        rounds=2,
        beam=1,
        minibatch=10,
        gradients=1,
        paraphrases=0,
        select_rounds=1,
        select_width=2,
        select_examples=1,
    )
    size = RoundSize(level="user", candidates=3, tasks=1, nodes=1, rows=100)
    assert strategy.work(size) == CallBound(base=2 + 10 + 2, optimizer=4)


@settings(max_examples=50, deadline=None)
@given(
    level=st.sampled_from(["user", "system"]),
    select=st.sampled_from(["ucb", "ucb-e", "halving", "rejects", "full"]),
    beam=st.integers(1, 3),
    rounds=st.integers(1, 3),
    cap=st.integers(1, 6),
    cap_by=st.sampled_from(["random", "errors"]),
    pull=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6)),
    minibatch=st.integers(1, 9),
    jitter=st.integers(0, 999),
)
async def test_timing_changes_nothing_and_the_calls_stay_below_those_foretold(
    level: Level,
    select: Select,
    beam: int,
    rounds: int,
    cap: int,
    cap_by: Literal["random", "errors"],
    pull: tuple[int, int, int],
    minibatch: int,
    jitter: int,
) -> None:
    """Whichever way it is set up, at both levels, in whatever order answers come."""
    strategy = ProTeGi(
        rounds=rounds,
        beam=beam,
        minibatch=minibatch,
        gradients=2,
        paraphrases=1,
        cap=cap,
        cap_by=cap_by,
        select=select,
        select_rounds=pull[0],
        select_width=pull[1],
        select_examples=pull[2],
    )
    found: list[Sequence[str]] = []
    for seed in (None, jitter):
        place = ScriptedArena(
            level=level,
            tasks={"a": examples(5, task="a")} | ({"b": examples(4, task="b")} if level == "system" else {}),
            users={"a": ["{question} 1", "{question} 2"]},
            first=["Read. {question}", "Look. {question}"] if level == "user" else ["Be exact."],
            grade=lambda prompt, task, row: float((sum(prompt.encode()) + row) % 3 == 0),
            answers=numbered,
            jitter=seed,
        )
        try:
            found.append(await strategy.search(place))
        except NoProposal:
            found.append([])
        assert len(found[-1]) <= beam
        work = strategy.work(place.size)
        assert place.optimizer_calls <= work.optimizer
        assert place.base_calls <= work.base
    assert found[0] == found[1]


def test_options_out_of_range_are_refused() -> None:
    """There is no such choice."""
    with pytest.raises(ValueError, match="select"):
        ProTeGi(select="best")  # type: ignore[arg-type]
