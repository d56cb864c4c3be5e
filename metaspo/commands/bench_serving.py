"""`metaspo bench serve`, `soak`, `machines`, `embed`, `watch`, `page`: what metaspo costs others, and many of it."""

from pathlib import Path
from typing import Annotated

import typer

import metaspo.commands.bench_methods  # noqa: F401 - its commands are there once it is imported
from metaspo import bench
from metaspo.bench.defaults import Victim
from metaspo.commands.bench import Turns, bench_app
from metaspo.console import exit_on_user_error
from metaspo.engine import ConfigError
from metaspo.parameters import Json
from metaspo.tables.bench import show

app = typer.Typer(rich_markup_mode=None)
app.add_typer(bench_app, name="bench")


@bench_app.command()
def serve(
    calls: Annotated[int, typer.Option(metavar="N", min=1, help="Requests a turn.")] = 4_000,
    turns: Turns = 5,
    json: Json = False,
) -> None:
    """CPU time of a request to `metaspo serve`, fresh and cached, beside bare aiohttp.web."""
    show(bench.measure_serve(calls=calls, turns=turns), json=json)


@bench_app.command()
def soak(
    clients: Annotated[int, typer.Option(metavar="N", min=1, help="At once, one question after the other.")] = 1_000,
    seconds: Annotated[float, typer.Option(metavar="NUMBER", min=1, help="In all.")] = 600.0,
    between: Annotated[float, typer.Option(metavar="NUMBER", min=0.5, help="Seconds between two kills.")] = 30.0,
    victim: Annotated[
        Victim,
        typer.Option(metavar="WHOSE", help="Whose server is killed: model, or server for `metaspo serve` itself."),
    ] = "model",
    json: Json = False,
) -> None:
    """Many clients at `metaspo serve` for a long time, while a server is killed again and again.

    The server's memory, what clients got, and what was paid for twice.
    """
    from metaspo.running import run_async

    show(run_async(bench.measure_soak(clients=clients, seconds=seconds, between=between, victim=victim)), json=json)


@bench_app.command()
def machines(
    redis: Annotated[str, typer.Option(metavar="URL", help="A server to share by; else one is started.")] = "",
    processes: Annotated[int, typer.Option(metavar="N", min=1, help="At once.")] = 8,
    per_minute: Annotated[int, typer.Option(metavar="N", min=60, help="Requests that the limit lets through.")] = 6_000,
    seconds: Annotated[float, typer.Option(metavar="NUMBER", min=1, help="In all.")] = 180.0,
    between: Annotated[float, typer.Option(metavar="NUMBER", min=0.5, help="Seconds between two kills.")] = 10.0,
    json: Json = False,
) -> None:
    """Processes under one limit and one cap, one of them killed again and again: what they use of both."""
    from metaspo.running import run_async

    with exit_on_user_error():
        report = run_async(
            bench.measure_machines(
                url=redis, processes=processes, per_minute=per_minute, seconds=seconds, between=between
            )
        )
    show(report, json=json)


@bench_app.command()
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
        names = bench.installed(python)
        missing = sorted({*(only or ())} - {*names})
        if missing:
            raise ConfigError(f"--only {missing[0]}: is not installed there, only {', '.join(names) or 'nothing'}")
    show(bench.measure_embed(python=python, only=only or names, questions=questions, turns=turns), json=json)


@bench_app.command()
def watch(
    turns: Turns = 40,
    small: Annotated[bool, typer.Option("--small", help="Runs of a few calls, to see that it works.")] = False,
    json: Json = False,
) -> None:
    """What it costs a run that somebody looks at its page: CPU of its process, with and without, pair by pair.

    On a model that answers at once. Takes some two minutes where nobody else is at work.
    """
    show(bench.measure_watching(turns=turns, small=small), json=json)


@bench_app.command()
def page(
    rate: Annotated[int, typer.Option(metavar="N", min=100, help="Events a second.")] = 5_000,
    seconds: Annotated[float, typer.Option(metavar="NUMBER", min=1, help="For each row.")] = 10.0,
    json: Json = False,
) -> None:
    """Whether the live page stays smooth while thousands of events a second come in, in a headless Chromium."""
    show(bench.measure_flood(rate=rate, seconds=seconds), json=json)
