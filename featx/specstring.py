"""Spec strings: `"linear_svc(C=0.1)"` to a name and parameters, and back.

A spec string is a name, or a call of a name with literals only. It is parsed from the syntax tree
and never evaluated, so a spec string out of a file or a web form can do no harm.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from featx.errors import SpecError
from featx.registry import near_misses

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Split a spec string into its name and its parameters.

    Positional values are returned under the keys ``"0"``, ``"1"``, … so that the thing named can
    give them meaning (`bind_params`).

    Parameters
    ----------
    text : str
        ``"name"`` or ``"name(value, key=value)"`` with Python literals.

    Returns
    -------
    name : str
    params : dict

    Raises
    ------
    SpecError
        The text is not of that form.

    Examples
    --------
    >>> parse_spec("mlp(hidden=(512, 256), dropout=0.2)")
    ('mlp', {'hidden': (512, 256), 'dropout': 0.2})
    >>> parse_spec("adam(1e-5)")
    ('adam', {'0': 1e-05})
    """
    stripped = text.strip()
    if _NAME.fullmatch(stripped):
        return stripped, {}
    try:
        node = ast.parse(stripped, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        node = None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise SpecError(
            f"Cannot read {text!r}. Write a name, or a name with parameters: "
            "linear_svc or linear_svc(C=0.1)."
        )
    params: dict[str, Any] = {}
    for position, value in enumerate(node.args):
        params[str(position)] = _literal(value, text)
    for keyword in node.keywords:
        if keyword.arg is None:
            raise SpecError(f"Cannot read {text!r}: write out each parameter instead of '**'.")
        if keyword.arg in params:
            raise SpecError(f"Cannot read {text!r}: {keyword.arg!r} is given twice.")
        params[keyword.arg] = _literal(keyword.value, text)
    return node.func.id, params


def format_spec(name: str, params: Mapping[str, Any]) -> str:
    """Return the spec string of a name and its parameters; the inverse of `parse_spec`.

    >>> format_spec("linear_svc", {"C": 0.1})
    'linear_svc(C=0.1)'
    """
    if not params:
        return name
    words = [repr(v) if k.isdigit() else f"{k}={v!r}" for k, v in params.items()]
    return f"{name}({', '.join(words)})"


def bind_params(
    name: str, params: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Complete `params` with `defaults`; positional values take the defaults' order.

    Raises
    ------
    SpecError
        A parameter that `defaults` does not have (with the near miss), or given twice.

    Examples
    --------
    >>> bind_params("mobilenet", {"0": 0.25}, {"alpha": 1.0, "depth_multiplier": 1})
    {'alpha': 0.25, 'depth_multiplier': 1}
    """
    bound = dict(defaults)
    order = list(defaults)
    seen: set[str] = set()
    for key, value in params.items():
        if key.isdigit():
            if int(key) >= len(order):
                raise SpecError(f"{name} takes {len(order)} parameter(s): {_listed(order)}.")
            key = order[int(key)]
        if key not in bound:
            near = near_misses(key, order)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            takes = f" It takes: {_listed(order)}." if order else " It takes none."
            raise SpecError(f"Unknown parameter {key!r} of {name}.{hint}{takes}")
        if key in seen:
            raise SpecError(f"Parameter {key!r} of {name} is given twice.")
        seen.add(key)
        bound[key] = value
    return bound


def split_specs(text: str) -> list[str]:
    """Split a comma list of spec strings, leaving commas inside brackets alone.

    >>> split_specs("linear_svc,mlp(hidden=(512, 256)), knn")
    ['linear_svc', 'mlp(hidden=(512, 256))', 'knn']
    """
    return [part for part in split_outside(text, ",") if part]


def split_outside(text: str, separator: str) -> list[str]:
    """Split at every `separator` (one character) that stands outside brackets; strip the parts.

    >>> split_outside("pca(n=1e+2) + knn", "+")
    ['pca(n=1e+2)', 'knn']
    """
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == separator and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in [*parts, text[start:]]]


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        shown = ast.unparse(node)
        raise SpecError(
            f"Cannot read the value {shown!r} in {text!r}: write numbers, 'quoted text', "
            "True, False, None, or a tuple of these."
        ) from None
