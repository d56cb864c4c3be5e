"""The page of a run, written."""

from pathlib import Path
from typing import Any

from metaspo.backends.paths import why_not_made, write_whole
from metaspo.cache import StoreError
from metaspo.console import exit_on_user_error, out
from metaspo.engine import ConfigError, RunDirectory, find_run
from metaspo.engine.runs.answers import RunAnswers, run_answers
from metaspo.engine.tasks import TaskError
from metaspo.running import run_async


def write_page(run: str, *, page: Path | None, figures: Path | None, runs: Path) -> None:
    """Write it, and the pictures where a folder is named for them."""
    with exit_on_user_error():
        directory = find_run(run, base=runs, latest=True, finished=True)
        library = pages()
        html = library.run_page(directory, _answers(directory))
        target = page or directory.path / "report.html"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, html.encode())
        except (PermissionError, FileExistsError, IsADirectoryError) as error:
            raise ConfigError(
                f"{target}: cannot be written: {why_not_made(error)}; name another page with --out"
            ) from error
        out.print(f"Wrote {target}")
        if figures:
            for path in library.write_figures(directory, figures):
                out.print(f"Wrote {path}")


def _answers(run: RunDirectory) -> RunAnswers | str:
    """A run's answers, or why there are none."""
    try:
        return run_async(run_answers(run))
    except (ConfigError, TaskError, StoreError) as reason:
        return f"The answers cannot be shown: {reason}"


def pages() -> Any:  # noqa: ANN401 - the module `metaspo.engine.report`
    """The reports, whose libraries are an extra. Raises `ConfigError` where they are not installed."""
    try:
        from metaspo.engine import report as library
    except ModuleNotFoundError as error:
        raise ConfigError(f"pictures and pages need '{error.name}': pip install 'metaspo[report]'") from None
    return library
