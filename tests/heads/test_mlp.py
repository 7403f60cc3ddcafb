"""The multi-layer perceptron: early stopping, folding, seeds."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from featx.heads import make_head
from featx.heads.mlp import MLP
from featx.heads.mlp.rows import cut_batches, hold_out
from featx.heads.saving import from_arrays, to_arrays


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, ...]:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order].astype(np.float32), y[order]
    return X[:500], y[:500], X[500:800], y[500:800]


STUDIES = [
    "mlp(hidden=512)",
    "mlp(hidden=(512, 256), dropout=(0.2, 0.0))",
    "mlp(hidden=1024, dropout=0.3)",
    "mlp(hidden=(1024, 512))",
    "mlp(hidden=(256, 256), batch_norm=True)",
]


@pytest.mark.parametrize("text", STUDIES)
def test_shapes_of_the_studies_learn(digits, text: str) -> None:
    X, y, X_test, y_test = digits
    head = make_head(text, seed=0).set_params(epochs=15).fit(X, y)
    assert head.score(X_test, y_test) > 0.9
    hidden = head.hidden if isinstance(head.hidden, tuple) else (head.hidden,)
    assert [c.shape[1] for c in head.coefs_] == [*hidden, 10]
    assert head.coefs_[0].shape[0] == 64
    assert all(c.dtype == np.float32 for c in (*head.coefs_, *head.intercepts_))
    dense = sum(a * b + b for a, b in zip((64, *hidden), (*hidden, 10), strict=True))
    extra = sum(hidden) if head.batch_norm else 0  # gamma and beta instead of a bias
    assert head.n_parameters_ == dense + extra


@pytest.mark.parametrize("batch_norm", [False, True])
def test_folded_weights_are_the_trained_network(
    digits, batch_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y, X_test, _ = digits
    kept = {}
    fold = MLP._fold

    def spy(self, network, mean, scale) -> None:
        kept.update(network=network, mean=mean, scale=scale)
        fold(self, network, mean, scale)

    monkeypatch.setattr(MLP, "_fold", spy)
    head = MLP((32, 16), dropout=0.3, batch_norm=batch_norm, epochs=4, random_state=0).fit(X, y)
    rows = ((X_test - kept["mean"]) / kept["scale"]).astype(np.float32)
    logits = np.asarray(kept["network"](rows, training=False), np.float64)
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head.predict_proba(X_test), expected, atol=1e-5)


def test_same_seed_same_bits_and_no_global_state(digits) -> None:
    X, y, X_test, _ = digits
    head = MLP((32,), dropout=0.4, batch_norm=True, epochs=4, random_state=3)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = head.fit(X, y).predict_proba(X_test)
    np.testing.assert_array_equal(before, np.random.get_state()[1])
    np.random.seed(2)
    np.testing.assert_array_equal(clone(head).fit(X, y).predict_proba(X_test), first)
    other = clone(head).set_params(random_state=4).fit(X, y).predict_proba(X_test)
    assert np.abs(other - first).max() > 1e-3


def test_early_stopping_keeps_the_best_epoch(digits) -> None:
    X, y, X_val, y_val = digits
    head = MLP((64,), epochs=80, patience=3, learning_rate=0.02, random_state=0)
    head.fit(X, y, validation_data=(X_val, y_val))
    losses = head.history_["val_loss"]
    assert head.n_iter_ == len(losses) == len(head.history_["loss"]) < 80
    assert head.best_epoch_ == int(np.argmin(losses)) + 1 == head.n_iter_ - 3
    own = head.predict_proba(X_val)[np.arange(len(y_val)), y_val]
    assert -np.log(own).mean() == pytest.approx(min(losses), abs=1e-4)


def test_validation_rows_are_not_trained_on(digits) -> None:
    X, y, X_val, _ = digits
    rng = np.random.default_rng(0)
    head = MLP((256,), epochs=15, patience=15, random_state=0)
    head.fit(X, y, validation_data=(X_val, rng.integers(10, size=len(X_val))))
    assert head.history_["val_accuracy"][-1] < 0.25
    assert head.history_["loss"][-1] < 0.2


def test_without_validation_rows_a_stratified_part_is_held_out() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), [40, 20, 3, 1]))
    train, held = hold_out(labels[:, None], 0.15, rng)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(64))
    assert np.bincount(labels[held], minlength=4).tolist() == [6, 3, 0, 0]
    assert set(labels[train]) == {0, 1, 2, 3}


def test_one_row_a_class_stops_on_the_training_loss() -> None:
    X = np.eye(5, dtype=np.float32)
    head = MLP((16,), epochs=60, learning_rate=0.02, random_state=0).fit(X, list("abcde"))
    assert head.history_["val_loss"] == []
    assert "".join(head.predict(X)) == "abcde"


@pytest.mark.parametrize(("n", "size"), [(500, 128), (7, 128), (1, 4), (129, 128), (1000, 3)])
def test_batches_are_of_one_length_and_nearly_all_rows(n: int, size: int) -> None:
    batches = cut_batches(n, size, np.random.default_rng(0))
    assert len(np.unique(batches)) == batches.size > n - len(batches)
    assert batches.shape[1] <= max(size * 1.5, 1)


def test_balanced_classes_lift_the_rare_one() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [570, 30])
    X = rng.normal(size=(600, 4)).astype(np.float32)
    X[y == 1] += 1.0
    plain, balanced = (
        MLP((8,), class_weight=w, epochs=30, learning_rate=0.01, random_state=0)
        .fit(X, y)
        .predict(X)
        for w in (None, "balanced")
    )
    assert (balanced[y == 1] == 1).mean() > (plain[y == 1] == 1).mean() + 0.2


def test_predicting_needs_no_keras(digits, tmp_path) -> None:
    X, y, X_test, _ = digits
    head = MLP((16,), epochs=2, random_state=0).fit(X, y)
    np.savez(tmp_path / "x.npz", *head.coefs_, *head.intercepts_, X=X_test, c=head.classes_)
    code = (
        "import sys, numpy as np; from featx.heads.mlp import MLP; head = MLP();"
        f"a = np.load({str(tmp_path / 'x.npz')!r}); head.n_features_in_ = 64;"
        "head.coefs_ = [a['arr_0'], a['arr_1']]; head.intercepts_ = [a['arr_2'], a['arr_3']];"
        "head.classes_ = a['c']; assert head.predict(a['X']).shape == (300,);"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_training_loads_no_image_stack() -> None:
    code = (
        "import sys, numpy as np; from featx.heads.mlp import MLP;"
        "X = np.random.default_rng(0).normal(size=(40, 4));"
        "MLP((4,), epochs=1).fit(X, X[:, 0] > 0);"
        # Keras itself imports PIL and, where it is installed, cv2.
        "images = {'simplejpeg', 'openvino', 'featx.datasets', 'featx.backbones'};"
        "assert not images & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- several label columns ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def joint(digits) -> tuple[MLP, np.ndarray]:
    X, y, _, _ = digits
    odd = np.where(y % 2, "odd", "even")
    columns = np.stack([y.astype("<U4"), odd], axis=1)
    head = MLP((64,), epochs=15, learning_rate=0.01, joint=True, random_state=0)
    return head.fit(X, columns), columns


def test_one_network_has_an_output_a_column(digits, joint) -> None:
    _, _, X_test, y_test = digits
    head, _ = joint
    assert [c.tolist() for c in head.classes_] == [list("0123456789"), ["even", "odd"]]
    class_p, odd_p = head.predict_proba(X_test)
    assert (class_p.shape, odd_p.shape) == ((300, 10), (300, 2))
    for p in (class_p, odd_p):
        np.testing.assert_allclose(p.sum(axis=1), 1)
    found = head.predict(X_test)
    assert (found[:, 0].astype(int) == y_test).mean() > 0.9
    assert (found[:, 1] == np.where(y_test % 2, "odd", "even")).mean() > 0.9
    assert head.n_parameters_ == 64 * 64 + 64 + 64 * 12 + 12


def test_joint_loss_is_the_sum_over_columns(digits, joint) -> None:
    """The watched loss adds up, and both outputs learn: a lost one would stay at ln 2."""
    X, y, _, _ = digits
    head, columns = joint
    other = MLP((64,), epochs=15, learning_rate=0.01, joint=True, random_state=0)
    other.fit(X, columns, validation_data=(X[:100], columns[:100]))
    class_p, odd_p = other.predict_proba(X[:100])
    rows = np.arange(100)
    expected = -np.log(class_p[rows, y[:100]]).mean() - np.log(odd_p[rows, y[:100] % 2]).mean()
    assert min(other.history_["val_loss"]) == pytest.approx(expected, abs=1e-4)
    assert head.history_["loss"][-1] < 0.2


def test_a_joint_network_of_one_column_is_the_plain_one(digits) -> None:
    X, y, X_test, _ = digits
    plain = MLP((16,), epochs=3, class_weight="balanced", random_state=0).fit(X, y)
    wide = MLP((16,), epochs=3, class_weight="balanced", joint=True, random_state=0).fit(X, y)
    np.testing.assert_array_equal(wide.predict_proba(X_test)[0], plain.predict_proba(X_test))


def test_joint_weights_count_by_column() -> None:
    rng = np.random.default_rng(0)
    rare = np.repeat([0, 1], [570, 30])
    other = rng.integers(2, size=600)
    X = rng.normal(size=(600, 4)).astype(np.float32)
    X[rare == 1] += 1.0
    X[:, 3] += 2 * other
    plain, balanced = (
        MLP((8,), class_weight=w, epochs=30, learning_rate=0.01, joint=True, random_state=0)
        .fit(X, np.stack([other, rare], axis=1))
        .predict(X)
        for w in (None, "balanced")
    )
    assert (balanced[rare == 1, 1] == 1).mean() > (plain[rare == 1, 1] == 1).mean() + 0.2
    assert (balanced[:, 0] == other).mean() > 0.75


def test_joint_networks_are_saved_like_others(digits, joint) -> None:
    head, _ = joint
    again = from_arrays(*to_arrays(head))
    for a, b in zip(head.predict_proba(digits[2]), again.predict_proba(digits[2]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_several_columns_are_refused_without_being_asked_for(digits) -> None:
    X, y, _, _ = digits
    columns = np.stack([y, y % 2], axis=1)
    with pytest.raises(ValueError, match="1d array"):
        MLP(epochs=1).fit(X, columns)
    with pytest.raises(ValueError, match="1 class"):
        MLP(epochs=1, joint=True).fit(X, np.stack([y, np.zeros_like(y)], axis=1))
    with pytest.raises(ValueError, match="use 'balanced'"):
        MLP(epochs=1, joint=True, class_weight={0: 2}).fit(X, columns)
