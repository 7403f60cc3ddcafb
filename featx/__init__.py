"""featx: frozen vision features, cached once; classical heads compared on them in seconds."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Imported at once, and light, so that `featx.extract` is the function and not the module.
from featx.extract import extract

if TYPE_CHECKING:
    from featx.baseline import baseline
    from featx.classify import classify
    from featx.compare import compare
    from featx.extractor import FeatureExtractor
    from featx.finetune import finetune
    from featx.records import FeatureSet
    from featx.runs import load_runs
    from featx.store import load_features
    from featx.zeroshot import zeroshot

# Name to the module that has it; "" is a module itself, or one that is called like a function.
_LATER = {
    "FeatureExtractor": "featx.extractor",
    "FeatureSet": "featx.records",
    "baseline": "",
    "classify": "",
    "compare": "",
    "finetune": "",
    "heads": "",
    "load_features": "featx.store",
    "load_runs": "featx.runs",
    "zeroshot": "",
}
_CALLED = {"baseline", "classify", "compare", "finetune", "zeroshot"}
__all__ = [
    "FeatureExtractor",
    "FeatureSet",
    "__version__",
    "baseline",
    "classify",
    "compare",
    "extract",
    "finetune",
    "heads",
    "load_features",
    "load_runs",
    "zeroshot",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'featx' has no attribute {name!r}")
    import importlib

    if not _LATER[name]:
        return importlib.import_module(f"featx.{name}")
    return getattr(importlib.import_module(_LATER[name]), name)


class _CalledModule(ModuleType):
    """A module that stands for its function of the same name: featx.classify(...)."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.__wrapped__(*args, **options)


class _Package(ModuleType):
    """The package itself, which is handed each of its modules once that is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _CALLED and isinstance(value, ModuleType) and hasattr(value, name):
            value.__class__ = _CalledModule
            value.__dict__["__wrapped__"] = getattr(value, name)  # signatures are read off it
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
