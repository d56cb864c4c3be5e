"""Content-addressed store of completions."""

from metaspo.cache.base import Entry, Store, StoreError

__all__ = ["Entry", "Store", "StoreError"]
