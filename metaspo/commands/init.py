"""`metaspo init`: a starter to begin with."""

from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import NamedArguments

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def init(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder to write the starter into.")],
    domain: Annotated[
        str,
        typer.Option(
            "--domain", metavar="NAME", help="Write one for a domain, the paper's or ours: see `metaspo tasks`."
        ),
    ] = "",
    template: Annotated[
        str,
        typer.Option(
            "--template",
            metavar="NAME",
            help="What it is about: classify, extract, rag, tools, judge, safety (the first).",
        ),
    ] = "",
) -> None:
    """Write a commented starter config with a tiny task set that runs."""
    actions.write_starter(directory, domain=domain, template=template)
