"""A cache on a Redis or Valkey server for those who look after it: all of its keys at once."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import redis

from metaspo.cache.disk.database import batched
from metaspo.cache.key import KEY
from metaspo.cache.maintenance import Row, read_row
from metaspo.cache.redis.address import read_address
from metaspo.cache.redis.server import PATIENCE, check_safe, eviction, explained
from metaspo.cache.redis.store import KEYS_PER_COMMAND, PREFIX

T = TypeVar("T")


class RedisMaintenance:
    """Looks after the cache on a server, also on one that throws answers away."""

    def __init__(self, url: str, *, password: str = "") -> None:
        """Nothing is sent yet. Raises `StoreError` for a bad URL."""
        self._address = read_address(url, password=password)
        self._client = redis.Redis(**self._address.options, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)

    def exists(self) -> bool:
        """Whether the server answers; a cache without entries is one."""
        with explained(self._address):
            return bool(self._client.ping())

    def rows(self) -> Iterator[Row]:
        """All rows in the order of their keys."""
        with explained(self._address):
            for names in batched(sorted(self._names()), KEYS_PER_COMMAND):
                for name, record in zip(names, self._client.mget(names), strict=True):
                    if record is not None or self._client.exists(name):  # else it was removed just now
                        yield _row(name, record)

    def size(self) -> int:
        """Bytes in the server's memory."""
        with explained(self._address):
            return sum(
                size or 0
                for names in batched(list(self._names()), KEYS_PER_COMMAND)
                for size in self._at_once(lambda pipeline, name: pipeline.memory_usage(name), names)
            )

    def damage(self) -> tuple[str, ...]:
        """Whether the server throws answers away."""
        with explained(self._address):
            problem = eviction(self._client.info())
        return () if problem is None else (f"the server {problem}",)

    def remove(self, rows: Sequence[Row]) -> None:
        """Delete rows."""
        with explained(self._address):
            for some in batched(rows, KEYS_PER_COMMAND):
                self._client.unlink(*(str(row.id).encode("latin-1") for row in some))

    def add(self, items: Sequence[tuple[str, bytes]]) -> int:
        """Add records where their keys have none; refused by a server that throws answers away."""
        with explained(self._address):
            check_safe(self._client.info(), where=self._address.where)
            added = self._at_once(lambda pipeline, item: pipeline.set(PREFIX + item[0], item[1], nx=True), items)
        return sum(map(bool, added))

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _names(self) -> set[bytes]:
        return set(self._client.scan_iter(match=f"{PREFIX}*", count=1000))

    def _at_once(self, command: Callable[[Any, T], object], items: Sequence[T]) -> list[Any]:
        """The results of one command for each item, in one exchange."""
        with self._client.pipeline(transaction=False) as pipeline:
            for item in items:
                command(pipeline, item)
            return pipeline.execute()


def _row(name: bytes, record: object) -> Row:
    row_id = name.decode("latin-1")
    key = row_id.removeprefix(PREFIX)
    if not KEY.fullmatch(key):
        return Row(row_id, "", 0, None, "its key is not 64 hexadecimal digits")
    if not isinstance(record, bytes):
        return Row(row_id, key, 0, None, "its value is no string")
    return read_row(row_id, key, record)
