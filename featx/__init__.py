"""featx: frozen vision features, cached once; classical heads compared on them in seconds."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "extract": "featx.extract",
    "load_features": "featx.store",
}
__all__ = ["__version__", "extract", "load_features"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'featx' has no attribute {name!r}")
