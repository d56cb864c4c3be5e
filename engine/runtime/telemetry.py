"""Opens what `[telemetry]` asks for."""

import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from threading import Thread
from typing import Final

import anyio
from anyio.lowlevel import current_token

from metaspo.engine.config.schema import TelemetryTable
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.warn import log_warning
from metaspo.scheduling.lanes.call_record import OnCall

GRACE: Final = 5.0  # seconds that a collector gets to take the rest


@asynccontextmanager
async def exporting(tables: Iterable[TelemetryTable]) -> AsyncIterator[OnCall | None]:
    """An observer of calls that exports them by OTLP, as the variables OTEL_… of the environment say; None if no table
    wants it. Of several tables the largest share of spans counts. At the end what is left goes, for `GRACE` seconds.

    Raises `ConfigError` where the package is missing, or a variable says what cannot be.
    """
    wanted = [table for table in tables if table.otel]
    if not wanted:
        yield None
        return
    try:
        from metaspo.scheduling.telemetry.otlp import Exported
    except ModuleNotFoundError as missing:
        raise ConfigError(f"[telemetry] otel needs {missing.name}: pip install 'metaspo[otel]'") from None
    try:
        exported = Exported(spans=max(table.spans for table in wanted))
    except ValueError as error:
        names = ", ".join(sorted(name for name in os.environ if name.startswith("OTEL_")))
        raise ConfigError(
            f"[telemetry] otel: one of {names} cannot be as it is set: {' '.join(str(error).split())}"
        ) from None
    try:
        yield exported.on_call
    finally:
        await _close(exported.closings)


async def _close(closings: Iterable[Callable[[], object]]) -> None:
    """Call all of them, side by side, in threads that hold up no end of the process."""
    token, closed = current_token(), [(closing, anyio.Event()) for closing in closings]

    def close(closing: Callable[[], object], event: anyio.Event) -> None:
        try:
            closing()
        except Exception as fault:  # noqa: BLE001 - whatever somebody else's tool raises must not stop the run
            log_warning(f"The OpenTelemetry collector has not taken everything: {type(fault).__name__}")
        with suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
            anyio.from_thread.run_sync(event.set, token=token)

    for each in closed:
        Thread(target=close, args=each, daemon=True, name="telemetry").start()
    with anyio.move_on_after(GRACE, shield=True):
        for _, event in closed:
            await event.wait()
    if not all(event.is_set() for _, event in closed):
        log_warning(f"The OpenTelemetry collector has not taken everything within {GRACE:g} seconds; the rest is lost")
