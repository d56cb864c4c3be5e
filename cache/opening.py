"""Opening a cache by its location: a store to ask, or access to all of it at once."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from metaspo.cache.base import Store, StoreError, StoreNotInstalled
from metaspo.cache.fallback import FallbackStore
from metaspo.cache.location import folder_of, scheme_of
from metaspo.cache.memory import MemoryStore

if TYPE_CHECKING:
    from metaspo.cache.maintenance import Maintained


class FolderKind(NamedTuple):
    """What keeps a cache in a folder, and what looks after it: a module and its class, imported when asked for."""

    store: str
    maintenance: str


FOLDERS = {
    "": FolderKind("disk.store:DiskStore", "disk.maintenance:DiskMaintenance"),
    "files": FolderKind("files:FileStore", "files:FileMaintenance"),
}
"""By the scheme of their locations, of which `location` has a list."""


def open_store(
    location: str, *, folder: Path = Path(), password: str = "", on_failure: Callable[[str], None] | None = None
) -> Store:
    """The store at a place: a folder's path, relative to `folder`, a URL, or "" for memory only.

    A store that cannot be used raises `StoreError`, now or later, or is only told to `on_failure` if that is given.
    Raises `StoreNotInstalled` in any case.
    """
    if not location:
        return MemoryStore()
    try:
        path = folder_of(location, folder=folder)
        store: Store = (
            _redis("store").RedisStore(location, password=password)
            if path is None
            else resolve_name(f"metaspo.cache.{FOLDERS[scheme_of(location)].store}")(path)
        )
    except StoreError as error:
        if on_failure is None or isinstance(error, StoreNotInstalled):
            raise
        on_failure(f"Going on without a cache: what this run is answered is forgotten at its end. {error}")
        return MemoryStore()
    return store if on_failure is None else FallbackStore(store, warn=on_failure)


def open_maintenance(location: str, *, password: str = "") -> "Maintained":
    """Access to all of a store at once; makes none where there is none. Raises `StoreError`."""
    path = folder_of(location, folder=Path())
    maintenance: Maintained = (
        _redis("maintenance").RedisMaintenance(location, password=password)
        if path is None
        else resolve_name(f"metaspo.cache.{FOLDERS[scheme_of(location)].maintenance}")(path)
    )
    return maintenance


def _redis(module: str) -> ModuleType:
    try:
        return import_module(f"metaspo.cache.redis.{module}")
    except ModuleNotFoundError as error:
        raise StoreNotInstalled("A cache on a server needs the extra `redis`: pip install 'metaspo[redis]'.") from error
