"""Which folder a command belongs to, the project's, wherever within it somebody stands; what is called after it."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

LONGEST = 100  # characters of a folder's name in that of a run
KEPT = ".metaspo"  # what a project keeps its cache and runs in


def project_folder(beside: Path | None = None) -> Path:
    """The nearest folder that keeps runs or a cache: at or above the current one, else at or above `beside`.

    The current one where there is none. What somebody else owns, and the home folder unless one stands there, is no
    project of one's own.
    """
    here = Path.cwd()
    if (here / KEPT).is_dir():
        return Path()
    project = _nearest(here.parents) or (_nearest(_at_or_above(beside.resolve())) if beside is not None else None)
    return project or Path()


def file_name(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def named_after(folder: Path, config: str) -> str:
    """A config's text for a folder, whose name its runs get: all configs that are made have one file name."""
    name = json.dumps(file_name(folder.resolve().name)[:LONGEST])
    return re.sub(r"^(?=[a-z])", f"name = {name}\n", config, count=1, flags=re.MULTILINE)


def _at_or_above(folder: Path) -> Iterable[Path]:
    return (folder, *folder.parents)


def _nearest(folders: Iterable[Path]) -> Path | None:
    for folder in folders:
        if folder == Path.home():
            return None
        if (folder / KEPT).is_dir() and (folder / KEPT).stat().st_uid == os.getuid():
            return folder
    return None
