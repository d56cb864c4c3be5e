"""What a cache is called in a config or on the command line, and opening it: a folder, or the URL of a server."""

from collections.abc import Callable
from pathlib import Path

from metaspo.cache.base import Store, StoreError
from metaspo.cache.disk import DiskStore
from metaspo.cache.disk_maintenance import DiskMaintenance
from metaspo.cache.fallback import FallbackStore
from metaspo.cache.maintenance import Maintained
from metaspo.cache.memory import MemoryStore


def open_store(place: str, *, folder: Path = Path(), on_failure: Callable[[str], None] | None = None) -> Store:
    """The store at a place: a folder's path, relative to `folder`; "" for memory only.

    A store that cannot be used raises `StoreError`, now or later, or is only told to `on_failure` if that is given.
    """
    if not place:
        return MemoryStore()
    try:
        store = DiskStore(folder / Path(place).expanduser())
    except StoreError as error:
        if on_failure is None:
            raise
        on_failure(f"Going on without a cache: what this run is answered is forgotten at its end. {error}")
        return MemoryStore()
    return store if on_failure is None else FallbackStore(store, warn=on_failure)


def open_maintenance(place: str) -> Maintained:
    """Access to all of a store at once; opening makes none where there is none."""
    return DiskMaintenance(Path(place).expanduser())
