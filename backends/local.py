"""The embedded model: llama.cpp's server in a subprocess of ours, spoken to like any other OpenAI-compatible server."""

import asyncio
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
from anyio.abc import Process

from metaspo.backends import local_server
from metaspo.backends.base import Reply, Request, ServerInfo
from metaspo.backends.closing import to_the_end
from metaspo.backends.errors import ConnectionLost, FatalError, Unreachable
from metaspo.backends.local_server import MISSING_PACKAGE, ServerSettings
from metaspo.backends.model_files import DEFAULT_MODEL, fetch_model, models_folder
from metaspo.backends.model_sources import Progress
from metaspo.backends.openai_compatible import OpenAICompatible

_INSTALL = "The embedded model needs the package xllamacpp: pip install 'metaspo[local]'."
_STOP_LIMIT = 5.0
_NOTICED_BEFORE = 1.0  # seconds by which a broken connection may be noticed before the end of the process behind it
_MAX_THREADS = 8  # models this small do not get faster with more


class LocalServerFailed(FatalError):
    """The embedded model's server is not installed, or did not start."""


class LocalModel:
    """A GGUF model on this machine. To be used within one event loop.

    The server starts with the first call (or `start`), is restarted once per call if it died, and ends with `aclose`
    or with this process, however that ends. A start goes on when whoever waits for it gives up; who comes next waits
    for the same one. The terminal's Ctrl-C does not reach it: it stays until `aclose`.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        threads: int | None = None,
        parallel: int = 4,
        context: int = 4096,
        start_limit: float = 180.0,
        progress: Progress | None = None,
    ) -> None:
        """Nothing is started yet.

        `model` as `fetch_model` takes it; `threads` defaults to the cores we may use, at most 8; `parallel`
        requests are answered at the same time (more wait in the server), each with up to `context` tokens of prompt
        plus answer; `start_limit` in seconds, for loading the file; `progress` is told of the download, if any.
        """
        self._model = str(model)
        self._alias = Path(self._model).stem if self._model.lower().endswith(".gguf") else self._model
        self._threads = threads or local_threads()
        self._parallel = parallel
        self._context = context
        self._start_limit = start_limit
        self._progress = progress
        self._starting: asyncio.Task[OpenAICompatible] | None = None
        self._process: Process | None = None
        self._client: OpenAICompatible | None = None
        self._starts = 0

    def __repr__(self) -> str:
        state = f"pid {self._process.pid}" if self._process and self.is_running else "not running"
        return f"<LocalModel {self._alias}, {state}, started {self._starts} times>"

    @property
    def name(self) -> str:
        """ "local" and the model's name."""
        return f"local/{self._alias}"

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

    @property
    def log_path(self) -> Path:
        """Where the server's own messages go, from its latest start on."""
        return models_folder().parent / "logs" / f"{self._alias.replace('/', '--')}.log"

    async def start(self) -> None:
        """Fetch the file if need be, start the server and wait until it answers; does nothing if it runs already.

        Raises `ModelFileUnavailable` or `LocalServerFailed`.
        """
        await self._started()

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """Ask the model; `time_limit` in seconds, without the start. A server found dead is started again, once."""
        client = await self._started()
        try:
            return await client.complete(request, time_limit=time_limit)
        except (Unreachable, ConnectionLost):
            if not await self._has_died(client):
                raise
        client = await self._started()
        try:
            return await client.complete(request, time_limit=time_limit)
        except (Unreachable, ConnectionLost) as error:
            raise Unreachable(f"{self.name} died twice on one request: see {self.log_path}.") from error

    async def probe(self) -> ServerInfo:
        """The model's name and the context that one request may have; starts the server."""
        return await (await self._started()).probe()

    async def load(self) -> Mapping[str, float]:
        """The server's gauges; empty while it is not running."""
        return await self._client.load() if self._client is not None and self.is_running else {}

    async def aclose(self) -> None:
        """Stop the server and wait for its end; idempotent."""
        await to_the_end(self._close())

    async def _close(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        await self._stop()

    async def _started(self) -> OpenAICompatible:
        if self._client is not None and self.is_running:
            return self._client
        if self._starting is None or self._starting.done():
            self._starting = asyncio.get_running_loop().create_task(self._start_anew())
            self._starting.add_done_callback(_note_end)
        start = self._starting
        await asyncio.wait({start})  # which leaves the task alone if we are cancelled
        if start.cancelled():
            raise LocalServerFailed(f"{self.name} was closed while its server started.")
        return start.result()

    async def _start_anew(self) -> OpenAICompatible:
        await self._stop()
        self._client = client = await self._launch()
        return client

    async def _has_died(self, client: OpenAICompatible) -> bool:
        """Whether the server behind `client` is gone; a broken connection may be noticed a little before its end."""
        process = self._process
        if self._client is client and process is not None:
            with anyio.move_on_after(_NOTICED_BEFORE):
                await process.wait()
        return self._client is not client or not self.is_running

    async def _launch(self) -> OpenAICompatible:
        if importlib.util.find_spec("xllamacpp") is None:
            raise LocalServerFailed(_INSTALL)
        path = await fetch_model(self._model, progress=self._progress)
        settings = ServerSettings(
            path=str(path),
            alias=self._alias,
            api_key=secrets.token_urlsafe(24),
            threads=self._threads,
            parallel=self._parallel,
            context=self._context,
        )
        address = ""
        try:
            self._process = await self._spawn()
            with anyio.move_on_after(self._start_limit):
                address = await self._handshake(self._process, settings)
            if not address:
                raise await self._failure()
        except BaseException:
            await to_the_end(self._stop())
            raise
        self._starts += 1
        return OpenAICompatible(address, api_key=settings.api_key, name=self.name)

    async def _spawn(self) -> Process:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.log_path.write_bytes(b"")
        with self.log_path.open("ab") as log:
            return await anyio.open_process(
                [
                    sys.executable,
                    "-P",
                    local_server.__file__,
                ],  # by its path: it needs nothing of metaspo, and starts sooner
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "OMP_WAIT_POLICY": "passive"},  # spinning threads collapse on a busy machine
                start_new_session=True,
            )

    async def _handshake(self, process: Process, settings: ServerSettings) -> str:
        """The server's address; "" if it ended without giving one."""
        assert process.stdin is not None
        assert process.stdout is not None
        line = b""
        try:
            await process.stdin.send(settings.to_line())
            while not line.endswith(b"\n"):
                line += await process.stdout.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return ""
        return str(json.loads(line)["address"])

    async def _failure(self) -> LocalServerFailed:
        assert self._process is not None
        with anyio.move_on_after(1.0):
            if await self._process.wait() == MISSING_PACKAGE:
                return LocalServerFailed(_INSTALL)
        return LocalServerFailed(
            f"The server of {self._alias} did not start within {self._start_limit:g} seconds or gave up: "
            f"see {self.log_path}."
        )

    async def _stop(self) -> None:
        client, self._client = self._client, None
        process, self._process = self._process, None
        if client is not None:
            await client.aclose()
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with anyio.move_on_after(_STOP_LIMIT):
                await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()


def _note_end(start: "asyncio.Task[OpenAICompatible]") -> None:
    if not start.cancelled():
        start.exception()  # seen, though everybody who waited for it may have given up


def local_threads() -> int:
    """The threads that a local model gets where none are given: the cores we may use, at most 8."""
    return min(_usable_cores(), _MAX_THREADS)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 2
