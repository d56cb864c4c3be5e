"""Runs of the `metaspo` command as a user types them, with vLLM as their base model."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from metaspo.backends.managed.vllm import VllmSettings

METASPO = (sys.executable, "-m", "metaspo")
STALLED = 900.0  # seconds


@dataclass(frozen=True)
class Ended:
    """A run of the command that has ended.

    Attributes:
        status: the exit status.
        seconds: wall time of the command, its start included.
        report: what `--json` printed; {} if the run came to no result.
        errors: what stands on standard error.
    """

    status: int
    seconds: float
    report: dict[str, Any]
    errors: str

    @property
    def result(self) -> dict[str, Any]:
        """The result, as in `result.json`."""
        result: dict[str, Any] = self.report.get("result", {})
        return result

    @property
    def calls(self) -> int:
        """Calls to the server that were answered."""
        return self._total("calls")

    @property
    def hits(self) -> int:
        """Requests answered from the cache."""
        return self._total("hits")

    @property
    def retries(self) -> int:
        """Calls that failed and were sent again."""
        return self._total("retries")

    @cached_property
    def failed(self) -> int:
        """Test examples without an answer, over all scores."""
        return sum(score["failed"] for score in self.result.get("tests", ()))

    def _total(self, count: str) -> int:
        return int(self.report["summary"]["usage"]["total"][count]) if self.report else 0


class Going:
    """A run of the command that is going on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._began = time.monotonic()

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Look once a second until it is so or the run has ended."""
        while self._process.poll() is None and not reached():
            time.sleep(1)

    def wait(self) -> Ended:
        """Wait for its end."""
        output, errors = self._process.communicate(timeout=STALLED)
        reports = json.loads(output) if self._process.returncode == 0 else [{}]
        return Ended(self._process.returncode, time.monotonic() - self._began, reports[0], errors)


class Runs:
    """A folder with the starter of `metaspo init`, its base model replaced by a vLLM that metaspo starts."""

    def __init__(self, folder: Path, vllm: VllmSettings) -> None:
        self._folder = folder
        subprocess.run([*METASPO, "init", folder], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        self._managed = (
            "base.backend=vllm",
            f"base.vllm.command={json.dumps(vllm.command)}",
            f"base.vllm.options={json.dumps(vllm.options)}",
            f"base.vllm.start_limit={vllm.start_limit}",
        )
        self._settings = (
            f"base.model={vllm.model}",
            "base.max_tokens=16",  # what is said is no part of any promise
            "base.time_limit=300",  # a machine with other work has seven tokens a second for eight calls at once
            "iterations=2",
            "inner.candidates=3",
            "outer.candidates=12",
            "budget.calls=2000",
        )

    @contextmanager
    def optimizing(self, *, cache: str, url: str = "", set_: Sequence[str] = ()) -> Iterator[Going]:
        """`metaspo optimize` under way; stopped when the block is left before its end. `url` is asked in place of a
        server that is started."""
        base = ("base.backend=openai-compatible", f'base.endpoints=["{url}"]') if url else self._managed
        kept = self._folder / cache  # a relative path would be in the project that this folder may be part of
        changes = (*base, *self._settings, f"cache={kept}", f"runs={kept}-runs", *set_)
        settings = [f"--set={setting}" for setting in changes]
        command = [*METASPO, "optimize", "metaspo.toml", "--json", "--quiet", *settings]
        process = subprocess.Popen(  # noqa: S603
            command, cwd=self._folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield Going(process)
        finally:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=60)

    def optimize(self, *, cache: str, url: str = "", set_: Sequence[str] = ()) -> Ended:
        """`metaspo optimize`, to its end."""
        with self.optimizing(cache=cache, url=url, set_=set_) as going:
            return going.wait()

    def answered(self, *, cache: str) -> int:
        """Requests of the run under way that have their answers."""
        for live in self._folder.glob(f"{cache}-runs/*/live.json"):
            with suppress(OSError, ValueError):  # it is written anew several times a second
                return int(json.loads(live.read_text())["settled"])
        return 0

    def attempts(self, *, cache: str) -> list[int]:
        """Of calls that failed and were sent again: which attempt of each had failed."""
        lines = [line for path in self._folder.glob(f"{cache}-runs/*/journal.jsonl") for line in path.open()]
        events = [json.loads(line) for line in lines if '"Retried"' in line]
        return [event["attempt"] for event in events if event.get("what") == "Retried"]

    def log(self, *, cache: str) -> str:
        """What vLLM said in the runs of a cache."""
        return "".join(log.read_text(errors="replace") for log in self._folder.glob(f"{cache}-runs/*/vllm-*.log"))
