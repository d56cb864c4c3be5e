"""Adapting user prompts to unseen tasks: the paper's counts, a plain oracle, resuming."""

from typing import Any

import pytest
from engine_sessions import Runs
from oracle import Evaluation, Oracle
from world import World, make_config, make_task

from metaspo.engine import ConfigError, RunConfig
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.studies import Curve, Effort, adapt
from metaspo.engine.tasks import Task, TaskError

SYSTEM = "You are exact."
TASKS = (make_task("a"), make_task("unseen", role="target", train=9, test=5))


def runs_of(config: RunConfig, *, malformed: float = 0.0, width: int = 4, tasks: tuple[Task, ...] = TASKS) -> Runs:
    return Runs(config, tasks, World(11, malformed=malformed), timing=1, width=width)


def adapted(runs: Runs, effort: Effort, *, stop_after: float | None = None) -> list[Curve] | None:
    async def what(context: RunContext) -> list[Curve]:
        return await adapt(context, SYSTEM, effort)

    return runs.do(what, stop_after=stop_after)


def test_the_papers_counts() -> None:
    """One first prompt, 3 children, then 6 rounds of 3 kept prompts with 3 children each: 57 proposals of 2 calls."""
    runs = runs_of(make_config())
    curves = adapted(runs, Effort())
    assert curves is not None
    assert sum(request.model == "writer" for request in runs.answered) == 2 * (3 + 6 * 9)
    assert [len(curve.points) for curve in curves] == [8]
    assert curves[0].points[-1].prompts == 1 + 3 + 6 * 9


class AdaptOracle(Oracle):
    """Adapting, one thing after the other."""

    def curve(self, task: Task, effort: Effort) -> list[tuple[str, float]]:
        kept: list[Evaluation] = [self.score(task, SYSTEM, task.user_prompt)]
        best = [(kept[0].user, kept[0].score)]
        for number in range(1, effort.rounds + 2):
            nodes = list(kept)
            for parent, node in enumerate(kept):
                for child in range(1, effort.children + 1):
                    place = (
                        f"adapt/task={task.name}/examples={len(task.train)}/round={number}/parent={parent}/cand={child}"
                    )
                    prompt = self.propose_user(task, node, SYSTEM, place)
                    if prompt is not None and prompt not in [known.user for known in nodes]:
                        nodes.append(self.score(task, SYSTEM, prompt))
            kept = sorted(nodes, key=lambda node: -node.score)[: effort.keep]
            best.append((kept[0].user, kept[0].score))
        return best


@pytest.mark.parametrize(("width", "malformed"), [(1, 0.0), (6, 0.2), (6, 0.6)])
def test_curves_are_those_of_a_plain_loop(width: int, malformed: float) -> None:
    config, effort = make_config(), Effort(rounds=2, keep=2, children=2)
    oracle = AdaptOracle(config, list(TASKS), World(11, malformed=malformed).answer)
    curves = adapted(runs_of(config, malformed=malformed, width=width), effort)
    assert curves is not None
    assert [(point.user, point.train) for point in curves[0].points] == oracle.curve(TASKS[1], effort)


def test_an_interrupted_adaptation_goes_on_where_it_stopped() -> None:
    effort = Effort(rounds=2)
    whole, cut = runs_of(make_config()), runs_of(make_config())
    result = adapted(whole, effort)
    assert adapted(cut, effort, stop_after=15.0) is None
    assert adapted(cut, effort) == result
    assert len(cut.answered) == len(set(cut.answered))


def test_each_amount_of_data_has_a_curve_on_the_first_examples() -> None:
    curves = adapted(runs_of(make_config()), Effort(rounds=0, examples=(3, 9, 50)))
    assert curves is not None
    assert [curve.examples for curve in curves] == [3, 9, 9]
    assert all(len(point.test.grades) == 5 for curve in curves for point in curve.points)


@pytest.mark.parametrize(
    ("changes", "tasks", "error"),
    [
        ({"inner": {"strategy": "opro"}}, TASKS, ConfigError),
        ({}, (TASKS[0], make_task("bare", role="target", train=0)), TaskError),
    ],
)
def test_what_cannot_be_adapted_is_said(
    changes: dict[str, Any], tasks: tuple[Task, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        adapted(runs_of(make_config(changes), tasks=tasks), Effort())
