"""`metaspo export` and `metaspo import`: prompts and tasks to and from other tools."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import RUNS, Json, LatestFinishedRun, NamedArguments, RunsFolder

TOOLS = "text|messages|promptfoo|dspy|mlflow|langchain|langfuse|langsmith|ollama|inspect|sft"

app = typer.Typer(rich_markup_mode=None)


@app.command(name="export", cls=NamedArguments)
def export(
    run: LatestFinishedRun = "",
    to: Annotated[str, typer.Option(metavar=TOOLS, help="For which tool.")] = "text",
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; export/ in the run's folder if left out.")
    ] = None,
    task: Annotated[str, typer.Option(metavar="NAME", help="One task's prompts only.")] = "",
    without_system: Annotated[
        bool, typer.Option("--without-system", help="With --to sft: chats without the system prompt.")
    ] = False,
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Write a finished run's prompts as files for another tool.

    about.json goes along, with the run, the models and the scores, and what of it a tool's own files have room for
    stands there, too. Nothing is asked of any model.
    """
    actions.export_prompts(run, to=to, folder=folder, task=task, without_system=without_system, runs=runs, json=json)


@app.command(name="import", cls=NamedArguments)
def import_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="One or more files of one other tool.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write the config and data into.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Examples, where none come along: JSONL, CSV, TSV or Parquet.")
    ] = None,
) -> None:
    """Write a config with the tasks and prompts of another tool: promptfoo, DSPy, Langfuse, LangSmith, text files.

    Of a promptfoo config the first prompt and the tests with an answer to compare with; of a saved DSPy program each
    predictor's instructions and demonstrations; of a prompt that Langfuse or LangSmith keeps, a file of text or the
    body of a chat request the prompts.
    """
    actions.import_files(files, folder=folder, data=data)
