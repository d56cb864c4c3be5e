"""`metaspo bench savings`, `racing` and `methods`: what is found, and what finding it takes; all of it simulated."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metaspo import bench
from metaspo.bench.defaults import FIRST_SEED, SEEDS
from metaspo.commands.bench import Seeds, Small, bench_app
from metaspo.console import exit_on_user_error
from metaspo.engine import ConfigError
from metaspo.overrides import parse_overrides
from metaspo.parameters import Json
from metaspo.tables.bench import show

if TYPE_CHECKING:
    from metaspo.bench.known_truth.method_peers import Peer


@bench_app.command()
def savings(small: Small = False, seeds: Seeds = SEEDS, json: Json = False) -> None:
    """Calls, dollars and GPU-seconds with and without deduplication, early rejection and racing (simulated).

    On worlds whose candidates differ much or hardly in true quality. On virtual time: the same figures on every
    machine. Takes some minutes, --small some seconds.
    """
    from metaspo.bench.savings import LOOPS, SMALL

    show(bench.measure_savings(size=SMALL if small else LOOPS, seeds=seeds), json=json)


@bench_app.command()
def racing(
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="Rounds of each row of the table.")] = 500,
    json: Json = False,
) -> None:
    """How often racing changes what a round selects, against the rate it states, and what it saves.

    Simulated: the same figures on every machine. Takes some minutes.
    """
    show(bench.measure_racing(rounds=rounds), json=json)


@bench_app.command()
def methods(
    seeds: Annotated[int, typer.Option(metavar="N", min=2, help="Worlds of each kind, none looked at before.")] = 20,
    first_seed: Annotated[int, typer.Option(metavar="N", min=0, help="The first of them.")] = FIRST_SEED,
    calls: Annotated[
        list[int] | None, typer.Option(metavar="N", min=200, help="Base calls; may be repeated. Else 500, 2000, 6000.")
    ] = None,
    method: Annotated[list[str] | None, typer.Option(metavar="NAME", help="This one only; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes.")] = 1,
    peers_python: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A Python that has gepa, textgrad or dspy[optuna], to measure those too."),
    ] = None,
    writer: Annotated[
        str,
        typer.Option(metavar="NAME", help="The optimizer model: plain, rambles, quotes, tactless, pushes or heedless."),
    ] = "plain",
    tenth: Annotated[
        bool, typer.Option("--tenth", help="Only the paper's defaults to their end, and metaspo+ on a tenth of them.")
    ] = False,
    worlds: Annotated[
        list[str] | None,
        typer.Option(
            "--world", metavar="NAME", help="In this kind only; may be repeated. Else the six that share skills."
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Also metaspo+ with a key set otherwise; may be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """What each method finds for how many calls, in worlds in which it is known what a prompt is worth.

    Simulated: the same figures on every machine. All of it takes an hour or more, one number of calls and two seeds a
    minute or two.
    """
    from metaspo.bench.known_truth.method_shapes import METHODS
    from metaspo.bench.known_truth.methods import CALLS, KINDS, WORLDS, refuse_settings

    with exit_on_user_error():
        if tenth and (calls or method or peers_python or worlds or sets or writer != "plain"):
            raise ConfigError("--tenth is of two methods and their own calls: leave out --calls, --method and more")
        peers = _peers(peers_python, writer)
        _known("--method", method, [*METHODS, *peers])
        _known("--world", worlds, list(KINDS))
        settings = parse_overrides(sets)
        refuse_settings(settings, calls or CALLS)
    if tenth:
        report = bench.measure_tenth(seeds=seeds, first_seed=first_seed, jobs=jobs)
    else:
        report = bench.measure_methods(
            seeds=seeds,
            calls=calls or CALLS,
            methods=method or (),
            worlds=worlds or WORLDS,
            first_seed=first_seed,
            jobs=jobs,
            peers=peers,
            writer=writer,
            sets=settings,
        )
    show(report, json=json)


def _known(option: str, given: Sequence[str] | None, names: Sequence[str]) -> None:
    """Raises `ConfigError` for a name that is none."""
    if unknown := set(given or ()) - set(names):
        what = option.removeprefix("--")
        raise ConfigError(f"{option} '{min(unknown)}': there is no such {what}; known: {'; '.join(names)}")


def _peers(python: Path | None, writer: str) -> "Mapping[str, Peer]":
    """The methods of other people's packages that a Python has; these know the plain optimizer model alone."""
    from metaspo.bench.known_truth.method_peers import peers_of
    from metaspo.bench.known_truth.method_run import WRITERS

    if writer not in WRITERS:
        raise ConfigError(f"--writer '{writer}': there is no such model; known: {', '.join(WRITERS)}")
    peers = peers_of(python) if python else {}
    if python and not peers:
        raise ConfigError(f"--peers-python: {python} has none of gepa, textgrad and dspy[optuna]")
    if peers and writer != "plain":
        raise ConfigError("--writer: with --peers-python the optimizer model is the plain one")
    return peers
