"""`metaspo compare`, `ablate`, `generalize`, `adapt`, `transfer`: methods side by side."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.engine.config.bounds import MAX_CALLS
from metaspo.parameters import RUNS, Config, Json, NamedArguments, On, Quiet, RunsFolder

Plan = Annotated[bool, typer.Option("--plan", help="Only say what it will need.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder for tables, pictures and the page; .metaspo/studies/NAME if left out."
    ),
]
System = Annotated[
    str, typer.Option("--system", metavar="FILE|RUN", help="System prompt: a text file, or what a finished run found.")
]
Seeds = Annotated[
    list[int] | None, typer.Option("--seed", metavar="N", help="A seed; the config's if left out. Repeatable.")
]
EqualCalls = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=MAX_CALLS,
        help="Give each method that searches N base calls on train splits, whatever its shape.",
    ),
]

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def compare(
    grid: Annotated[Path, typer.Argument(metavar="GRID", help="A comparison's TOML config file, as shown above.")],
    equal_calls: EqualCalls = None,
    plan: Plan = False,
    cell: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Run the N-th cell of --plan alone; the others are for other processes."),
    ] = None,
    on: On = None,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods x domains x seeds: run them all over shared servers and limits, and print tables.

    GRID names a run's config and what is compared, for example:

    \b
        config = "metaspo.toml"
        methods = ["default", "metaspo", "sprig"]
        seeds = [1, 2, 3]

    Started again, it goes on where it stopped.
    """
    actions.compare_methods(
        grid, equal_calls=equal_calls, plan=plan, cell=cell, on=on, folder=folder, json=json, quiet=quiet
    )


@app.command(cls=NamedArguments)
def ablate(
    config: Config,
    over: Annotated[
        str,
        typer.Option(
            "--over", metavar="WHAT", help="What to change: loops, optimizer, roles, sources, strategies, tasks, width."
        ),
    ],
    like: Annotated[str, typer.Option("--method", metavar="NAME", help="The method that is changed.")] = "metaspo",
    to: Annotated[
        list[Path] | None,
        typer.Option(
            "--to",
            metavar="CONFIG",
            help="With --over optimizer: a run's config whose [optimizer] model writes prompts, too. Repeatable.",
        ),
    ] = None,
    seeds: Seeds = None,
    equal_calls: EqualCalls = None,
    plan: Plan = False,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare a method with itself, one thing changed at a time."""
    actions.ablate_method(
        config,
        over,
        like=like,
        to=to or [],
        seeds=seeds,
        equal_calls=equal_calls,
        plan=plan,
        folder=folder,
        json=json,
        quiet=quiet,
    )


@app.command(cls=NamedArguments)
def generalize(
    config: Config,
    system: System,
    prompts: Annotated[
        int, typer.Option(metavar="N", min=1, help="User prompts that each target task is scored under.")
    ] = 10,
    given: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with TASK.json files of user prompts; induced if left out."),
    ] = None,
    seeds: Seeds = None,
    runs: RunsFolder = RUNS,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a system prompt, and the default one, on unseen tasks under several user prompts each."""
    actions.generalize_prompt(
        config,
        system,
        prompts=prompts,
        given=given,
        seeds=seeds,
        runs=runs,
        folder=folder,
        json=json,
        quiet=quiet,
    )


@app.command(cls=NamedArguments)
def adapt(
    config: Config,
    system: System,
    rounds: Annotated[int, typer.Option(metavar="N", min=0, help="Rounds of adapting, beside the first one.")] = 6,
    examples: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Train examples to adapt on; all if left out. Repeatable: a curve each."),
    ] = None,
    seeds: Seeds = None,
    runs: RunsFolder = RUNS,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Adapt user prompts to unseen tasks under a system prompt, and under the default one."""
    actions.adapt_prompts(
        config,
        system,
        rounds=rounds,
        examples=examples or [],
        seeds=seeds,
        runs=runs,
        folder=folder,
        json=json,
        quiet=quiet,
    )


@app.command(cls=NamedArguments)
def transfer(
    config: Config,
    system: System,
    to: Annotated[
        list[Path],
        typer.Option("--to", metavar="CONFIG", help="A run's config whose [base] model scores it, too. Repeatable."),
    ],
    seeds: Seeds = None,
    runs: RunsFolder = RUNS,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a system prompt that was found with one model, and the default one, with others."""
    actions.transfer_prompt(config, system, to=to, seeds=seeds, runs=runs, folder=folder, json=json, quiet=quiet)
