"""Every installed engine gives Keras's numbers: families × taps × precisions."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from featx.backbones import build_graph, parse_backbone, resolve_weights
from featx.backend import is_installed, keras_backend
from featx.datasets.decode import read_image
from featx.engines import ENGINES, PRECISIONS, Runner
from featx.errors import EngineError, UnknownNameError
from featx.records import BackboneSpec, TapSpec

# Those of the backend that Keras has in this process, and those that need none; the others are run
# in one of their own.
INSTALLED = [
    name
    for name in ENGINES
    if ENGINES.get(name).missing() is None and ENGINES.get(name).backend in ("", keras_backend())
]
REFERENCES = "FEATX_TEST_REFERENCES"
"""Names the folder of what Keras gave on another backend, where the suite runs on jax."""

# float16 is for accelerators: no engine has it on a CPU, where its cases are skipped.
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 5e-3}

# Rounding grows from layer to layer in linear bottlenecks with random weights; TensorFlow's own
# compiled and eager graphs differ as much, or half as much (EfficientNetV2, where the eager graph
# is 3e-5 from the same in float64).
SENSITIVE = {"mobilenet_v2": 2e-5, "efficientnet_v2_b0": 1e-4}

# Plain and residual convolutions. With random weights, linear bottlenecks and swish gates amplify
# rounding without bound, so that their half precision says nothing of the engine.
HALF = ("mobilenet", "resnet50")

# Input sizes small enough to be quick and large enough for more than one row at the last layer.
FAMILIES = {
    "mobilenet": 96,
    "resnet50": 96,
    "vgg16": 64,
    "inception_v3": 112,
    "mobilenet_v2": 96,
    "mobilenet_v3_small": 96,
    "efficientnet_b0": 96,
    "xception": 96,
    "densenet121": 96,
    "nasnet_mobile": 224,
    "convnext_tiny": 96,
    "efficientnet_v2_b0": 96,
    "resnet50_v2": 96,
    "inception_resnet_v2": 112,
}
SQUARE = ("nasnet_mobile",)
QUICK = ("mobilenet", "mobilenet_v3_small")
NAMED = {"mobilenet": "conv_pw_5_relu", "vgg16": "block4_pool", "inception_v3": "mixed5"}


def spec_of(name: str) -> BackboneSpec:
    size = FAMILIES[name]
    wide = size if name in SQUARE else size + 32
    return parse_backbone(name, weights="random", image_size=(size, wide))


def taps_of(name: str) -> list[TapSpec]:
    texts = ["avg", "max", "flatten"]
    if name in NAMED:
        texts += [f"{NAMED[name]}:avg", f"{NAMED[name]}:flatten"]
    return [TapSpec.parse(text) for text in texts]


def pictures(spec: BackboneSpec, count: int) -> np.ndarray:
    """Smooth gradients with noise: flat enough to be like photos, no two alike."""
    rng = np.random.default_rng(11)
    height, width = spec.image.height, spec.image.width
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = rng.normal(0, 1, (count, 3, 3))
    smooth = waves[..., 0, None, None] * rows + waves[..., 1, None, None] * columns
    smooth = 128 + 90 * np.sin(4 * smooth + waves[..., 2, None, None])
    noisy = smooth + rng.normal(0, 12, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


@functools.cache
def keras_features(name: str) -> dict[str, np.ndarray]:
    if REFERENCES in os.environ:
        with np.load(Path(os.environ[REFERENCES]) / f"{name}.npz") as held:
            return dict(held)
    spec = spec_of(name)
    graph = build_graph(spec, resolve_weights(spec), taps_of(name))
    out = graph(pictures(spec, 5), training=False)
    return {tap: np.asarray(value) for tap, value in out.items()}


def load(engine: str, name: str, precision: str) -> Runner:
    if precision not in ENGINES.get(engine).precisions():
        pytest.skip(f"{engine} has no {precision} on this machine")
    spec = spec_of(name)
    return ENGINES.get(engine).load(spec, resolve_weights(spec), taps_of(name), precision)


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Distance in units of the tap's scale: its root mean square."""
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_some_engine_is_installed() -> None:
    assert set(INSTALLED) & {"openvino", "tensorflow", "jax"}


def cases() -> list[object]:
    """Families × precisions; those that take seconds are slow."""
    found = []
    for name in FAMILIES:
        for precision in TOLERANCES:
            if precision == "float32" or name in HALF:
                marks = [] if name in QUICK else [pytest.mark.slow]
                found.append(pytest.param(name, precision, marks=marks))
    return found


@pytest.mark.parametrize("engine", INSTALLED)
@pytest.mark.parametrize(("name", "precision"), cases())
def test_features_equal_keras(name: str, precision: str, engine: str) -> None:
    runner = load(engine, name, precision)
    spec = spec_of(name)
    batch = pictures(spec, 5)
    before = batch.copy()
    found = runner.run(batch)
    np.testing.assert_array_equal(batch, before)
    wanted = keras_features(name)
    tolerance = TOLERANCES[precision]
    if precision == "float32":
        tolerance = SENSITIVE.get(name, tolerance)
    assert list(found) == [tap.name for tap in taps_of(name)] == list(runner.taps)
    for tap, values in found.items():
        assert values.shape == (5, np.prod(runner.taps[tap]))
        error = relative_error(values, wanted[tap])
        assert error <= tolerance, f"{tap}: {error:.1e}"


# With trained weights. Depthwise filters make bfloat16 coarse; were the early layers not kept in
# float32, these would be 0.22, 0.04 and 0.17.
TRAINED = {
    "mobilenet_v2": ("mobilenet_v2_1.0_224_float_notop.weights.h5", 0.06),
    "mobilenet": ("mobilenet_1.0_224_qat8_notop.weights.h5", 0.03),
    "mobilenet(alpha=0.25)": ("mobilenet_0.25_224_notop.weights.h5", 0.1),
}


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif("openvino" not in INSTALLED, reason="openvino is not installed")
@pytest.mark.parametrize("name", list(TRAINED))
def test_openvinos_bfloat16_of_depthwise_networks_on_photos(name: str, shared: Path) -> None:
    file, most = TRAINED[name]
    spec = parse_backbone(name, weights=str(shared / "weights" / file))
    weights, taps = resolve_weights(spec), [TapSpec("", "avg")]
    photos = sorted((shared / "datasets" / "trashnet").glob("*/*.jpg"))[::80]
    batch = np.stack([read_image(path, spec.image) for path in photos])
    engine = ENGINES.get("openvino")
    if "bfloat16" not in engine.precisions():
        pytest.skip("no bfloat16 on this machine")
    plain, half = (
        engine.load(spec, weights, taps, p).run(batch)["avg"] for p in ("float32", "bfloat16")
    )
    assert 0 < relative_error(half, plain) < most


@pytest.mark.parametrize("engine", INSTALLED)
@pytest.mark.parametrize("precision", list(TOLERANCES))
def test_a_row_has_the_same_bits_in_every_batch(engine: str, precision: str) -> None:
    runner = load(engine, "mobilenet", precision)
    size = runner.batch_size
    batch = pictures(spec_of("mobilenet"), size + 5)
    whole = runner.run(batch)
    order = np.random.default_rng(0).permutation(len(batch))
    shuffled = runner.run(batch[order])
    alone = runner.run(batch[size - 2 : size - 1])
    again = runner.run(batch)
    streamed = list(runner.stream(batch[i : i + 23] for i in range(0, len(batch), 23)))
    for tap, values in whole.items():
        np.testing.assert_array_equal(shuffled[tap], values[order])
        np.testing.assert_array_equal(alone[tap], values[size - 2 : size - 1])
        np.testing.assert_array_equal(again[tap], values)
        np.testing.assert_array_equal(np.concatenate([s[tap] for s in streamed]), values)


@pytest.mark.parametrize("engine", INSTALLED)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_that_is_not_to_be_had_names_those_that_are(
    precision: str, engine: str
) -> None:
    able = ENGINES.get(engine).precisions()
    assert "float32" in able
    if precision in able:
        return
    spec = spec_of("mobilenet")
    with pytest.raises(
        EngineError, match=rf"'{engine}' .*{precision} .*It can: {', '.join(able)}\.$"
    ):
        ENGINES.get(engine).load(spec, resolve_weights(spec), taps_of("mobilenet"), precision)


@pytest.mark.parametrize("engine", INSTALLED)
def test_results_stay_when_the_runner_goes_on(engine: str) -> None:
    runner = load(engine, "mobilenet", "float32")
    batch = pictures(spec_of("mobilenet"), 40)
    first = runner.run(batch[:4])
    kept = {tap: values.copy() for tap, values in first.items()}
    runner.run(batch)
    for tap, values in first.items():
        np.testing.assert_array_equal(values, kept[tap])


@pytest.mark.parametrize("engine", INSTALLED)
def test_two_loads_agree_to_the_last_bit(engine: str) -> None:
    batch = pictures(spec_of("mobilenet"), 3)
    one, other = (load(engine, "mobilenet", "float32").run(batch) for _ in range(2))
    for tap in one:
        np.testing.assert_array_equal(one[tap], other[tap])


@pytest.mark.parametrize("engine", INSTALLED)
def test_values_that_are_not_finite_name_the_tap(engine: str, tmp_path: Path) -> None:
    import keras

    model = keras.applications.MobileNet(
        weights=None, alpha=0.25, include_top=False, input_shape=(64, 64, 3)
    )
    model.get_layer("conv_pw_13_bn").set_weights(
        [np.full(w.shape, np.nan, np.float32) for w in model.get_layer("conv_pw_13_bn").weights]
    )
    path = tmp_path / "nan.weights.h5"
    model.save_weights(path)
    spec = parse_backbone("mobilenet(alpha=0.25)", weights=str(path), image_size=64)
    # Before the activation: max(0, NaN) is 0 in OpenVINO.
    taps = [TapSpec("conv_pw_1_relu", "avg"), TapSpec("conv_pw_13_bn", "avg")]
    runner = ENGINES.get(engine).load(spec, resolve_weights(spec), taps, "float32")
    with pytest.raises(
        EngineError, match="tap 'conv_pw_13_bn:avg' gave 256 values that are not finite"
    ):
        runner.run(np.zeros((1, 64, 64, 3), np.uint8))


@pytest.mark.parametrize("engine", INSTALLED)
def test_unknown_layer_comes_through(engine: str) -> None:
    spec = parse_backbone("mobilenet(alpha=0.25)", weights="random", image_size=64)
    with pytest.raises(UnknownNameError, match="conv_pw_5_relu"):
        ENGINES.get(engine).load(
            spec, resolve_weights(spec), [TapSpec("conv_pw_5_rel", "avg")], "float32"
        )


@pytest.mark.slow
@pytest.mark.skipif(keras_backend() != "tensorflow", reason="the reference is TensorFlow's")
@pytest.mark.skipif(not is_installed("jax"), reason="jax is not installed")
def test_jax_passes_this_suite_too(tmp_path: Path) -> None:
    """In a process of its own, since Keras takes one backend each; held against TensorFlow's Keras.

    Its quick part; all of it: KERAS_BACKEND=jax python -m pytest tests/contract/test_engines.py
    """
    for name in QUICK:
        np.savez(tmp_path / name, **keras_features(name))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "not slow",
            "-p",
            "no:cacheprovider",
            __file__,
        ],
        env={**os.environ, "KERAS_BACKEND": "jax", REFERENCES: str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"^(\d+) passed", done.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= 10, done.stdout


@pytest.mark.skipif("jax" not in INSTALLED, reason="jax is not this process's backend")
def test_jax_copies_pixels_as_bytes_and_nothing_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    sent = []

    def device_put(array: np.ndarray) -> object:
        sent.append((array.dtype, array.shape))
        return real(array)

    real = jax.device_put
    runner = load("jax", "mobilenet", "float32")
    monkeypatch.setattr(jax, "device_put", device_put)
    batch = pictures(spec_of("mobilenet"), 3)
    with jax.transfer_guard_host_to_device("disallow"):
        runner.run(batch)
    assert sent == [(np.uint8, (runner.batch_size, *batch.shape[1:]))]


@pytest.mark.skipif(keras_backend() == "tensorflow", reason="for the other backends")
def test_tensorflow_was_not_imported() -> None:
    for engine in INSTALLED:
        load(engine, "mobilenet", "float32")
    assert "tensorflow" not in sys.modules
