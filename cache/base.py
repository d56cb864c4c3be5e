"""What a store of completions is. `metaspo.cache.testing` holds the laws that every store keeps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from metaspo.backends import Completion
from metaspo.cache.claims import Claims
from metaspo.cache.sharing import Sharing


class Entry(NamedTuple):
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


class Store(ABC):
    """Keeps completions by key. The first entry stored under a key is canonical: later ones never replace it.

    Attributes:
        local: whether `get_many` does not suspend.
    """

    local: bool = False

    @property
    def claims(self) -> Claims | None:
        """By which processes agree who asks for what is not there; None if nobody else uses the store."""
        return None

    @property
    def sharing(self) -> Sharing | None:
        """By which processes share rates and caps; None where they cannot."""
        return None

    @abstractmethod
    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries there are. Raises `StoreError`."""

    @abstractmethod
    async def put_many(self, entries: Mapping[str, Entry]) -> Mapping[str, "Entry | StoreError"]:
        """Keep entries; returns for each the canonical one once that is safe, or why it could not be kept.

        Raises `StoreError` once the store is closed.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Write what is pending and let go; idempotent. Raises `StoreError` if entries could not be written."""

    async def get(self, key: str) -> Entry | None:
        """The entry, if there is one. Raises `StoreError`."""
        return (await self.get_many([key])).get(key)

    async def put(self, key: str, entry: Entry) -> Entry:
        """Keep an entry; returns the canonical one. Raises `StoreError`."""
        result = (await self.put_many({key: entry}))[key]
        if isinstance(result, StoreError):
            raise StoreError(str(result)) from result  # others may wait for the same entry, and raise their own
        return result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class StoreError(Exception):
    """The store cannot read or keep entries; `str()` says why and what to do."""


class StoreNotInstalled(StoreError):
    """What such a store needs is not installed: no trouble that may pass, whoever would go on in trouble."""


class BadEntry(StoreError):
    """What is stored under one key cannot be used; everything else can."""
