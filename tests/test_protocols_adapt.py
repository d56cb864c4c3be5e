"""Adapting user prompts to unseen tasks: the paper's counts, a plain oracle, resuming."""

from dataclasses import dataclass, replace

import pytest
from engine_sessions import Runs
from oracle import Evaluation, Oracle
from test_engine_search import SMALL
from world import SKILLS, World, make_config, make_task

from metaspo.engine import RunConfig
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.strategies import CallBound, Level, RoundSize, SearchContext
from metaspo.engine.strategies.proposers import AllAtOnce
from metaspo.engine.studies import AdaptTable, Curve, adapt
from metaspo.engine.tasks import Task, TaskError

SYSTEM = "You are exact."
TASKS = (make_task("a"), make_task("unseen", role="target", train=9, test=5))


def runs_of(config: RunConfig, *, malformed: float = 0.0, width: int = 4, tasks: tuple[Task, ...] = TASKS) -> Runs:
    return Runs(config, tasks, World(11, malformed=malformed), timing=1, width=width)


def adapted(runs: Runs, effort: AdaptTable, *, stop_after: float | None = None) -> list[Curve] | None:
    async def what(context: RunContext) -> list[Curve]:
        return await adapt(context, SYSTEM, effort)

    return runs.do(what, stop_after=stop_after)


def test_the_papers_counts() -> None:
    """One first prompt, 3 children, then 6 rounds of 3 kept prompts with 3 children each: 57 proposals of 2 calls."""
    runs = runs_of(make_config())
    curves = adapted(runs, AdaptTable())
    assert curves is not None
    assert sum(request.model == "writer" for request in runs.answered) == 2 * (3 + 6 * 9)
    assert [len(curve.points) for curve in curves] == [8]
    assert curves[0].points[-1].prompts == 1 + 3 + 6 * 9


class AdaptOracle(Oracle):
    """Adapting, one thing after the other."""

    def curve(self, task: Task, effort: AdaptTable) -> list[tuple[str, float]]:
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
            kept = sorted(nodes, key=self.rank)[: effort.keep]
            best.append((kept[0].user, kept[0].score))
        return best


@pytest.mark.parametrize(("width", "malformed"), [(1, 0.0), (6, 0.2), (6, 0.6)])
def test_curves_are_those_of_a_plain_loop(width: int, malformed: float) -> None:
    config, effort = make_config(), AdaptTable(rounds=2, keep=2, children=2)
    oracle = AdaptOracle(config, list(TASKS), World(11, malformed=malformed).answer)
    curves = adapted(runs_of(config, malformed=malformed, width=width), effort)
    assert curves is not None
    assert [(point.user, point.train) for point in curves[0].points] == oracle.curve(TASKS[1], effort)


def test_an_interrupted_adaptation_goes_on_where_it_stopped() -> None:
    effort = AdaptTable(rounds=2)
    whole, cut = runs_of(make_config()), runs_of(make_config())
    result = adapted(whole, effort)
    assert adapted(cut, effort, stop_after=15.0) is None
    assert adapted(cut, effort) == result
    assert len(cut.answered) == len(set(cut.answered))


def test_each_amount_of_data_has_a_curve_on_the_first_examples() -> None:
    curves = adapted(runs_of(make_config()), AdaptTable(rounds=0, examples=(3, 9, 50)))
    assert curves is not None
    assert [curve.examples for curve in curves] == [3, 9, 9]
    assert all(len(point.test.grades) == 5 for curve in curves for point in curve.points)


@pytest.mark.parametrize("name", ["ape", "evoprompt-ga", "opro", "protegi"])
def test_a_search_adapts_the_same_at_any_concurrency_and_after_any_interruption(name: str) -> None:
    effort = AdaptTable(rounds=1, keep=2, children=2)
    config = make_config({"inner": {"strategy": name, "options": SMALL[name]}})
    whole, cut = runs_of(config, width=1), runs_of(config, width=6)
    curves = adapted(whole, effort)
    assert curves is not None
    assert adapted(cut, effort, stop_after=9.0) is None
    assert adapted(cut, effort) == curves
    assert len(cut.answered) == len(set(cut.answered))
    points = curves[0].points
    assert points[0].train < points[-1].train
    assert [point.train for point in points] == sorted(point.train for point in points)
    assert all(point.prompts <= most for point, most in zip(points, (1, 1 + 2, 1 + 2 + 4), strict=True))


def test_adapting_by_a_search_keeps_the_best_of_what_it_returns() -> None:
    """Each kept prompt is a parent: it is all that the search has to start from."""
    starts: list[tuple[str, ...]] = []

    @dataclass(frozen=True)
    class Marking:
        """Returns more than is wanted of what it scores nothing of."""

        name = "marking"
        levels: frozenset[Level] = frozenset({"user"})

        def describe(self) -> str:
            return "marks"

        def work(self, _size: RoundSize, /) -> CallBound:
            return CallBound(base=0, optimizer=0)

        async def search(self, context: SearchContext, /) -> list[str]:
            starts.append((*context.past, *(trial.prompt for trial in context.first)))
            return [f"{mark} {context.first[0].prompt}" for mark in (SKILLS[0], "a", "a", "b", "c", "d")]

    async def what(context: RunContext) -> list[Curve]:
        effort = AdaptTable(rounds=1, keep=2, children=3)
        return await adapt(replace(context, inner=AllAtOnce(Marking())), SYSTEM, effort)

    curves = runs_of(make_config()).do(what)
    assert curves is not None
    first, oracle = TASKS[1].user_prompt, Oracle(make_config(), list(TASKS), World(11, malformed=0.0).answer)
    new = [f"{mark} {first}" for mark in (SKILLS[0], "a", "b")]
    best = sorted([first, *new], key=lambda prompt: oracle.rank(oracle.score(TASKS[1], SYSTEM, prompt)))[:2]
    assert starts == [(first,), *((*new, parent) for parent in best)]
    assert curves[0].points[1].user == best[0]
    assert [point.prompts for point in curves[0].points] == [1, 4, 10]


def test_a_target_task_without_train_examples_cannot_be_adapted_to() -> None:
    with pytest.raises(TaskError):
        adapted(runs_of(make_config(), tasks=(TASKS[0], make_task("bare", role="target", train=0))), AdaptTable())
