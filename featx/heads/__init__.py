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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.errors import SpecError
from featx.heads.parameters import Parameter, check_params
from featx.heads.steps import STEPS, check_step, make_pipeline, make_steps
from featx.records import HeadSpec, StepSpec
from featx.registry import Registry
from featx.specstring import parse_spec, split_outside

__all__ = ["HEADS", "STEPS", "HeadEntry", "Parameter", "make_head", "parse_head"]


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
            "joint": Parameter(False, "flag"),
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
        "linear_svc", "linear_svc(C=0.1)", "mlp((512, 256), dropout=0.2)"; steps come before the
        head: "power+l2+linear_svc", "pca(n=128)+knn(k=5)".

    Returns
    -------
    HeadSpec

    Raises
    ------
    UnknownNameError
        No head or step of that name, with the near misses.
    SpecError
        The text cannot be read, or a parameter or its value is wrong.
    """
    *steps, head = split_outside(text, "+")
    if not head or not all(steps):
        raise SpecError(f"Cannot read {text!r}: write steps and a head, such as l2+linear_svc.")
    name, params = parse_spec(head)
    return _check(HeadSpec(name, params, tuple(StepSpec(*parse_spec(step)) for step in steps)))


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
        With `fit`, `predict`, and `predict_proba` or `decision_function`; a Pipeline where the
        spec has steps.

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
    head = head_class(**arguments)
    return make_pipeline(spec.steps, make_steps(spec.steps), head) if spec.steps else head


def _check(spec: HeadSpec) -> HeadSpec:
    """Return `spec` with positional values named, or raise for what the head does not take."""
    if spec.name in STEPS:
        raise SpecError(f"{spec.name} is a step, not a head: write a head after it: l2+linear_svc.")
    params = check_params(spec.name, spec.params, HEADS.get(spec.name).parameters)
    if spec.name == "mlp":
        _check_layers({**HEADS.get("mlp").defaults, **params})
    for step in spec.steps:
        if step.name in HEADS:
            raise SpecError(
                f"{step.name} is a head, and a head is written last: l2+linear_svc. Separate two "
                "heads by a comma."
            )
    return HeadSpec(spec.name, params, tuple(check_step(step) for step in spec.steps))


def _check_layers(params: Mapping[str, Any]) -> None:
    hidden, dropout = params["hidden"], params["dropout"]
    layers = len(hidden) if isinstance(hidden, tuple) else 1
    if isinstance(dropout, tuple) and len(dropout) != layers:
        raise SpecError(
            f"mlp: dropout={dropout!r} has {len(dropout)} values for {layers} hidden layer(s); "
            "write one number for all, or one a layer."
        )
