"""Content-addressed store of completions."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.cache.base import BadEntry, Entry, Store, StoreError, StoreNotInstalled
    from metaspo.cache.batched import StoreStatistics
    from metaspo.cache.claims import Claims, LocalClaims, at_once
    from metaspo.cache.disk.maintenance import DiskMaintenance
    from metaspo.cache.disk.quick_reader import QuickReader
    from metaspo.cache.disk.store import DiskStore
    from metaspo.cache.fallback import FallbackStore
    from metaspo.cache.key import KEY_VERSION, MARK, KeyPattern, explain_key, request_key
    from metaspo.cache.keyed import KeyedRequests, keys_of, last_of_each_model
    from metaspo.cache.location import PASSWORD, check_location, folder_of, holds_password, is_server, shown_location
    from metaspo.cache.maintenance import (
        CacheCheck,
        CacheInfo,
        EntryGroup,
        Maintained,
        PruneFilter,
        PruneReport,
        Row,
        cache_info,
        prune_cache,
        verify_cache,
    )
    from metaspo.cache.memory import MemoryStore
    from metaspo.cache.opening import open_maintenance, open_store
    from metaspo.cache.place import Key
    from metaspo.cache.sharing import Sharing
    from metaspo.cache.snapshot import ExportReport, ImportReport, export_cache, import_cache
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "KEY_VERSION",
    "MARK",
    "PASSWORD",
    "BadEntry",
    "CacheCheck",
    "CacheInfo",
    "Claims",
    "DiskMaintenance",
    "DiskStore",
    "Entry",
    "EntryGroup",
    "ExportReport",
    "FallbackStore",
    "ImportReport",
    "Key",
    "KeyPattern",
    "KeyedRequests",
    "LocalClaims",
    "Maintained",
    "MemoryStore",
    "PruneFilter",
    "PruneReport",
    "QuickReader",
    "Row",
    "Sharing",
    "Store",
    "StoreError",
    "StoreNotInstalled",
    "StoreStatistics",
    "at_once",
    "cache_info",
    "check_location",
    "explain_key",
    "export_cache",
    "folder_of",
    "holds_password",
    "import_cache",
    "is_server",
    "keys_of",
    "last_of_each_model",
    "open_maintenance",
    "open_store",
    "prune_cache",
    "request_key",
    "shown_location",
    "verify_cache",
]
