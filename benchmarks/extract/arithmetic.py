"""How much arithmetic a network is, and how fast the machine can multiply at all."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import numpy as np


def count_flops(model: Any) -> int:
    """Return the floating-point operations of one image through a Keras model.

    Two for each multiplication and addition of convolutions (plain, grouped, depthwise and
    separable) and dense layers. The rest (normalisation, activations, pooling, sums) is left out,
    as in the figures that papers give.
    """
    return sum(2 * _multiplications(layer) for layer in model.layers)


def _multiplications(layer: Any) -> int:
    kind = type(layer).__name__
    if hasattr(layer, "layers"):
        return count_flops(layer) // 2
    if kind == "Dense":
        return math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
    if "Conv" not in kind:
        return 0
    places = math.prod(layer.output.shape[1:-1])
    if kind in ("Conv2D", "DepthwiseConv2D"):
        # Of each filter, every value is multiplied once a place: a kernel is (height, width,
        # channels in a group, filters), a depthwise one (height, width, channels, multiplier).
        return places * math.prod(layer.kernel.shape)
    if kind == "SeparableConv2D":
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
        return places * sum(math.prod(kernel.shape) for kernel in kernels)
    raise ValueError(f"No rule for the layer {layer.name!r}, a {kind}.")


def measure_peak(size: int = 3072, repeats: int = 3) -> dict[str, float]:
    """Return GFLOP/s of a float32 matrix product by what computes it; medians."""
    left, right = _matrices(size)
    operations = 2 * size**3
    rates = {"numpy": measure_product(size, repeats)}
    try:
        import openvino
        from openvino import opset13 as ops
    except ImportError:
        return rates
    given = ops.parameter([size, size], np.float32)
    product = ops.matmul(given, ops.constant(right), False, False)
    model = openvino.Model([product], [given], "product")
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    rates["openvino"] = _rate(
        lambda: request.infer([left], share_inputs=True, share_outputs=True), operations, repeats
    )
    return rates


def measure_product(size: int, repeats: int) -> float:
    """Return GFLOP/s of NumPy's float32 product of two square matrices; the median."""
    left, right = _matrices(size)
    return _rate(lambda: left @ right, 2 * size**3, repeats)


def _matrices(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    return left, right


def _rate(work: Any, operations: int, repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return operations / statistics.median(seconds) / 1e9
