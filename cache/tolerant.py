"""A store that outlives the trouble of another one: for runs whose user wants them to go on without storing."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from metaspo.backends.closing import to_the_end
from metaspo.cache.base import Entry, Store, StoreError
from metaspo.cache.batch import put_all


class TolerantStore:
    """Another store as long as that one works; from its first failure on, answers are kept in memory.

    `warn` is told once, in a sentence, when the other store fails first. When this store is closed, what it has in
    memory is offered to the other one once more; `warn` is told if that fails too and answers are lost.
    """

    def __init__(self, store: Store, *, warn: Callable[[str], None]) -> None:
        self._store = store
        self._warn = warn
        self._warned = False
        self._storing = True
        self._closed = False
        self._kept: dict[str, Entry] = {}
        self._unreadable: set[str] = set()

    def __repr__(self) -> str:
        return f"<TolerantStore in_memory={len(self._kept)} of {self._store!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries there are; one that cannot be read counts as missing. Raises `StoreError` after `aclose`."""
        self._require_open()
        try:
            found = await self._store.get_many(keys)
        except StoreError as error:
            self._tell(error)
            found = await self._get_singly(keys)
        return {**found, **{key: self._kept[key] for key in keys if key in self._kept}}

    async def put(self, key: str, entry: Entry) -> Entry:
        """Keep an entry, in memory if need be; returns the one kept first. Raises `StoreError` after `aclose`."""
        return (await self.put_many({key: entry}))[key]

    async def put_many(self, entries: Mapping[str, Entry]) -> Mapping[str, Entry]:
        """As `put` for each; no error stands in the place of any."""
        self._require_open()
        stored: dict[str, Entry] = {}
        if self._storing:
            news = {key: entry for key, entry in entries.items() if not self._stays_here(key)}
            for key, result in (await put_all(self._store, news)).items():
                if isinstance(result, StoreError):
                    self._storing = False
                    self._tell(result)
                else:
                    stored[key] = result
        return {
            key: stored[key] if key in stored else self._kept.setdefault(key, entry) for key, entry in entries.items()
        }

    async def aclose(self) -> None:
        """Offer what is in memory to the other store once more, and close that; idempotent. Raises nothing."""
        if self._closed:
            return
        self._closed = True
        await to_the_end(self._close())

    async def _close(self) -> None:
        results = await put_all(self._store, dict(self._kept))
        failures = [result for result in results.values() if isinstance(result, StoreError)]
        try:
            await self._store.aclose()
        except StoreError as error:
            failures = failures or [error]
        if failures:
            self._warn(
                f"{len(failures)} of the answers in memory could not be kept and will be asked for again. {failures[0]}"
            )
        self._kept.clear()

    def _stays_here(self, key: str) -> bool:
        return key in self._unreadable or key in self._kept

    async def _get_singly(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries beside those that cannot be read."""
        found: dict[str, Entry] = {}
        for key in keys:
            try:
                found.update(await self._store.get_many([key]))
            except StoreError:
                self._unreadable.add(key)
        return found

    def _tell(self, error: StoreError) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"Going on without storing, with answers kept in memory only. {error}")

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError("This store is closed; open it anew.")
