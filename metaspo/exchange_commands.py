"""`metaspo export` and `metaspo import`: prompts and tasks to and from other tools."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import tables
from metaspo.backends.paths import write_whole
from metaspo.console import exit_on_user_error, out, say_warning
from metaspo.engine import ConfigError, find_run
from metaspo.engine.config.toml import STARTER
from metaspo.engine.exchange.export import TOOLS, export_run
from metaspo.engine.exchange.imported import config_files
from metaspo.engine.exchange.read import read_files
from metaspo.engine.project import named_after
from metaspo.parameters import RUNS, Json, LatestFinishedRun, NamedArguments, RunsFolder
from metaspo.running import run_async

app = typer.Typer(rich_markup_mode=None)


@app.command(name="export", cls=NamedArguments)
def export(
    run: LatestFinishedRun = "",
    to: Annotated[str, typer.Option(metavar="|".join(TOOLS), help="For which tool.")] = "text",
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
    with exit_on_user_error():
        chosen = find_run(run, base=runs, latest=True, finished=True)
        paths = run_async(export_run(chosen, to=to, folder=folder, task=task, without_system=without_system))
    if json:
        tables.print_json(out, {"to": to, "files": [str(path) for path in paths]})
        return
    for path in paths:
        out.print(str(path))
    out.print(f"Use: {TOOLS[to].use}")


@app.command(name="import", cls=NamedArguments)
def import_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="One or more files of one other tool.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write the config and data into.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Examples, where none come along: JSONL, CSV, TSV or Parquet.")
    ] = None,
) -> None:
    """Write a config with the tasks and prompts of another tool: promptfoo, DSPy, prompts as text files.

    Of a promptfoo config the first prompt and the tests with an answer to compare with; of a saved DSPy program each
    predictor's instructions and demonstrations; of a file of text or the body of a chat request the prompts.
    """
    with exit_on_user_error():
        imported = read_files(files)
        written = config_files(imported, source=", ".join(path.name for path in files), data=data)
        written = {name: named_after(folder, text) if name == STARTER else text for name, text in written.items()}
        if taken := [folder / name for name in written if (folder / name).exists()]:
            raise ConfigError(f"{taken[0]}: is there already; choose another folder, or move it away")
        for name, text in written.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, (text.removesuffix("\n") + "\n").encode())
    for note in imported.notes:
        say_warning(note)
    for name in written:
        out.print(str(folder / name))
    for task in imported.tasks:
        if len(task.rows) < 2 and not data:
            wanted = folder / "tasks" / f"{task.name}.jsonl"
            out.print(f'Put the examples into {wanted}: {{"question": …, "answer": …}} on every line.')
