"""Heads: classifiers on cached features, all scikit-learn estimators named by spec strings.

This module is the registry alone. A row is data (where the class is, what it takes, what is
searched), so that listing heads and reading spec strings import neither scikit-learn nor Keras.

>>> parse_head("linear_svc(C=0.1)")
HeadSpec(name='linear_svc', params={'C': 0.1})
>>> parse_head("rigde")
Traceback (most recent call last):
...
featx.errors.UnknownNameError: Unknown head 'rigde'. Did you mean 'ridge'? See: featx list heads
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.errors import SpecError
from featx.records import HeadSpec
from featx.registry import Registry
from featx.specstring import bind_params, parse_spec

__all__ = ["HEADS", "HeadEntry", "Parameter", "make_head", "parse_head"]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_fraction(value: object) -> bool:
    return _is_number(value) and 0 <= value < 1  # type: ignore[operator]


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "positive": ("a number above 0", lambda v: _is_number(v) and 0 < v < float("inf")),
    "count": ("a whole number of 1 or more", lambda v: _is_whole(v) and v >= 1),
    "flag": ("True or False", lambda v: isinstance(v, bool)),
    "shrinkage": (
        "'auto' or a number from 0 to 1",
        lambda v: v == "auto" or (_is_number(v) and 0 <= v <= 1),
    ),
    "widths": (
        "a whole number or a tuple of them, such as (512, 256)",
        lambda v: (
            (_is_whole(v) and v >= 1)
            or (isinstance(v, (tuple, list)) and all(_is_whole(w) and w >= 1 for w in v))
        ),
    ),
    "dropout": (
        "a number from 0 to below 1, or a tuple with one a hidden layer",
        lambda v: (
            _is_fraction(v) or (isinstance(v, (tuple, list)) and all(_is_fraction(d) for d in v))
        ),
    ),
    "class_weight": ("None or 'balanced'", lambda v: v is None or v == "balanced"),
}
"""What a parameter may be: name to (words, test)."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a head.

    Attributes
    ----------
    default : object
        Value where none is given; must be valid itself.
    kind : str or tuple of str
        A name in `KINDS`, or the texts to choose from.
    """

    default: Any
    kind: str | tuple[str, ...]

    @property
    def words(self) -> str:
        """What may be written, in words."""
        if isinstance(self.kind, tuple):
            return " or ".join(repr(choice) for choice in self.kind)
        return KINDS[self.kind][0]

    def accepts(self, value: Any) -> bool:
        """Return whether `value` may be given."""
        if isinstance(self.kind, tuple):
            return isinstance(value, str) and value in self.kind
        return bool(KINDS[self.kind][1](value))


@dataclass(frozen=True)
class HeadEntry:
    """One head of the registry, as data.

    Attributes
    ----------
    target : str
        "module:Class" of the scikit-learn estimator.
    summary : str
        One line for `featx list heads`.
    parameters : mapping of str to Parameter
        In the order of positional values.
    searched : str
        The parameter chosen by `featx.selection` where the user gives none; "" for none.
    values : sequence
        Values tried for it, the most regularised first; empty where the class has `path_values`.
    seeded : bool
        Whether fits differ by seed, so that repeating one fit over draws says something.
    stops_early : bool
        Whether `fit` takes `validation_data=(X, y)`.
    calibrated : bool
        Whether reported probabilities are the head's own `predict_proba`; else they are its scores
        under a softmax whose temperature is fitted on held-out training rows.
    streams : bool
        Whether `fit` takes a lazy matrix.
    """

    target: str
    summary: str
    parameters: Mapping[str, Parameter]
    searched: str = ""
    values: Sequence[Any] = ()
    seeded: bool = False
    stops_early: bool = False
    calibrated: bool = False
    streams: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """Default value a parameter."""
        return {name: p.default for name, p in self.parameters.items()}


HEADS: Registry[HeadEntry] = Registry("head", hint="See: featx list heads")
"""The heads by name."""

_C = Parameter(1.0, "positive")
_STANDARDIZE = Parameter(True, "flag")
_CLASS_WEIGHT = Parameter(None, "class_weight")

HEADS.register(
    "linear_svc",
    HeadEntry(
        "featx.heads.linear_svc:LinearSVC",
        "linear support vector machine, L2, one-vs-rest",
        {
            "C": _C,
            "loss": Parameter("squared_hinge", ("squared_hinge", "hinge")),
            "class_weight": _CLASS_WEIGHT,
            "standardize": _STANDARDIZE,
        },
        searched="C",
        streams=True,
    ),
)
HEADS.register(
    "logreg",
    HeadEntry(
        "featx.heads.logreg:LogisticRegression",
        "logistic regression, L2, multinomial or one-vs-rest",
        {
            "C": _C,
            "multi_class": Parameter("multinomial", ("multinomial", "ovr")),
            "class_weight": _CLASS_WEIGHT,
            "standardize": _STANDARDIZE,
        },
        searched="C",
        streams=True,
        calibrated=True,
    ),
)
HEADS.register(
    "ridge",
    HeadEntry(
        "featx.heads.ridge:Ridge",
        "ridge regression on the class indicators",
        {
            "alpha": Parameter(1.0, "positive"),
            "class_weight": _CLASS_WEIGHT,
            "standardize": _STANDARDIZE,
        },
        searched="alpha",
        streams=True,
    ),
)
HEADS.register(
    "knn",
    HeadEntry(
        "featx.heads.knn:KNN",
        "k nearest neighbours, cosine or euclidean",
        {
            "k": Parameter(5, "count"),
            "metric": Parameter("cosine", ("cosine", "euclidean")),
            "weights": Parameter("uniform", ("uniform", "distance")),
            "standardize": _STANDARDIZE,
        },
        searched="k",
        values=(50, 20, 10, 5, 3, 1),
        calibrated=True,
    ),
)
HEADS.register(
    "centroid",
    HeadEntry(
        "featx.heads.centroid:Centroid",
        "nearest class mean, cosine or euclidean",
        {
            "metric": Parameter("cosine", ("cosine", "euclidean")),
            "standardize": _STANDARDIZE,
        },
    ),
)
HEADS.register(
    "lda",
    HeadEntry(
        "featx.heads.lda:LDA",
        "linear discriminant analysis with a shrunken covariance",
        {"shrinkage": Parameter("auto", "shrinkage")},
    ),
)
HEADS.register(
    "mlp",
    HeadEntry(
        "featx.heads.mlp:MLP",
        "hidden layers with ReLU, trained by Adam with early stopping (Keras)",
        {
            "hidden": Parameter((512,), "widths"),
            "dropout": Parameter(0.0, "dropout"),
            "batch_norm": Parameter(False, "flag"),
            "epochs": Parameter(100, "count"),
            "patience": Parameter(10, "count"),
            "learning_rate": Parameter(1e-3, "positive"),
            "batch_size": Parameter(64, "count"),
            "class_weight": _CLASS_WEIGHT,
        },
        seeded=True,
        stops_early=True,
        calibrated=True,
    ),
)


def parse_head(text: str) -> HeadSpec:
    """Read a head's spec string, holding only what was written, positional values by name.

    Parameters
    ----------
    text : str
        "linear_svc", "linear_svc(C=0.1)", "mlp((512, 256), dropout=0.2)".

    Returns
    -------
    HeadSpec

    Raises
    ------
    UnknownNameError
        No head of that name, with the near misses.
    SpecError
        The text cannot be read, or a parameter or its value is wrong.
    """
    name, params = parse_spec(text)
    return _check(HeadSpec(name, params))


def make_head(spec: HeadSpec | str, *, seed: int = 0) -> Any:
    """Build the scikit-learn estimator that `spec` describes, unfitted, scaling included.

    Parameters
    ----------
    spec : HeadSpec or str
        "linear_svc(C=0.1)"; what it does not give takes the registry's default.
    seed : int
        Becomes `random_state` where the estimator has one.

    Returns
    -------
    estimator
        With `fit`, `predict`, and `predict_proba` or `decision_function`.

    Raises
    ------
    SpecError
        As `parse_head`.
    """
    spec = parse_head(spec) if isinstance(spec, str) else _check(spec)
    entry = HEADS.get(spec.name)
    module, _, attribute = entry.target.partition(":")
    head_class = getattr(importlib.import_module(module), attribute)
    arguments = {**entry.defaults, **spec.params}
    if "random_state" in head_class().get_params():
        arguments["random_state"] = seed
    return head_class(**arguments)


def _check(spec: HeadSpec) -> HeadSpec:
    """Return `spec` with positional values named, or raise for what the head does not take."""
    parameters = HEADS.get(spec.name).parameters
    names = list(parameters)
    bound = bind_params(spec.name, spec.params, {n: p.default for n, p in parameters.items()})
    given = {names[int(key)] if key.isdigit() else key for key in spec.params}
    for name in given:
        if not parameters[name].accepts(bound[name]):
            raise SpecError(
                f"{spec.name}: {name}={bound[name]!r} cannot be used; "
                f"write {parameters[name].words}."
            )
    params = {n: _frozen(bound[n]) for n in names if n in given}
    if spec.name == "mlp":
        _check_layers({**HEADS.get("mlp").defaults, **params})
    return HeadSpec(spec.name, params)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_layers(params: Mapping[str, Any]) -> None:
    hidden, dropout = params["hidden"], params["dropout"]
    layers = len(hidden) if isinstance(hidden, tuple) else 1
    if isinstance(dropout, tuple) and len(dropout) != layers:
        raise SpecError(
            f"mlp: dropout={dropout!r} has {len(dropout)} values for {layers} hidden layer(s); "
            "write one number for all, or one a layer."
        )
