"""A store that outlives the trouble of another one: for runs whose user wants them to go on without storing."""

from collections.abc import Callable, Collection, Mapping, Sequence

from metaspo.backends.loops.closing import to_the_end
from metaspo.cache.base import BadEntry, Entry, Store, StoreError
from metaspo.cache.claims import Claims, LocalClaims
from metaspo.cache.sharing import Sharing


class FallbackStore(Store):
    """Another store as long as that one works; from its first failure on, answers are kept in memory.

    `warn` is told once, in a sentence, when the other store fails first. When this store is closed, what it has in
    memory is offered to the other one once more; `warn` is told if that fails too and answers are lost.
    """

    def __init__(self, store: Store, *, warn: Callable[[str], None]) -> None:
        self.local = store.local
        claims = store.claims  # of these, local ones never fail
        self._claims = claims if claims is None or isinstance(claims, LocalClaims) else _FallbackClaims(claims)
        self._store = store
        self._warn = warn
        self._warned = False
        self._reading = self._storing = True
        self._closed = False
        self._kept: dict[str, Entry] = {}
        self._unreadable: set[str] = set()

    def __repr__(self) -> str:
        return f"<FallbackStore in_memory={len(self._kept)} of {self._store!r}>"

    @property
    def claims(self) -> Claims | None:
        """The other store's, as long as those work."""
        return self._claims

    @property
    def sharing(self) -> Sharing | None:
        """The other store's: a limit or a cap that others share is kept, or nothing is asked."""
        return self._store.sharing

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries there are; one that cannot be read counts as missing. Raises `StoreError` after `aclose`."""
        self._require_open()
        stored: dict[str, Entry] = {}
        if self._reading:
            try:
                stored = await self._store.get_many(keys)
            except StoreError as error:
                self._tell(error)
                if self._store.local or isinstance(error, BadEntry):
                    stored = await self._get_singly(keys)
                else:  # nobody answers: every look-up would wait for that again
                    self._reading = False
        return {**stored, **{key: self._kept[key] for key in keys if key in self._kept}}

    async def put_many(self, entries: Mapping[str, Entry]) -> Mapping[str, Entry]:
        """Keep entries, in memory if need be; returns those kept first. Raises `StoreError` after `aclose`."""
        self._require_open()
        stored: dict[str, Entry] = {}
        if self._storing:
            news = {key: entry for key, entry in entries.items() if not self._stays_here(key)}
            for key, result in (await self._put(news)).items():
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
        results = await self._put(self._kept) if self._kept else {}
        failures = [result for result in results.values() if isinstance(result, StoreError)]
        if failures:
            self._warn(
                f"{len(failures)} of the answers in memory could not be kept and will be asked for again. {failures[0]}"
            )
        try:
            await self._store.aclose()
        except StoreError as error:
            if not failures:
                self._warn(f"The cache could not be closed. {error}")
        self._kept.clear()

    async def _put(self, entries: Mapping[str, Entry]) -> Mapping[str, Entry | StoreError]:
        try:
            return await self._store.put_many(entries)
        except StoreError as error:  # the store as a whole: it is closed
            return dict.fromkeys(entries, error)

    def _stays_here(self, key: str) -> bool:
        return key in self._unreadable or key in self._kept

    async def _get_singly(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries beside those that cannot be read."""
        entries: dict[str, Entry] = {}
        for key in keys:
            try:
                entries.update(await self._store.get_many([key]))
            except StoreError:
                self._unreadable.add(key)
        return entries

    def _tell(self, error: StoreError) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"Going on without storing, with answers kept in memory only. {error}")

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError("This store is closed; open it anew.")


class _FallbackClaims:
    """Another store's claims as long as those work; from their first failure on, everything is ours."""

    def __init__(self, claims: Claims) -> None:
        self.lease = claims.lease
        self._claims: Claims | None = claims

    @property
    def contested(self) -> bool:
        """Whether somebody else may have stored answers."""
        return self._claims is not None and self._claims.contested

    async def claim_many(self, keys: Collection[str]) -> set[str]:
        """Claim keys; returns those that are ours. Raises nothing."""
        try:
            return set(keys) if self._claims is None else await self._claims.claim_many(keys)
        except StoreError:  # which reading and writing tell of
            self._claims = None
            return set(keys)

    async def renew(self, keys: Collection[str]) -> None:
        """Let our claims last for another lease. Raises nothing."""
        try:
            if self._claims is not None:
                await self._claims.renew(keys)
        except StoreError:
            self._claims = None

    def release(self, keys: Collection[str]) -> None:
        """Give claims back, soon."""
        if self._claims is not None:
            self._claims.release(keys)
