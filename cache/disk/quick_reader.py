"""Answers that are there already, looked up by whatever thread asks, without a word to the event loop."""

import sqlite3
import threading

from metaspo.cache.base import Entry, Store, StoreError
from metaspo.cache.batched import MEMORY_BYTES
from metaspo.cache.disk.database import value_or_problem
from metaspo.cache.disk.folder import connect
from metaspo.cache.disk.store import DiskStore
from metaspo.cache.errors import explained
from metaspo.cache.lru import RecentEntries
from metaspo.cache.place import row_name
from metaspo.cache.record import BadRecord, decode_entry, encode_entry

_SELECT = "SELECT mode, value FROM Cache WHERE raw = 1 AND key IN (?, ?) ORDER BY key DESC"
"""By place and key, or by the key alone."""


class QuickReader:
    """The entries used last, and those of a store's database where it has one. For any number of threads.

    It only ever says that an entry is there: what it does not find, or cannot read, is for the store to find.
    """

    def __init__(self, store: Store, *, memory_bytes: int = MEMORY_BYTES) -> None:
        """Raises `StoreError`."""
        folder = store.folder if isinstance(store, DiskStore) else None
        self._lock = threading.Lock()
        self._recent = RecentEntries(memory_bytes)
        self._folder = folder
        self._reader: sqlite3.Connection | None = connect(folder, any_thread=True) if folder is not None else None

    def get(self, key: str) -> Entry | None:
        """The entry, if it is here."""
        with self._lock:
            entry = self._recent.get(key)
            if entry is not None or self._reader is None or self._folder is None:
                return entry
            try:
                with explained(self._folder):
                    row = self._reader.execute(_SELECT, (row_name(key), str(key))).fetchone()
                record = value_or_problem(*row) if row is not None else None
                if not isinstance(record, bytes):
                    return None
                entry = decode_entry(key, record)
            except (StoreError, BadRecord):
                return None
            self._recent.add(key, record)
            return entry

    def add(self, key: str, entry: Entry) -> None:
        """Remember an entry that is in the store."""
        record = encode_entry(key, entry)
        with self._lock:
            self._recent.add(key, record)

    def close(self) -> None:
        """Let go; idempotent."""
        with self._lock:
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.close()
