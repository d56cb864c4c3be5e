"""Which runs a grid is made of, noted beside them when it begins, for those who watch it fill up."""

from pathlib import Path

from pydantic import BaseModel, ValidationError

from metaspo.engine.project import file_name
from metaspo.engine.runs.directory import write_json
from metaspo.engine.studies.grid import Grid

FOLDER = "grids"  # beside the run directories


class NotedCell(BaseModel):
    """One run of a grid; `run` is its directory's name, "" for a fixed prompt."""

    method: str
    domain: str
    seed: int
    run: str


class NotedGrid(BaseModel):
    """A grid as it is noted."""

    name: str
    cells: list[NotedCell]


def note_grid(grid: Grid) -> None:
    """Write it down; a grid whose runs are kept in memory only leaves nothing. Raises `RunStopped`."""
    cells = [
        NotedCell(
            method=cell.method.name,
            domain=cell.domain,
            seed=cell.seed,
            run=cell.prepared.directory.name if cell.prepared.directory and not cell.method.fixed else "",
        )
        for cell in grid.cells
    ]
    base = next((cell.prepared.directory.path.parent for cell in grid.cells if cell.prepared.directory), None)
    if base is not None:
        folder = base / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        noted = NotedGrid(name=grid.config.name, cells=cells)
        write_json(folder / f"{file_name(noted.name)}.json", noted.model_dump())


def noted_grids(runs: Path) -> list[NotedGrid]:
    """The grids noted in a folder of runs, the latest first; what cannot be read, or is none, is passed over."""
    noted = []
    for path in (runs / FOLDER).glob("*.json"):
        try:
            noted.append((path.stat().st_mtime, NotedGrid.model_validate_json(path.read_bytes())))
        except (OSError, ValidationError):
            continue
    return [grid for _, grid in sorted(noted, key=lambda at_grid: -at_grid[0])]
