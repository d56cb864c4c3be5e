"""Opens what `[telemetry]` asks for."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import anyio

from metaspo.engine.config.schema import TelemetryTable
from metaspo.engine.errors import ConfigError
from metaspo.scheduling.call_record import OnCall


@asynccontextmanager
async def exporting(tables: Iterable[TelemetryTable]) -> AsyncIterator[OnCall | None]:
    """An observer of calls that exports them by OTLP, as the variables OTEL_… of the environment say; None if no table
    wants it. Of several tables the largest share of spans counts. Raises `ConfigError` where the package is missing."""
    wanted = [table for table in tables if table.otel]
    if not wanted:
        yield None
        return
    try:
        from metaspo.scheduling.otlp import Exported
    except ModuleNotFoundError as missing:
        raise ConfigError(f"[telemetry] otel needs {missing.name}: pip install 'metaspo[otel]'") from None
    exported = Exported(spans=max(table.spans for table in wanted))
    try:
        yield exported.on_call
    finally:
        with anyio.CancelScope(shield=True):  # what is not sent yet goes now
            await anyio.to_thread.run_sync(exported.close)
