"""Check metaspo's promises against a real vLLM on this machine's CPU: `make vllm-check`; docs/vllm.md tells the rest.

Everything goes through the front door: `metaspo init`, `metaspo optimize`, and the gateway of the Python API.
"""

import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from vllm_grouping import MIN_HIT_RATE, run_grouped
from vllm_runs import Ended, Runs
from vllm_server import SetupFailed, cut_to, ensure_environment, ensure_model, settings_for

from metaspo.backends import BackendError
from metaspo.backends.managed.vllm import VllmSettings, free_port

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "vllm-check"
OWN_VENV = ROOT / ".venv-vllm"
MIN_CALLS = 300
KILLED_AFTER = 100  # requests answered
PID = re.compile(r"APIServer pid=(\d+)")  # in vLLM's log

out = Console(soft_wrap=True, highlight=False)


class Promises:
    """What was promised, and whether it held."""

    def __init__(self) -> None:
        self.broken = 0

    def hold(self, promise: str, *, held: bool, seen: str = "") -> None:
        """Note and print one."""
        self.broken += not held
        mark = "[green]ok[/green]    " if held else "[bold red]BROKEN[/bold red]"
        out.print(f"  {mark} {promise}{escape(f' ({seen})') if seen and not held else ''}")


def main(
    venv: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="An environment with vLLM, taken as it is; else .venv-vllm, made if need be."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Also: kill the server in mid-run.")] = False,
    grouping: Annotated[bool, typer.Option("--grouping", help="Also: the hit rate of the prefix cache.")] = False,
    layers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only so many of the model's layers, with made-up weights: faster."),
    ] = None,
) -> None:
    """Run metaspo against a real vLLM on the CPU, and check what it promises. Exit status 1 if a promise broke."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # for vLLM
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    promises = Promises()
    try:
        out.print(f"vLLM comes from {venv or f'{OWN_VENV}, which takes minutes and 3 GB to make if it is not there'}.")
        python = venv / "bin" / "python" if venv else ensure_environment(OWN_VENV)
        out.print("The model is SmolLM2-135M, which takes a minute to fetch and convert if it is not there.")
        model = ensure_model(python)
        options = () if layers is None else cut_to(layers)
        check_runs(promises, settings_for(python, str(model), more=options), restart=restart)
        if grouping:
            options = (*options, "--num-gpu-blocks-override", "256")
            check_grouping(promises, settings_for(python, str(model), more=options))
    except (SetupFailed, BackendError) as error:
        out.print(f"[bold red]error:[/bold red] {escape(str(error))}")
        raise typer.Exit(1) from None
    out.print(f"What is left of the check is in {WORK}")
    out.print(f"[bold red]{promises.broken} promises broke.[/bold red]" if promises.broken else "Every promise held.")
    raise typer.Exit(min(promises.broken, 1))


def check_runs(promises: Promises, vllm: VllmSettings, *, restart: bool) -> None:
    """The bilevel run: fresh, again, with a wrong model, without a server; and, if wanted, with one that is killed."""
    runs = Runs(WORK / "runs", vllm)
    first = check_fresh(promises, runs)
    check_replay(promises, runs, first)
    check_sentence(promises, "a wrong model name", runs.optimize(cache="other", set_=["base.model=no-such-model"]))
    stopped = runs.optimize(cache="other", url=f"http://127.0.0.1:{free_port()}/v1", set_=["base.patience=5"])
    check_sentence(promises, "a stopped server", stopped)
    if restart:
        check_restart(promises, runs, first)


def check_fresh(promises: Promises, runs: Runs) -> Ended:
    """A run from an empty cache."""
    out.print("A bilevel run from an empty cache, vLLM's start included: half a minute, the first time several.")
    first = runs.optimize(cache="cache")
    rates = re.findall(r"Prefix cache hit rate: ([\d.]+)%", runs.log(cache="cache"))
    report(first, prefix=f", prefix cache hit rate {rates[-1]}%" if rates else "")
    promises.hold("the run ends with a result", held=first.status == 0, seen=first.errors)
    promises.hold(f"it makes at least {MIN_CALLS} calls", held=first.calls >= MIN_CALLS, seen=str(first.calls))
    promises.hold("every example gets an answer", held=first.failed == 0, seen=f"{first.failed} failed")
    promises.hold("no vLLM is left", held=not left(), seen=str(left()))
    return first


def check_replay(promises: Promises, runs: Runs, first: Ended) -> None:
    """The same run again, over the cache of the first."""
    out.print("The same again:")
    before = runs.log(cache="cache")
    second = runs.optimize(cache="cache")
    report(second)
    promises.hold("no call is made", held=second.calls == 0, seen=f"{second.calls} by metaspo's count")
    promises.hold("and vLLM is not started", held=runs.log(cache="cache") == before)
    promises.hold("the result is the same", held=second.status == 0 and second.result == first.result)


def check_sentence(promises: Promises, mistake: str, ended: Ended) -> None:
    """A run that cannot go on: exit status 3, one sentence, what to do, and no traceback."""
    out.print(f"With {mistake}, after {ended.seconds:.1f} s, exit status {ended.status}:")
    out.print("".join(f"    {line}\n" for line in ended.errors.splitlines()), end="", markup=False)
    errors = [line for line in ended.errors.splitlines() if line.startswith("error:")]
    plain = ended.status == 3 and len(errors) == 1 and "Traceback" not in ended.errors
    promises.hold("the run stops with one clear sentence", held=plain)


def check_restart(promises: Promises, runs: Runs, first: Ended) -> None:
    """A run whose server is killed on the way."""
    out.print(f"A run from an empty cache, vLLM killed (SIGKILL) after {KILLED_AFTER} answers:")
    with runs.optimizing(cache="interrupted") as run:
        run.wait_until(lambda: runs.answered(cache="interrupted") >= KILLED_AFTER)
        for pid in PID.findall(runs.log(cache="interrupted"))[-1:]:
            os.kill(int(pid), signal.SIGKILL)
        ended = run.wait()
    report(ended)
    again = runs.optimize(cache="interrupted")
    out.print(
        f"  {ended.retries} calls were sent again; undisturbed it took {first.calls} calls in {first.seconds:.0f} s; "
        f"the results are {'the same' if ended.result == first.result else 'not the same'}"
        " (vLLM's greedy decoding does not always repeat itself)"
    )
    starts = len(set(PID.findall(runs.log(cache="interrupted"))))
    again_up = ended.status == 0 and starts == 2
    promises.hold("it is started again, and the run goes on", held=again_up, seen=f"{starts} starts, {ended.errors}")
    attempts = runs.attempts(cache="interrupted")
    promises.hold("what was out is sent again once", held=set(attempts) == {1}, seen=f"attempts {attempts}")
    promises.hold("every example gets an answer", held=ended.failed == 0, seen=f"{ended.failed} failed")
    kept = again.calls == 0 and again.result == ended.result
    promises.hold("and every answer is kept", held=kept, seen=f"{again.calls} calls when it was run again")
    promises.hold("no vLLM is left", held=not left(), seen=str(left()))


def check_grouping(promises: Promises, vllm: VllmSettings) -> None:
    """Requests put in interleaved over their prefixes, with a priority for each prefix."""
    out.print("400 requests over 20 prefixes, put in interleaved, with room for 8,192 tokens in the KV cache:")
    seconds, hits = run_grouped(vllm, WORK, by_prefix=True)
    out.print(
        f"  {seconds:.1f} s, {400 / seconds:.1f} requests/s; of {hits.queried} prompt tokens {hits.hit} were "
        f"found in the prefix cache: hit rate {hits.rate:.3f}"
    )
    promises.hold(f"the hit rate is at least {MIN_HIT_RATE}", held=hits.rate >= MIN_HIT_RATE)


def report(ended: Ended, *, prefix: str = "") -> None:
    """What a run took."""
    rate = f", {ended.calls / ended.seconds:.1f} requests/s" if ended.calls else ""
    out.print(f"  {ended.seconds:.1f} s, {ended.calls} calls, {ended.hits} from the cache{rate}{prefix}")


def left() -> list[int]:
    """The processes of servers that a command started and did not end."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"vllm.entrypoints" in (process / "cmdline").read_bytes():
                pids.append(int(process.name))
    return pids


if __name__ == "__main__":
    typer.run(main)
