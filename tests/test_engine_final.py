"""Gains: after minus before on the examples that were answered under both, per role, plain mean over tasks."""

from dataclasses import replace

import pytest

from metaspo.engine import TestScore
from metaspo.engine.evaluation.test_score import Stage
from metaspo.engine.optimize.test_splits import gains
from metaspo.engine.tasks import TaskRole

Grades = list[float | None]


def row(task: str, stage: Stage, grades: Grades, *, role: TaskRole = "target", prompt: int = 0) -> TestScore:
    answered = [grade for grade in grades if grade is not None]
    return TestScore(
        task=task,
        role=role,
        metric="accuracy",
        stage=stage,
        prompt=prompt,
        system="s",
        user="{question}",
        score=sum(answered) / len(answered) if answered else None,
        examples=len(grades),
        malformed=0,
        failed=grades.count(None),
        grades=tuple(grades),
    )


def test_an_example_without_an_answer_on_either_side_is_left_out_on_both() -> None:
    (gain,) = gains([row("a", "before", [0, 0, None, 1]), row("a", "after", [1, None, 1, 1])])
    assert (gain.before, gain.after, gain.gain) == (0.5, 1.0, 0.5)


def test_tasks_weigh_the_same_whatever_their_size() -> None:
    tests = [
        row("small", "before", [0.0]),
        row("small", "after", [1.0]),
        row("large", "before", [1.0] * 99),
        row("large", "after", [1.0] * 99),
    ]
    (gain,) = gains(tests)
    assert gain.tasks == 2
    assert gain.gain == pytest.approx(0.5)


def test_only_the_best_user_prompt_is_compared_with_the_first() -> None:
    (gain,) = gains([row("a", "before", [0.0]), row("a", "after", [1.0]), row("a", "after", [0.0], prompt=1)])
    assert gain.after == 1.0


def test_roles_are_told_apart_target_first() -> None:
    roles: tuple[TaskRole, ...] = ("source", "target")
    stages: tuple[Stage, ...] = ("before", "after")
    tests = [row(role, stage, [0.0, 1.0], role=role) for role in roles for stage in stages]
    assert [gain.role for gain in gains(tests)] == ["target", "source"]


@pytest.mark.parametrize(
    "tests",
    [
        [],
        [row("a", "after", [1.0])],
        [row("a", "before", [1.0])],
        [row("a", "before", [None, 1.0]), row("a", "after", [1.0, None])],
    ],
)
def test_where_nothing_can_be_compared_there_is_no_gain(tests: list[TestScore]) -> None:
    assert gains(tests) == ()


def test_no_gain_at_all_has_no_minus_whatever_rounding_leaves_of_the_means() -> None:
    (gain,) = gains([row("a", "before", [1, 0, 0]), row("a", "after", [0, 0, 1])])
    less = replace(gain, after=gain.before - 1e-16)
    assert less.gain < 0
    assert less.points.startswith("+0.0 points")
