"""Fitted heads as arrays and JSON, and back: no pickle, the same bits.

`to_arrays` gives a dict of plain arrays and a JSON-able dict that says what they are; how these are
stored (HDF5, .npz) is the caller's matter. `from_arrays` only builds classes of featx and the few
scikit-learn ones that heads are made of, so that opening a file can do no harm.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from featx.errors import HeadError

VERSION = 1
"""Version of the layout; written as "version"."""

TRUSTED = (
    "featx.heads.",
    "sklearn.pipeline:Pipeline",
    "sklearn.preprocessing:StandardScaler",
    "sklearn.preprocessing:Normalizer",
    "sklearn.decomposition:PCA",
)
"""What `from_arrays` may build: classes by "module:name", or all below a package ("name.")."""


def to_arrays(estimator: BaseEstimator) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Take a fitted estimator apart.

    Parameters
    ----------
    estimator : BaseEstimator
        A head, or a Pipeline of heads and preprocessing.

    Returns
    -------
    arrays : dict of str to ndarray
        Without object arrays; names are paths ("coef_", "steps/1/coef_").
    document : dict
        JSON-able; refers to the arrays by name.

    Raises
    ------
    HeadError
        A class or an attribute that cannot be kept.
    """
    arrays: dict[str, np.ndarray] = {}
    return arrays, {"version": VERSION, "estimator": _encode(estimator, "", arrays)}


def from_arrays(arrays: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """Put an estimator together again; the inverse of `to_arrays`.

    Parameters
    ----------
    arrays : mapping of str to array-like
    document : mapping

    Raises
    ------
    HeadError
        An unknown version, a class that heads are not made of, or an array that is missing.
    """
    if document.get("version") != VERSION:
        raise HeadError(
            f"The head was saved as version {document.get('version')!r}; this featx reads "
            f"{VERSION}: fit it again, or use the featx that saved it."
        )
    return _decode(document["estimator"], arrays)


def _encode(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    below = f"{path}/" if path else ""
    if value is None or isinstance(value, (bool, int, float, str)):
        if isinstance(value, np.generic):  # np.float64 is a float and np.str_ a str
            return _encode(np.asarray(value), path, arrays) | {"scalar": True}
        if isinstance(value, float) and not np.isfinite(value):
            return {"float": repr(value)}
        return value
    if isinstance(value, np.generic):
        return _encode(np.asarray(value), path, arrays) | {"scalar": True}
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            items = [_encode(v, f"{below}{i}", arrays) for i, v in enumerate(value.ravel())]
            return {"objects": items, "shape": list(value.shape)}
        arrays[path] = value
        return {"array": path}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(v, f"{below}{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, Mapping):
        items = [
            [_encode(k, f"{below}{i}/key", arrays), _encode(v, f"{below}{i}", arrays)]
            for i, (k, v) in enumerate(value.items())
        ]
        return {"dict": items}
    if isinstance(value, BaseEstimator):
        name = _class_name(type(value))
        given = value.get_params(deep=False)
        fitted = {k: v for k, v in vars(value).items() if k not in given}
        return {
            "class": name,
            "params": {k: _encode(v, below + k, arrays) for k, v in given.items()},
            "fitted": {k: _encode(v, below + k, arrays) for k, v in fitted.items()},
        }
    raise HeadError(
        f"Cannot save {path or 'the head'}: a {type(value).__name__} is neither an array nor JSON."
    )


def _decode(value: Any, arrays: Mapping[str, Any]) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "array" in value:
        if value["array"] not in arrays:
            raise HeadError(f"The saved head lacks its array {value['array']!r}: save it again.")
        array = np.asarray(arrays[value["array"]])
        return array[()] if value.get("scalar") else array
    if "float" in value:
        return float(value["float"])
    if "objects" in value:
        array = np.empty(len(value["objects"]), dtype=object)
        array[:] = [_decode(v, arrays) for v in value["objects"]]
        return array.reshape(value["shape"])
    if "list" in value:
        return [_decode(v, arrays) for v in value["list"]]
    if "tuple" in value:
        return tuple(_decode(v, arrays) for v in value["tuple"])
    if "dict" in value:
        return {_decode(k, arrays): _decode(v, arrays) for k, v in value["dict"]}
    found = _find_class(value["class"])
    estimator: BaseEstimator = object.__new__(found)
    for names in value["params"], value["fitted"]:
        for name, item in names.items():
            setattr(estimator, name, _decode(item, arrays))
    return estimator


def _class_name(cls: type) -> str:
    """ "module:name", with the public module that the trusted names are listed under."""
    for name in TRUSTED:
        module, colon, attribute = name.partition(":")
        if colon and attribute == cls.__name__ and cls.__module__.startswith(module):
            return name
    name = f"{cls.__module__}:{cls.__qualname__}"
    _check_trusted(name)
    return name


def _check_trusted(name: str) -> None:
    if not any(name == t or (t.endswith(".") and name.startswith(t)) for t in TRUSTED):
        raise HeadError(f"Cannot save or load a {name}: heads are not made of it.")


def _find_class(name: str) -> type:
    _check_trusted(name)
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise HeadError(f"This featx has no {name}: use the featx that saved the head.") from None
    if not (isinstance(found, type) and issubclass(found, BaseEstimator)):
        raise HeadError(f"{name} is not an estimator: the file is not a saved head.")
    return found
