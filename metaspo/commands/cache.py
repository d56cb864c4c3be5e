"""`metaspo cache`: what is in the cache, whether it is sound, moving it, and clearing it out."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import Config, Json, NamedArguments, WholeSentences, in_project

CACHE = ".metaspo/cache"

cache_app = typer.Typer(
    cls=WholeSentences,
    help="Look into the cache, check it, move it, clear it out.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Location = Annotated[
    str,
    typer.Option(
        "--cache",
        metavar="DIR|URL",
        callback=lambda location: str(in_project(Path(location))) if location == CACHE else location,
        help="Folder of the cache (files://DIR: plain files), or its server: redis://HOST:PORT/DB.",
    ),
]

app = typer.Typer(rich_markup_mode=None)
app.add_typer(cache_app, name="cache")


@cache_app.command()
def info(location: Location = CACHE, json: Json = False) -> None:
    """Entries, size, tokens, and what asking again would cost, by model and run."""
    actions.show_cache(location, json=json)


@cache_app.command()
def verify(location: Location = CACHE, json: Json = False) -> None:
    """Read every entry and check the database. Exit status 1 if something is wrong."""
    actions.verify_entries(location, json=json)


@cache_app.command(name="export", cls=NamedArguments)
def export_command(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Snapshot to write, e.g. answers.jsonl.zst.")],
    location: Location = CACHE,
) -> None:
    """Write a snapshot to share or to move: JSON lines, compressed. No key or address is in it."""
    actions.write_snapshot(target, location=location)


@cache_app.command(name="import", cls=NamedArguments)
def import_command(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A snapshot that `export` wrote.")],
    trust: Annotated[bool, typer.Option("--trust", help="Believe whoever made it; nobody can check it.")] = False,
    location: Location = CACHE,
) -> None:
    """Add a snapshot's entries; those that are there already stay as they are."""
    actions.read_snapshot(source, trust=trust, location=location)


@cache_app.command()
def prune(
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="Only entries of this model.")] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Only entries that this run paid for.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only entries older than this: 30d, 12h, P1DT6H.")
    ] = None,
    bad: Annotated[bool, typer.Option("--bad", help="Rows that cannot be used, and nothing else.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Really remove them; without it, only count.")] = False,
    location: Location = CACHE,
) -> None:
    """Remove entries by model, run or age. Counts only, unless --yes is given."""
    actions.prune_entries(model=model, run=run, older_than=older_than, bad=bad, yes=yes, location=location)


@cache_app.command(cls=NamedArguments)
def key(
    config: Config,
    task: Annotated[str, typer.Option(metavar="TASK", help="Task; the first one if left out.")] = "",
    example: Annotated[
        int,
        typer.Option(metavar="N", help="Number of the example, from 1: of the train split, of a target's test split."),
    ] = 1,
) -> None:
    """Explain a cache key: everything that goes into the key of one example under the config's first prompts."""
    actions.explain_entry(config, task=task, example=example)
