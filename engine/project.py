"""Which folder a command belongs to: the project's, wherever within it somebody stands."""

import os
from collections.abc import Iterable
from pathlib import Path

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


def _at_or_above(folder: Path) -> Iterable[Path]:
    return (folder, *folder.parents)


def _nearest(folders: Iterable[Path]) -> Path | None:
    for folder in folders:
        if folder == Path.home():
            return None
        if (folder / KEPT).is_dir() and (folder / KEPT).stat().st_uid == os.getuid():
            return folder
    return None
