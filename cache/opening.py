"""What a cache is called in a config or on the command line, and opening it: a folder's path, or a URL.

`FOLDERS` has the kinds of stores that a folder holds; everything else with a scheme is a server.
"""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from metaspo.backends.paths import path_of
from metaspo.cache.base import Store, StoreError
from metaspo.cache.disk import DiskStore
from metaspo.cache.disk_maintenance import DiskMaintenance
from metaspo.cache.fallback import FallbackStore
from metaspo.cache.files import FileMaintenance, FileStore
from metaspo.cache.maintenance import Maintained
from metaspo.cache.memory import MemoryStore
from metaspo.cache.redis_address import read_address

PASSWORD = "REDIS_PASSWORD"  # noqa: S105 - the name of an environment variable
"""Where the password of a server is read from that a URL without one names."""


class FolderKind(NamedTuple):
    """What keeps a cache in a folder, and what looks after it."""

    store: Callable[[Path], Store]
    maintenance: Callable[[Path], Maintained]


FOLDERS = {"": FolderKind(DiskStore, DiskMaintenance), "files": FolderKind(FileStore, FileMaintenance)}
"""By the scheme of their locations; a path has none."""


def open_store(
    location: str, *, folder: Path = Path(), password: str = "", on_failure: Callable[[str], None] | None = None
) -> Store:
    """The store at a place: a folder's path, relative to `folder`, a URL, or "" for memory only.

    A store that cannot be used raises `StoreError`, now or later, or is only told to `on_failure` if that is given.
    """
    if not location:
        return MemoryStore()
    try:
        path = folder_of(location, folder=folder)
        store: Store = (
            _redis("redis_store").RedisStore(location, password=password)
            if path is None
            else FOLDERS[_scheme(location)].store(path)
        )
    except StoreError as error:
        if on_failure is None:
            raise
        on_failure(f"Going on without a cache: what this run is answered is forgotten at its end. {error}")
        return MemoryStore()
    return store if on_failure is None else FallbackStore(store, warn=on_failure)


def open_maintenance(location: str, *, password: str = "") -> Maintained:
    """Access to all of a store at once; makes none where there is none. Raises `StoreError`."""
    path = folder_of(location, folder=Path())
    maintenance: Maintained = (
        _redis("redis_maintenance").RedisMaintenance(location, password=password)
        if path is None
        else FOLDERS[_scheme(location)].maintenance(path)
    )
    return maintenance


def folder_of(location: str, *, folder: Path) -> Path | None:
    """The folder that a location names, relative to `folder`; None for a server's URL."""
    scheme = _scheme(location)
    return folder / path_of(location.removeprefix(f"{scheme}://")) if scheme in FOLDERS else None


def is_server(location: str) -> bool:
    """Whether a location is a server's URL, by which processes on many machines can share."""
    return bool(location) and folder_of(location, folder=Path()) is None


def check_location(location: str) -> None:
    """Raises `ValueError` for a URL that is none of a server of ours; whether there is one shows when it is asked."""
    if folder_of(location, folder=Path()) is None:
        try:
            read_address(location)
        except StoreError as error:
            raise ValueError(str(error)) from None


def is_url(location: str) -> bool:
    """Whether a place is a URL, and no folder's path."""
    return bool(_scheme(location))


def holds_password(location: str) -> bool:
    """Whether a place is a URL with a password in it."""
    return re.search(r"://[^@/]*:.*@", location) is not None


def shown_location(location: str) -> str:
    """A place as it may be shown: without user and password."""
    return re.sub(r"://.*@", "://", location) if is_url(location) else location


def _scheme(location: str) -> str:
    return location.split("://")[0] if "://" in location else ""


def _redis(module: str) -> ModuleType:
    try:
        return import_module(f"metaspo.cache.{module}")
    except ModuleNotFoundError as error:
        raise StoreError("A cache on a server needs the extra `redis`: pip install 'metaspo[redis]'.") from error
