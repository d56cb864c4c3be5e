"""Model servers in processes of ours: started when needed, found dead, started again, and never outliving us."""

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import anyio
from anyio.abc import Process

from metaspo.backends.base import Reply, Request, ServerInfo
from metaspo.backends.errors import ConnectionLost, LocalServerFailed, Unreachable
from metaspo.backends.loops.closing import to_the_end
from metaspo.backends.openai_compatible import OpenAICompatible

_NOTICED_BEFORE = 1.0  # seconds by which a broken connection may be noticed before the end of the process behind it


class StartedServer(ABC):
    """A server that is started here and spoken to like any other. To be used within one event loop.

    It starts with the first call (or `start`), and ends with `aclose` or with this process, however that ends. A start
    goes on when whoever waits for it gives up; who comes next waits for the same one. The terminal's Ctrl-C does not
    reach it: it stays until `aclose`.
    """

    def __init__(self, *, stop_limit: float) -> None:
        """Nothing is started yet. `stop_limit` in seconds, from asking the process to end to ending it by force."""
        self._stop_limit = stop_limit
        self._starting: asyncio.Task[OpenAICompatible] | None = None
        self._process: Process | None = None
        self._client: OpenAICompatible | None = None
        self._starts = 0
        self._closings = 0

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self._process and self.is_running else "not running"
        return f"<{type(self).__name__} {self.name}, {state}, started {self._starts} times>"

    @property
    @abstractmethod
    def name(self) -> str:
        """A label for events and messages."""

    @property
    @abstractmethod
    def log_path(self) -> Path:
        """Where the server's own messages go."""

    @abstractmethod
    async def _launch(self) -> OpenAICompatible:
        """Start a process, as `_process`, and wait until it answers. One that is left when this fails is stopped."""

    @abstractmethod
    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """Send the request once; `time_limit` in seconds, without the start. Raises a `BackendError`."""

    @property
    def address(self) -> str | None:
        """The server's base URL while it runs."""
        return self._client.base_url if self._client is not None and self.is_running else None

    @property
    def pid(self) -> int | None:
        """The server's process while it runs."""
        return self._process.pid if self._process is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether the server's process is there."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the server and wait until it answers; does nothing if it runs already. Raises a `BackendError`."""
        await self._started()

    async def probe(self) -> ServerInfo:
        """The model's name and the context that one request may have; starts the server."""
        return await (await self._started()).probe()

    async def load(self) -> Mapping[str, float]:
        """The server's gauges; empty while it is not running."""
        return await self._client.load() if self._client is not None and self.is_running else {}

    async def aclose(self) -> None:
        """Stop the server and wait for its end; idempotent. What was out meanwhile does not start it again."""
        await to_the_end(self._close())

    async def _close(self) -> None:
        self._closings += 1
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        await self._stop()

    async def _started(self) -> OpenAICompatible:
        if self._client is not None and self.is_running:
            return self._client
        start = self._begin_start()
        await asyncio.wait({start})  # which leaves the task alone if we are cancelled
        if start.cancelled():
            raise LocalServerFailed(f"{self.name} was closed while its server started.")
        return start.result()

    def _begin_start(self) -> "asyncio.Task[OpenAICompatible]":
        """The start under way, a new one if there is none."""
        if self._starting is None or self._starting.done():
            self._starting = asyncio.get_running_loop().create_task(self._start_anew())
            self._starting.add_done_callback(note_end)
        return self._starting

    async def _start_anew(self) -> OpenAICompatible:
        await self._stop()
        try:
            self._client = client = await self._launch()
        except BaseException:
            await to_the_end(self._stop())
            raise
        self._starts += 1
        return client

    async def _has_died(self, client: OpenAICompatible) -> bool:
        """Whether the server behind `client` is gone; a broken connection may be noticed a little before its end."""
        process = self._process
        if self._client is client and process is not None:
            with anyio.move_on_after(_NOTICED_BEFORE):
                await process.wait()
        return self._client is not client or not self.is_running

    async def _ask(self, client: OpenAICompatible, request: Request, *, time_limit: float) -> Reply | None:
        """The reply; None if the server was found dead, and not because it was closed."""
        closings = self._closings
        try:
            return await client.complete(request, time_limit=time_limit)
        except (Unreachable, ConnectionLost):
            if not await self._has_died(client):
                raise
        if self._closings != closings:
            raise LocalServerFailed(f"{self.name} was closed while a call was out.")
        return None

    async def _stop(self) -> None:
        client, self._client = self._client, None
        process, self._process = self._process, None
        if client is not None:
            await client.aclose()
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with anyio.move_on_after(self._stop_limit):
                await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()


def note_end(start: "asyncio.Task[OpenAICompatible]") -> None:
    """See how a start ended, though everybody who waited for it may have given up."""
    if not start.cancelled():
        start.exception()
