"""Content-addressed store of completions."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.cache.base import BadEntry as BadEntry
    from metaspo.cache.base import Entry as Entry
    from metaspo.cache.base import Store as Store
    from metaspo.cache.base import StoreError as StoreError
    from metaspo.cache.batched import StoreStatistics as StoreStatistics
    from metaspo.cache.claims import Claims as Claims
    from metaspo.cache.claims import LocalClaims as LocalClaims
    from metaspo.cache.claims import at_once as at_once
    from metaspo.cache.disk import DiskStore as DiskStore
    from metaspo.cache.disk_maintenance import DiskMaintenance as DiskMaintenance
    from metaspo.cache.fallback import FallbackStore as FallbackStore
    from metaspo.cache.key import KEY_VERSION as KEY_VERSION
    from metaspo.cache.key import MARK as MARK
    from metaspo.cache.key import KeyPattern as KeyPattern
    from metaspo.cache.key import explain_key as explain_key
    from metaspo.cache.key import request_key as request_key
    from metaspo.cache.keyed import KeyedRequests as KeyedRequests
    from metaspo.cache.keyed import keys_of as keys_of
    from metaspo.cache.keyed import one_of_each_model as one_of_each_model
    from metaspo.cache.location import PASSWORD as PASSWORD
    from metaspo.cache.location import check_location as check_location
    from metaspo.cache.location import folder_of as folder_of
    from metaspo.cache.location import holds_password as holds_password
    from metaspo.cache.location import is_server as is_server
    from metaspo.cache.location import shown_location as shown_location
    from metaspo.cache.maintenance import CacheCheck as CacheCheck
    from metaspo.cache.maintenance import CacheInfo as CacheInfo
    from metaspo.cache.maintenance import EntryGroup as EntryGroup
    from metaspo.cache.maintenance import Maintained as Maintained
    from metaspo.cache.maintenance import PruneFilter as PruneFilter
    from metaspo.cache.maintenance import PruneReport as PruneReport
    from metaspo.cache.maintenance import Row as Row
    from metaspo.cache.maintenance import cache_info as cache_info
    from metaspo.cache.maintenance import prune_cache as prune_cache
    from metaspo.cache.maintenance import verify_cache as verify_cache
    from metaspo.cache.memory import MemoryStore as MemoryStore
    from metaspo.cache.opening import open_maintenance as open_maintenance
    from metaspo.cache.opening import open_store as open_store
    from metaspo.cache.quick_reader import QuickReader as QuickReader
    from metaspo.cache.sharing import Sharing as Sharing
    from metaspo.cache.snapshot import ExportReport as ExportReport
    from metaspo.cache.snapshot import ImportReport as ImportReport
    from metaspo.cache.snapshot import export_cache as export_cache
    from metaspo.cache.snapshot import import_cache as import_cache
else:
    __getattr__, __dir__ = late_exports(__name__)
