"""The embedded model: llama.cpp's server in a subprocess of ours, spoken to like any other OpenAI-compatible server."""

import importlib.util
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import anyio
from anyio.abc import Process

from metaspo.backends.base import Reply, Request
from metaspo.backends.errors import LocalServerFailed, NotInstalled, RequestRejected, Unreachable
from metaspo.backends.managed import local_server
from metaspo.backends.managed.local_server import MISSING_PACKAGE, ServerSettings
from metaspo.backends.managed.model_files import fetch_model, models_folder
from metaspo.backends.managed.model_names import DEFAULT_MODEL, local_threads
from metaspo.backends.managed.model_sources import Progress
from metaspo.backends.managed.started import StartedServer
from metaspo.backends.openai_compatible import OpenAICompatible

_INSTALL = "The embedded model needs the package xllamacpp: pip install 'metaspo[local]'."
NO_ECHO = (
    "{name} cannot say the prompt again, or how likely it is: leave `echo` out. Tasks that compare likelihoods want "
    "another server, vLLM for one."
)
_STOP_LIMIT = 5.0


class LocalModel(StartedServer):
    """A GGUF model on this machine. To be used within one event loop.

    A start fetches the file if need be, and raises `ModelFileUnavailable` or `LocalServerFailed`. A server that has
    died is restarted once per call.
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
        super().__init__(stop_limit=_STOP_LIMIT)
        self._model = str(model)
        self._alias = Path(self._model).stem if self._model.lower().endswith(".gguf") else self._model
        self._threads = threads or local_threads()
        self._parallel = parallel
        self._context = context
        self._start_limit = start_limit
        self._progress = progress

    @property
    def name(self) -> str:
        """ "local" and the model's name."""
        return f"local/{self._alias}"

    @property
    def log_path(self) -> Path:
        """Where the server's own messages go, from its latest start on."""
        return models_folder().parent / "logs" / f"{self._alias.replace('/', '--')}.log"

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """Ask the model; `time_limit` in seconds, without the start. A server found dead is started again, once."""
        if request.path == "completions" and json.loads(request.sampling.extra or "{}").get("echo"):
            raise RequestRejected(NO_ECHO.format(name=self.name))  # llama.cpp would answer, and not say that it did not
        for _ in range(2):
            reply = await self._ask(await self._started(), request, time_limit=time_limit)
            if reply is not None:
                return reply
        raise Unreachable(f"{self.name} died twice on one request: see {self.log_path}.")

    async def _launch(self) -> OpenAICompatible:
        if importlib.util.find_spec("xllamacpp") is None:
            raise NotInstalled(_INSTALL)
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
        self._process = await self._spawn()
        with anyio.move_on_after(self._start_limit):
            address = await self._handshake(self._process, settings)
        if not address:
            raise await self._failure()
        return OpenAICompatible(address, api_key=settings.api_key, name=self.name)

    async def _spawn(self) -> Process:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.log_path.write_bytes(b"")
        with self.log_path.open("ab") as log:
            return await anyio.open_process(
                # By its path: it needs nothing of metaspo, and starts sooner.
                [sys.executable, "-P", local_server.__file__],
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
                return NotInstalled(_INSTALL)
        return LocalServerFailed(
            f"The server of {self._alias} did not start within {self._start_limit:g} seconds or gave up: "
            f"see {self.log_path}."
        )
