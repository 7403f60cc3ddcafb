"""The training loop, with networks of a few weights."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.quiet import import_keras, many_networks
from featx.training import (
    Checkpoint,
    FitSpec,
    Rows,
    build_under,
    classify,
    fit_network,
    parse_augment,
    parse_optimizer,
    pixel_input,
    predict,
    save_network,
    training_policy,
)
from featx.training.fit import equal_batches

SIZE = (8, 8)


def make_rows(n: int, seed: int) -> Rows:
    """Images whose brightness tells the class, with much noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    X = 60 * y[:, None, None, None] + rng.integers(0, 110, (n, *SIZE, 3))
    return Rows(X.astype(np.uint8), y)


def make_network(seed: int = 0) -> Any:
    keras = import_keras()
    pixels = pixel_input(SIZE)
    values = keras.layers.Rescaling(1 / 255)(pixels)
    start = keras.initializers.GlorotUniform(seed=seed)
    values = keras.layers.Conv2D(4, 3, strides=2, kernel_initializer=start)(values)
    values = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.8)(values))
    values = keras.layers.Dropout(0.1)(values)
    values = keras.layers.GlobalAveragePooling2D()(values)
    return keras.Model(pixels, classify(values, 3, seed))


TRAIN, HELD = make_rows(100, 0), make_rows(40, 1)
FIT = FitSpec(parse_optimizer("adam(0.02)"), parse_augment("flip+shift"), epochs=4, patience=4)


def test_it_learns_and_keeps_the_best_epoch() -> None:
    network = make_network()
    fit = FitSpec(parse_optimizer("adam(0.02)"), epochs=30, patience=5)
    outcome = fit_network(network, TRAIN, HELD, fit, seed=0)
    history = outcome.history
    assert {len(values) for values in history.values()} == {len(history["loss"])}
    assert history["val_loss"][outcome.best_epoch - 1] == min(history["val_loss"])
    found = predict(network, HELD.X)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    chosen = found[np.arange(len(HELD)), HELD.y]
    assert -np.log(chosen).mean() == pytest.approx(min(history["val_loss"]), rel=1e-5)
    assert (found.argmax(axis=1) == HELD.y).mean() > 0.8
    assert outcome.parameters == {"parameters_trained": 135, "parameters_frozen": 8, "layers": 3}


def test_it_stops_early_and_slows_down() -> None:
    fit = FitSpec(parse_optimizer("sgd(1e-9)"), epochs=50, patience=4)
    outcome = fit_network(make_network(), TRAIN, HELD, fit, seed=0)
    epochs = len(outcome.history["loss"])
    assert epochs < 50
    rates = outcome.history["rate"]
    assert rates[0] == pytest.approx(1e-9)
    assert rates[-1] <= 0.5e-9


def test_without_held_out_rows_the_training_loss_decides() -> None:
    outcome = fit_network(make_network(), TRAIN, None, FIT, seed=0)
    assert outcome.history["val_loss"] == [None] * 4
    assert outcome.best_epoch == 1 + int(np.argmin(outcome.history["loss"]))


def test_the_start_is_kept_where_no_epoch_is_better(tmp_path: Path) -> None:
    network = make_network()
    good = FitSpec(parse_optimizer("adam(0.02)"), epochs=10, keep_start=True)
    first = fit_network(network, TRAIN, HELD, good, seed=0)
    assert first.best_epoch > 0
    before = [np.asarray(w) for w in network.weights]
    fit = FitSpec(parse_optimizer("sgd(10)"), epochs=2, patience=3, keep_start=True)
    checkpoint = Checkpoint(tmp_path, {})
    outcome = fit_network(network, TRAIN, HELD, fit, seed=0, checkpoint=checkpoint)
    assert outcome.best_epoch == 0
    assert outcome.start["val_loss"] == pytest.approx(min(first.history["val_loss"]), rel=1e-5)
    for old, weight in zip(before, network.weights, strict=True):
        np.testing.assert_array_equal(old, np.asarray(weight))
    again = fit_network(make_network(9), TRAIN, HELD, fit, seed=0, checkpoint=checkpoint)
    assert (again.best_epoch, again.start) == (0, outcome.start)


def test_the_seed_decides() -> None:
    losses = [
        fit_network(make_network(), TRAIN, HELD, FIT, seed=seed).history["loss"]
        for seed in (7, 7, 8)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert not np.allclose(losses[0], losses[2], rtol=1e-3)


@pytest.mark.parametrize("after", [1, 3])
def test_interrupted_training_ends_as_if_it_had_not_been(tmp_path: Path, after: int) -> None:
    straight = make_network()
    whole = fit_network(straight, TRAIN, HELD, FIT, seed=0)

    def stop(done: int, total: int, word: str) -> None:
        if word.startswith(f"epoch {after + 1},"):
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path, {})
    with pytest.raises(KeyboardInterrupt):
        fit_network(make_network(), TRAIN, HELD, FIT, seed=0, checkpoint=checkpoint, progress=stop)
    resumed = make_network(seed=99)  # its own weights are of no matter
    rest = fit_network(resumed, TRAIN, HELD, FIT, seed=0, checkpoint=checkpoint)
    assert rest.resumed_after == after
    assert rest.best_epoch == whole.best_epoch
    for name in ("loss", "val_loss", "rate"):
        np.testing.assert_allclose(rest.history[name], whole.history[name], rtol=1e-4)
    np.testing.assert_allclose(predict(resumed, HELD.X), predict(straight, HELD.X), atol=1e-4)


def test_ctrl_c_says_what_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def stop(done: int, total: int, word: str) -> None:
        if word.startswith("epoch 2,"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_network(
            make_network(), TRAIN, HELD, FIT, seed=0,
            checkpoint=Checkpoint(tmp_path, {}), progress=stop, name="tiny",
        )  # fmt: skip
    assert "tiny stopped in epoch 2; 1 finished" in caplog.text


def test_a_checkpoint_of_another_network_is_not_used(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({"history": {"loss": [0.0]}}, [np.zeros(3)], [])
    outcome = fit_network(make_network(), TRAIN, HELD, FIT, seed=0, checkpoint=checkpoint)
    assert outcome.resumed_after == 0
    assert len(outcome.history["loss"]) == 4


def test_more_epochs_go_on_from_a_finished_training(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, {})
    short = FitSpec(FIT.optimizer, FIT.augment, epochs=2, patience=4)
    fit_network(make_network(), TRAIN, HELD, short, seed=0, checkpoint=checkpoint)
    outcome = fit_network(make_network(), TRAIN, HELD, FIT, seed=0, checkpoint=checkpoint)
    assert (outcome.resumed_after, len(outcome.history["loss"])) == (2, 4)


def test_losses_that_are_no_numbers_end_it() -> None:
    fit = FitSpec(parse_optimizer("sgd(10)"), epochs=30, patience=3)
    rows = Rows(TRAIN.X, TRAIN.y)
    outcome = fit_network(make_network(), rows, HELD, fit, seed=0)
    assert len(outcome.history["loss"]) <= 30


def test_nothing_is_traced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches have one shape in training and one in scoring, whatever the number of rows."""
    network = make_network()
    shapes: set[tuple[int, ...]] = set()
    real = network.predict_on_batch
    network.predict_on_batch = lambda x: (shapes.add(x.shape), real(x))[1]
    predict(network, make_rows(70, 0).X)
    predict(network, make_rows(3, 0).X)
    assert shapes == {(64, *SIZE, 3)}


def test_tensorflow_does_not_blame_networks_for_being_several() -> None:
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    try:
        with many_networks():
            logger.warning("5 out of the last %d calls triggered tf.function retracing.", 5)
            logger.warning("something else")
        logger.warning("6 out of the last %d calls triggered tf.function retracing.", 6)
    finally:
        logger.removeHandler(handler)
    assert [text[:9] for text in heard] == ["something", "6 out of "]


@pytest.mark.parametrize("n", [1, 31, 32, 33, 64, 65, 1000])
def test_batches_are_equal_and_repeat_no_row(n: int) -> None:
    batches = equal_batches(n, 32, np.random.default_rng(0))
    assert len({len(batch) for batch in batches}) == 1
    assert len(batches[0]) <= 32
    rows = np.concatenate(batches)
    assert len(np.unique(rows)) == len(rows) > n - len(batches)


def test_mixed_precision_keeps_weights_and_probabilities_in_float32(tmp_path: Path) -> None:
    with build_under(training_policy("mixed")):
        network = make_network()
        outcome = fit_network(network, TRAIN, HELD, FIT, seed=0)
    assert import_keras().config.dtype_policy().name == "float32"
    kinds = {layer.compute_dtype for layer in network.layers if layer.name.startswith("conv")}
    assert kinds == {"bfloat16"}
    assert {w.dtype for w in network.weights} == {"float32"}
    assert predict(network, HELD.X[:5]).dtype == np.float64
    assert np.isfinite(outcome.history["loss"]).all()
    save_network(network, tmp_path / "net")
    loaded = import_keras().saving.load_model(_named(tmp_path / "net"))
    np.testing.assert_allclose(predict(loaded, HELD.X), predict(network, HELD.X), atol=1e-6)


def test_a_saved_network_is_whole_and_takes_pixels(tmp_path: Path) -> None:
    network = make_network()
    save_network(network, tmp_path / ".x.partial")
    assert [p.name for p in tmp_path.iterdir()] == [".x.partial"]
    loaded = import_keras().saving.load_model(_named(tmp_path / ".x.partial"))
    assert loaded.input_shape == (None, *SIZE, 3)
    assert loaded.inputs[0].dtype == "uint8"
    np.testing.assert_allclose(predict(loaded, HELD.X), predict(network, HELD.X), atol=1e-6)


def _named(path: Path) -> Path:
    return path.rename(path.with_name("network.keras"))


@pytest.mark.slow
def test_on_the_jax_backend_too(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    code = (
        "import json, test_fit as t; from featx.training import fit_network; "
        "o = fit_network(t.make_network(), t.TRAIN, t.HELD, t.FIT, seed=0); "
        "import keras; print(json.dumps([keras.backend.backend(), o.history]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
    )
    backend, history = json.loads(found.stdout)
    assert backend == "jax"
    assert history["loss"][-1] < history["loss"][0]
