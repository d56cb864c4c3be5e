"""Keeping many answers at once, in whatever store."""

import asyncio
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from metaspo.cache.base import Entry, Store, StoreError


@runtime_checkable
class BatchStore(Protocol):
    """What a store also is if it keeps many answers at once for less than one after the other."""

    async def put_many(self, entries: Mapping[str, Entry]) -> Mapping[str, Entry | StoreError]:
        """As `put` for each; what could not be kept has the reason in its place."""
        ...


async def put_all(store: Store, entries: Mapping[str, Entry]) -> Mapping[str, Entry | StoreError]:
    """The canonical entry for each, or why it is not kept."""
    if isinstance(store, BatchStore):
        try:
            return await store.put_many(entries)
        except StoreError as error:  # the store as a whole: it is closed, say
            return dict.fromkeys(entries, error)
    if len(entries) == 1:
        return {key: await put_one(store, key, entry) for key, entry in entries.items()}
    kept = await asyncio.gather(*(put_one(store, key, entry) for key, entry in entries.items()))
    return dict(zip(entries, kept, strict=True))


async def put_one(store: Store, key: str, entry: Entry) -> Entry | StoreError:
    """The canonical entry, or why it is not kept."""
    try:
        return await store.put(key, entry)
    except StoreError as error:
        return error
