"""What a store of completions is. Any store must pass `tests/store_conformance.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from metaspo.backends import Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answered request as it is kept.

    Attributes:
        created: seconds since 1970, when the answer was stored; informative only, nothing is decided by it.
        run: the run that paid for it, "" outside a run.
    """

    completion: Completion
    model: str
    revision: str = ""
    run: str = ""
    created: float = 0.0


class Store(Protocol):
    """Keeps completions by key. The first entry stored under a key is canonical: later ones never replace it."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries there are. Does not suspend for a local store. Raises `StoreError`."""
        ...

    async def put(self, key: str, entry: Entry) -> Entry:
        """Keep an entry; returns the canonical one once it is on disk (writes are batched). Raises `StoreError`."""
        ...

    async def aclose(self) -> None:
        """Write what is pending and let go; idempotent."""
        ...


class StoreError(Exception):
    """The store cannot read or keep entries; `str()` says why and what to do."""
