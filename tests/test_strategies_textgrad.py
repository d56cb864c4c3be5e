"""TextGrad: batches, feedback on each wrong answer, updates, reverts, traced by hand; counts; replays."""

from collections.abc import Mapping
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scripted_search import RULE, Answer, Grade, ScriptedArena, examples, tagged, wanted

from metaspo.engine.strategies.base import NoProposal
from metaspo.engine.strategies.search import CallBound, Search
from metaspo.engine.strategies.textgrad import TextGrad

ROWS = 6
Level = Literal["user", "system"]


def prompt(name: str) -> str:
    return f"{name}: {{question}}"


def even(grades: Mapping[str, float]) -> Grade:
    """The prompt called X earns grades[X] on every row."""
    return lambda text, task, row: grades[text.split(":")[0]]


def versions(names: Mapping[str, str]) -> Answer:
    """Feedback names its step; the update of a step brings the prompt of that name."""

    def answer(step: str, request: str) -> str | None:
        place, _, last = step.rpartition("/")
        if last != "update":
            return tagged("analysis", f"[{step}]")
        return tagged("user_prompt", prompt(names[place])) if place in names else None

    return answer


def user_arena(grade: Grade, answers: Answer, *, seed: int = 0) -> ScriptedArena:
    return ScriptedArena(
        level="user", tasks={"t": examples(ROWS)}, first=[prompt("V0")], grade=grade, answers=answers, seed=seed
    )


def full_arena(level: Level, *, grade: Grade, seed: int = 0, jitter: int | None = None) -> ScriptedArena:
    """A new version from every update, named after its step."""
    tasks = {"t": examples(ROWS)} if level == "user" else {"a": examples(5, task="a"), "b": examples(7, task="b")}
    users = None if level == "user" else {"a": ["A {question}", "B {question}"], "b": ["C {question}"]}
    rest = " {question}" if level == "user" else ""
    return ScriptedArena(
        level=level,
        tasks=tasks,
        users=users,
        first=[f"first{rest}"],
        grade=grade,
        answers=lambda step, request: tagged(wanted(request), f"{step}{rest}"),
        seed=seed,
        jitter=jitter,
    )


def chance(text: str, task: str, row: int) -> float:
    return Random(f"{text}/{task}/{row}").random()


def level_grade(text: str, task: str, row: int) -> float:
    """No version is worse than another, and none is fully right."""
    return 0.5


def rows_of(context: ScriptedArena, last: str) -> list[tuple[int, ...]]:
    """The first task's rows in every scoring of that kind."""
    return [scored.rows[0] for scored in context.scored if scored.step.endswith(last) and scored.rows is not None]


async def test_a_version_is_kept_unless_validation_falls() -> None:
    """0.3 -> 0.5 is kept, 0.4 taken back, 0.5 (no fall) kept."""
    steps = {"epoch=1/step=1": "V1", "epoch=1/step=2": "V2", "epoch=1/step=3": "V3"}
    context = user_arena(even({"V0": 0.3, "V1": 0.5, "V2": 0.4, "V3": 0.5}), versions(steps))
    strategy = TextGrad(batch=2, epochs=1, steps=3)
    assert await strategy.search(context) == [prompt("V3"), prompt("V1")]
    assert [scored.prompts for scored in context.scored] == [
        (prompt(name),) for name in ("V0", "V1", "V1", "V2", "V1", "V3")
    ]
    assert [scored.rows for scored in context.scored if scored.step.endswith("validate")] == [None] * 3
    for number, present in enumerate(("V0", "V1", "V1"), 1):
        place = f"epoch=1/step={number}"
        update = context.requests[f"{place}/update"]
        assert f"<prompt>\n{prompt(present)}\n</prompt>" in update
        assert [f"[epoch=1/step={n}/feedback={k}]" in update for n in (1, 2, 3) for k in (1, 2)] == [
            n == number for n in (1, 2, 3) for _ in (1, 2)
        ]
    assert len(context.asked) == 3 * (2 + 1)
    assert strategy.work(context.size) == CallBound(base=3 * ROWS, optimizer=9)
    assert (context.base_calls, context.optimizer_calls) == (3 * ROWS, 9)


async def test_an_epoch_goes_through_all_examples_in_an_order_of_its_own() -> None:
    context = user_arena(even({"V0": 0.3}), versions({}))
    with pytest.raises(NoProposal):
        await TextGrad(batch=2, epochs=4, steps=3).search(context)
    batches = rows_of(context, "forward")
    epochs = [[row for batch in batches[start : start + 3] for row in batch] for start in range(0, 12, 3)]
    assert all(sorted(epoch) == list(range(ROWS)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


async def test_every_wrong_answer_of_the_batch_gets_feedback_of_its_own() -> None:
    context = user_arena(even({"V0": 0.3, "V1": 0.3}), versions({"epoch=1/step=1": "V1"}))
    await TextGrad(batch=3, epochs=1, steps=1).search(context)
    for number, row in enumerate(rows_of(context, "forward")[0], 1):
        request = context.requests[f"epoch=1/step=1/feedback={number}"]
        assert f"wrong for question t{row}" in request
        assert request.count("wrong for") == 1


async def test_a_batch_without_wrong_answers_asks_nothing() -> None:
    """Row 5 alone is wrong: of the six batches of one, one asks."""
    context = user_arena(lambda text, task, row: float(row < 5), versions({}))
    with pytest.raises(NoProposal):
        await TextGrad(batch=1, epochs=1, steps=6).search(context)
    step = rows_of(context, "forward").index((5,)) + 1
    assert context.asked == [f"epoch=1/step={step}/feedback=1", f"epoch=1/step={step}/update"]


async def test_lost_feedback_is_left_out_and_without_any_there_is_no_update() -> None:
    def answer(step: str, request: str) -> str | None:
        return tagged("analysis", f"[{step}]") if step == "epoch=1/step=1/feedback=2" else None

    context = user_arena(even({"V0": 0.3}), answer)
    with pytest.raises(NoProposal):
        await TextGrad(batch=3, epochs=1, steps=2).search(context)
    updates = [step for step in context.asked if step.endswith("update")]
    assert updates == ["epoch=1/step=1/update"]
    assert context.requests[updates[0]].count("<feedback>") == 1


async def test_rows_set_aside_validate_and_are_in_no_batch() -> None:
    context = full_arena("system", grade=level_grade)
    strategy = TextGrad(batch=2, epochs=2, steps=3, validation=2)
    await strategy.search(context)
    validations = [scored for scored in context.scored if "validate" in scored.step]
    aside = validations[0].rows
    assert aside is not None
    assert [len(rows) for rows in aside] == [2, 2]
    assert [scored.rows for scored in validations] == [aside] * 7
    assert validations[0].prompts == ("first",)
    for scored in context.scored:
        if scored.step.endswith("forward"):
            assert scored.rows is not None
            assert all(not set(batch) & set(kept) for batch, kept in zip(scored.rows, aside, strict=True))


async def test_without_revert_no_validation_is_scored_and_the_last_version_comes_first() -> None:
    steps = {"epoch=1/step=1": "V1", "epoch=1/step=2": "V2"}
    context = user_arena(even({"V0": 0.3, "V1": 0.1, "V2": 0.2}), versions(steps))
    assert await TextGrad(batch=2, epochs=1, steps=2, revert=False).search(context) == [
        prompt("V2"),
        prompt("V1"),
    ]
    assert all(scored.step.endswith("forward") for scored in context.scored)


@pytest.mark.parametrize("momentum", [0, 1, 2])
async def test_momentum_shows_the_latest_steps(momentum: int) -> None:
    steps = {f"epoch=1/step={number}": f"V{number}" for number in (1, 2, 3)}
    context = user_arena(even({"V0": 0.3, "V1": 0.3, "V2": 0.3, "V3": 0.3}), versions(steps))
    await TextGrad(batch=1, epochs=1, steps=3, momentum=momentum).search(context)
    last = context.requests["epoch=1/step=3/update"]
    seen = [prompt(f"V{number}") in last and f"[epoch=1/step={number + 1}/feedback=1]" in last for number in (0, 1, 2)]
    assert seen == [momentum >= 2, momentum >= 1, True]


async def test_constraints_stand_in_the_update() -> None:
    context = user_arena(even({"V0": 0.3, "V1": 0.3}), versions({"epoch=1/step=1": "V1"}))
    await TextGrad(batch=1, epochs=1, steps=1, constraints=("At most 50 words.", "No lists.")).search(context)
    assert "- At most 50 words.\n- No lists." in context.requests["epoch=1/step=1/update"]


@pytest.mark.parametrize("level", ["user", "system"])
@pytest.mark.parametrize("options", [{}, {"validation": 2}, {"revert": False, "momentum": 2}], ids=str)
async def test_a_search_replays_whatever_finishes_first(level: Level, options: dict[str, Any]) -> None:
    strategy: Search = TextGrad(batch=2, **options)
    plain = full_arena(level, grade=chance)
    found = await strategy.search(plain)
    for jitter in range(3):
        shaken = full_arena(level, grade=chance, jitter=jitter)
        assert await strategy.search(shaken) == found
        assert shaken.requests == plain.requests
    assert isinstance(strategy, Search)


@settings(max_examples=40, deadline=None)
@given(
    level=st.sampled_from(["user", "system"]),
    batch=st.integers(1, 8),
    steps=st.integers(1, 4),
    validation=st.none() | st.integers(1, 9),
    revert=st.booleans(),
    seed=st.integers(),
)
async def test_work_is_a_bound(
    level: Level, batch: int, steps: int, validation: int | None, revert: bool, seed: int
) -> None:
    strategy = TextGrad(batch=batch, epochs=2, steps=steps, validation=validation, revert=revert)
    context = full_arena(level, grade=lambda text, task, row: chance(f"{seed}/{text}", task, row), seed=seed)
    try:
        await strategy.search(context)
    except NoProposal:
        assert revert, "without a revert every version is returned"
    work = strategy.work(context.size)
    assert context.base_calls <= work.base
    assert context.optimizer_calls <= work.optimizer


@pytest.mark.parametrize("level", ["user", "system"])
@pytest.mark.parametrize("options", [{}, {"validation": 2}, {"revert": False}], ids=str)
async def test_work_is_reached_where_every_answer_is_wrong_and_every_version_kept(
    level: Level, options: dict[str, Any]
) -> None:
    strategy = TextGrad(batch=3, epochs=2, steps=3, **options)
    context = full_arena(level, grade=level_grade)
    await strategy.search(context)
    assert CallBound(base=context.base_calls, optimizer=context.optimizer_calls) == strategy.work(context.size)


async def test_without_failures_nothing_is_asked() -> None:
    context = user_arena(even({"V0": 1.0}), versions({}))
    with pytest.raises(NoProposal, match="failures"):
        await TextGrad().search(context)
    assert (context.asked, context.scored) == ([], [])


async def test_the_texts_fit_the_level() -> None:
    context = full_arena("user", grade=level_grade)
    await TextGrad().search(context)
    updates = [request for step, request in context.requests.items() if step.endswith("update")]
    assert all(RULE in request and "{question} exactly once" in request for request in updates)
    context = full_arena("system", grade=level_grade)
    await TextGrad().search(context)
    assert {wanted(request) for request in context.requests.values()} == {"analysis", "system_prompt"}
    assert not any(RULE in request or "the user prompt below" in request for request in context.requests.values())


@pytest.mark.parametrize("options", [{"batch": 0}, {"steps": 0}, {"validation": 0}, {"momentum": -1}], ids=str)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TextGrad(**options)
