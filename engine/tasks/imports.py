"""Objects that a config names by import path, "package.module:Name"."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metaspo.engine.tasks.errors import TaskError


def import_object(path: str, *, base_dir: Path, key: str) -> object:
    """What an import path names, None where the module has nothing of that name; also looked for in `base_dir`.

    Raises `TaskError`, which begins with the config's key, where there is no such module.
    """
    module_name, _, attribute = path.partition(":")
    try:
        with _also_from(base_dir):
            value: object = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise TaskError(
            f"{key}: cannot import {module_name!r} ({error}); it must be installed or lie in {base_dir}"
        ) from error
    for part in attribute.split("."):
        value = getattr(value, part, None)
    return value


@contextmanager
def _also_from(folder: Path) -> Iterator[None]:
    # Last, so that a file beside the config never stands in for an installed module.
    entry = str(folder)
    importlib.invalidate_caches()
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
