"""The comparison: a grid of methods x domains x seeds over shared lanes and one cache.

Every cell is a run, or the evaluation of a fixed prompt, like any other: what it was answered is in the cache, so a
grid started again goes on where it stopped, and cells share what they have in common.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from metaspo.backends import Progress
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.domains import given_user_prompts
from metaspo.engine.errors import resolve_path
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.gather import gather
from metaspo.engine.journal.warn import Warn, log_warning
from metaspo.engine.optimize.test_splits import score_given
from metaspo.engine.runs.execute import ENDS_ONE_RUN, open_for, run_prepared
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.runs.prepare import Prepared, tell_notices
from metaspo.engine.runs.session import make_context
from metaspo.engine.runs.spending_book import command_purse
from metaspo.engine.runs.time_cap import TimeCap
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.runtime.lane_events import LaneEvents
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.studies.adapt import adapt
from metaspo.engine.studies.generalize import UserPrompts, generalize, induce_user_prompts
from metaspo.engine.studies.grid import Cell, Grid
from metaspo.engine.studies.grid_config import GeneralizeTable, model_label
from metaspo.engine.studies.needs import plan_cell
from metaspo.engine.studies.noted import note_grid
from metaspo.engine.studies.results import CellResult
from metaspo.engine.track.tracking import tracking
from metaspo.scheduling import AccountStatistics, Gateway, Purse


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A cell with its lanes, and the same data under each model that its prompts are transferred to.

    `lost`: why it is not to be run; "" for one that is.
    """

    grid: Grid
    cell: Cell
    names: LaneNames
    moved: Sequence[tuple[Prepared, LaneNames]]
    purse: Purse | None
    time: TimeCap
    lost: str

    @property
    def beyond(self) -> bool:
        """Whether more is done with what was found than scoring it."""
        return self.grid.config.generalize is not None or self.grid.config.adapt is not None


async def compare(
    grid: Grid,
    *,
    observer: Callable[[Prepared], Observer],
    progress: Progress | None = None,
    warn: Warn = log_warning,
    lost: Mapping[int, str] | None = None,
) -> list[CellResult]:
    """Run every cell of a grid, the cheapest first, `parallel` at a time; results in the order of the cells.

    Cells that are `lost`, by their position, are not run: each result has the reason given for it.

    `[budget]` caps everything together, with the sessions before; its hours are of this one. A cell that has to stop
    does not stop the others: its result says why. Started again, finished work costs nothing.

    Raises:
        ConfigError, StoreError: when no cell could even start.
        RunDirectoryError: when its journal of what it spent is in use, or cannot be written.
    """
    tell_notices((cell.prepared for cell in grid.cells), warn)
    if grid.whole:
        note_grid(grid)
    moved = [[_with_base(cell.prepared, model) for model in grid.config.transfer] for cell in grid.cells]
    everything = [*(cell.prepared for cell in grid.cells), *(item for items in moved for item in items)]
    slots = anyio.CapacityLimiter(grid.config.parallel)
    events = LaneEvents()

    async def run_cell(job: Job, gateway: Gateway) -> CellResult:
        if job.lost:
            return CellResult.unfinished(job.cell, job.lost)
        async with slots:
            try:
                job.time.require_left()
                return await _run(job, gateway, observer=observer(job.cell.prepared), events=events)
            except ENDS_ONE_RUN as reason:
                return CellResult.unfinished(job.cell, str(reason))

    time = TimeCap.of(grid.budget.hours)
    with command_purse(grid.budget, kept=_kept(grid), name=grid.config.name) as purse:
        async with open_for(everything, on_event=events, progress=progress, warn=warn) as (gateway, names):
            order = _cheapest_first(grid)
            jobs = _jobs(grid, names, moved, order=order, purse=purse, time=time, lost=lost or {})
            results = await gather(run_cell(jobs[position], gateway) for position in order)
            return [result for _, result in sorted(zip(order, results, strict=True), key=lambda each: each[0])]


def _jobs(
    grid: Grid,
    names: Sequence[LaneNames],
    moved: Sequence[Sequence[Prepared]],
    *,
    order: Sequence[int],
    purse: Purse,
    time: TimeCap,
    lost: Mapping[int, str],
) -> list[Job]:
    """A job for each cell, which asks before those that begin after it. `names` are the lanes of all cells first, then
    those of all that is `moved`, in order."""
    rest = iter(names[len(grid.cells) :])
    return [
        Job(
            grid=grid,
            cell=cell,
            names=replace(lane_names, turn=order.index(position)),
            moved=[(item, replace(next(rest), turn=order.index(position))) for item in items],
            purse=purse if grid.caps(cell) else None,
            time=time,
            lost=lost.get(position, ""),
        )
        for position, (cell, lane_names, items) in enumerate(zip(grid.cells, names, moved, strict=False))
    ]


def _cheapest_first(grid: Grid) -> list[int]:
    """The cells' positions in the order in which they begin: what needs few calls is there to be seen early."""
    calls = [sum(plan.calls.base + plan.calls.optimizer for _, plan in plan_cell(grid, cell)) for cell in grid.cells]
    return sorted(range(len(calls)), key=calls.__getitem__)


def _kept(grid: Grid) -> Path | None:
    """Where the study writes down what it has spent: it is another one if a cell, or what is done beyond, is."""
    first = grid.cells[0].prepared
    beyond = grid.config.model_dump(mode="json", include={"transfer", "generalize", "adapt"})
    cells = [fingerprint(cell.prepared.config, cell.prepared.tasks) for cell in grid.cells]
    return first.command_folder(grid.config.name, {"cells": cells, "fixed": [m.fixed for m in grid.methods], **beyond})


async def _run(job: Job, gateway: Gateway, *, observer: Observer, events: LaneEvents) -> CellResult:
    started = anyio.current_time()
    cell, prepared = job.cell, job.cell.prepared
    time = min(job.time, TimeCap.of(prepared.config.budget.hours))
    if cell.method.fixed:
        with time.kept(observer):
            result = await _fixed(job, gateway, observer=observer)
    else:
        report = await run_prepared(
            prepared, gateway, job.names, observer=observer, events=events, purse=job.purse, time=time, beside=tracking
        )
        result = CellResult.optimized(
            cell, report, job.names, searches=len(job.grid.config.domains) if cell.method.everywhere else 1
        )
    with time.kept():
        result = await _further(job, gateway, result)
    return replace(result, seconds=anyio.current_time() - started)


async def _further(job: Job, gateway: Gateway, result: CellResult) -> CellResult:
    """What comes after the run: the same prompts under other models, and what is done beyond."""
    users = {row.task: row.user for row in reversed(result.tests)}  # a task's best user prompt comes first
    transferred = {}
    for item, names in job.moved:
        scores, usage = await _score(item, gateway, names, system=result.system_prompt, users=users, purse=job.purse)
        transferred[model_label(item.config.base)] = tuple(scores)
        result = result.with_usage(usage, names)
    result = replace(result, transferred=transferred)
    if job.cell.on_targets:
        result = result.on_targets()
    return await _beyond(job, gateway, result) if job.beyond else result


async def _beyond(job: Job, gateway: Gateway, result: CellResult) -> CellResult:
    """What is done with the found system prompt on target tasks: generalize, adapt."""
    config, system = job.grid.config, result.system_prompt
    source = job.cell.prepared
    tasks = tuple(replace(task, role="target") for task in source.tasks) if job.cell.on_targets else source.tasks
    prepared = replace(source, config=source.config.model_copy(update={"inner": job.grid.inner}), tasks=tasks)
    context = make_context(prepared, gateway, job.names, purse=job.purse)
    if config.generalize is not None:
        prompts = await _user_prompts(context, config.generalize, folder=job.grid.folder)
        result = replace(result, generalized=tuple(await generalize(context, system, prompts)))
    if config.adapt is not None:
        result = replace(result, adapted=tuple(await adapt(context, system, config.adapt)))
    return result.with_usage(context.account.statistics(), job.names)


async def _user_prompts(context: RunContext, table: GeneralizeTable, *, folder: Path) -> UserPrompts:
    if not table.given:
        return await induce_user_prompts(context, count=table.prompts, demos=table.demos)
    given = resolve_path(table.given, base_dir=folder)
    return {task.name: given_user_prompts(given, task.name)[: table.prompts] for task in context.targets}


async def _fixed(job: Job, gateway: Gateway, *, observer: Observer) -> CellResult:
    cell = job.cell
    system = cell.method.fixed
    users = {task.name: task.user_prompt for task in cell.prepared.tasks}
    observer.planned(base_calls=sum(len(task.test) for task in cell.prepared.tasks), optimizer_calls=0)
    scores, usage = await _score(
        cell.prepared, gateway, job.names, system=system, users=users, observer=observer, purse=job.purse
    )
    observer.finished()
    return CellResult.scored(cell, system, scores).with_usage(usage, job.names)


async def _score(
    prepared: Prepared,
    gateway: Gateway,
    names: LaneNames,
    *,
    system: str,
    users: Mapping[str, str],
    observer: Observer | None = None,
    purse: Purse | None,
) -> tuple[list[TestScore], AccountStatistics]:
    """One pair a task on the test splits that the config wants scored."""
    context = make_context(prepared, gateway, names, observer=observer, purse=purse)
    wanted = prepared.config.test.source != "none"
    tasks = tuple(task for task in context.tasks if task.role != "source" or wanted)
    scores = await score_given(replace(context, tasks=tasks), system, users, split="test")
    return [score for score, _ in scores], context.account.statistics()


def _with_base(prepared: Prepared, model: ModelTable) -> Prepared:
    return replace(prepared, config=prepared.config.model_copy(update={"base": model, "optimizer": None}))
