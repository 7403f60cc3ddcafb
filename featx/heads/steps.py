"""Steps before a head: what is done to the rows, all scikit-learn transformers.

Like the registry of heads this is data, so that reading spec strings imports nothing heavy.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.heads.parameters import Parameter, check_params
from featx.records import StepSpec
from featx.registry import Registry


@dataclass(frozen=True)
class StepEntry:
    """One step of the registry, as data.

    Attributes
    ----------
    target : str
        "module:Class" of the scikit-learn transformer.
    summary : str
        One line for `featx list heads`.
    parameters : mapping of str to Parameter
        In the order of positional values.
    row_wise : bool
        Whether a row's outcome depends on that row alone, so that nothing is fitted.
    """

    target: str
    summary: str
    parameters: Mapping[str, Parameter]
    row_wise: bool


STEPS: Registry[StepEntry] = Registry("step", hint="See: featx list heads")
"""The steps by name."""

STEPS.register(
    "l2",
    StepEntry("sklearn.preprocessing:Normalizer", "rows to unit length", {}, row_wise=True),
)
STEPS.register(
    "power",
    StepEntry(
        "featx.heads.power:SignedPower",
        "sign(x)·|x|^alpha, value by value",
        {"alpha": Parameter(0.5, "positive")},
        row_wise=True,
    ),
)
STEPS.register(
    "standardize",
    StepEntry(
        "sklearn.preprocessing:StandardScaler",
        "columns to zero mean and unit variance; heads do so themselves, other steps do not",
        {},
        row_wise=False,
    ),
)
STEPS.register(
    "pca",
    StepEntry(
        "featx.heads.components:Components",
        "principal components; n of them (no more than the training rows allow), or so many as "
        "hold that share of the variance",
        {"n": Parameter(0.95, "components")},
        row_wise=False,
    ),
)


def check_step(spec: StepSpec) -> StepSpec:
    """Return `spec` with positional values named.

    Raises
    ------
    UnknownNameError
        No step of that name.
    SpecError
        A parameter that it does not take.
    """
    return StepSpec(
        spec.name, check_params(spec.name, spec.params, STEPS.get(spec.name).parameters)
    )


def make_steps(specs: Sequence[StepSpec]) -> list[Any]:
    """Build the transformers, unfitted."""
    made = []
    for spec in specs:
        entry = STEPS.get(spec.name)
        module, _, attribute = entry.target.partition(":")
        defaults = {name: p.default for name, p in entry.parameters.items()}
        step_class = getattr(importlib.import_module(module), attribute)
        made.append(step_class(**{**defaults, **spec.params}))
    return made


def make_pipeline(specs: Sequence[StepSpec], steps: Sequence[Any], head: Any) -> Any:
    """Put transformers and a head together, as a scikit-learn Pipeline."""
    from sklearn.pipeline import Pipeline

    words = [spec.name for spec in specs]
    names = [w if words.count(w) == 1 else f"{w}_{i}" for i, w in enumerate(words, 1)]
    return Pipeline([*zip(names, steps, strict=True), ("head", head)])
