"""`metaspo bench serve`, `soak`: what metaspo costs other programs, over HTTP."""

from typing import Annotated

import typer

from metaspo.bench import measure_serve, measure_soak
from metaspo.bench_commands import Turns, show
from metaspo.console import run_async
from metaspo.parameters import Json


def add_serving_benchmarks(bench_app: typer.Typer) -> None:
    """Register the commands."""
    for command in (serve, soak):
        bench_app.command()(command)


def serve(
    calls: Annotated[int, typer.Option(metavar="N", min=1, help="Requests a turn.")] = 4_000,
    turns: Turns = 5,
    json: Json = False,
) -> None:
    """CPU time of a request to `metaspo serve`, fresh and cached, beside bare aiohttp.web."""
    show(measure_serve(calls=calls, turns=turns), json=json)


def soak(
    clients: Annotated[int, typer.Option(metavar="N", min=1, help="At once, one question after the other.")] = 1_000,
    seconds: Annotated[float, typer.Option(metavar="NUMBER", min=1, help="In all.")] = 600.0,
    between: Annotated[
        float, typer.Option(metavar="NUMBER", min=0.5, help="Seconds between two kills of the model's server.")
    ] = 30.0,
    json: Json = False,
) -> None:
    """Many clients at `metaspo serve` for a long time, while the model's server is killed again and again.

    The server's memory, what clients got, and what was paid for twice.
    """
    show(run_async(measure_soak(clients=clients, seconds=seconds, between=between)), json=json)
