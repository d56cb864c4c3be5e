"""What stands around a run: its gateway, its directory held from start to end, its scope, its summary."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import replace
from pathlib import Path

import anyio

from metaspo.backends import BackendError, Progress
from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.config.models import BASE_TEMPERATURE, OPTIMIZER_TEMPERATURE, model_of
from metaspo.engine.config.tokens import open_counter
from metaspo.engine.environment import environment_with_dotenv
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.events import Spent
from metaspo.engine.journal.journal import FileJournal, Journal, MemoryJournal, StoredJournal
from metaspo.engine.journal.spending import note_spending
from metaspo.engine.journal.view import RunView, WatchedJournal
from metaspo.engine.journal.warn import Warn, log_warning
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.optimize.result import RunReport
from metaspo.engine.runs.directory import RunDirectoryError
from metaspo.engine.runs.live import LiveObserver
from metaspo.engine.runs.prepare import Prepared
from metaspo.engine.runs.spending_book import caps, kept_ledger, sessions_before, unanswered
from metaspo.engine.runs.summary import RunSummary
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.gateway import LaneNames, open_gateway
from metaspo.engine.runtime.lane_events import LaneEvents
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.strategies import inner_strategy, outer_strategy
from metaspo.engine.tasks import MetricError, TaskError
from metaspo.scheduling import Account, Event, Gateway, Purse, RunStopped
from metaspo.scheduling.log_context import logging_about

Beside = Callable[[Prepared, Warn], AbstractAsyncContextManager[None]]
ENDS_ONE_RUN = (
    BackendError,
    ConfigError,
    MetricError,
    RunDirectoryError,
    RunStopped,
    TaskError,
)  # and leaves runs beside it alone

EARLIER_TIES = (
    "this run was begun when of two prompts of one score the earlier one was kept, and goes on so; by now it is the "
    'shorter one: for a new run set ties = "shorter"'
)


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
    environment = environment_with_dotenv(Path(), folder, *(item.beside for item in prepared))
    configs = [item.config for item in prepared]
    async with open_gateway(
        configs, environment=environment, folder=folder, on_event=on_event, progress=progress, warn=warn
    ) as opened:
        yield opened


@asynccontextmanager
async def nothing_beside(_prepared: Prepared, _warn: Warn) -> AsyncIterator[None]:
    """Let the run go on alone."""
    yield


async def run_prepared(
    prepared: Prepared,
    gateway: Gateway,
    names: LaneNames,
    *,
    observer: Observer,
    events: LaneEvents | None = None,
    purse: Purse | None = None,
    beside: Beside = nothing_beside,
) -> RunReport:
    """One run through an open gateway, with its directory held from start to end.

    Args:
        purse: of the command that the run is part of, in place of its own budget.
        beside: what goes on as long as the run does, until its result is written.
    """
    check_optimizable(prepared.config, prepared.tasks, source=prepared.source)
    measured = prepared.config.outer.max_prompt_tokens is not None and prepared.config.searches_systems
    count_tokens = await open_counter(prepared.config.base) if measured else None
    if prepared.as_begun is not prepared and prepared.directory and not prepared.directory.result.exists():
        observer.warn(EARLIER_TIES)
    prepared = prepared.as_begun
    started = anyio.current_time()
    directory = prepared.directory
    name = directory.name if directory else prepared.config.name
    async with AsyncExitStack() as stack:
        stack.enter_context(logging_about(run=name))
        journal = stack.enter_context(_journal(prepared))
        await stack.enter_async_context(beside(prepared, observer.warn))
        before = sessions_before(directory, journal) if directory else RunView()
        context = make_context(
            prepared, gateway, names, journal=journal, observer=observer, name=name, earlier=before.spent, purse=purse
        )
        account = context.account
        if directory:
            observer = LiveObserver(observer, directory, gateway, account)
            if purse is None:
                session = before.sessions + 1
                stack.enter_context(kept_ledger(directory, account.purse, session=session, spent=account.counts))
        watched = WatchedJournal(journal, observer.warn)
        context = replace(context, observer=observer, journal=watched, count_tokens=count_tokens)
        result, why = None, ""
        search = context.account.statistics()

        def searched() -> None:
            nonlocal search
            search = context.account.statistics()

        try:
            with events.heard_by(journal, observer) if events else nullcontext():
                result = await run(context, searched=searched)
        except Exception as stop:
            why = str(stop)
            raise
        finally:
            if result is None:
                with anyio.CancelScope(shield=True):  # what was set aside and not used is given back
                    await gateway.settled(account)
            account.silence()
            usage, seconds = account.statistics(), anyio.current_time() - started
            note_spending(journal, account, seconds=seconds, last=True)
            if isinstance(observer, LiveObserver):
                observer.write()
            # A finished run stays finished, whatever becomes of a rerun.
            if directory and (result or not directory.result.exists()):
                view = RunView.of(StoredJournal(directory.journal))
                summary = RunSummary.of(result, usage, seconds=seconds, stopped=why, view=view)
                directory.write_summary(summary.as_json())
        if directory:
            directory.write_result(result)
    path = directory.path if directory else None
    return RunReport(result=result, usage=usage, search=search, seconds=seconds, directory=path)


def make_context(
    prepared: Prepared,
    gateway: Gateway,
    names: LaneNames,
    *,
    journal: Journal,
    observer: Observer,
    name: str,
    earlier: Spent | None = None,
    purse: Purse | None = None,
) -> RunContext:
    """What the steps of one run share; `earlier` is what its earlier sessions spent, `purse` that of its command."""
    config = prepared.config
    if purse is None:
        before = earlier or Spent()
        purse = Purse(caps(config.budget), spent=before.of_budget, unanswered=unanswered(before))
    optimizer = (
        model_of(config.optimizer, lane=names.optimizer, temperature=OPTIMIZER_TEMPERATURE)
        if config.optimizer
        else None
    )
    clock = asyncio.get_running_loop().time  # lanes announce from callbacks, where anyio knows no event loop
    started = clock()

    def announce(account: Account) -> None:
        with suppress(RunStopped):  # what calls this must not be disturbed; the next event meets the same fault
            note_spending(journal, account, seconds=clock() - started)

    return RunContext(
        config=config,
        tasks=prepared.tasks,
        inner=inner_strategy(config.inner.strategy, config.inner.options),
        outer=outer_strategy(config.outer.strategy, config.outer.options),
        base=model_of(config.base, lane=names.base, temperature=BASE_TEMPERATURE),
        optimizer=optimizer,
        judge=model_of(config.judge, lane=names.judge, temperature=BASE_TEMPERATURE) if config.judge else None,
        gateway=gateway,
        account=Account(name, announce=announce, purse=purse),
        journal=journal,
        observer=observer,
        started=started,
    )


@contextmanager
def _journal(prepared: Prepared) -> Iterator[Journal]:
    directory = prepared.directory
    if directory is None:
        yield MemoryJournal()
        return
    with directory.held():
        file = Path(prepared.source)
        directory.write_config(
            prepared.config,
            folder=prepared.folder,
            data=prepared.data,
            file=file if file.is_file() else None,
            overrides=prepared.overrides,
        )
        journal = FileJournal(directory.journal)
        try:
            yield journal
        finally:
            journal.close()
