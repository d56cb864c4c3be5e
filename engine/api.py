"""The library's front: prepare a config, optimize, evaluate."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anyio

from metaspo.backends import BackendError, Progress
from metaspo.cache import explain_key
from metaspo.engine.checks import check_config, check_optimizable
from metaspo.engine.concurrent import gather
from metaspo.engine.config import ConfigError, RunConfig
from metaspo.engine.config_file import load_config, parse_config, with_overrides
from metaspo.engine.environment import environment_with_dotenv
from metaspo.engine.final import score_given
from metaspo.engine.gateways import LaneNames, open_gateway
from metaspo.engine.journal import FileJournal, Journal, MemoryJournal, StoredJournal
from metaspo.engine.lane_events import LaneEvents
from metaspo.engine.lanes import BASE_TEMPERATURE, OPTIMIZER_TEMPERATURE, model_of
from metaspo.engine.prompts import PromptError, PromptPair, check_system_prompt, check_user_prompt, render
from metaspo.engine.result import EvaluationReport, RunReport
from metaspo.engine.run import run
from metaspo.engine.run_directory import RunDirectory, RunDirectoryError, run_directory
from metaspo.engine.scope import Scope
from metaspo.engine.strategies import inner_strategy, outer_strategy
from metaspo.engine.suggest import nearest
from metaspo.engine.summary import note_spending, of_journal, summarize, taken_from_budget
from metaspo.engine.tasks import MetricError, Notice, Task, TaskError, load_tasks
from metaspo.engine.watcher import Warn, Watcher, log_warning
from metaspo.scheduling import NOTHING, Account, Budget, Cost, Event, Gateway, RunStopped

ENDS_ONE_RUN = (
    BackendError,
    ConfigError,
    MetricError,
    RunDirectoryError,
    RunStopped,
    TaskError,
)  # and leaves runs beside it alone
ConfigLike = RunConfig | Path | str | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A validated config with its data loaded: everything a run needs before the first call.

    Attributes:
        folder: where the config's relative paths of `cache` and `runs` start.
        notices: what the data's owner should know, e.g. examples left out.
        source: the config's file, for messages.
    """

    config: RunConfig
    tasks: tuple[Task, ...]
    folder: Path
    notices: tuple[Notice, ...] = ()
    source: str = "config"

    @property
    def directory(self) -> RunDirectory | None:
        """Where the run is kept; None for one that is kept in memory only (`runs = ""`)."""
        if not self.config.runs:
            return None
        return run_directory(self.config, self.tasks, base=self.folder / Path(self.config.runs).expanduser())


def prepare(
    config: ConfigLike,
    *,
    overrides: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    data_folder: Path | None = None,
) -> Prepared:
    """Validate a config (a TOML file's path, a mapping, or a `RunConfig`) and load its tasks.

    Paths of data are relative to `data_folder` (the config file's by default, else the current one), `cache` and
    `runs` to `folder` (the current one by default).

    Raises:
        ConfigError: for a config that cannot be used, with file and key.
        TaskError: for data that cannot be used, with file and line.
    """
    beside, source = Path(), "config"
    if isinstance(config, Path | str):
        beside, source = Path(config).parent, str(config)
        config = load_config(Path(config), overrides=overrides)
    elif isinstance(config, Mapping):
        config = parse_config(with_overrides(config, overrides or {}))
    elif overrides:
        config = parse_config(with_overrides(config.model_dump(exclude_unset=True), overrides))
    notices: list[Notice] = []
    tasks = load_tasks(config.tasks, base_dir=data_folder or beside, seed=config.seed, notify=notices.append)
    check_config(config, source=source)
    return Prepared(config=config, tasks=tasks, folder=folder or Path(), notices=tuple(notices), source=source)


async def optimize(
    config: ConfigLike | Prepared, *, gateway: Gateway | None = None, watcher: Watcher | None = None
) -> RunReport:
    """Optimize a system prompt and its user prompts; run again after an interruption to go on where it stopped.

    Args:
        config: a TOML file's path, a mapping, a `RunConfig`, or what `prepare` returned.
        gateway: one of your own with lanes "base" and "optimizer", in place of the one that the config describes.
        watcher: is told how the run goes.

    Raises:
        ConfigError, TaskError: for a user's mistake, before anything is spent.
        RunStopped: when the run cannot go on now; everything paid for is kept, and the next call goes on from it.
        StoreError, RunDirectoryError: when the cache or the run directory cannot be used.
    """
    prepared = config if isinstance(config, Prepared) else prepare(config)
    if gateway is not None:
        return await run_prepared(prepared, gateway, LaneNames(), watcher=watcher or Watcher())
    watcher = watcher or Watcher()
    events = LaneEvents()
    async with open_for([prepared], on_event=events, warn=watcher.warn) as (own, names):
        return await run_prepared(prepared, own, names[0], watcher=watcher, events=events)


async def optimize_many(
    prepared: Sequence[Prepared],
    *,
    watcher: Callable[[Prepared], Watcher],
    progress: Progress | None = None,
    warn: Warn = log_warning,
) -> list[RunReport | Exception]:
    """Several runs over shared lanes: one run's waits are filled with another's work.

    A run that has to stop does not stop the others: its place in the results holds the reason. `progress` is told how
    far the download of a local model's file is, in bytes; `warn` that the cache failed, if the runs go on without.
    """

    async def one(item: Prepared, gateway: Gateway, names: LaneNames) -> RunReport | Exception:
        try:
            return await run_prepared(item, gateway, names, watcher=watcher(item), events=events)
        except ENDS_ONE_RUN as reason:
            return reason

    if not prepared:
        return []
    _check_apart(prepared)
    for item in prepared:
        check_optimizable(item.config, item.tasks, source=item.source)
    events = LaneEvents()
    async with open_for(prepared, on_event=events, progress=progress, warn=warn) as (gateway, names):
        return await gather(one(item, gateway, name) for item, name in zip(prepared, names, strict=True))


async def evaluate(
    config: ConfigLike | Prepared,
    *,
    system_prompt: str | None = None,
    user_prompts: Mapping[str, str] | None = None,
    split: Literal["train", "test"] = "test",
    gateway: Gateway | None = None,
    watcher: Watcher | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Score a prompt pair on every task of a config.

    Args:
        system_prompt: the config's own if left out.
        user_prompts: by task name; a task's first user prompt where left out.
        split: "test" or "train".

    Raises:
        as `optimize`, and `PromptError` for a prompt that cannot be used.
    """
    prepared = config if isinstance(config, Prepared) else prepare(config)
    system = check_system_prompt(prepared.config.system_prompt if system_prompt is None else system_prompt)
    users = _user_prompts(prepared.tasks, user_prompts or {})
    watcher = watcher or Watcher()
    started = anyio.current_time()
    async with _gateway_or(gateway, prepared, progress, watcher.warn) as (used, names):
        scope = make_scope(prepared, used, names, journal=MemoryJournal(), watcher=watcher, name="evaluate")
        scores = await score_given(scope, system, users, split=split)
    return EvaluationReport(
        scores=tuple(scores), usage=scope.account.statistics(), seconds=anyio.current_time() - started
    )


def explain_example(prepared: Prepared, *, task: str = "", number: int = 1) -> dict[str, object]:
    """What goes into the cache key of one example under the first prompts (of a source's train split, a target's test).

    Raises:
        ConfigError: when there is no such task or example.
    """
    names = [known.name for known in prepared.tasks]
    if task and task not in names:
        raise ConfigError(f"there is no task '{task}'{nearest(task, names)}; known: {', '.join(names)}")
    chosen = prepared.tasks[names.index(task) if task else 0]
    examples = chosen.train if chosen.role == "source" else chosen.test
    if not 1 <= number <= len(examples):
        raise ConfigError(f"task '{chosen.name}' has examples 1 to {len(examples)}, there is no number {number}")
    model = model_of(prepared.config.base, lane="base", temperature=BASE_TEMPERATURE)
    pair = PromptPair(prepared.config.system_prompt, chosen.user_prompt)
    return explain_key(model.request(render(pair, examples[number - 1].question, roles=prepared.config.roles)))


@asynccontextmanager
async def open_for(
    prepared: Sequence[Prepared],
    *,
    on_event: Callable[[Event], None] | None = None,
    progress: Progress | None = None,
    warn: Warn = log_warning,
) -> AsyncIterator[tuple[Gateway, list[LaneNames]]]:
    """The gateway that prepared runs ask for; keys come from the environment or a `.env` file."""
    folder = prepared[0].folder
    environment = environment_with_dotenv(folder)
    configs = [item.config for item in prepared]
    async with open_gateway(
        configs, environment=environment, folder=folder, on_event=on_event, progress=progress, warn=warn
    ) as opened:
        yield opened


async def run_prepared(
    prepared: Prepared,
    gateway: Gateway,
    names: LaneNames,
    *,
    watcher: Watcher,
    events: LaneEvents | None = None,
) -> RunReport:
    """One run through an open gateway, with its directory held from start to end."""
    check_optimizable(prepared.config, prepared.tasks, source=prepared.source)
    started = anyio.current_time()
    directory = prepared.directory
    with _journal(directory, prepared.config) as journal:
        name = directory.name if directory else prepared.config.name
        earlier = _spent(directory)
        scope = make_scope(prepared, gateway, names, journal=journal, watcher=watcher, name=name, spent=earlier)
        result, why = None, ""
        try:
            with events.heard_by(journal, watcher) if events else nullcontext():
                result = await run(scope)
        except Exception as stop:
            why = str(stop)
            raise
        finally:
            usage, seconds = scope.account.statistics(), anyio.current_time() - started
            note_spending(journal, scope.account, seconds=seconds)
            # A finished run stays finished, whatever becomes of a rerun.
            if directory and (result or not directory.result.exists()):
                summary = summarize(result, usage, seconds=seconds, stopped=why)
                directory.write_summary({**summary, **of_journal(StoredJournal(directory.journal))})
        if directory:
            directory.write_result(result)
    return RunReport(result=result, usage=usage, seconds=seconds, directory=directory.path if directory else None)


def make_scope(
    prepared: Prepared,
    gateway: Gateway,
    names: LaneNames,
    *,
    journal: Journal,
    watcher: Watcher,
    name: str,
    spent: Cost = NOTHING,
) -> Scope:
    """What the steps of one run share; `spent` is what its earlier sessions took out of the budget."""
    config = prepared.config
    budget = Budget(calls=config.budget.calls, tokens=config.budget.tokens, dollars=config.budget.dollars)
    optimizer = (
        model_of(config.optimizer, lane=names.optimizer, temperature=OPTIMIZER_TEMPERATURE)
        if config.optimizer
        else None
    )
    return Scope(
        config=config,
        tasks=prepared.tasks,
        inner=inner_strategy(config.inner.strategy, config.inner.options),
        outer=outer_strategy(config.outer.strategy, config.outer.options),
        base=model_of(config.base, lane=names.base, temperature=BASE_TEMPERATURE),
        optimizer=optimizer,
        gateway=gateway,
        account=Account(name, budget, spent=spent),
        journal=journal,
        watcher=watcher,
        started=anyio.current_time(),
    )


def _spent(directory: RunDirectory | None) -> Cost:
    """What the sessions so far of a run took out of its budget: the cap is the run's, not a session's."""
    if directory is None or not directory.journal.exists():
        return NOTHING
    return taken_from_budget(StoredJournal(directory.journal))


@contextmanager
def _journal(directory: RunDirectory | None, config: RunConfig) -> Iterator[Journal]:
    if directory is None:
        yield MemoryJournal()
        return
    with directory.held():
        directory.write_config(config)
        journal = FileJournal(directory.journal)
        try:
            yield journal
        finally:
            journal.close()


@asynccontextmanager
async def _gateway_or(
    gateway: Gateway | None, prepared: Prepared, progress: Progress | None, warn: Warn
) -> AsyncIterator[tuple[Gateway, LaneNames]]:
    if gateway is not None:
        yield gateway, LaneNames()
        return
    base_only = prepared.config.model_copy(update={"optimizer": None})  # its key need not be there to evaluate
    async with open_for([replace(prepared, config=base_only)], progress=progress, warn=warn) as (own, names):
        yield own, names[0]


def _check_apart(prepared: Sequence[Prepared]) -> None:
    """Raises `ConfigError` if two of the runs are one and the same."""
    directories = [item.directory for item in prepared]
    for item, directory in zip(prepared, directories, strict=True):
        if directory is not None and directories.count(directory) > 1:
            raise ConfigError(f"{item.config.name}: the same run is given twice; name it once")


def _user_prompts(tasks: Sequence[Task], given: Mapping[str, str]) -> dict[str, str]:
    known = {task.name: task.user_prompt for task in tasks}
    for name, prompt in given.items():
        if name not in known:
            raise ConfigError(f"user prompt for '{name}': there is no such task{nearest(name, known)}")
        try:
            known[name] = check_user_prompt(prompt)
        except PromptError as error:
            raise PromptError(f"user prompt for '{name}': {error}") from None
    return known
