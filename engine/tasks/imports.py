"""Objects that a config names by import path, "package.module:Name"."""

import hashlib
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.errors import TaskError

BESIDE: Final = "_beside_config_"  # begins the names of modules that lie beside configs
_OURS: Final = late_pattern(rf"{BESIDE}(\w+?)_[0-9a-f]{{16}}")


def import_object(path: str, *, base_dir: Path, key: str) -> object:
    """What an import path names, None where the module has nothing of that name; also looked for in `base_dir`.

    Raises `TaskError`, which begins with the config's key, where there is no such module, or it fails, or an installed
    one has nothing of that name and stands before one in the folder.
    """
    module_name, _, attribute = path.partition(":")
    try:
        value: object = _import(module_name, base_dir)
    except (ImportError, SyntaxError) as error:
        mend = f"it must be installed or lie in {base_dir}" if _lacks(error, module_name) else "mend it"
        why = _OURS.sub(r"\1", str(error))
        raise TaskError(f"{key}: cannot import {module_name!r} ({why}); {mend}") from error
    except SystemExit as end:
        raise TaskError(f"{key}: {module_name!r} ends the program when it is imported (SystemExit {end})") from end
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise TaskError(f"{key}: {module_name!r} fails when it is imported ({why}); mend it") from error
    for part in attribute.split("."):
        value = getattr(value, part, None)
    top = module_name.partition(".")[0]
    if value is None and _is_shadowed(top, base_dir):
        raise TaskError(
            f"{key}: the installed module {module_name!r} has no {attribute!r}, and none in {base_dir} stands in for "
            f"it: give the {top!r} there another name"
        )
    return value


def _lacks(error: ImportError | SyntaxError, module_name: str) -> bool:
    """Whether it is the module itself that was not found, or a package that it is in, and not what it imports."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return False
    missing = error.name
    if missing.startswith(BESIDE):  # the package lies there: a part of it does not
        missing = module_name.partition(".")[0] + missing[missing.find(".") :]
    return f"{module_name}.".startswith(f"{missing}.")


def source_digest(path: str, *, base_dir: Path) -> str:
    """The SHA-256 of the source code of an import path's module, which can be imported; "" where there is no file."""
    file = _import(path.partition(":")[0], base_dir).__file__
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _import(name: str, folder: Path) -> ModuleType:
    """The installed module of this name, or else the one in the folder.

    First the installed one, so that a file beside the config never stands in for it. The folder's gets a name that no
    other folder's has: of two configs whose modules are called the same, each gets its own.
    """
    importlib.invalidate_caches()
    top, *below = name.split(".")
    if _installed(top):
        return importlib.import_module(name)
    with _also_from(folder):
        return importlib.import_module(".".join((_import_by_path(top, folder), *below)))


def _installed(top: str) -> ModuleSpec | None:
    return next((spec for finder in sys.meta_path if (spec := finder.find_spec(top, None))), None)


def _is_shadowed(top: str, folder: Path) -> bool:
    """Whether an installed module stands before another of its name in a folder."""
    specs = _installed(top), PathFinder.find_spec(top, [str(folder)])
    return all(specs) and len({os.path.realpath(spec.origin or "") for spec in specs if spec}) == 2


def _import_by_path(top: str, folder: Path) -> str:
    """The name under which the folder's module or package is imported."""
    beside = PathFinder.find_spec(top, [str(folder)])
    if beside is None:
        raise ModuleNotFoundError(f"No module named {top!r}", name=top)
    code = Path(beside.origin).read_bytes() if beside.origin else b""
    name = f"{BESIDE}{top}_{hashlib.sha256(bytes(folder.resolve()) + b'/' + code).hexdigest()[:16]}"
    if name not in sys.modules:
        inside = beside.submodule_search_locations
        spec = spec_from_file_location(name, beside.origin, submodule_search_locations=inside) or ModuleSpec(name, None)
        spec.submodule_search_locations = inside
        module = sys.modules[name] = module_from_spec(spec)
        try:
            if spec.loader:
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return name


@contextmanager
def _also_from(folder: Path) -> Iterator[None]:
    """Let what is imported meanwhile import from the folder, too, behind everything else; nobody else sees that."""
    before, entry = set(sys.modules), str(folder)
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
        for name in sys.modules.keys() - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder) and not name.startswith(BESIDE):
                del sys.modules[name]
