"""What stands around a run: the gateway it asks, what goes on beside it, and the errors that end it alone."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from metaspo.backends import BackendError, Progress
from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.environment import environment_with_dotenv
from metaspo.engine.errors import ConfigError, RunDirectoryError, StrategyError
from metaspo.engine.journal.warn import Warn, log_warning
from metaspo.engine.optimize.result import RunReport
from metaspo.engine.runs.prepare import Prepared
from metaspo.engine.runs.session import Beside, open_session
from metaspo.engine.runs.time_cap import UNTIMED, TimeCap
from metaspo.engine.runtime.gateway import LaneNames, open_gateway
from metaspo.engine.runtime.lane_events import LaneEvents
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.tasks import MetricError, TaskError
from metaspo.scheduling import Event, Gateway, Purse, RunStopped

ENDS_ONE_RUN = (
    BackendError,
    ConfigError,
    MetricError,
    RunDirectoryError,
    RunStopped,
    StrategyError,
    TaskError,
)  # and leaves runs beside it alone


@asynccontextmanager
async def open_for(
    prepared: Sequence[Prepared],
    *,
    on_event: Callable[[Event], None] | None = None,
    progress: Progress | None = None,
    warn: Warn = log_warning,
    of_run: bool = False,
) -> AsyncIterator[tuple[Gateway, list[LaneNames]]]:
    """The gateway that prepared runs ask for; keys come from the environment or a `.env` file.

    What a vLLM that is started here says is kept in the folder of the runs, and where they are to be run (`of_run`) and
    it is one alone, in its own.
    """
    folder = prepared[0].folder
    environment = environment_with_dotenv(Path(), folder, *(item.beside for item in prepared))
    configs = [item.config for item in prepared]
    async with open_gateway(
        configs,
        environment=environment,
        folder=folder,
        on_event=on_event,
        progress=progress,
        warn=warn,
        logs=prepared[0].server_logs(alone=of_run and len(prepared) == 1),
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
    time: TimeCap = UNTIMED,
    beside: Beside = nothing_beside,
) -> RunReport:
    """One run through an open gateway, with its directory held from start to end.

    Args:
        purse: of the command that the run is part of, in place of its own budget.
        time: of that command; its own may be over sooner.
        beside: what goes on as long as the run does, until its result is written.
    """
    check_optimizable(prepared.config, prepared.tasks, source=prepared.source)
    async with open_session(
        prepared, gateway, names, observer=observer, events=events, purse=purse, time=time, beside=beside
    ) as session:
        return await session.run()
