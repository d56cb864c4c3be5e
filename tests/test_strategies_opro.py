"""OPRO by hand: what the trajectory shows, what is drawn from it, scored and returned."""

import re
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_search import RULE, Answer, Scored, ScriptedArena, examples, numbered, tagged, user_prompt

from metaspo.engine.strategies import Level, NoProposal, Search, Trial
from metaspo.engine.strategies.opro import MARK, Opro

FIRST = f"Read. {{question}} {RULE}"


def context(
    *, answers: Answer | Mapping[str, str] | Sequence[str], scores: Mapping[str, float], past: Sequence[str] = ()
) -> ScriptedArena:
    """One task with four examples; a prompt's score is that of its first word, right answers come first."""
    return ScriptedArena(
        level="user",
        tasks={"t": examples(4)},
        first=[FIRST],
        grade=lambda prompt, task, row: float(row < 4 * scores[prompt.split(" ")[0]]),
        answers=answers,
        past=past,
    )


def trajectory(request: str) -> list[tuple[int, str]]:
    """Scores and first words as a request shows them, from top to bottom."""
    return [(int(score), name) for score, name in re.findall(r'<earlier score="(\d+)">\n(\S+) ', request)]


def trial(prompt: str, score: float) -> Trial:
    """A prompt with its score."""
    return Trial(prompt=prompt, score=score, grades=(score,), wrong=())


async def test_each_step_draws_from_all_prompts_so_far_and_scores_the_new_ones() -> None:
    """Two steps of two samples. Step 1 brings A (.25) and what is there already; step 2 sees A below Read. (.5)."""
    place = context(
        answers={
            "step=1/sample=1/continue": tagged("user_prompt", user_prompt("A")),
            "step=1/sample=2/continue": tagged("user_prompt", FIRST),
            "step=2/sample=1/continue": tagged("user_prompt", user_prompt("B")),
            "step=2/sample=2/continue": tagged("user_prompt", user_prompt("A")),
        },
        scores={"Read.": 0.5, "A": 0.25, "B": 0.75},
    )
    strategy: Search = Opro(steps=2, samples=2)
    assert await strategy.search(place) == [user_prompt("B"), user_prompt("A")]
    assert place.scored == [
        Scored("step=1/score", (user_prompt("A"),), None),
        Scored("step=2/score", (user_prompt("B"),), None),
    ]
    assert trajectory(place.requests["step=1/sample=1/continue"]) == [(50, "Read.")]
    assert trajectory(place.requests["step=2/sample=2/continue"]) == [(25, "A"), (50, "Read.")]
    assert RULE in place.requests["step=1/sample=1/continue"]


def test_the_best_are_shown_in_ascending_order_as_whole_numbers() -> None:
    """Three of five; .625 is 62 and a third 33; of equal ones the later found comes later; those below do not count."""
    found = [trial("a x", 0.5), trial("b x", 1 / 3), trial("c x", 0.625), trial("d x", 0.5), trial("e x", 0.1)]
    shown = [Opro(top=top, threshold=least).shown(found) for top, least in ((3, 0.0), (4, 0.0), (20, 0.4))]
    assert [trajectory("\n".join(blocks)) for blocks in shown] == [
        [(50, "a"), (50, "d"), (62, "c")],
        [(33, "b"), (50, "a"), (50, "d"), (62, "c")],
        [(50, "a"), (50, "d"), (62, "c")],
    ]


def test_as_many_as_published_are_shown() -> None:
    """Twenty."""
    assert len(Opro().shown([trial(f"{number} x", number / 100) for number in range(30)])) == 20


async def test_exemplars_are_drawn_for_each_step_and_shared_by_its_samples() -> None:
    """Three pairs with the mark where the prompt goes."""
    place = ScriptedArena(
        level="user", tasks={"t": examples(40)}, first=[FIRST], grade=lambda *_: 0.5, answers=numbered
    )
    await Opro(steps=2, samples=2).search(place)
    shown = {step: re.findall(r"question t\d+", request) for step, request in place.requests.items()}
    assert [len(rows) for rows in shown.values()] == [3, 3, 3, 3]
    assert shown["step=1/sample=1/continue"] == shown["step=1/sample=2/continue"]
    assert shown["step=1/sample=1/continue"] != shown["step=2/sample=1/continue"]
    for row in shown["step=1/sample=1/continue"]:
        assert f"<right_answer>{row.replace('question', 'answer')}<" in place.requests["step=1/sample=1/continue"]
    assert place.requests["step=1/sample=1/continue"].count(f"<user_message>{MARK}</user_message>") == 3


async def test_a_system_prompts_exemplars_come_from_all_tasks_with_their_user_prompts() -> None:
    """The mark stands in the system message."""
    place = ScriptedArena(
        level="system",
        tasks={"a": examples(2, task="a"), "b": examples(1, task="b")},
        users={"a": ["Mind: {question}", "other {question}"]},
        first=["Be exact."],
        grade=lambda *_: 0.5,
        answers=numbered,
    )
    await Opro(steps=1, samples=1).search(place)
    request = place.requests["step=1/sample=1/continue"]
    for asked in ("Mind: question a0\n", "Mind: question a1\n", "Read. question b0\n"):
        assert asked in request
    assert request.count(f"<system_message>{MARK}</system_message>") == 3


async def test_texts_that_cannot_be_used_are_dropped() -> None:
    """Too long (the rule and the question's place not counted), marked, without the placeholder; the next is fine."""
    right = "x" * 20 + "{question}" + RULE
    drawn = ["x" * 21 + "{question}" + RULE, f"{MARK} {{question}}", "no place", right]
    place = ScriptedArena(
        level="user",
        tasks={"t": examples(4)},
        first=[FIRST],
        grade=lambda *_: 0.5,
        answers=[tagged("user_prompt", prompt) for prompt in drawn],
    )
    assert await Opro(steps=1, samples=4, longest=20).search(place) == [right]
    assert place.scored == [Scored("step=1/score", (right,), None)]


async def test_what_was_drawn_once_is_not_scored_again() -> None:
    """Neither a prompt from the same step, nor one that was scored, nor one from an earlier iteration."""
    drawn = [user_prompt(name) for name in ("A", "A", "A", "P")]
    place = context(
        answers=[tagged("user_prompt", prompt) for prompt in drawn],
        scores={"Read.": 0.5, "A": 0.25, "P": 0.25},
        past=[user_prompt("P")],
    )
    await Opro(steps=2, samples=2).search(place)
    assert [scored.prompts for scored in place.scored] == [(user_prompt("P"),), (user_prompt("A"),)]


async def test_earlier_iterations_begin_the_trajectory() -> None:
    """The two latest of three, scored anew; the best of all comes first, what is there does not return."""
    past = [user_prompt("P"), user_prompt("Q"), FIRST, user_prompt("R")]
    place = context(
        answers=[tagged("user_prompt", user_prompt("A"))],
        scores={"Read.": 0.5, "Q": 0.75, "R": 0.25, "A": 0.5},
        past=past,
    )
    assert await Opro(steps=1, samples=1, remember=2).search(place) == [user_prompt(name) for name in "QAR"]
    assert place.scored[0] == Scored("past", (user_prompt("Q"), user_prompt("R")), None)
    assert trajectory(place.requests["step=1/sample=1/continue"]) == [(25, "R"), (50, "Read."), (75, "Q")]


async def test_nothing_earlier_is_scored_if_nothing_is_remembered() -> None:
    """`remember = 0`."""
    place = context(answers=[], scores={"Read.": 0.5}, past=[user_prompt("P")])
    with pytest.raises(NoProposal):
        await Opro(steps=1, remember=0).search(place)
    assert place.scored == []


async def test_the_steps_end_where_nothing_can_be_better() -> None:
    """When a prompt is right everywhere, at the beginning or later."""
    place = context(answers=numbered, scores={"Read.": 1.0})
    with pytest.raises(NoProposal):
        await Opro(steps=3, samples=1).search(place)
    assert place.asked == []
    place = context(answers=[tagged("user_prompt", user_prompt("A"))] * 3, scores={"Read.": 0.5, "A": 1.0})
    assert await Opro(steps=3, samples=1).search(place) == [user_prompt("A")]
    assert place.asked == ["step=1/sample=1/continue"]


async def test_a_missing_sample_does_not_end_the_search() -> None:
    """A whole step without an answer is followed by the next."""
    answers = {"step=2/sample=1/continue": tagged("user_prompt", user_prompt("A"))}
    place = context(answers=answers, scores={"Read.": 0.5, "A": 0.25})
    assert await Opro(steps=2, samples=2).search(place) == [user_prompt("A")]
    assert len(place.asked) == 4


@pytest.mark.parametrize("level", ["user", "system"])
async def test_the_calls_foretold_are_made(level: Level) -> None:
    """3 steps of 4 new prompts and 2 remembered ones, on all examples of all nodes: 14 x 3, or 14 x 8."""
    rest = "{question}" if level == "user" else ""
    place = ScriptedArena(
        level=level,
        tasks={"a": examples(3, task="a")} | ({"b": examples(2, task="b")} if level == "system" else {}),
        first=[f"Be exact. {rest}"],
        users={"a": ["{question} 1", "{question} 2"]},
        grade=lambda prompt, task, row: 0.5,
        answers=numbered,
        past=[f"P {rest}", f"Q {rest}"],
    )
    strategy = Opro(steps=3, samples=4, remember=2)
    assert len(await strategy.search(place)) == 14
    work = strategy.work(place.size)
    assert (work.optimizer, work.base) == (12, 14 * (3 if level == "user" else 8))
    assert (place.optimizer_calls, place.base_calls) == (work.optimizer, work.base)


@settings(max_examples=50, deadline=None)
@given(jitter=st.integers(0, 999), steps=st.integers(1, 3), samples=st.integers(1, 4))
async def test_timing_changes_nothing(jitter: int, steps: int, samples: int) -> None:
    """The same prompts whatever finishes first, and no more calls than foretold."""
    found = []
    for seed in (None, jitter):
        place = ScriptedArena(
            level="user",
            tasks={"t": examples(3)},
            first=[FIRST],
            grade=lambda prompt, task, row: float(sum(prompt.encode()) % (row + 2) == 0),
            answers=numbered,
            jitter=seed,
        )
        strategy = Opro(steps=steps, samples=samples)
        found.append(await strategy.search(place))
        assert place.optimizer_calls <= strategy.work(place.size).optimizer
        assert place.base_calls <= strategy.work(place.size).base
    assert found[0] == found[1]


def test_options_out_of_range_are_refused() -> None:
    """A threshold is a score."""
    with pytest.raises(ValueError, match="threshold"):
        Opro(threshold=30)
