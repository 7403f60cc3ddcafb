"""What an engine is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from featx.engines.runner import Runner
from featx.records import BackboneSpec, TapSpec, WeightsRecord

PRECISIONS = ("float32", "bfloat16", "float16")
"""Numeric precisions of the forward pass; results are float32 whatever it is."""


class Engine(Protocol):
    """A way to run backbone graphs."""

    name: str
    summary: str
    backend: str  # of Keras, that it builds graphs with; "" needs no Keras

    def missing(self) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""

    def precisions(self) -> tuple[str, ...]:
        """Return those of `PRECISIONS` that this machine can run."""

    def load(
        self, spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], precision: str
    ) -> Runner:
        """Build and compile the graph of `spec` with `taps`.

        Raises
        ------
        EngineError
            The precision is not to be had here, or compilation failed.
        BackboneError, WeightsError, UnknownNameError
            As in `featx.backbones.build_graph`.
        """
