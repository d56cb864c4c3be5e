"""A store that forgets when the process ends: for tests, and for runs with the cache turned off."""

from collections.abc import Mapping, Sequence

from metaspo.cache.base import Entry, Store, StoreError


class MemoryStore(Store):
    """Keeps entries in a dictionary. A run on it is never resumed, but still asks no question twice."""

    local = True

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<MemoryStore entries={len(self._entries)}>"

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries there are. Does not suspend. Raises `StoreError` after `aclose`."""
        self._require_open()
        entries = self._entries
        return {key: entries[key] for key in keys if key in entries}

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        """Keep each entry unless there is one; returns those kept. Raises `StoreError` after `aclose`."""
        self._require_open()
        return {key: self._entries.setdefault(key, entry) for key, entry in entries.items()}

    async def aclose(self) -> None:
        """Forget everything; idempotent."""
        self._closed = True
        self._entries.clear()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError("This memory store is closed; make a new one.")
