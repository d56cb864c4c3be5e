"""One process's part of a run: its directory held from start to end, what its steps share, what it leaves behind."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from metaspo.engine.config.calls import inner_proposer, outer_proposer
from metaspo.engine.config.models import OPTIMIZER_TEMPERATURE, model_of
from metaspo.engine.config.token_counter import open_counter
from metaspo.engine.journal.journal import FileJournal, Journal, MemoryJournal
from metaspo.engine.journal.spending import note_spending
from metaspo.engine.journal.view import RunView, WatchedJournal
from metaspo.engine.journal.warn import Warn
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.optimize.result import RunReport, RunResult
from metaspo.engine.runs.directory import RunDirectory, write_json
from metaspo.engine.runs.live import LiveObserver
from metaspo.engine.runs.prepare import Prepared
from metaspo.engine.runs.spending_book import kept_ledger, unanswered
from metaspo.engine.runs.spent_before import sessions_before
from metaspo.engine.runs.summary import RunSummary
from metaspo.engine.runs.time_cap import TimeCap
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.runtime.gateway import LaneNames
from metaspo.engine.runtime.lane_events import LaneEvents
from metaspo.engine.runtime.observer import Observer
from metaspo.scheduling import Account, AccountStatistics, Budget, Gateway, Purse, RunStopped
from metaspo.scheduling.log_context import logging_about

Beside = Callable[[Prepared, Warn], AbstractAsyncContextManager[None]]


@dataclass(slots=True, kw_only=True)
class Session:
    """A run that goes on in this process.

    Attributes:
        directory: held; None for a run that is kept in memory only.
        events: of the gateway's lanes, where they are to be told.
        view: of the run so far, its earlier sessions included.
        live: keeps the directory's `live.json`.
        search: what had been spent when the search was over, before the test splits.
        started: by the event loop's clock.
        time: what it has.
    """

    context: RunContext
    directory: RunDirectory | None
    events: LaneEvents | None
    view: RunView
    live: LiveObserver | None
    search: AccountStatistics
    started: float
    time: TimeCap

    async def run(self) -> RunReport:
        """Go through the run. However it ends, what it spent and how far it came is written down."""
        result: RunResult | None = None
        stop: Exception | None = None
        try:
            with self._heard(), _stopping_at_changes(), self.time.kept(self.context.observer):
                result = await run(self.context, searched=self._note_search)
        except Exception as error:
            stop = error
            raise
        finally:
            usage, seconds = await self._end(result, stop)
        if self.directory:
            self.directory.write_result(result)
        path = self.directory.path if self.directory else None
        return RunReport(result=result, usage=usage, search=self.search, seconds=seconds, directory=path)

    def _heard(self) -> AbstractContextManager[None]:
        return self.events.heard_by(self.context.journal, self.context.observer) if self.events else nullcontext()

    def _note_search(self) -> None:
        self.search = self.context.account.statistics()

    async def _end(self, result: RunResult | None, stop: Exception | None) -> tuple[AccountStatistics, float]:
        """Settle and write down what the session spent; a finished run stays finished, whatever becomes of a rerun."""
        account = self.context.account
        if result is None:
            with anyio.CancelScope(shield=True):  # what was set aside and not used is given back
                await self.context.gateway.settled(account)
        account.silence()
        usage, seconds = account.statistics(), anyio.current_time() - self.started
        note_spending(self.context.journal, account, seconds=seconds, last=True)
        if self.live:
            self.live.write()
        if self.directory and (result or not self.directory.result.exists()):
            summary = RunSummary.of(result, usage, seconds=seconds, stop=stop, view=self.view)
            write_json(self.directory.summary, summary.as_json())
        return usage, seconds


@contextmanager
def _stopping_at_changes() -> Iterator[None]:
    """Some modules are imported only when they are needed. Raises `RunStopped` where one of them is another by then."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "metaspo":
            raise
        raise RunStopped(
            f"metaspo was installed anew while this run went on ({error}): started again, it goes on with what is "
            "installed now, and everything paid for is kept"
        ) from error


@asynccontextmanager
async def open_session(
    prepared: Prepared,
    gateway: Gateway,
    names: LaneNames,
    *,
    observer: Observer,
    events: LaneEvents | None,
    purse: Purse | None,
    time: TimeCap,
    beside: Beside,
) -> AsyncIterator[Session]:
    """Hold a run's directory, count what its earlier sessions spent, and let what goes on beside it begin."""
    started, time = anyio.current_time(), min(time, TimeCap.of(prepared.config.budget.hours))
    measured = prepared.config.outer.max_prompt_tokens is not None and prepared.config.searches_systems
    count_tokens = await open_counter(prepared.config.base) if measured else None
    directory = prepared.directory
    name = directory.name if directory else prepared.config.name
    async with AsyncExitStack() as stack:
        stack.enter_context(logging_about(run=name))
        journal = stack.enter_context(_journal(prepared))
        await stack.enter_async_context(beside(prepared, observer.warn))
        capped = purse is None and prepared.config.budget.caps != Budget()
        view = sessions_before(directory, journal, capped=capped, warn=observer.warn) if directory else RunView()
        if view.has_gaps:
            observer.warn("lines of the journal are damaged or missing: not all that was spent before is known")
        number, earlier = view.sessions + 1, view.spent
        watched = WatchedJournal(journal, observer.warn, view=view)
        if purse is None:
            purse = Purse(prepared.config.budget.caps, spent=earlier.of_budget, unanswered=unanswered(earlier))
        context = make_context(prepared, gateway, names, journal=watched, observer=observer, name=name, purse=purse)
        account = context.account
        stack.callback(account.silence)  # a purse of the whole command goes on when the journal is closed
        live = LiveObserver(observer, directory, gateway, account) if directory else None
        if directory:
            stack.enter_context(kept_ledger(directory, account, session=number, spent=account.counts))
        yield Session(
            context=replace(context, observer=live or observer, count_tokens=count_tokens),
            directory=directory,
            events=events,
            view=view,
            live=live,
            search=account.statistics(),
            started=started,
            time=time,
        )


def make_context(
    prepared: Prepared,
    gateway: Gateway,
    names: LaneNames | None = None,
    *,
    journal: Journal | None = None,
    observer: Observer | None = None,
    name: str | None = None,
    purse: Purse | None = None,
) -> RunContext:
    """What the steps of one run share.

    Args:
        journal, observer: what leaves nothing and is watched by nobody, if left out.
        name: of its account; the config's if left out.
        purse: what is left to it or its command; all of its budget if left out.
    """
    config, names = prepared.config, names or LaneNames()
    optimizer, judge, turn = config.optimizer, config.judge, names.turn
    journal = journal or MemoryJournal()
    account = _account(config.name if name is None else name, purse or Purse(config.budget.caps), journal)
    return RunContext(
        config=config,
        tasks=prepared.tasks,
        inner=inner_proposer(config.inner),
        outer=outer_proposer(config.outer),
        base=model_of(config.base, lane=names.base, turn=turn),
        optimizer=(
            model_of(optimizer, lane=names.optimizer, temperature=OPTIMIZER_TEMPERATURE, turn=turn)
            if optimizer
            else None
        ),
        judge=model_of(judge, lane=names.judge, turn=turn) if judge else None,
        gateway=gateway,
        account=account,
        journal=journal,
        observer=observer or Observer(),
        started=anyio.current_time(),
    )


def _account(name: str, purse: Purse, journal: Journal) -> Account:
    """An account that writes what it may have spent into the journal before it is spent."""
    clock = asyncio.get_running_loop().time  # lanes announce from callbacks, where anyio knows no event loop
    started = clock()

    def announce(account: Account) -> None:
        with suppress(RunStopped):  # what calls this must not be disturbed; the next event meets the same fault
            note_spending(journal, account, seconds=clock() - started)

    return Account(name, announce=announce, purse=purse, remembers=True)


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
            part_of=prepared.part_of,
        )
        journal = FileJournal(directory.journal, clock=asyncio.get_running_loop().time)
        try:
            yield journal
        finally:
            journal.close()
