"""What a cell of a comparison will need, before the first call: its run, and what is done with what that finds.

Calls are upper bounds, as those of a run's plan are: nothing in the cache, no answer malformed, no proposal twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from metaspo.engine.config.calls import Calls, count_calls, inner_proposer, with_grades
from metaspo.engine.config.plan import Plan, plan_calls
from metaspo.engine.config.schema import InnerTable, RunConfig
from metaspo.engine.strategies import RoundSize
from metaspo.engine.studies.adapt import AdaptTable
from metaspo.engine.studies.grid import Cell, Grid
from metaspo.engine.studies.grid_config import GeneralizeTable
from metaspo.engine.tasks import Task

NO_CALLS = Calls(initial=0, inner=0, outer=0, test=0, optimizer=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Calls that are to be made, and of which models: a config's `[base]`, `[optimizer]`, `[judge]`."""

    name: str
    config: RunConfig
    tasks: tuple[Task, ...]
    calls: Calls


def plan_cell(grid: Grid, cell: Cell) -> list[tuple[str, Plan]]:
    """The plans of a cell by name: of its own models, then of each that its prompts are transferred to."""
    return [(need.name, plan_calls(need.config, need.tasks, need.calls)) for need in needs_of(grid, cell)]


def needs_of(grid: Grid, cell: Cell) -> list[Need]:
    """What a cell needs: of its own models, then of each that its prompts are transferred to."""
    config, tasks = cell.prepared.config, cell.prepared.tasks
    generalize, adapt = grid.config.generalize, grid.config.adapt

    def once(answered: Sequence[Task]) -> Calls:
        return replace(NO_CALLS, test=test_calls(config, answered))

    calls = with_grades(once, tasks) if cell.method.fixed else count_calls(config, tasks)
    if generalize is not None:
        calls += with_grades(partial(generalize_calls, generalize), tasks)
    if adapt is not None:
        calls += with_grades(partial(adapt_calls, adapt, grid.inner), tasks)
    needs = [Need(name=config.name, config=config, tasks=tasks, calls=calls)]
    for model in grid.config.transfer:
        moved = config.model_copy(update={"base": model, "optimizer": None})
        name = f"{config.name}, with {model.model}"
        needs.append(Need(name=name, config=moved, tasks=tasks, calls=with_grades(once, tasks)))
    return needs


def test_calls(config: RunConfig, tasks: Sequence[Task]) -> int:
    """The calls that one pair a task takes on the test splits."""
    wanted = config.test.source != "none"
    return sum(task.calls(task.test) for task in tasks if task.role != "source" or wanted)


def generalize_calls(table: GeneralizeTable, tasks: Sequence[Task]) -> Calls:
    """Every target task's test split under each user prompt; one optimizer call for each text that is induced."""
    targets = [task for task in tasks if task.role == "target"]
    induced = 0 if table.given else table.prompts * sum(task.user_texts for task in targets)
    return replace(NO_CALLS, test=table.prompts * sum(task.calls(task.test) for task in targets), optimizer=induced)


def adapt_calls(table: AdaptTable, inner: InnerTable, tasks: Sequence[Task]) -> Calls:
    """Every target task adapted to, for each amount of data: its first prompt, the children of the kept ones, tests."""
    strategy = inner_proposer(inner)
    parents, tested = adapted_prompts(table)
    proposed = parents * table.children
    calls = NO_CALLS
    for task in (task for task in tasks if task.role == "target"):
        for wanted in table.examples or (len(task.train),):
            rows = min(wanted, len(task.train))
            size = RoundSize(level="user", candidates=table.children, tasks=1, nodes=1, rows=rows)
            work = strategy.work(size)
            calls += Calls(
                initial=rows * task.max_calls,
                inner=(proposed * rows + parents * work.base) * task.max_calls,
                outer=0,
                test=tested * task.calls(task.test),
                optimizer=parents * work.optimizer,
            )
    return calls


def adapted_prompts(table: AdaptTable) -> tuple[int, int]:
    """How many prompts have children at most in adapting to a task, and how many it keeps at some time and so tests."""
    parents, all_parents, tested = 1, 0, 1
    for _ in range(table.rounds + 1):
        all_parents += parents
        children = parents * table.children
        tested += min(table.keep, children)
        parents = min(table.keep, parents + children)
    return all_parents, tested
