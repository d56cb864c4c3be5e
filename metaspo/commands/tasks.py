"""`metaspo tasks`: the paper's tasks, how many of their examples are there, and where to get what is missing."""

from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import Json

DomainNames = Annotated[
    list[str] | None,
    typer.Option(
        "--domain", metavar="NAME", help="medical, review, reasoning, safety, grounding, math, code; all if left out."
    ),
]
DataFolder = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="Folder with the data; what METASPO_DATA says if left out."),
]

app = typer.Typer(rich_markup_mode=None)


@app.command(name="tasks", context_settings={"allow_extra_args": True})
def list_tasks(context: typer.Context, domain: DomainNames = None, data: DataFolder = None, json: Json = False) -> None:
    """List the tasks of the paper's domains and our own: examples at hand, and where to get what is missing."""
    if context.args:
        actions.tell_whose_tasks(context.args[0])
    actions.show_tasks(domain or [], data=data, json=json)
