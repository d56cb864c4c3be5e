"""`metaspo plan`: what a run, several or a comparison will need."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import RUNS, Calls, Json, NamedArguments, RunsFolder, Sets

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def plan(
    configs: Annotated[
        list[Path], typer.Argument(metavar="CONFIG", help="One or more TOML config files, or a grid of `compare`.")
    ],
    calls: Calls = None,
    sets: Sets = None,
    replicas: Annotated[
        str,
        typer.Option(metavar="NUMBERS", help="Hours and costs by replicas of the base model, e.g. 1,4,16."),
    ] = "",
    tier: Annotated[str, typer.Option(metavar="NUMBERS", help="The same by usage tiers of OpenAI's models.")] = "",
    speed: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER", min=0.001, max=1e9, help="Answer tokens a second of one replica with all it can take."
        ),
    ] = None,
    like: Annotated[
        str, typer.Option(metavar="RUN", help="That speed, and the tokens of a call, as this run had them.")
    ] = "",
    gpu_dollars: Annotated[
        float | None, typer.Option(metavar="DOLLARS", min=0, max=1e6, help="What an hour of one GPU costs.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw hours and costs into a file (SVG or PNG).")
    ] = None,
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Say what runs will need, before anything is spent: calls, tokens, dollars, time; or by replicas and tiers."""
    actions.plan_configs(
        configs,
        calls,
        sets,
        replicas=replicas,
        tier=tier,
        speed=speed,
        like=like,
        gpu_dollars=gpu_dollars,
        picture=picture,
        runs=runs,
        json=json,
    )
