"""`featx.baseline`: networks from scratch on the rows and draws of classify."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx
from featx.baseline import baseline
from featx.baseline.nets import NETS, parse_net
from featx.classify import classify
from featx.compare import compare, format_table
from featx.errors import (
    FeatxError,
    ImageSizeError,
    RunError,
    SpecError,
    SplitError,
    UnknownNameError,
)
from featx.quiet import import_keras
from featx.records import RunRecord
from featx.runs import load_run, load_runs, load_test_set, network_path
from featx.training import Rows, TrainingPart, load_images, predict

QUICK: dict[str, Any] = {"image_size": 16, "epochs": 2, "batch_size": 8, "optimizer": "adam(0.01)"}


def part(size: int, classes: int, seed: int = 0) -> TrainingPart:
    none = Rows(np.zeros((0, size, size, 3), np.uint8), np.zeros(0, int))
    return TrainingPart(none, tuple(map(str, range(classes))), (size, size), seed)


# --- networks ------------------------------------------------------------------------------------


def test_simple_cnn_is_the_published_benchmark() -> None:
    """208 + 2,080 + 8,256 + 6,500 parameters."""
    network = parse_net("simple_cnn").build(part(224, 100))
    assert network.count_params() == 17_044
    shapes = [layer.output.shape[1:] for layer in network.layers if "conv" in layer.name]
    assert shapes == [(224, 224, 16), (112, 112, 32), (56, 56, 64)]


@pytest.mark.parametrize("name", [n for n in NETS if n != "scratch"])
@pytest.mark.parametrize("size", [8, 64])
def test_every_network_takes_pixels_and_gives_probabilities(name: str, size: int) -> None:
    network = parse_net(name, size).build(part(size, 3))
    assert network.inputs[0].dtype == "uint8"
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    found = predict(network, images)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert network.layers[-1].dtype == "float32"


@pytest.mark.parametrize("name", [n for n in NETS if n != "scratch"])
def test_the_seed_decides_the_weights(name: str) -> None:
    first, again, other = (parse_net(name, 16).build(part(16, 3, seed)) for seed in (1, 1, 2))
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [w for w in first.weights if w.name == "kernel"]
    theirs = [w for w in other.weights if w.name == "kernel"]
    for a, b in zip(kernels, theirs, strict=True):
        assert not np.allclose(a.numpy(), b.numpy())


def test_a_backbone_from_scratch_learns_all_its_weights_behind_its_own_preprocessing() -> None:
    spec = parse_net("scratch(mobilenet, alpha=0.25)", 32)
    network = spec.build(part(32, 3))
    trained = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    assert trained == 213_072 + 3 * 257  # without and with a softmax; moving averages are not
    black = np.zeros((1, 32, 32, 3), np.uint8)
    (trunk,) = [layer for layer in network.layers if hasattr(layer, "layers")]
    fed = trunk._inbound_nodes[-1].input_tensors[0]
    seen = import_keras().Model(network.inputs, fed)
    assert np.asarray(seen(black)).max() == -1, "MobileNet wants -1 to 1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("simple_cnn", "simple_cnn"),
        ("simple_cnn(filters=(16, 32, 64))", "simple_cnn"),
        ("small_cnn(dropout=0.5)", "small_cnn(dropout=0.5)"),
        ("scratch(mobilenet_v2)", "scratch(mobilenet_v2)"),
        ("scratch('mobilenet_v2')", "scratch(mobilenet_v2)"),
        (" scratch( mobilenet,alpha=0.25 )", "scratch(mobilenet, alpha=0.25)"),
        ("scratch(mobilenet, alpha=1.0)", "scratch(mobilenet)"),
    ],
)
def test_specs_are_shown_in_one_way(text: str, shown: str) -> None:
    assert parse_net(text).head.text == shown


def test_each_network_has_its_own_size() -> None:
    assert parse_net("simple_cnn").image_size == (224, 224)
    assert parse_net("scratch(inception_v3)").image_size == (299, 299)
    assert parse_net("scratch(inception_v3)", (96, 128)).image_size == (96, 128)


@pytest.mark.parametrize(
    ("text", "error", "expected"),
    [
        ("simple_cn", UnknownNameError, "Did you mean 'simple_cnn'"),
        ("resnet", UnknownNameError, "featx list nets"),
        ("simple_cnn(filter=(8,))", SpecError, "Did you mean 'filters'"),
        ("simple_cnn(filters=8)", SpecError, "one to six whole numbers"),
        ("simple_cnn(filters=())", SpecError, "one to six whole numbers"),
        ("small_cnn(dropout=1)", SpecError, "below 1"),
        ("scratch", SpecError, r"scratch\(mobilenet_v2\)"),
        ("scratch()", SpecError, "needs a backbone"),
        ("scratch(mobilnet)", UnknownNameError, "Did you mean 'mobilenet'"),
        ("scratch(mobilenet, alhpa=1)", SpecError, "Did you mean 'alpha'"),
        ("scratch(open('x'))", FeatxError, "Cannot read|Unknown backbone"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(
    text: str, error: type[FeatxError], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        parse_net(text)


def test_images_too_small_for_a_network() -> None:
    with pytest.raises(ImageSizeError, match="below the minimum of simple_cnn"):
        parse_net("simple_cnn", 4)
    with pytest.raises(ImageSizeError, match="below the minimum of inception_v3"):
        parse_net("scratch(inception_v3)", 64)


# --- runs ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos with a copy and two images that cannot be decoded; an empty working folder."""
    shutil.copy(photos / "class0/000.jpg", photos / "class0/copy.jpg")
    (photos / "class1/000.jpg").write_bytes(b"no image at all")
    data = (photos / "class2/001.png").read_bytes()
    (photos / "class2/001.png").write_bytes(data[:200])
    monkeypatch.chdir(tmp_path)
    return photos


def heads_of(folder: Path, projection: str, **options: Any) -> list[RunRecord]:
    featx.extract(folder, weights="random", engine=projection)
    classify(folder, heads=["mlp"], runs_dir="heads", **options)
    return load_runs("heads")


def test_rows_are_tested_on_the_images_of_classify(folder: Path, projection: str) -> None:
    options: dict[str, Any] = {"shots": (3, None), "draws": 2, "seed": 5}
    heads = heads_of(folder, projection, **options)
    comparison = baseline(folder, **QUICK, **options)
    nets = load_runs("runs")
    assert len(nets) == len(heads) == 4
    for name in ("test_digest", "n_test", "n_train", "n_val", "seed", "target"):
        ours = sorted((r.shots or 99, r.draw, r.split[name]) for r in nets)
        assert ours == sorted((r.shots or 99, r.draw, r.split[name]) for r in heads), name
    for net in nets:
        np.testing.assert_array_equal(net.arrays["test_rows"], heads[0].arrays["test_rows"])
        np.testing.assert_array_equal(net.arrays["y_true"], heads[0].arrays["y_true"])
    together = compare([*heads, *nets])  # refuses runs on different test rows
    assert {g["kind"] for g in together.groups} == {"head", "baseline"}
    assert "simple_cnn, 3 images a class: 2 epochs ×" in format_table(together)
    assert [r["kind"] for r in comparison.rows] == ["baseline"] * 4


def test_a_record_says_all_that_was_done(folder: Path) -> None:
    baseline(folder, nets=["small_cnn"], augment="flip+zoom(0.1)", precision="mixed", **QUICK)
    (record,) = load_runs("runs")
    assert (record.kind, record.backbone, record.tap) == ("baseline", "", "")
    assert record.head.text == "small_cnn"
    assert record.key is None
    assert record.params == {
        "image_size": (16, 16), "optimizer": "adam(0.01)", "augment": "flip+zoom(0.1)",
        "epochs": 2, "patience": 10, "batch_size": 8, "precision": "mixed",
    }  # fmt: skip
    cost = record.cost
    assert cost["epochs"] == len(cost["history"]["val_accuracy"]) == 2
    assert cost["epoch_seconds"] == pytest.approx(np.mean(cost["history"]["seconds"]))
    assert record.seconds["fit"] == pytest.approx(sum(cost["history"]["seconds"]))
    assert 1 <= cost["best_epoch"] <= 2
    assert cost["parameters_trained"] == 387_936 + 960 + 3 * 257
    assert cost["parameters_frozen"] == 960  # moving averages
    assert cost["layers"] == 9
    assert cost["peak_memory_bytes"] > 0
    assert record.selection["on"] == "held-out"
    assert record.environment["keras_backend"] == import_keras().backend.backend()
    metrics = record.metrics
    assert metrics["log_loss"] > 0
    assert len(metrics["per_class"]["recall"]) == 3
    scores = record.arrays["scores"]
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(scores.argmax(axis=1), record.arrays["y_pred"])
    assert not Path("runs/checkpoints").exists()


def test_the_network_beside_the_record_gives_its_predictions(folder: Path) -> None:
    baseline(folder, augment="heavy", **QUICK)
    (path,) = Path("runs").glob("*.json")
    record = load_run(path)
    network = import_keras().saving.load_model(network_path(path))
    images = load_images(folder, image_size=(16, 16))
    rows = record.arrays["test_rows"]
    np.testing.assert_allclose(
        predict(network, images.X.rows(rows)), record.arrays["scores"], atol=1e-5
    )
    tested = load_test_set(record, "runs")
    assert tested is not None
    assert tested.paths == tuple(images.paths[i] for i in rows)


def test_images_too_many_for_memory_give_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import featx.evaluate.sealed
    import featx.training.images

    held = baseline(folder, runs_dir=None, **QUICK)
    monkeypatch.setattr(featx.training.images, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(featx.evaluate.sealed, "LAZY_BYTES", 0)
    lazy = baseline(folder, runs_dir=None, **QUICK)
    assert lazy.rows[0]["accuracy"] == held.rows[0]["accuracy"]
    assert not Path("runs").exists()


def test_networks_of_several_sizes_and_settings_are_told_apart(folder: Path) -> None:
    for size in (16, 24):
        baseline(folder, nets=["simple_cnn", "simple_cnn(filters=(8,))"], **QUICK | {
            "image_size": size, "epochs": 1,
        })  # fmt: skip
    comparison = compare(load_runs("runs"))
    assert len(comparison.groups) == 4
    assert {g["backbone"] for g in comparison.groups} == {"16x16", "24x24"}
    assert len({g["name"] for g in comparison.groups}) == 4


def test_a_finished_network_is_not_trained_again_after_an_interruption(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second of three networks: the first is kept, the second goes on."""
    import featx.training.train as module

    built: list[int] = []
    real = module.fit_network

    def counted(*arguments: Any, **options: Any) -> Any:
        built.append(options["seed"])
        if len(built) == 2:
            options["progress"] = lambda done, total, word: _stop_in("epoch 2", word)
        return real(*arguments, **options)

    monkeypatch.setattr(module, "fit_network", counted)
    options: dict[str, Any] = {**QUICK, "epochs": 3, "draws": 3}
    with pytest.raises(KeyboardInterrupt):
        baseline(folder, **options)
    assert len(load_runs("runs")) == 1
    baseline(folder, **options)
    assert built == [0, 1, 1, 2]
    records = {r.draw: r for r in load_runs("runs")}
    assert len(load_runs("runs")) == 3
    assert [records[d].cost["resumed_after"] for d in range(3)] == [0, 1, 0]
    baseline(folder, **options)  # a command that came to its end starts anew
    assert built == [0, 1, 1, 2, 0, 1, 2]


def _stop_in(epoch: str, word: str) -> None:
    if word.startswith(epoch):
        raise KeyboardInterrupt


def test_no_resume_starts_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import featx.training.train as module

    real = module.fit_network

    def interrupted(*arguments: Any, **options: Any) -> Any:
        options["progress"] = lambda done, total, word: _stop_in("epoch 2", word)
        return real(*arguments, **options)

    monkeypatch.setattr(module, "fit_network", interrupted)
    with pytest.raises(KeyboardInterrupt):
        baseline(folder, **QUICK)
    monkeypatch.setattr(module, "fit_network", real)
    baseline(folder, resume=False, **QUICK)
    (record,) = load_runs("runs")
    assert record.cost["resumed_after"] == 0


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"nets": []}, SpecError, "No network to train"),
        ({"epochs": 0}, SpecError, "epochs is 0"),
        ({"patience": 0}, SpecError, "patience is 0"),
        ({"batch_size": 0}, SpecError, "batch_size is 0"),
        ({"precision": "float16"}, SpecError, "float32, mixed"),
        ({"optimizer": "adm"}, SpecError, "Did you mean 'adam'"),
        ({"augment": "flp"}, SpecError, "Did you mean 'flip'"),
        ({"shots": (100,)}, SplitError, "fewer than 100 shots"),
        ({"target": "colour"}, SpecError, "no label column 'colour'"),
    ],
)
def test_requests_that_cannot_be_met(
    folder: Path, options: dict[str, Any], error: type[FeatxError], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        baseline(folder, **QUICK | options)
    assert not list(Path().glob("runs/*.json"))


def test_two_images_a_class_are_enough(folder: Path) -> None:
    for path in folder.rglob("*.*"):
        if path.stem not in ("002", "004"):
            path.unlink()
    comparison = baseline(folder, **QUICK)
    assert comparison.rows[0]["n_train"] == 3
    (record,) = load_runs("runs")
    assert record.selection["on"] == "training"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    Path("runs").mkdir(mode=0o500)
    with pytest.raises(RunError, match=r"Cannot write.*--runs-dir"):
        baseline(folder, **QUICK)


def test_a_file_in_the_way_of_the_runs(folder: Path) -> None:
    Path("runs").write_text("a file")
    with pytest.raises(RunError, match=r"Cannot write.*--runs-dir"):
        baseline(folder, **QUICK)


@pytest.mark.slow
def test_a_killed_process_goes_on_after_its_last_finished_epoch(folder: Path) -> None:
    """SIGKILL a real process in training; the next one ends where an undisturbed one does."""
    options: dict[str, Any] = {
        "nets": ["small_cnn"], "image_size": 16, "epochs": 15, "patience": 15, "batch_size": 4,
        "augment": "flip+rotation(0.1)",
    }  # fmt: skip
    code = f"from featx.baseline import baseline; baseline({str(folder)!r}, **{options!r})"
    words = [sys.executable, "-c", code]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while _epochs_kept() < 2:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = _epochs_kept()
    assert 2 <= kept < 15
    baseline(folder, **options)
    baseline(folder, runs_dir="straight", **options)
    (resumed,), (straight,) = load_runs("runs"), load_runs("straight")
    assert resumed.cost["resumed_after"] >= kept
    assert resumed.cost["epochs"] == straight.cost["epochs"] == 15
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(
            resumed.cost["history"][name], straight.cost["history"][name], rtol=1e-2
        )
    assert not Path("runs/checkpoints").exists()


def _epochs_kept() -> int:
    found = list(Path("runs/checkpoints").glob("*.npz"))
    if not found:
        return 0
    with np.load(found[0], allow_pickle=False) as stored:
        return len(json.loads(bytes(stored["state"]).decode())["history"]["loss"])
