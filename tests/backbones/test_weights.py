from __future__ import annotations

import hashlib
import logging
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from featx.backbones import build_backbone, parse_backbone, resolve_weights
from featx.errors import WeightsError
from featx.quiet import import_keras
from featx.records import BackboneSpec, WeightsRecord


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache, and no network: a download fails as an unknown host does."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("featx.backbones.weights.TEMPORARY", tmp_path / "none")
    (tmp_path / "keras" / "models").mkdir(parents=True)
    keras = import_keras()

    def unreachable(name: str, origin: str, **options: object) -> str:
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -2] Name not known")

    monkeypatch.setattr(keras.utils, "get_file", unreachable)
    return tmp_path / "keras" / "models"


def spec_of(text: str, weights: str, size: int = 64) -> BackboneSpec:
    return parse_backbone(text, weights=weights, image_size=size)


def weights_of(spec: BackboneSpec) -> list[np.ndarray]:
    return build_backbone(spec, resolve_weights(spec)).get_weights()


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


# --- which weights ---


def test_random_weights_are_named_as_such() -> None:
    assert resolve_weights(spec_of("vgg16", "random")) == WeightsRecord("random", "random-0")


def test_imagenet_file_in_keras_cache_is_found_without_keras(keras_home: Path) -> None:
    (keras_home / "mobilenet_2_5_160_tf_no_top.h5").write_bytes(b"160")
    (keras_home / "mobilenet_2_5_224_tf_no_top.h5").write_bytes(b"224")
    spec = spec_of("mobilenet(alpha=0.25)", "imagenet", 160)
    record = resolve_weights(spec)
    assert record.kind == "imagenet"
    assert record.digest == hashlib.sha256(b"160").hexdigest()
    # Keras has no weights for 96 pixels and takes those of 224.
    other = resolve_weights(spec_of("mobilenet(alpha=0.25)", "imagenet", 96))
    assert other.path == str(keras_home / "mobilenet_2_5_224_tf_no_top.h5")


def test_no_network_names_the_ways_out(keras_home: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        resolve_weights(spec_of("resnet50", "imagenet"))
    text = str(caught.value)
    assert "WEIGHTS=PATH" in text
    assert "--weights PATH" in text
    assert "--weights random" in text
    assert "\n" not in text


def test_download_gives_up_soon(monkeypatch: pytest.MonkeyPatch, keras_home: Path) -> None:
    import socket

    seen = []

    def fetch(*args: object, **options: object) -> str:
        seen.append(socket.getdefaulttimeout())
        raise urllib.error.URLError("timed out")

    monkeypatch.setattr(import_keras().utils, "get_file", fetch)
    with pytest.raises(WeightsError, match="timed out"):
        resolve_weights(spec_of("resnet50", "imagenet"))
    assert seen[0] is not None
    assert seen[0] <= 30
    assert socket.getdefaulttimeout() is None


def test_download_prints_nothing_to_stdout(
    monkeypatch: pytest.MonkeyPatch, keras_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(name: str, origin: str, **options: object) -> str:
        print("Downloading data from", origin)
        (keras_home / name).write_bytes(b"new")
        return str(keras_home / name)

    monkeypatch.setattr(import_keras().utils, "get_file", fetch)
    record = resolve_weights(spec_of("resnet50", "imagenet"))
    assert record.digest == hashlib.sha256(b"new").hexdigest()
    assert capsys.readouterr().out == ""


def test_auto_falls_back_to_random_loudly(
    keras_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "featx"):
        assert resolve_weights(spec_of("mobilenet", "auto")).digest == "random-0"
    assert "RANDOM" in caplog.text
    (keras_home / "mobilenet_1_0_224_tf_no_top.h5").write_bytes(b"x")
    assert resolve_weights(spec_of("mobilenet", "auto")).kind == "imagenet"


def test_parameters_without_imagenet_weights(keras_home: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        resolve_weights(spec_of("mobilenet(alpha=0.3)", "imagenet"))
    assert "alpha=0.25" in str(caught.value)


def test_missing_file_names_the_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mobilenet.weights.h5").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"mobilenet\.weights\.h5'"):
        resolve_weights(spec_of("mobilenet", str(tmp_path / "mobilnet.weights.h5")))
    with pytest.raises(WeightsError, match="Did you mean 'imagenet'"):
        resolve_weights(spec_of("mobilenet", "imagnet"))
    with pytest.raises(WeightsError, match="folder"):
        resolve_weights(spec_of("mobilenet", str(tmp_path)))
    (tmp_path / "w.txt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"\.weights\.h5"):
        resolve_weights(spec_of("mobilenet", str(tmp_path / "w.txt")))


# --- random values ---


def test_random_weights_are_the_same_every_time() -> None:
    one, other = (weights_of(spec_of("mobilenet(alpha=0.25)", "random")) for _ in range(2))
    assert_same(one, other)


def test_random_weights_are_he_normal_kernels_and_identity_norms() -> None:
    spec = spec_of("resnet50", "random")
    backbone = build_backbone(spec, resolve_weights(spec))
    kernel = backbone.get_layer("conv5_block3_2_conv").get_weights()[0]
    assert kernel.std() == pytest.approx(np.sqrt(2 / (3 * 3 * 512)), rel=0.01)
    other = backbone.get_layer("conv5_block2_2_conv").get_weights()[0]
    assert abs(np.corrcoef(kernel.ravel(), other.ravel())[0, 1]) < 0.01
    gamma, beta, mean, variance = backbone.get_layer("conv5_block3_2_bn").get_weights()
    assert (gamma == 1).all()
    assert (beta == 0).all()
    assert (mean == 0).all()
    assert (variance == 1).all()
    spec = spec_of("mobilenet", "random")
    depthwise = build_backbone(spec, resolve_weights(spec)).get_layer("conv_dw_13").get_weights()
    assert depthwise[0].std() == pytest.approx(np.sqrt(2 / 9), rel=0.05)


# --- files ---


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small network with a classifier of 12 classes, saved in every way."""
    keras = import_keras()
    folder = tmp_path_factory.mktemp("saved")
    model = keras.applications.MobileNet(weights=None, alpha=0.25, classes=12)
    thousand = keras.applications.MobileNet(weights=None, alpha=0.25)
    rng = np.random.default_rng(3)
    for network in (thousand, model):
        network.set_weights([rng.random(w.shape, np.float32) for w in network.get_weights()])
    backbone = keras.Model(model.inputs, model.get_layer("conv_pw_13_relu").output)
    names = {
        "keras": model,
        "weights.h5": model,
        "notop.weights.h5": backbone,
        "notop.h5": backbone,
        "1000.h5": thousand,
    }
    paths = {}
    for ending, network in names.items():
        paths[ending] = folder / f"mobilenet.{ending}"
        if ending.endswith("weights.h5"):
            network.save_weights(paths[ending])
        else:
            network.save(paths[ending])
    paths["values"] = folder / "values.npz"
    np.savez(paths["values"], *backbone.get_weights())
    return paths


@pytest.mark.parametrize("ending", ["keras", "weights.h5", "notop.weights.h5", "notop.h5"])
def test_every_kind_of_file_gives_the_same_backbone(ending: str, saved: dict[str, Path]) -> None:
    found = weights_of(spec_of("mobilenet(alpha=0.25)", str(saved[ending])))
    with np.load(saved["values"]) as values:
        assert_same(found, [values[name] for name in values.files])


def test_legacy_file_of_an_imagenet_classifier(saved: dict[str, Path]) -> None:
    keras = import_keras()
    whole = keras.models.load_model(saved["1000.h5"], compile=False).get_weights()
    found = weights_of(spec_of("mobilenet(alpha=0.25)", str(saved["1000.h5"])))
    assert_same(found, whole[: len(found)])


@pytest.mark.parametrize("ending", ["keras", "weights.h5", "notop.weights.h5", "notop.h5"])
@pytest.mark.parametrize("text", ["mobilenet", "mobilenet(alpha=0.5)", "mobilenet_v2", "vgg16"])
def test_weights_that_do_not_fit(text: str, ending: str, saved: dict[str, Path]) -> None:
    spec = spec_of(text, str(saved[ending]))
    with pytest.raises(WeightsError) as caught:
        build_backbone(spec, resolve_weights(spec))
    message = str(caught.value)
    assert f"does not fit {text}" in message
    assert str(saved[ending]) in message
    assert "\n" not in message
    if ending.endswith("weights.h5"):
        assert "the file holds" in message
        assert "the backbone needs" in message


@pytest.mark.parametrize("ending", ["keras", "weights.h5", "notop.h5"])
@pytest.mark.parametrize("damage", ["truncated", "noise", "empty"])
def test_damaged_files(ending: str, damage: str, saved: dict[str, Path], tmp_path: Path) -> None:
    whole = saved[ending].read_bytes()
    path = tmp_path / f"bad.{ending}"
    path.write_bytes(
        {"truncated": whole[: len(whole) // 2], "noise": b"\x07" * 999}.get(damage, b"")
    )
    spec = spec_of("mobilenet(alpha=0.25)", str(path))
    with pytest.raises(WeightsError) as caught:
        build_backbone(spec, resolve_weights(spec))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_efficientnet_imagenet_weights_mean_what_keras_means(
    keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras adds a rescaling to EfficientNet when it loads "imagenet", and only then."""
    keras = import_keras()
    name = "efficientnetb0_notop.h5"
    model = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(64, 64, 3)
    )
    rng = np.random.default_rng(0)
    model.set_weights(
        [np.float32(0.05) + rng.random(w.shape, np.float32) / 10 for w in model.weights]
    )
    model.save(keras_home / name)
    monkeypatch.setattr(
        "keras.src.applications.efficientnet.file_utils.get_file",
        lambda file, *args, **options: str(keras_home / file),
    )
    wanted = keras.applications.EfficientNetB0(
        weights="imagenet", include_top=False, input_shape=(64, 64, 3)
    )
    plain = keras.applications.EfficientNetB0(
        weights=str(keras_home / name), include_top=False, input_shape=(64, 64, 3)
    )
    spec = spec_of("efficientnet_b0", "imagenet")
    ours = build_backbone(spec, resolve_weights(spec))
    pixels = rng.integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(
        ours(pixels, training=False), wanted(pixels, training=False), rtol=1e-4
    )
    assert not np.allclose(plain(pixels, training=False), wanted(pixels, training=False), rtol=1e-2)
    # The same bytes anywhere else are the same weights; other bytes are the user's own.
    digest = hashlib.md5((keras_home / name).read_bytes()).hexdigest()
    monkeypatch.setattr("featx.backbones.weights.EFFICIENTNET_MD5", {"efficientnet_b0": (digest,)})
    assert resolve_weights(spec_of("efficientnet_b0", str(keras_home / name))).kind == "imagenet"
    monkeypatch.undo()
    assert resolve_weights(spec_of("efficientnet_b0", str(keras_home / name))).kind == "file"
