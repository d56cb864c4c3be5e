"""`metaspo bench serve`, `soak`, `embed`: what metaspo costs other programs, over HTTP and in their own process."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo.bench import installed, measure_embed, measure_serve, measure_soak
from metaspo.bench_commands import Turns, show
from metaspo.console import exit_on_user_error, run_async
from metaspo.engine import ConfigError
from metaspo.parameters import Json


def add_serving_benchmarks(bench_app: typer.Typer) -> None:
    """Register the commands."""
    for command in (serve, soak, embed):
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


def embed(
    python: Annotated[
        Path, typer.Option(metavar="FILE", help="A Python with metaspo and the packages, as `make adapters` makes one.")
    ] = Path(".cache/adapters/bin/python"),
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An adapter; may be repeated. Else all that are installed.")
    ] = None,
    questions: Annotated[int, typer.Option(metavar="N", min=1, help="Asked of each.")] = 600,
    turns: Turns = 3,
    json: Json = False,
) -> None:
    """Packages with their own language models and with metaspo's: CPU, score, refusals, calls of a second process.

    Takes some two minutes for each package.
    """
    with exit_on_user_error():
        if not python.exists():
            raise ConfigError(f"--python {python}: is not there; `make adapters` makes one with the packages")
        names = installed(python)
        missing = sorted({*(only or ())} - {*names})
        if missing:
            raise ConfigError(f"--only {missing[0]}: is not installed there, only {', '.join(names) or 'nothing'}")
    show(measure_embed(python=python, only=only or names, questions=questions, turns=turns), json=json)
