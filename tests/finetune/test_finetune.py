"""`featx.finetune` as a whole, on a quarter-width MobileNet with random weights at 32 pixels."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_photos

import featx
from featx.errors import FeatxError, SpecError
from featx.finetune import finetune
from featx.finetune.network import CachedFeatures
from featx.finetune.request import plan_tunings
from featx.finetune.trunk import Trunks
from featx.heads import make_head
from featx.progress import Bars
from featx.quiet import import_keras
from featx.records import FeatureSet, RunRecord
from featx.runs import load_runs
from featx.training import (
    BuiltNetwork,
    FitSpec,
    Rows,
    TrainingPart,
    fit_network,
    load_images,
    parse_optimizer,
    predict,
)

BACKBONE = "mobilenet(alpha=0.25)"
OPTIONS: dict[str, Any] = {
    "backbones": [BACKBONE],
    "weights": ["random"],
    "image_size": 32,
    "epochs": 3,
    "batch_size": 4,
    "optimizer": "adam(0.001)",
}
TAPS = ("avg", "flatten", "conv_pw_12_relu:max")
MLP = "mlp(hidden=(16,), dropout=0.3, epochs=5)"


@dataclass(frozen=True)
class Place:
    photos: Path
    cache: Path
    runs: Path

    def tune(self, runs: str = "", **options: Any) -> list[RunRecord]:
        folder = self.runs / runs
        finetune(self.photos, **{**OPTIONS, **options}, cache_dir=self.cache, runs_dir=folder)
        return load_runs(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("finetune")
    return Place(make_photos(root / "photos", each=10), root / "features", root / "runs")


@pytest.fixture(scope="module")
def features(place: Place) -> dict[str, FeatureSet]:
    """Cached features, by tap."""
    report = featx.extract(
        place.photos, backbone=BACKBONE, weights="random", image_size=32, pooling=TAPS,
        cache_dir=place.cache,
    )  # fmt: skip
    path = report.caches[0]["path"]
    return {tap: featx.load_features(path, tap) for tap in TAPS}


@pytest.fixture(scope="module")
def runs(place: Place) -> dict[str, RunRecord]:
    """The same fine-tuning with the frozen part run in every epoch, and computed once."""
    found = {}
    for trunk in ("whole", "cached"):
        (found[trunk],) = place.tune(trunk, unfreeze=20, head=MLP, start="cold", trunk=trunk)
    return found


def build(
    place: Place, features: FeatureSet | None = None, rows: int = 21, **options: Any
) -> tuple[BuiltNetwork, TrainingPart]:
    """Build the network of a request for the first rows of the photos, the last five held out."""
    given = {
        "backbones": [BACKBONE], "weights": ["random"], "default_weights": "", "image_size": 32,
        "unfreeze": "20", "head": "logreg", "pooling": "avg", "drop_last": 0,
        "start": "warm" if features else "cold",
        "add_conv": "", "trunk": "whole", "augmented": False,
    }  # fmt: skip
    (tuning,) = plan_tunings(**{**given, **options})
    images = load_images(place.photos, image_size=(32, 32), cache_dir=place.cache)
    order = np.random.default_rng(0).permutation(len(images.y))

    def take(where: np.ndarray) -> Rows:
        digests = tuple(images.digests[i] for i in where)
        return Rows(images.X.rows(where), images.y[where], digests)

    part = TrainingPart(
        take(order[:rows]), images.classes, (32, 32), 0, take(order[rows : rows + 5])
    )
    cached = None if features is None else CachedFeatures(features)
    return tuning.build(part, cached, Trunks(place.photos, place.cache, Bars(False))), part


# --- the head's start ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "pooling", "drop_last"),
    [("logreg(C=0.1)", "avg", 0), (MLP, "flatten", 0), ("logreg(C=0.1)", "max", 6)],
)
def test_first_predictions_are_those_of_the_head_on_cached_features(
    place: Place, features: dict[str, FeatureSet], head: str, pooling: str, drop_last: int
) -> None:
    tap = f"conv_pw_12_relu:{pooling}" if drop_last else pooling
    cached = features[tap]
    built, part = build(
        place, cached, head=head, pooling=pooling, drop_last=drop_last, unfreeze="all"
    )
    at = {digest: i for i, digest in enumerate(cached.digests)}
    assert part.held is not None
    X, X_held = (cached.X[[at[d] for d in rows.digests]] for rows in (part.train, part.held))
    held = {"validation_data": (X_held, part.held.y)} if head == MLP else {}
    fitted = make_head(head, seed=0).fit(X, part.train.y, **held)
    found = predict(built.network, part.held.X)
    np.testing.assert_allclose(found, fitted.predict_proba(X_held), atol=1e-4)


def test_a_cold_start_is_the_seeds_and_needs_no_features(place: Place) -> None:
    first, part = build(place, start="cold")
    again, _ = build(place, start="cold")
    np.testing.assert_array_equal(predict(first.network, part.train.X),
                                  predict(again.network, part.train.X))  # fmt: skip
    assert "start" not in first.cost
    assert first.seconds == {"extract": 0.0, "select": 0.0}


# --- training ------------------------------------------------------------------------------------


def test_the_frozen_part_computed_once_changes_nothing(runs: dict[str, RunRecord]) -> None:
    whole, cached = runs["whole"], runs["cached"]
    assert (whole.cost["trunk"], cached.cost["trunk"]) == ("whole", "conv_pw_10_relu:flatten")
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(
            cached.cost["history"][name], whole.cost["history"][name], rtol=1e-4, atol=1e-4
        )
    np.testing.assert_allclose(cached.arrays["scores"], whole.arrays["scores"], atol=1e-4)
    for name in ("parameters_trained", "parameters_frozen", "layers_unfrozen", "best_epoch"):
        assert cached.cost[name] == whole.cost[name]


@pytest.mark.parametrize("trunk", ["whole", "cached"])
def test_only_what_is_unfrozen_is_trained_and_statistics_never_move(
    place: Place, trunk: str
) -> None:
    built, part = build(place, head=MLP, trunk=trunk)
    base = _base(built.network)
    before = [[np.asarray(w) for w in layer.weights] for layer in base.layers]
    fit = FitSpec(parse_optimizer("adam(0.001)"), epochs=2, batch_size=4)
    network, train = built.network, part.train
    if trunk == "cached":
        network, train = built.tail, built.train
    outcome = fit_network(network, train, None, fit, seed=0)
    moved = set()
    for number, (old, layer) in enumerate(zip(before, base.layers, strict=True)):
        for a, weight in zip(old, layer.weights, strict=True):
            same = np.array_equal(a, np.asarray(weight))
            if "moving" in weight.name:
                assert same, f"{layer.name} {weight.name} moved"
            elif not same:
                moved.add(number)
    with_weights = {i for i, layer in enumerate(base.layers) if layer.weights}
    assert moved == {i for i in with_weights if i >= len(base.layers) - 20}
    assert outcome.parameters["parameters_trained"] == sum(
        int(np.prod(w.shape)) for w in built.network.trainable_weights
    )


def test_dropout_is_on_in_training_only(place: Place) -> None:
    built, part = build(place, head=MLP, trunk="cached")
    for network, rows in ((built.network, part.train), (built.tail, built.train)):
        one, two = (np.asarray(network(rows.X, training=True)) for _ in range(2))
        assert not np.allclose(one, two)
        one, two = (np.asarray(network(rows.X, training=False)) for _ in range(2))
        np.testing.assert_array_equal(one, two)


def test_batch_normalisation_is_in_inference_mode_while_training(place: Place) -> None:
    """Without dropout a step sees what prediction sees, whatever else is in the batch."""
    built, part = build(place, trunk="cached")
    for network, rows in ((built.network, part.train), (built.tail, built.train)):
        together = np.asarray(network(rows.X[:6], training=True))
        alone = np.asarray(network(rows.X[:1], training=True))
        np.testing.assert_allclose(together[:1], alone, atol=1e-5)


def test_the_saved_network_predicts_what_the_record_says(
    place: Place, runs: dict[str, RunRecord]
) -> None:
    run = runs["cached"]
    images = load_images(place.photos, image_size=(32, 32), cache_dir=place.cache)
    (file,) = (place.runs / "cached").glob("*.keras")
    network = import_keras().saving.load_model(file)
    found = predict(network, images.X.rows(run.arrays["test_rows"]))
    np.testing.assert_allclose(found, run.arrays["scores"], atol=1e-5)


# --- the protocol --------------------------------------------------------------------------------


def test_rows_are_those_of_classify(place: Place, features: dict[str, FeatureSet]) -> None:
    options: dict[str, Any] = {"shots": (3,), "draws": 2, "seed": 5, "test_fraction": 0.4}
    tuned = place.tune("protocol", unfreeze="none", epochs=1, trunk="whole", **options)
    featx.classify(
        place.photos, backbones=[BACKBONE], taps=["avg"], heads=["logreg(C=1.0)"],
        cache_dir=place.cache, runs_dir=place.runs / "heads", **options,
    )  # fmt: skip
    assert [(r.shots, r.draw) for r in tuned] == [(3, 0), (3, 1)]
    fitted = load_runs(place.runs / "heads")
    assert {r.split["test_digest"] for r in tuned} == {r.split["test_digest"] for r in fitted}
    assert {r.split["n_train"] for r in tuned} == {r.split["n_train"] for r in fitted} == {9}
    assert {r.params["start"] for r in tuned} == {"warm"}
    together = featx.compare([*tuned, *fitted])
    assert {g["kind"] for g in together.groups} == {"finetune", "head"}
    assert len(together.tests) == 1, "they are held against each other"


def test_what_a_record_keeps(runs: dict[str, RunRecord]) -> None:
    run = runs["cached"]
    assert (run.kind, run.backbone, run.tap) == ("finetune", f"{BACKBONE} (random weights)", "")
    assert (
        run.head.text
        == f"finetune(20, optimizer='adam(0.001)', head={run.params['head']!r}, start='cold')"
    )
    assert run.params["start"] == "cold"
    assert run.cost["layers_of_base"] == 86
    assert len(run.cost["history"]["seconds"]) == run.cost["epochs"] == 3
    assert run.seconds["extract"] > 0
    assert run.seconds["fit"] == pytest.approx(sum(run.cost["history"]["seconds"]))


def test_computed_rows_are_used_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first, part = build(place, trunk="cached")

    def load(*_: Any) -> None:
        raise AssertionError("nothing is to be computed again")

    monkeypatch.setattr("featx.finetune.trunk.Extraction.load", load)
    again, _ = build(place, trunk="cached")
    np.testing.assert_array_equal(np.asarray(again.train.X), np.asarray(first.train.X))
    assert first.train.X.shape == (21, 2 * 2 * 128)
    assert np.array_equal(first.train.y, part.train.y)


def test_rows_too_many_for_the_memory_stay_on_the_disk(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, _ = build(place, trunk="cached")
    monkeypatch.setattr("featx.finetune.trunk.MEMORY_SHARE", 0.0)
    lazy, _ = build(place, trunk="cached")
    assert not isinstance(lazy.train.X, np.ndarray)
    where = np.array([5, 0, 3])
    np.testing.assert_array_equal(lazy.train.X.rows(where), held.train.X[where])


def test_auto_leaves_alone_what_does_not_pay(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build(place, trunk="auto")[0].tail is not None
    assert build(place, trunk="auto", augmented=True)[0].tail is None
    assert build(place, trunk="auto", unfreeze=80)[0].tail is None
    monkeypatch.setattr("featx.finetune.trunk.disk_free", lambda folder: 1000)
    assert build(place, trunk="auto")[0].tail is None


def test_truncated_bases_and_added_convolutions(place: Place) -> None:
    (run,) = place.tune(
        "blocks", unfreeze=7, drop_last=12, add_conv="conv(8, batch_norm=True)", epochs=1
    )
    assert "drop_last=12, add_conv='conv(8, batch_norm=True)'" in run.head.text
    assert (run.params["start"], run.cost["layers_of_base"]) == ("cold", 74)
    (file,) = (place.runs / "blocks").glob("*.keras")
    norm = import_keras().saving.load_model(file).get_layer("added0_norm")
    assert np.abs(np.asarray(norm.moving_mean)).max() > 0, "a new one learns its statistics"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"unfreeze": "from:conv_pw_99"}, "Unknown layer of mobilenet"),
        ({"unfreeze": 500}, "has 86 layers"),
        ({"unfreeze": ()}, "Nothing to fine-tune"),
        ({"backbones": ()}, "No backbone"),
        ({"backbones": ["mobilnet"]}, "Did you mean 'mobilenet'"),
        ({"head": "knn"}, "cannot be trained"),
        ({"pooling": "mean"}, "Unknown pooling 'mean'"),
        ({"start": "hot"}, "Unknown start 'hot'"),
        ({"start": "warm", "add_conv": "conv"}, "cannot start warm"),
        ({"trunk": "cached", "augment": "flip"}, "--trunk whole"),
        ({"trunk": "cached", "unfreeze": "all"}, "no frozen part"),
        ({"drop_last": -1}, "give 0 or more"),
        ({"epochs": 0}, "epochs is 0"),
        ({"optimizer": "adam(-1)"}, "above 0"),
        ({"precision": "half"}, "Unknown precision"),
        ({"weights": ["missing.h5"]}, "No weights file"),
    ],
)
def test_bad_requests_are_told_before_any_image_is_read(
    place: Place, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(FeatxError, match=expected):
        finetune("nowhere", **{**OPTIONS, **options}, cache_dir=place.cache, runs_dir=None)


def test_a_target_that_is_not_there(place: Place) -> None:
    with pytest.raises(SpecError, match="label column"):
        place.tune("target", target="colour", start="cold")


# --- interruption --------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_and_run_again_it_ends_as_if_it_had_not_been(
    place: Place, runs: dict[str, RunRecord], tmp_path: Path
) -> None:
    command = [
        sys.executable, "-m", "featx", "finetune", place.photos, "--backbone", BACKBONE,
        "--weights", "random", "--image-size", "32", "--unfreeze", "20", "--batch-size", "4",
        "--optimizer", "adam(0.001)", "--patience", "500", "--start", "cold", "--quiet",
        "--cache-dir", place.cache, "--runs-dir",
    ]  # fmt: skip
    killed = tmp_path / "killed"
    process = subprocess.Popen([*command, killed, "--epochs", "500"])
    deadline = time.monotonic() + 200
    while not list(killed.glob("checkpoints/*.npz")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = shutil.copytree(killed, tmp_path / "kept")
    assert list(kept.glob("checkpoints/*.npz"))
    done = _epochs_done(kept)
    epochs = str(done + 2)
    for folder in (killed, tmp_path / "straight"):
        subprocess.run([*command, folder, "--epochs", epochs], check=True)
    (resumed,), (straight,) = load_runs(killed), load_runs(tmp_path / "straight")
    assert resumed.cost["resumed_after"] == done > 0
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(
            resumed.cost["history"][name], straight.cost["history"][name], rtol=1e-3
        )
    np.testing.assert_allclose(resumed.arrays["scores"], straight.arrays["scores"], atol=1e-3)
    assert not (killed / "checkpoints").exists()


def _epochs_done(folder: Path) -> int:
    import json

    (file,) = folder.glob("checkpoints/*.npz")
    with np.load(file) as stored:
        return len(json.loads(bytes(stored["state"]))["history"]["loss"])


@pytest.mark.slow
def test_on_the_jax_backend_too(place: Place, tmp_path: Path, runs: dict[str, RunRecord]) -> None:
    pytest.importorskip("jax")
    code = (
        "import sys; from featx.finetune import finetune; import test_finetune as t; "
        "finetune(sys.argv[1], **t.OPTIONS, unfreeze=20, "
        "start='cold', cache_dir=sys.argv[2], runs_dir=sys.argv[3], trunk=sys.argv[4])"
    )
    found = []
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    for trunk in ("cached", "whole"):
        subprocess.run(
            [sys.executable, "-c", code, place.photos, tmp_path / "f", tmp_path / trunk, trunk],
            check=True,
            env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        )
        found += load_runs(tmp_path / trunk)
    assert {r.environment["keras_backend"] for r in found} == {"jax"}
    np.testing.assert_allclose(found[0].arrays["scores"], found[1].arrays["scores"], atol=1e-4)


def _base(network: Any) -> Any:
    (base,) = [layer for layer in network.layers if hasattr(layer, "layers")]
    return base


# --- real weights --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.shared
def test_on_real_weights_the_two_ways_agree_and_beat_chance(shared: Path, tmp_path: Path) -> None:
    found = []
    for trunk in ("whole", "cached"):
        finetune(
            shared / "datasets" / "trashnet",
            backbones=[BACKBONE],
            weights=[str(shared / "weights" / "mobilenet_0.25_224_notop.weights.h5")],
            image_size=96, unfreeze=24, shots=(10,), epochs=2, trunk=trunk,
            cache_dir=tmp_path / "features", runs_dir=tmp_path / trunk,
        )  # fmt: skip
        found += load_runs(tmp_path / trunk)
    whole, cached = found
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(
            cached.cost["history"][name], whole.cost["history"][name], rtol=1e-4
        )
    np.testing.assert_allclose(cached.arrays["scores"], whole.arrays["scores"], atol=2e-4)
    assert whole.metrics["accuracy"] > 0.3
    assert replace(whole.head) == cached.head
