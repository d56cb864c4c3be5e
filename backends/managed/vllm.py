"""vLLM's servers, started by us: one process a replica, each on GPUs of its own."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from metaspo.backends.base import Reply, Request
from metaspo.backends.errors import BackendError, ConnectionLost, LocalServerFailed, NotInstalled, Unreachable
from metaspo.backends.late_patterns import late_pattern
from metaspo.backends.managed import watchdog
from metaspo.backends.managed.gpus import VISIBLE
from metaspo.backends.managed.last_words import TAIL, last_words
from metaspo.backends.managed.model_files import models_folder
from metaspo.backends.managed.started import StartedServer
from metaspo.backends.openai_compatible import OpenAICompatible

RESTARTS: Final = 3  # of one replica ...
RENEWED: Final = 1_000  # ... until it has answered so many calls in a row
MODEL: Final = "{model}"  # in a command or an option: the model's name or path
_GRACE: Final = 15.0  # seconds for an orderly end
_PORTS: Final = 3  # that are tried: another process may take a free one before vLLM does
_TAKEN: Final = late_pattern(r"address already in use|errno 98", re.IGNORECASE)
_LOOKS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds between looks whether it is ready; the last one goes on
_OPTIONS: Final = ("--enable-prefix-caching", "--enable-prompt-tokens-details", "--uvicorn-log-level", "warning")


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """How vLLM is started.

    Attributes:
        model: a name on Hugging Face or a folder; also the name that requests give.
        command: what to run; options follow it. The model stands where it says "{model}", or else at its end.
        options: further ones.
        tensor_parallel: GPUs of one replica.
        start_limit: seconds until it must answer, a download included.
    """

    model: str
    command: tuple[str, ...] = ("vllm", "serve")
    options: tuple[str, ...] = ()
    tensor_parallel: int = 1
    start_limit: float = 1800.0

    def arguments(self, *, port: int) -> list[str]:
        """The command line, without the key, which stands in the environment."""
        command = self.command if any(MODEL in part for part in self.command + self.options) else (*self.command, MODEL)
        given = [part.replace(MODEL, self.model) for part in (*command, *self.options)]
        parallel = ["--tensor-parallel-size", str(self.tensor_parallel)] if self.tensor_parallel > 1 else []
        ours = ["--served-model-name", self.model, "--host", "127.0.0.1", "--port", str(port), *parallel, *_OPTIONS]
        at = len(command)
        return [*given[:at], *ours, *given[at:]]


class VllmReplica(StartedServer):
    """One vLLM process. To be used within one event loop.

    Found dead, it is started again while others go on, up to `RESTARTS` times in a row: its calls fail as those to a
    server that cannot be reached, until a probe finds it ready. What it says goes on in one log.
    """

    def __init__(
        self,
        settings: VllmSettings,
        *,
        number: int = 0,
        gpus: Sequence[str] = (),
        logs: Path | None = None,
        ports: Callable[[], int] | None = None,
    ) -> None:
        """Nothing is started yet. `gpus` as CUDA_VISIBLE_DEVICES names them, () to leave that alone; `logs`: the folder
        of its log, the user's own if left out; `ports` gives one that is free."""
        super().__init__(stop_limit=_GRACE + 5.0)
        self._settings = settings
        self._number = number
        self._gpus = tuple(gpus)
        self._logs = logs
        self._ports = ports or free_port
        self._siblings: Sequence[VllmReplica] = ()
        self._restarts = 0
        self._answered = 0  # calls, since its latest start
        self._began = 0  # where the log of its latest start begins
        self._words = ""

    @property
    def name(self) -> str:
        """ "vllm", the model's name, and the number of the replica."""
        model = self._settings.model  # of a folder its own name
        return f"vllm/{Path(model).name if Path(model).is_absolute() else model}/{self._number}"

    @property
    def log_path(self) -> Path:
        """Where vLLM's own messages go, of all its starts."""
        name = re.sub(r"[^\w.-]+", "-", self.name)[-100:].strip("-")
        return (self._logs or models_folder().parent / "logs") / f"{name}.log"

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """Send the request once; `time_limit` in seconds, without the first start. Raises a `BackendError`."""
        if self._starts and not (self._client is not None and self.is_running):
            raise self._fallen()
        reply = await self._ask(await self._started(), request, time_limit=time_limit)
        if reply is None:
            raise self._fallen()
        self._answered += 1
        if self._answered >= RENEWED:
            self._restarts = 0
        return reply

    def _fallen(self) -> BackendError:
        """What a call is told that found it dead. Cases: it has been started again meanwhile; it is being; it is from
        here on, if it may."""
        if self.address is not None:
            return ConnectionLost(f"{self.name} died and was started again.", before_answer=True)
        starts = self._starting is not None and not self._starting.done()
        if not starts:
            self._words = self._read_words(self._began, or_last_line=False)  # of one that is killed there are none
            if self._restarts >= RESTARTS:
                return self._given_up()
        self._begin_start()
        return Unreachable(f"{self.name} died and is started again{self._said()}.")

    def _given_up(self) -> BackendError:
        """It died too often. As long as there are others, they do the work."""
        text = f"{self.name} died {self._restarts + 1} times and is not started again{self._said()}."
        others = any(each.is_running for each in self._siblings if each is not self)
        return Unreachable(text) if others else LocalServerFailed(text)

    async def _start_anew(self) -> OpenAICompatible:
        if not self._starts:
            return await super()._start_anew()
        if self._restarts >= RESTARTS:
            raise self._given_up()
        self._restarts += 1
        self._answered = 0
        try:
            return await super()._start_anew()
        except LocalServerFailed as error:  # it may have been too soon: its GPU's memory was not free yet
            raise Unreachable(str(error)) from error

    async def _close(self) -> None:
        await super()._close()
        self._starts = self._restarts = 0  # it has not died: whoever asks next starts it as if for the first time

    async def _launch(self) -> OpenAICompatible:
        program = _program(self._settings.command[0])
        for _ in range(_PORTS):
            self._began = self._log_size()
            client = await self._launch_at(program, self._ports())
            if client is not None:
                return client
            self._words = self._read_words(self._began)
            if not _TAKEN.search(self._words):
                break
        status = self._process.returncode if self._process is not None else None
        raise LocalServerFailed(f"{self.name} ended while starting (exit status {status}){self._said()}.")

    async def _launch_at(self, program: str, port: int) -> OpenAICompatible | None:
        """A process that answers at a port; None if it ends first. Raises `LocalServerFailed` where it does neither."""
        key = secrets.token_urlsafe(24)
        await self._stop()
        self._process = await self._spawn([program, *self._settings.arguments(port=port)[1:]], key)
        client = OpenAICompatible(f"http://127.0.0.1:{port}/v1", api_key=key, name=self.name)
        ready = False
        try:
            with anyio.fail_after(self._settings.start_limit):
                ready = await self._is_ready(client)
        except TimeoutError:
            limit = self._settings.start_limit
            raise LocalServerFailed(
                f"{self.name} did not answer within {limit:g} seconds: see {self.log_path}, or give it longer by "
                "vllm.start_limit."
            ) from None
        finally:
            if not ready:
                await client.aclose()
        return client if ready else None

    async def _is_ready(self, client: OpenAICompatible) -> bool:
        """Wait until it is; false if it ends first."""
        assert self._process is not None
        looks = 0
        while self._process.returncode is None:
            if await client.is_healthy(time_limit=_LOOKS[-1]) and await self._is_ours(client):
                return True
            with anyio.move_on_after(_LOOKS[min(looks, len(_LOOKS) - 1)]):
                await self._process.wait()
            looks += 1
        return False

    async def _is_ours(self, client: OpenAICompatible) -> bool:
        """Whether what answers there is not another server, which took the port before ours could."""
        try:
            return self._settings.model in (await client.probe()).models
        except BackendError:
            return False

    async def _spawn(self, command: Sequence[str], key: str) -> anyio.abc.Process:
        self.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = {**os.environ, "VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
        if self._gpus:
            environment[VISIBLE] = ",".join(self._gpus)
        with self.log_path.open("ab") as log:
            return await anyio.open_process(
                [sys.executable, "-P", watchdog.__file__, str(_GRACE), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _log_size(self) -> int:
        return self.log_path.stat().st_size if self.log_path.is_file() else 0

    def _read_words(self, begin: int, *, or_last_line: bool = True) -> str:
        """Its last words, from a byte of the log on."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(begin, self._log_size() - TAIL))
                return last_words(log.read(TAIL), or_last_line=or_last_line)
        except OSError:
            return ""

    def _said(self) -> str:
        words = f', with the words "{self._words}"' if self._words else ""
        return f"{words}: see {self.log_path}"


def vllm_replicas(
    settings: VllmSettings, gpus: Sequence[Sequence[str]], *, logs: Path | None = None
) -> Sequence[VllmReplica]:
    """A replica for each share of GPUs; nothing is started yet."""
    replicas = [VllmReplica(settings, number=i, gpus=share, logs=logs) for i, share in enumerate(gpus)]
    for replica in replicas:
        replica._siblings = replicas
    return replicas


def free_port() -> int:
    """A port of this machine's loopback that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program(command: str) -> str:
    """Where a command is: on the PATH, or beside our own interpreter, whose environment may not be activated. Raises
    `NotInstalled` where it is nowhere."""
    name = os.path.expanduser(command)
    if path := shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent)):
        return path
    raise NotInstalled(
        f'backend = "vllm" starts {command}, and there is no such program on the PATH: pip install vllm, or name it in '
        "the model's vllm.command."
    )
