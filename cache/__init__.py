"""Content-addressed store of completions."""

from metaspo.cache.base import Entry, Store, StoreError
from metaspo.cache.batch import BatchStore, put_all
from metaspo.cache.care import (
    CacheCheck,
    CacheInfo,
    EntryGroup,
    PruneFilter,
    PruneReport,
    cache_info,
    prune_cache,
    verify_cache,
)
from metaspo.cache.disk import DiskStore, StoreStatistics
from metaspo.cache.key import KEY_VERSION, explain_key, request_key
from metaspo.cache.memory import MemoryStore
from metaspo.cache.rows import Row
from metaspo.cache.snapshot import ExportReport, ImportReport, export_cache, import_cache
from metaspo.cache.tolerant import TolerantStore

__all__ = [
    "KEY_VERSION",
    "BatchStore",
    "CacheCheck",
    "CacheInfo",
    "DiskStore",
    "Entry",
    "EntryGroup",
    "ExportReport",
    "ImportReport",
    "MemoryStore",
    "PruneFilter",
    "PruneReport",
    "Row",
    "Store",
    "StoreError",
    "StoreStatistics",
    "TolerantStore",
    "cache_info",
    "explain_key",
    "export_cache",
    "import_cache",
    "prune_cache",
    "put_all",
    "request_key",
    "verify_cache",
]
