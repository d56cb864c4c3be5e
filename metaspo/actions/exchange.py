"""Prompts and tasks written for other tools, and read from them."""

from collections.abc import Sequence
from pathlib import Path

from metaspo.backends.paths import write_whole
from metaspo.console import exit_on_user_error, out, say_warning
from metaspo.engine import ConfigError, find_run
from metaspo.engine.config.toml import STARTER
from metaspo.engine.exchange.export import TOOLS, export_run
from metaspo.engine.exchange.imported import config_files, why_unread
from metaspo.engine.exchange.read import read_files
from metaspo.engine.project import named_after
from metaspo.running import run_async
from metaspo.tables import printing


def export_prompts(
    run: str, *, to: str, folder: Path | None, task: str, without_system: bool, runs: Path, json: bool
) -> None:
    """Write a finished run's prompts, and say where they are."""
    with exit_on_user_error():
        chosen = find_run(run, base=runs, latest=True, finished=True)
        paths = run_async(export_run(chosen, to=to, folder=folder, task=task, without_system=without_system))
    if json:
        printing.print_json(out, {"to": to, "files": [str(path) for path in paths]})
        return
    for path in paths:
        out.print(str(path))
    out.print(f"Use: {TOOLS[to].use}")


def import_files(files: Sequence[Path], *, folder: Path, data: Path | None) -> None:
    """Write a config with what the files hold, and say what it is still without."""
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
    used = data and any(len(task.rows) < 2 for task in imported.tasks)
    if data and used and (why := why_unread(data)):
        say_warning(f"{why}; in {folder / STARTER}")
    for name in written:
        out.print(str(folder / name))
    for task in imported.tasks:
        if len(task.rows) < 2 and not data:
            wanted = folder / "tasks" / f"{task.name}.jsonl"
            out.print(f'Put the examples into {wanted}: {{"question": …, "answer": …}} on every line.')
