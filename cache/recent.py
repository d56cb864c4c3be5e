"""The entries used last, kept in memory up to a number of bytes."""

from metaspo.cache.base import Entry

OVERHEAD = 800
"""Bytes of memory an entry takes beside its text, about: objects, key and dictionary slot."""


class RecentEntries:
    """Forgets the entries that were longest not asked for once all of them are over `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """The entry if it is here; it is then the last to be forgotten."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._entries[key] = entry
        return entry

    def add(self, key: str, entry: Entry) -> None:
        """Keep an entry, and forget others for it where need be."""
        if key in self._entries:
            return
        self._entries[key] = entry
        self._bytes += _size(entry)
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._entries))
            self._bytes -= _size(self._entries.pop(oldest))


def _size(entry: Entry) -> int:
    return OVERHEAD + len(entry.completion.text)
