"""CPU time of one call: metaspo's whole gateway beside bare aiohttp and other clients, on one fast local server.

The server and each client are processes of their own, the server on core 0 and the client on core 1 where cores can be
chosen; clients take turns. CPU time is all of the client's process, threads that write the cache included.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import orjson

from metaspo.bench import peers
from metaspo.bench.clients import CLIENTS, ON_UVLOOP
from metaspo.bench.in_flight import AT_ONCE
from metaspo.bench.measure import keep_to_core, spread
from metaspo.bench.processes import program, serving
from metaspo.bench.report import Report, Row

BARE = "bare aiohttp + orjson"
LIMIT = 600.0  # seconds for one client

Command = Sequence[str]
Times = dict[str, float]


def measure_overhead(
    *,
    calls: int,
    turns: int,
    peers_python: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:
    """Our clients and, under a Python that has them, other people's; all in turns. It `tell`s whose turn it is."""
    clients = [name for name in CLIENTS if name != "openai SDK" or find_spec("openai")]
    on_uvloop = [f"{name}{ON_UVLOOP}" for name in (BARE, "metaspo") if find_spec("uvloop")]
    commands: dict[str, Command] = {name: program("metaspo.bench.clients", name) for name in (*clients, *on_uvloop)}
    if peers_python is not None:
        script = [str(peers_python), peers.__file__]
        commands |= {name: [*script, name] for name in orjson.loads(_output(script))}
    figures: dict[str, list[Times]] = {name: [] for name in commands}
    with fast_server() as url:
        for turn in range(turns):
            for name, command in commands.items():
                tell(f"turn {turn + 1} of {turns}: {name}, {calls:,} calls")
                figures[name].append(orjson.loads(_output([*command, url, str(calls)])))
    bare = [times["cpu"] for times in figures[BARE]]
    rows = []
    for name, measured in figures.items():
        rows.append(_row(name, measured, bare))
        if name.removesuffix(ON_UVLOOP) == "metaspo":
            again = [{"cpu": times["cached cpu"], "wall": times["cached wall"]} for times in measured]
            rows.append(_row(name.replace("metaspo", "metaspo, cached"), again, bare))
    notes = [
        f"{calls:,} calls of 1.2 KB each, {AT_ONCE} in flight; ratios are taken turn by turn.",
        "metaspo: key, cache miss, single flight, queue, limits, HTTP, store on disk. Aims: 1.2, on uvloop below 1.",
    ]
    return Report(scenario="overhead", title="CPU per call", rows=rows, notes=notes)


@contextmanager
def fast_server() -> Iterator[str]:
    """The base URL of a running `fast_server`."""
    with serving([sys.executable, "-P", "-m", "metaspo.bench.servers.fast_server"]) as server:
        keep_to_core(0, server.pid)
        yield server.url


def _output(command: Command) -> bytes:
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=LIMIT).stdout  # noqa: S603  # our own


def _row(name: str, turns: Sequence[Times], bare: Sequence[float]) -> Row:
    cpu = [turn["cpu"] for turn in turns]
    return {
        "client": name,
        "cpu us (least)": spread(cpu).least,
        "cpu us (median)": spread(cpu).middle,
        "wall us (median)": spread(turn["wall"] for turn in turns).middle,
        "cpu ratio (least)": spread(cpu).least / spread(bare).least,
        "cpu ratio (median)": spread(turn / bare_turn for turn, bare_turn in zip(cpu, bare, strict=True)).middle,
    }
