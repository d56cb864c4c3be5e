"""The library's front: optimize, evaluate, explain."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Literal

import anyio

from metaspo.backends import Progress
from metaspo.backends.loops.running import asyncio_loop
from metaspo.cache import explain_key
from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.config.models import model_of
from metaspo.engine.errors import ConfigError, PromptError
from metaspo.engine.gather import gather
from metaspo.engine.journal.warn import Warn, log_warning
from metaspo.engine.optimize.result import EvaluationReport, RunReport
from metaspo.engine.optimize.test_splits import score_given
from metaspo.engine.prompts import PromptPair, check_system_prompt, check_user_prompt, render
from metaspo.engine.runs.execute import ENDS_ONE_RUN, open_for, run_prepared
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.runs.prepare import ConfigLike, Prepared, prepare, tell_notices
from metaspo.engine.runs.session import make_context
from metaspo.engine.runs.spending_book import command_purse
from metaspo.engine.runs.time_cap import TimeCap
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.runtime.lane_events import LaneEvents
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.runtime.progress_line import shown_to
from metaspo.engine.suggest import nearest, there_is_no
from metaspo.engine.tasks import Task
from metaspo.engine.track.tracking import tracking
from metaspo.scheduling import Gateway
from metaspo.scheduling.settings import require_plain


async def optimize(
    config: ConfigLike | Prepared, *, gateway: Gateway | None = None, observer: Observer | None = None
) -> RunReport:
    """Optimize a system prompt and its user prompts; run again after an interruption to go on where it stopped.

    Args:
        config: a TOML file's path, a mapping, a `RunConfig`, or what `prepare` returned.
        gateway: one of your own with lanes "base", "optimizer" and, for a `[judge]`, "judge", in place of the config's.
        observer: is told how the run goes; a line of the terminal, if there is one, where it is left out.

    Raises:
        ConfigError, TaskError: for a user's mistake, before anything is spent.
        RunStopped: when the run cannot go on now; everything paid for is kept, and the next call goes on from it.
        StoreError, RunDirectoryError: when the cache or the run directory cannot be used.
        MetricError, StrategyError, BackendBroken: when code of yours fails; what it raised is the cause.
        RuntimeError: where no asyncio loop runs, as under trio.
    """
    asyncio_loop("metaspo.optimize")
    _require_kinds(gateway, observer)
    prepared = config if isinstance(config, Prepared) else prepare(config)
    with shown_to(observer) as told:
        tell_notices([prepared], told.warn)
        if gateway is not None:
            _require_lanes(gateway, prepared.config.models)
            return await run_prepared(prepared, gateway, LaneNames(), observer=told, beside=tracking)
        events = LaneEvents()
        async with open_for([prepared], on_event=events, warn=told.warn, of_run=True) as (opened, names):
            return await run_prepared(prepared, opened, names[0], observer=told, events=events, beside=tracking)


async def optimize_many(
    prepared: Sequence[Prepared],
    *,
    observer: Callable[[Prepared], Observer],
    progress: Progress | None = None,
    warn: Warn = log_warning,
) -> list[RunReport | Exception]:
    """Several runs over shared lanes: one run's waits are filled with another's work.

    A run that has to stop does not stop the others: its place in the results holds the reason. `progress` is told how
    far the download of a local model's file is, in bytes; `warn` that the cache failed, if the runs go on without.
    """

    async def run_one(item: Prepared, gateway: Gateway, names: LaneNames) -> RunReport | Exception:
        try:
            return await run_prepared(item, gateway, names, observer=observer(item), events=events, beside=tracking)
        except ENDS_ONE_RUN as reason:
            return reason

    if not prepared:
        return []
    _check_apart(prepared)
    for item in prepared:
        check_optimizable(item.config, item.tasks, source=item.source)
    tell_notices(prepared, warn)
    events = LaneEvents()
    async with open_for(prepared, on_event=events, progress=progress, warn=warn, of_run=True) as (gateway, names):
        in_turn = [replace(name, turn=turn) for turn, name in enumerate(names)]
        return await gather(run_one(item, gateway, name) for item, name in zip(prepared, in_turn, strict=True))


async def evaluate(
    config: ConfigLike | Prepared,
    *,
    system_prompt: str | None = None,
    user_prompts: Mapping[str, str] | None = None,
    split: Literal["train", "test"] = "test",
    gateway: Gateway | None = None,
    observer: Observer | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Score a prompt pair on every task of a config; `[budget]` caps all repetitions together, but for its hours.

    Args:
        system_prompt: the config's own if left out.
        user_prompts: by task name; a task's first user prompt where left out.
        split: "test" or "train".
        gateway, observer: as for `optimize`; no lane "optimizer" is needed.
        progress: is told how far the download of a local model's file is, in bytes.

    Raises:
        as `optimize`, and `PromptError` for a prompt that cannot be used.
    """
    asyncio_loop("metaspo.evaluate")
    _require_kinds(gateway, observer)
    prepared = config if isinstance(config, Prepared) else prepare(config)
    system = check_system_prompt(prepared.config.system_prompt if system_prompt is None else system_prompt)
    users = _user_prompts(prepared.tasks, user_prompts or {})
    observer = observer or Observer()
    tell_notices([prepared], observer.warn)
    examples = sum(len(task.test if split == "test" else task.train) for task in prepared.tasks)
    observer.planned(base_calls=examples, optimizer_calls=0)
    started, time = anyio.current_time(), TimeCap.of(prepared.config.budget.hours)
    identity = [fingerprint(prepared.config, prepared.tasks), system, users, split]
    kept = prepared.command_folder(f"{prepared.config.name or 'run'}.evaluate", identity)
    with command_purse(prepared.config.budget, kept=kept, name="evaluate") as purse:
        async with _gateway_or(gateway, prepared, progress, observer.warn) as (used, names):
            context = make_context(prepared, used, names, observer=observer, name="evaluate", purse=purse)
            with time.kept(observer):
                scores = await score_given(context, system, users, split=split)
    return EvaluationReport(
        scores=tuple(row for row, _ in scores),
        answers={card.task: card.outcomes for _, card in scores},
        usage=context.account.statistics(),
        seconds=anyio.current_time() - started,
    )


def explain_example(prepared: Prepared, *, task: str = "", number: int = 1) -> dict[str, object]:
    """What goes into the cache key of one example under the first prompts (of its train split, a target's test).

    Raises:
        ConfigError: when there is no such task or example.
    """
    names = [each.name for each in prepared.tasks]
    if task and task not in names:
        raise ConfigError(there_is_no("task", task, names))
    chosen = prepared.tasks[names.index(task) if task else 0]
    examples = chosen.shown
    if not 1 <= number <= len(examples):
        raise ConfigError(f"task '{chosen.name}' has examples 1 to {len(examples)}, there is no number {number}")
    if chosen.program is not None:
        raise ConfigError(f"task '{chosen.name}' is answered by a program: what it asks depends on what it is answered")
    model = model_of(prepared.config.base).of_task(chosen)
    pair = PromptPair(prepared.config.system_prompt, chosen.user_prompt)
    return explain_key(model.request(render(pair, examples[number - 1], roles=prepared.config.roles)))


def _require_kinds(gateway: object, observer: object) -> None:
    """Raises `TypeError` for what is no gateway, or nobody who can be told."""
    for name, given, kind in (("gateway", gateway, Gateway), ("observer", observer, Observer)):
        if not isinstance(given, kind | None):
            raise TypeError(f"{name}: give a metaspo.{kind.__name__}; this is {given!r:.80}")
    for name in vars(Observer):
        require_plain(f"observer: {name}", getattr(observer, name, None))


def _require_lanes(gateway: Gateway, roles: Iterable[str]) -> None:
    """Raises `ConfigError` where a model of the config could not be asked."""
    if lacks := sorted(set(roles) - set(gateway.lanes)):
        raise ConfigError(
            f"gateway: has no lane '{lacks[0]}', of which the config's [{lacks[0]}] is asked; it has: "
            f"{', '.join(gateway.lanes)}"
        )


@asynccontextmanager
async def _gateway_or(
    gateway: Gateway | None, prepared: Prepared, progress: Progress | None, warn: Warn
) -> AsyncIterator[tuple[Gateway, LaneNames]]:
    if gateway is not None:
        _require_lanes(gateway, prepared.config.models.keys() - {"optimizer"})
        yield gateway, LaneNames()
        return
    base_only = prepared.config.model_copy(update={"optimizer": None})  # its key need not be there to evaluate
    async with open_for([replace(prepared, config=base_only)], progress=progress, warn=warn) as (opened, names):
        yield opened, names[0]


def _check_apart(prepared: Sequence[Prepared]) -> None:
    """Raises `ConfigError` if two of the runs are one and the same."""
    directories = [item.directory for item in prepared]
    for item, directory in zip(prepared, directories, strict=True):
        if directory is not None and directories.count(directory) > 1:
            raise ConfigError(f"{item.config.name}: the same run is given twice; name it once")


def _user_prompts(tasks: Sequence[Task], given: Mapping[str, str]) -> dict[str, str]:
    prompts, forms = {task.name: task.user_prompt for task in tasks}, {task.name: task.form for task in tasks}
    for name, prompt in given.items():
        if name not in prompts:
            raise ConfigError(f"user prompt for '{name}': there is no such task{nearest(name, prompts)}")
        try:
            prompts[name] = check_user_prompt(prompt, forms[name])
        except PromptError as error:
            raise PromptError(f"user prompt for '{name}': {error}") from None
    return prompts
