"""Opens the gateway that configs ask for: their lanes, shared where they are the same, and their cache."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from metaspo.backends import Progress
from metaspo.cache import PASSWORD, open_store
from metaspo.engine.config.lanes import make_lane
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.warn import Warn, log_warning
from metaspo.engine.runtime.telemetry import exporting
from metaspo.scheduling import Event, Gateway
from metaspo.scheduling.open_files import make_room


@dataclass(frozen=True, slots=True)
class LaneNames:
    """Which lanes of a gateway one run uses. These defaults are also what a gateway of your own must offer.

    Attributes:
        turn: the run's among those that use them at once; what a run of a smaller one asks goes first.
    """

    base: str = "base"
    optimizer: str = "optimizer"
    judge: str = "judge"
    turn: int = 0


def name_lanes(configs: Sequence[RunConfig]) -> tuple[list[LaneNames], dict[str, ModelTable]]:
    """The lanes of several runs: tables that drive the same server share one, others get a name ("base 2")."""
    tables: dict[str, ModelTable] = {}

    def name_of(role: str, table: ModelTable) -> str:
        for name, named in tables.items():
            if _driven(named) == _driven(table):
                return name
        name = next(n for n in (role, *(f"{role} {i}" for i in range(2, len(tables) + 3))) if n not in tables)
        tables[name] = table
        return name

    names = []
    for config in configs:
        base = name_of("base", config.base)
        optimizer = name_of("optimizer", config.optimizer) if config.optimizer else "optimizer"
        judge = name_of("judge", config.judge) if config.judge else "judge"
        names.append(LaneNames(base, optimizer, judge))
    return names, tables


def _driven(table: ModelTable) -> ModelTable:
    """A table without what only tells how requests are made: limits and slots belong to the server, not to them."""
    plain: dict[str, object] = {
        "max_tokens": 1,
        "temperature": None,
        "top_p": None,
        "stop": (),
        "extra": {},
        "revision": "",
        "roles": None,
    }
    return table.model_copy(update=plain)


@asynccontextmanager
async def open_gateway(
    configs: Sequence[RunConfig],
    *,
    environment: Mapping[str, str],
    folder: Path,
    on_event: Callable[[Event], None] | None = None,
    progress: Progress | None = None,
    warn: Warn = log_warning,
    logs: Path | None = None,
) -> AsyncIterator[tuple[Gateway, list[LaneNames]]]:
    """A gateway for runs that go on together, and each one's lanes in it.

    `on_event` is told what the lanes do, `progress` how far the download of a local model's file is, `warn` that the
    cache cannot be used, in runs that go on nevertheless, or that fewer calls can be out at once than asked for.
    `logs`: the folder for what a vLLM that is started here says; the user's own if left out.
    Nothing is sent and no local model is started before the first request that the cache cannot answer.

    Raises:
        ConfigError: when a key is missing or the configs name different caches.
        StoreError: when the cache cannot be used, unless all configs say to go on then.
    """
    caches = {config.cache for config in configs}
    if len(caches) > 1:
        raise ConfigError(f"runs that go on together share one cache, these name several: {', '.join(sorted(caches))}")
    cache = caches.pop()
    tolerant = all(config.cache_failure == "continue" for config in configs)
    names, tables = name_lanes(configs)
    lanes = [
        make_lane(name, table, environment=environment, progress=progress, logs=logs) for name, table in tables.items()
    ]
    make_room(lanes, warn=warn)
    store = open_store(
        cache, folder=folder, password=environment.get(PASSWORD, ""), on_failure=warn if tolerant else None
    )
    try:
        async with (
            exporting(config.telemetry for config in configs) as on_call,
            Gateway(lanes, store=store, on_event=on_event, on_call=on_call) as gateway,
        ):
            yield gateway, names
    finally:
        await store.aclose()
