"""MIPRO: demonstrations from right answers, instructions, the surrogate's combinations, counts, replays."""

import logging
import sys
from collections.abc import Sequence
from random import Random
from statistics import fmean
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_search import RULE, ScriptedArena, check_bound_and_replay, examples, numbered, tagged, wanted

from metaspo.engine.strategies import UnknownStrategy, inner_strategy
from metaspo.engine.strategies.base import NoProposal, TaskView
from metaspo.engine.strategies.drawn_examples import draw_demonstrations
from metaspo.engine.strategies.mipro import Mipro
from metaspo.engine.strategies.search import Search
from metaspo.engine.strategies.surrogate import Surrogate
from metaspo.engine.strategies.worked_examples import join_user, split_user
from metaspo.engine.tasks.base import Example

Level = Literal["user", "system"]
ROWS = 6


def view(name: str, *, right: int, train: int = ROWS) -> TaskView:
    rows = examples(train, task=name)
    return TaskView(
        name=name,
        user_prompt=f"{name} asks: {{question}}",
        score=0.5,
        train=rows,
        failures=(),
        answer_rule=RULE,
        right=tuple((row, f"said {row.answers[0]}") for row in rows[:right]),
    )


def arena(level: Level = "user", *, seed: int = 0, jitter: int | None = None, good: str = "step=") -> ScriptedArena:
    """Prompts are right by chance, those that hold `good` always on even rows."""
    tasks = {"t": examples(ROWS)} if level == "user" else {"a": examples(5, task="a"), "b": examples(7, task="b")}
    rest = " {question}" if level == "user" else ""

    def grade(text: str, task: str, row: int) -> float:
        return float((good in text and row % 2 == 0) or Random(f"{text}/{task}/{row}").random() < 0.3)

    return ScriptedArena(
        level=level,
        tasks=tasks,
        users=None if level == "user" else {"a": ["A {question}", "B {question}"], "b": ["C {question}"]},
        first=[f"first{rest}"],
        grade=grade,
        answers=lambda step, request: tagged(wanted(request), f"step={step.split('=')[-1]}{rest}"),
        seed=seed,
        jitter=jitter,
    )


def test_demonstrations_are_right_answers_as_they_were_given_then_right_outcomes_of_other_examples() -> None:
    shown = draw_demonstrations([view("t", right=2)], level="user", right=2, size=5, rng=Random(1))
    assert {example.answer for example in shown[:2]} == {"said answer t0", "said answer t1"}
    assert {example.question for example in shown[2:]} <= {f"question t{row}" for row in range(2, ROWS)}
    assert all(example.answer == example.question.replace("question", "answer") for example in shown[2:])
    assert len({example.question for example in shown}) == len(shown) == 5


def test_demonstrations_of_several_tasks_come_in_turn_and_as_they_were_asked() -> None:
    tasks = [view("a", right=3), view("b", right=1), view("c", right=3)]
    shown = draw_demonstrations(tasks, level="system", right=5, size=5, rng=Random(3))
    asked = [example.question.split()[0] for example in shown]
    assert sorted(asked[:3]) == ["a", "b", "c"]
    assert sorted(asked[3:]) == ["a", "c"]
    assert all("asks: question" in example.question for example in shown)


def test_an_answer_too_long_or_with_the_placeholder_is_no_demonstration() -> None:
    long, odd, fine = (Example(question=name, answers=("x",), where=name) for name in ("long", "odd", "fine"))
    task = TaskView(
        name="t",
        user_prompt="{question}",
        score=1.0,
        train=(long, odd, fine),
        failures=(),
        answer_rule=RULE,
        right=((long, "y" * 500), (odd, "see {question}"), (fine, "two\nlines")),
    )
    shown = draw_demonstrations([task], level="user", right=3, size=0, rng=Random(0))
    assert [(example.question, example.answer) for example in shown] == [("fine", "two lines")]


def surrogate_of(first: int, second: int, *, seed: int, startup: int) -> Surrogate:
    return Surrogate({"first": range(first), "second": range(second)}, seed=seed, startup=startup)


def asked_of(surrogate: Surrogate) -> tuple[float, float]:
    combination = surrogate.ask()
    return combination["first"], combination["second"]


def test_the_surrogate_is_a_function_of_seed_and_scores_and_comes_back_to_what_is_good() -> None:
    def sequence(seed: int) -> list[tuple[float, float]]:
        surrogate, asked = surrogate_of(5, 4, seed=seed, startup=5), []
        for _ in range(60):
            asked.append(asked_of(surrogate))
            surrogate.tell(1.0 if asked[-1] == (3, 2) else 0.1 * (asked[-1][0] == 3))
        return asked

    assert sequence(1) == sequence(1) != sequence(2)
    assert sequence(1)[30:].count((3, 2)) > 3 * 30 / 20, "no more often than by chance"


def test_what_could_not_be_scored_or_was_scored_elsewhere_is_told_to_the_surrogate() -> None:
    surrogate = surrogate_of(3, 3, seed=0, startup=1)
    surrogate.add({"first": 2, "second": 1}, 1.0)
    for _ in range(30):
        surrogate.tell(0.0 if asked_of(surrogate) != (2, 1) else None)
    assert asked_of(surrogate) in {(first, second) for first in range(3) for second in range(3)}


def test_the_surrogate_writes_nothing_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("optuna").level
    surrogate_of(2, 2, seed=0, startup=1).ask()
    assert capsys.readouterr().err == ""
    assert logging.getLogger("optuna").level == level


def test_without_optuna_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UnknownStrategy, match=r"^'mipro': needs the package optuna.*pip install 'metaspo\[mipro\]'$"):
        inner_strategy("mipro")


async def test_an_instruction_is_proposed_with_the_summary_examples_and_the_present_one() -> None:
    place = arena()
    await Mipro(instructions=2, sets=1, trials=8, seen=3).search(place)
    assert sorted(place.asked) == ["instruction=1/propose", "instruction=2/propose", "summary/summarize"]
    request = place.requests["instruction=1/propose"]
    assert "<summary>\nstep=summary/summarize {question}\n</summary>" in request
    assert "<prompt>\nfirst {question}\n</prompt>" in request
    assert request.count("<question>") == place.requests["summary/summarize"].count("<question>") == 3


async def test_a_lost_summary_or_proposal_ends_no_search() -> None:
    place = ScriptedArena(
        level="user",
        tasks={"t": examples(ROWS)},
        first=["first {question}"],
        grade=lambda text, _task, row: float("step=2" in text and row < 4),
        answers={"instruction=2/propose": tagged("user_prompt", "step=2")},
    )
    found = await Mipro(instructions=3, sets=0, trials=8, full_every=2).search(place)
    assert found == [f"step=2\n\n{{question}}\n\n{RULE}"]
    assert "<summary>\n(none)\n</summary>" in place.requests["instruction=2/propose"]


async def test_every_few_trials_the_best_mean_that_was_not_is_scored_on_all_rows_and_best_comes_first() -> None:
    place = arena(good="Worked examples")
    found = await Mipro(instructions=2, sets=2, trials=12, minibatch=4, full_every=3).search(place)
    means: dict[str, list[float]] = {}
    full: list[str] = []
    for scored in place.scored:
        (prompt,) = scored.prompts
        if scored.rows is not None:
            trial = place.trial(prompt, scored.rows)
            assert trial is not None
            means.setdefault(prompt, []).append(trial.score)
            continue
        assert scored.step in {"trial=3/score", "trial=6/score", "trial=9/score", "trial=12/score"}
        left = {prompt: fmean(scores) for prompt, scores in means.items() if prompt not in ["first {question}", *full]}
        assert left[prompt] == max(left.values())
        full.append(prompt)
    assert len(full) >= 3
    assert sorted(found) == sorted(full)
    scores = [trial.score for prompt in found if (trial := place.trial(prompt)) is not None]
    assert scores == sorted(scores, reverse=True)
    assert split_user(found[0])[0], "the demonstrations that help are in the best one"


async def test_what_was_refused_on_all_rows_leaves_the_next_full_scoring_to_the_next_best() -> None:
    def grade(text: str, _task: str, row: int) -> float | None:
        worth = {"step=1": 1.0, "step=2": 0.9}
        return None if "step=1" in text and row == 11 else next((worth[name] for name in worth if name in text), 0.3)

    place = ScriptedArena(
        level="user",
        tasks={"t": examples(12)},
        first=["first {question}"],
        grade=grade,
        answers=lambda step, request: tagged(wanted(request), f"step={step.split('=')[-1].split('/')[0]} {{question}}"),
    )
    assert (await Mipro(instructions=3, sets=0, trials=20, minibatch=4, full_every=2).search(place))[0][:6] == "step=2"
    full = [scored.prompts[0] for scored in place.scored if scored.rows is None]
    assert full[0][:6] == "step=1"
    assert len(full) == len({*full}), "each once"


async def test_demonstrations_that_are_there_are_combined_with_new_instructions() -> None:
    shown = draw_demonstrations([view("t", right=2)], level="user", right=2, size=2, rng=Random(1))
    first = join_user(shown, "first {question}")
    place = ScriptedArena(
        level="user",
        tasks={"t": examples(ROWS)},
        first=[first],
        grade=lambda text, _task, row: float("Worked" in text and "Read." in text and row < 4),
        answers=numbered,
    )
    found = await Mipro(instructions=1, sets=0, trials=12, full_every=1).search(place)
    assert split_user(found[0])[0] == shown
    assert "<prompt>\nfirst {question}\n</prompt>" in place.requests["instruction=1/propose"]


async def test_a_round_ends_where_no_prompt_fits_any_more() -> None:
    place = arena()
    place.room = 0
    with pytest.raises(NoProposal):
        await Mipro().search(place)
    assert place.scored == []


async def test_nothing_wrong_is_nothing_to_look_for() -> None:
    place = ScriptedArena(
        level="user", tasks={"t": examples(3)}, first=["{question}"], grade=lambda *_: 1.0, answers=numbered
    )
    with pytest.raises(NoProposal, match="no failures"):
        await Mipro().search(place)
    assert not place.asked


@pytest.mark.parametrize("level", ["user", "system"])
@settings(max_examples=15)
@given(seed=st.integers(0, 99), counts=st.tuples(*[st.integers(0, 4)] * 3), trials=st.integers(1, 6), of=st.data())
async def test_it_takes_no_more_than_it_says_and_replays_in_any_order(
    level: Level, seed: int, counts: Sequence[int], trials: int, of: st.DataObject
) -> None:
    sets, bootstrapped, labeled = counts
    minibatch, full_every = (of.draw(st.integers(1, 9)) for _ in range(2))
    search: Search = Mipro(
        instructions=2,
        sets=sets,
        bootstrapped=bootstrapped,
        labeled=labeled,
        trials=trials,
        minibatch=minibatch,
        full_every=full_every,
    )
    places = [arena(level, seed=seed, jitter=jitter) for jitter in (None, 1, 2)]
    await check_bound_and_replay(search, places)
