"""Which runs a grid is made of, noted beside them when it begins, for those who watch it fill up."""

from pathlib import Path
from typing import Any

import orjson

from metaspo.engine.runs.directory import file_name, write_json
from metaspo.engine.studies.grid import Grid

FOLDER = "grids"  # beside the run directories


def note_grid(grid: Grid) -> None:
    """Write it down; a grid whose runs are kept in memory only leaves nothing. Raises `RunStopped`."""
    cells = [
        {
            "method": cell.method.name,
            "domain": cell.domain,
            "seed": cell.seed,
            "run": cell.prepared.directory.name if cell.prepared.directory and not cell.method.fixed else "",
        }
        for cell in grid.cells
    ]
    base = next((cell.prepared.directory.path.parent for cell in grid.cells if cell.prepared.directory), None)
    if base is not None:
        folder = base / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{file_name(grid.config.name)}.json", {"name": grid.config.name, "cells": cells})


def noted_grids(runs: Path) -> list[dict[str, Any]]:
    """The grids noted in a folder of runs, the latest first; what cannot be read is passed over."""
    found = []
    for path in sorted((runs / FOLDER).glob("*.json"), key=lambda path: -path.stat().st_mtime):
        try:
            data = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
        if isinstance(data, dict) and isinstance(data.get("cells"), list):
            found.append(data)
    return found
