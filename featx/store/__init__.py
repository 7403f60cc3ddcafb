"""The cache of features: what is kept, how it is written safely and read fast.

`dataset_dir` and `CacheEntry` to write, `load_features` to read. The format is described in
docs/cache-format.md.
"""

from __future__ import annotations

from featx.store.about import ViewInfo, about_view
from featx.store.check import verify
from featx.store.claim import Claim
from featx.store.compact import SMALL_BYTES
from featx.store.derive import derive_rows
from featx.store.entry import CacheEntry
from featx.store.export import export_entry
from featx.store.features import load_features, load_rows
from featx.store.folders import dataset_dir, entry_name, prepare_cache_dir, remove
from featx.store.gc import gc
from featx.store.lazy import LazyFeatures
from featx.store.listing import EntryInfo, list_entries
from featx.store.mirror import entry_here, is_published, local_cache, url_of
from featx.store.plan import EntryState, RowPlan, plan_rows
from featx.store.repair import repair
from featx.store.tap import TapShape
from featx.store.writer import PART_BYTES, PART_SECONDS, PartWriter

__all__ = [
    "PART_BYTES",
    "PART_SECONDS",
    "SMALL_BYTES",
    "CacheEntry",
    "Claim",
    "EntryInfo",
    "EntryState",
    "LazyFeatures",
    "PartWriter",
    "RowPlan",
    "TapShape",
    "ViewInfo",
    "about_view",
    "dataset_dir",
    "derive_rows",
    "entry_here",
    "entry_name",
    "export_entry",
    "gc",
    "is_published",
    "list_entries",
    "load_features",
    "load_rows",
    "local_cache",
    "plan_rows",
    "prepare_cache_dir",
    "remove",
    "repair",
    "url_of",
    "verify",
]
