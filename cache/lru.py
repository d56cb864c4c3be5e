"""The entries used last, kept in memory up to a number of bytes."""

from collections import OrderedDict

from metaspo.cache.base import Entry
from metaspo.cache.record import decode_entry

OVERHEAD = 300
"""Bytes of memory a record takes beside its own, about: bytes object, key and dictionary slot."""


class RecentEntries:
    """Forgets the entries that were longest not asked for once all of them are over `max_bytes`.

    They are kept as their records. Decoding one takes 4 us; kept as objects, tens of thousands of them would be passed
    over by Python's cyclic garbage collector again and again, which took half of the time of a run of a million calls.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # Not a plain dictionary: finding its first item takes the longer the more were taken out in front of it.
        self._records: OrderedDict[str, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: str) -> Entry | None:
        """The entry if it is here; it is then the last to be forgotten."""
        record = self._records.get(key)
        if record is None:
            return None
        self._records.move_to_end(key)
        return decode_entry(key, record)

    def add(self, key: str, record: bytes) -> None:
        """Keep the record of an entry, and forget others for it where need be."""
        if key in self._records:
            return
        self._records[key] = record
        self._bytes += OVERHEAD + len(record)
        while self._bytes > self._max_bytes:
            _, oldest = self._records.popitem(last=False)
            self._bytes -= OVERHEAD + len(oldest)
