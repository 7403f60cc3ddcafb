"""Compiled graphs: made afresh, or kept in this process for the next one who wants the same."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from featx.engines import ENGINES, Runner
from featx.records import BackboneSpec, TapSpec, WeightsRecord

MOST_KEPT = 4
"""Compiled graphs that a process keeps, the latest used: each holds its weights in memory."""

Loader = Callable[[str, BackboneSpec, WeightsRecord, Sequence[TapSpec], str], Runner]
"""Engine, backbone, weights, taps and precision to a compiled graph."""

_KEPT: OrderedDict[tuple[Any, ...], Runner] = OrderedDict()
_LOCK = threading.Lock()


def load_runner(
    engine: str,
    spec: BackboneSpec,
    weights: WeightsRecord,
    taps: Sequence[TapSpec],
    precision: str,
) -> Runner:
    """Compile a graph; see `featx.engines.base.Engine.load`."""
    return ENGINES.get(engine).load(spec, weights, taps, precision)


def keep_runner(
    engine: str,
    spec: BackboneSpec,
    weights: WeightsRecord,
    taps: Sequence[TapSpec],
    precision: str,
) -> Runner:
    """Compile a graph once a process: asked for the same again, give the one kept.

    A runner serves one caller at a time.
    """
    key = _key(engine, spec, weights, taps, precision)
    with _LOCK:
        if key not in _KEPT:
            _KEPT[key] = load_runner(engine, spec, weights, taps, precision)
            while len(_KEPT) > MOST_KEPT:
                _KEPT.popitem(last=False)
        _KEPT.move_to_end(key)
        return _KEPT[key]


def find_kept(spec: BackboneSpec, taps: Sequence[TapSpec]) -> Runner | None:
    """Return a graph kept of this backbone with these taps, whatever runs it, if any."""
    with _LOCK:
        for (_, _, text, image, _, kept_taps, _), runner in _KEPT.items():
            if (text, image, kept_taps) == (spec.text, spec.image, tuple(taps)):
                return runner
    return None


def _key(
    engine: str,
    spec: BackboneSpec,
    weights: WeightsRecord,
    taps: Sequence[TapSpec],
    precision: str,
) -> tuple[Any, ...]:
    # By process too: what a fork takes over of an engine's threads cannot run.
    return os.getpid(), engine, spec.text, spec.image, weights, tuple(taps), precision
