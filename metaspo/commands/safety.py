"""`metaspo safety`: does the optimized prompt change what the model refuses?"""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import RUNS, Json, LatestFinishedRun, NamedArguments, Quiet, RunsFolder

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments, name="safety")
def safety(
    run: LatestFinishedRun = "",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Your own requests: columns question, and should (refuse or answer); else metaspo's."
        ),
    ] = None,
    domain: Annotated[
        bool, typer.Option("--domain", help="Also the safety domain's tasks, from METASPO_DATA or Hugging Face.")
    ] = False,
    rows: Annotated[
        int | None, typer.Option("--rows", metavar="N", min=1, help="Of each of these tasks at most.")
    ] = None,
    runs: RunsFolder = RUNS,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check whether the optimized system prompt makes the model comply with more that it should refuse, or refuse more
    of what it should answer.

    The base model is asked under the first and the optimized system prompt, within [budget]; whether an answer refuses
    is told by its words. `metaspo show` and the page of the run say what came of it.
    """
    actions.compare_refusals(run, data=data, domain=domain, rows=rows, runs=runs, json=json, quiet=quiet)
