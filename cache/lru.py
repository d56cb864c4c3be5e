"""What was used last, kept in memory up to a number of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from metaspo.cache.base import Entry
from metaspo.cache.record import BadRecord, decode_entry

OVERHEAD = 300
"""Bytes of memory a record takes beside its own, about: bytes object, key and dictionary slot."""

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Forgets what was longest not asked for once all of it is over `max_bytes`, each value `overhead` and its size."""

    def __init__(self, max_bytes: int, size_of: Callable[[V], int], *, overhead: int = 0) -> None:
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._overhead = overhead
        self._bytes = 0
        # Not a plain dictionary: finding its first item takes the longer the more were taken out in front of it.
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value if it is here; it is then the last to be forgotten."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def get_many(self, keys: Iterable[K]) -> dict[K, V]:
        """The values that are here; they are then the last to be forgotten."""
        values = self._values
        here = {key: values[key] for key in keys if key in values}
        for key in here:
            values.move_to_end(key)
        return here

    def add(self, key: K, value: V) -> None:
        """Keep a value, and forget others for it where need be."""
        self.add_many(((key, value),))

    def add_many(self, items: Iterable[tuple[K, V]]) -> None:
        """Keep values, and forget others for them where need be."""
        new = {key: value for key, value in items if key not in self._values}
        self._values.update(new)
        self._bytes += sum(map(self._size_of, new.values()))
        while self._bytes + self._overhead * len(self._values) > self._max_bytes:
            self._bytes -= self._size_of(self._values.popitem(last=False)[1])

    def forget(self, key: K) -> None:
        """A value that is here is not what it should be."""
        self._bytes -= self._size_of(self._values.pop(key))


class RecentEntries:
    """The entries used last.

    They are kept as their records. Decoding one takes 4 us; kept as objects, tens of thousands of them would be passed
    over by Python's cyclic garbage collector again and again, which took half of the time of a run of a million calls.
    """

    def __init__(self, max_bytes: int) -> None:
        self._records: Recent[str, bytes] = Recent(max_bytes, len, overhead=OVERHEAD)

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: str) -> Entry | None:
        """The entry if it is here; it is then the last to be forgotten."""
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The entries that are here; they are then the last to be forgotten."""
        entries: dict[str, Entry] = {}
        for key, record in self._records.get_many(keys).items():
            try:
                entries[key] = decode_entry(key, record)
            except BadRecord:  # as nothing was that somebody asked for before: it is for the store to say so
                self._records.forget(key)
        return entries

    def add(self, key: str, record: bytes) -> None:
        """Keep the record of an entry, and forget others for it where need be."""
        self._records.add(key, record)

    def add_many(self, records: Iterable[tuple[str, bytes]]) -> None:
        """Keep records that may not have been looked at yet, and forget others for them where need be."""
        self._records.add_many(records)
