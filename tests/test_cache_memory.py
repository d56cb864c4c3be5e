"""MemoryStore keeps what every store must, but not beyond its life."""

from pathlib import Path

from metaspo.cache import MemoryStore, Store
from metaspo.cache.testing import StoreConformance, make_entry, make_key


class TestMemoryStore(StoreConformance):
    """The common laws."""

    persistent = False

    def open(self, folder: Path) -> Store:
        """A new store; the folder does not matter."""
        return MemoryStore()

    async def test_a_closed_one_holds_nothing(self) -> None:
        """Its answers are given back at once, however long the object is still around."""
        store = MemoryStore()
        await store.put(make_key(1), make_entry())
        assert repr(store) == "<MemoryStore entries=1>"
        await store.aclose()
        assert repr(store) == "<MemoryStore entries=0>"
