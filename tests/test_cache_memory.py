"""MemoryStore keeps what every store must, but not beyond its life."""

from pathlib import Path

from metaspo.cache import MemoryStore, Store
from metaspo.cache.testing import StoreConformance


class TestMemoryStore(StoreConformance):
    """The common laws."""

    persistent = False

    def open(self, folder: Path) -> Store:
        """A new store; the folder does not matter."""
        return MemoryStore()
