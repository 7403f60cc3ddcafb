"""featx: frozen vision features, cached once; classical heads compared on them in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Imported at once, and light, so that `featx.extract` is the function and not the module.
from featx.extract import extract

if TYPE_CHECKING:
    from featx.compare import compare

# Name to the module that has it; "" is a module itself.
_LATER = {
    "FeatureExtractor": "featx.extractor",
    "FeatureSet": "featx.records",
    "compare": "",  # a package that can be called
    "heads": "",
    "load_features": "featx.store",
    "load_runs": "featx.runs",
}
__all__ = [
    "FeatureExtractor",
    "FeatureSet",
    "__version__",
    "compare",
    "extract",
    "heads",
    "load_features",
    "load_runs",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'featx' has no attribute {name!r}")
    import importlib

    if not _LATER[name]:
        return importlib.import_module(f"featx.{name}")
    return getattr(importlib.import_module(_LATER[name]), name)
