"""Metrics against scikit-learn, against resampling, and in degenerate cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from featx import metrics
from featx.metrics.intervals import binomial_pmf


def make_run(n: int = 400, k: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that are right about half the time, of unbalanced classes."""
    rng = np.random.default_rng(seed)
    y = rng.choice(k, size=n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), y] += 1.5
    return y, metrics.softmax(logits)


def test_score_agrees_with_sklearn() -> None:
    y, p = make_run()
    guess = p.argmax(axis=1)
    found = metrics.score(y, guess, n_classes=12, scores=p, probabilities=p)
    labels = np.arange(12)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        y, guess, labels=labels, zero_division=0
    )
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, guess))
    assert found["top5"] == pytest.approx(sk.top_k_accuracy_score(y, p, k=5, labels=labels))
    assert found["top10"] == pytest.approx(sk.top_k_accuracy_score(y, p, k=10, labels=labels))
    assert found["macro_precision"] == pytest.approx(precision.mean())
    assert found["macro_recall"] == pytest.approx(recall.mean())
    assert found["macro_f1"] == pytest.approx(f1.mean())
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, guess))
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p, labels=labels))
    assert found["confusion"] == sk.confusion_matrix(y, guess, labels=labels).tolist()
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        np.testing.assert_allclose(found["per_class"][name], expected)
    assert found["per_class"]["support"] == support.tolist()


def test_class_without_test_rows_is_left_out_of_macro_averages() -> None:
    y, p = make_run(k=4)
    rows = y != 2
    y, p = y[rows], p[rows]
    guess = p.argmax(axis=1)
    assert (guess == 2).any()  # it is predicted all the same
    found = metrics.score(y, guess, n_classes=4, scores=p, probabilities=p)
    present = [0, 1, 3]
    expected = sk.f1_score(y, guess, labels=present, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["per_class"]["support"][2] == 0
    assert found["per_class"]["entropy_bits"][2] is None


def test_one_test_row() -> None:
    found = metrics.score(np.array([1]), np.array([1]), n_classes=3, probabilities=np.eye(3)[[1]])
    assert found["accuracy"] == 1
    assert found["accuracy_ci"] == [1, 1]
    assert found["accuracy_wilson"][0] == pytest.approx(0.2065, abs=1e-4)
    assert found["log_loss"] == 0
    assert found["entropy_bits"] == 0
    assert found["macro_f1"] == 1


def test_no_top_k_where_it_would_always_be_one() -> None:
    y, p = make_run(k=10)
    found = metrics.score(y, p.argmax(axis=1), n_classes=10, scores=p)
    assert found["top5"] is not None
    assert found["top10"] is None
    assert found["log_loss"] is None
    assert found["ece"] is None


def test_ties_across_rank_k_count_their_chance() -> None:
    y = np.array([0, 3, 7])
    assert metrics.top_k_accuracy(y, np.zeros((3, 8)), 5) == pytest.approx(5 / 8)
    scores = np.array([[9.0, 1, 1, 1], [9, 1, 1, 0]])
    # Of three tied for one place, one in three; of two tied for one, one in two.
    assert metrics.top_k_accuracy(np.array([2, 1]), scores, 2) == pytest.approx((1 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("y_true", "y_pred"), [([], []), ([0, 1], [0]), ([0, 3], [0, 1]), ([0, 1], [0, -1])]
)
def test_unusable_labels_are_refused(y_true: list[int], y_pred: list[int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        metrics.confusion_matrix(np.array(y_true, int), np.array(y_pred, int), 3)


# --- probabilities -----------------------------------------------------------------------------


def test_entropy_is_in_bits() -> None:
    p = np.array([[0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(metrics.entropy_bits(p), [2, 0, 1])


def test_calibration_error_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    y = np.array([0, 1, 0, 1])
    # Bin of 0.9: accuracy 1/2, confidence 0.9, half of the rows; bin of 0.6: 1 against 0.6.
    assert metrics.expected_calibration_error(y, p, bins=15) == pytest.approx(0.2 + 0.2)
    sure = np.eye(2)[[0, 1]]
    assert metrics.expected_calibration_error(np.array([0, 1]), sure) == 0
    assert metrics.expected_calibration_error(np.array([1, 0]), sure) == 1


def test_calibrated_probabilities_have_a_small_error() -> None:
    rng = np.random.default_rng(0)
    p = metrics.softmax(rng.normal(size=(20_000, 5)) * 2)
    y = (p.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert metrics.expected_calibration_error(y, p) < 0.015


@pytest.mark.parametrize("scale", [1e-3, 1.0, 250.0])
def test_temperature_recovers_the_scale_of_true_logits(scale: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5000, 6)) * 2
    p = metrics.softmax(logits)
    y = (p.cumsum(axis=1) > rng.random((5000, 1))).argmax(axis=1)
    assert metrics.fit_temperature(logits * scale, y) == pytest.approx(scale, rel=0.06)


def test_temperature_has_the_least_log_loss() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(3000, 4))
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    best = metrics.fit_temperature(scores, y)

    def loss(t: float) -> float:
        return metrics.log_loss(y, metrics.softmax(scores, t))

    assert loss(best) < min(loss(best * 1.2), loss(best / 1.2))


def test_temperature_of_degenerate_scores() -> None:
    y = np.array([0, 1, 2, 0])
    assert metrics.fit_temperature(np.zeros((4, 3)), y) == 1
    separated = metrics.softmax(np.eye(3)[y], metrics.fit_temperature(np.eye(3)[y], y))
    assert 0.8 < separated.max() < 1  # sure, but not beyond what four rows can show
    misled = -np.eye(3)[y]
    flat = metrics.softmax(misled, metrics.fit_temperature(misled, y))
    np.testing.assert_allclose(flat, 1 / 3, atol=1e-3)


# --- intervals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "n"), [(50, 60), (7, 8), (431, 1000), (1, 40)])
def test_exact_bootstrap_agrees_with_resampling(right: int, n: int) -> None:
    rows = np.zeros(n)
    rows[:right] = 1
    rng = np.random.default_rng(0)
    means = np.concatenate([rng.choice(rows, size=(2000, n)).mean(axis=1) for _ in range(10)])
    expected = np.quantile(means, [0.025, 0.975])
    np.testing.assert_allclose(metrics.bootstrap_accuracy(right, n), expected, atol=1.01 / n)


@given(st.integers(1, 3000), st.data())
@settings(max_examples=60, deadline=None)
def test_intervals_contain_the_accuracy(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    for low, high in (metrics.bootstrap_accuracy(right, n), metrics.wilson_interval(right, n)):
        assert 0 <= low <= right / n + 1e-12
        assert right / n - 1e-12 <= high <= 1


def test_wilson_interval_of_the_textbook() -> None:
    # statsmodels.stats.proportion.proportion_confint(81, 263, method="wilson")
    low, high = metrics.wilson_interval(81, 263)
    assert low == pytest.approx(0.2553, abs=2e-4)
    assert high == pytest.approx(0.3662, abs=2e-4)


def test_binomial_chances_sum_to_one_and_keep_their_mean() -> None:
    for n, p in [(1, 0.5), (10, 0.0), (10, 1.0), (500_000, 0.93)]:
        pmf = binomial_pmf(n, p)
        assert pmf.sum() == pytest.approx(1)
        assert (pmf * np.arange(n + 1)).sum() == pytest.approx(n * p)
    np.testing.assert_allclose(binomial_pmf(4, 0.5) * 16, [1, 4, 6, 4, 1])


def test_macro_f1_bootstrap_agrees_with_resampling_rows() -> None:
    y, p = make_run(n=120, k=4)
    guess = p.argmax(axis=1)
    found = metrics.bootstrap_macro_f1(metrics.confusion_matrix(y, guess, 4), draws=4000)
    rng = np.random.default_rng(5)
    values = []
    for _ in range(600):
        rows = rng.integers(120, size=120)
        labels = np.unique(y[rows])
        values.append(
            sk.f1_score(y[rows], guess[rows], labels=labels, average="macro", zero_division=0)
        )
    np.testing.assert_allclose(found, np.quantile(values, [0.025, 0.975]), atol=0.02)


def test_bootstrap_mean_of_right_and_wrong_is_that_of_the_accuracy() -> None:
    rows = np.repeat([1.0, 0.0], [170, 30])
    expected = metrics.bootstrap_accuracy(170, 200)
    np.testing.assert_allclose(metrics.bootstrap_mean(rows), expected, atol=0.011)


# --- pairs -------------------------------------------------------------------------------------


def exact_two_sided(b: int, c: int) -> float:
    n = b + c
    tail = sum(math.comb(n, i) for i in range(min(b, c) + 1)) / 2**n
    return min(1.0, 2 * tail)


@pytest.mark.parametrize(("b", "c"), [(10, 2), (3, 3), (0, 6), (30, 14), (0, 0)])
def test_mcnemar_is_the_exact_binomial(b: int, c: int) -> None:
    a_right = np.array([1] * b + [0] * c + [1, 1, 0], bool)
    b_right = np.array([0] * b + [1] * c + [1, 1, 0], bool)
    assert metrics.mcnemar(a_right, b_right) == (b, c, pytest.approx(exact_two_sided(b, c)))
    gaps = a_right.astype(int) - b_right.astype(int)
    assert metrics.sign_flip_test(gaps) == pytest.approx(exact_two_sided(b, c))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_sign_flip_counts_every_pattern_of_signs(gaps: list[int]) -> None:
    values = np.array(gaps)
    patterns = 1 - 2 * ((np.arange(2 ** len(gaps))[:, None] >> np.arange(len(gaps))) & 1)
    sums = patterns @ values
    expected = (np.abs(sums) >= abs(values.sum())).mean()
    assert metrics.sign_flip_test(values) == pytest.approx(expected)


def test_sign_flip_of_many_rows_goes_through_the_fft() -> None:
    rng = np.random.default_rng(0)
    gaps = rng.integers(-5, 6, size=30_000)
    flips = np.random.default_rng(1).choice([-1, 1], size=(400, len(gaps))).astype(np.int8)
    shifted = np.concatenate([gaps, np.ones(250, int)])
    simulated = (np.abs(flips @ gaps) >= abs(shifted.sum())).mean()
    assert metrics.sign_flip_test(shifted) == pytest.approx(simulated, abs=0.1)
    with pytest.raises(ValueError, match="whole numbers"):
        metrics.sign_flip_test(gaps / 5)


def test_paired_bootstrap_keeps_the_pairing() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(800) < 0.4
    a = ~hard
    b = ~hard
    b[np.flatnonzero(~hard)[:30]] = False  # b is a, but for thirty rows
    difference, low, high = metrics.paired_bootstrap(a.astype(int) - b.astype(int))
    assert difference == pytest.approx(30 / 800)
    assert 0 < low < difference < high < 0.055  # far narrower than two separate intervals


def test_holm_by_hand() -> None:
    assert metrics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert metrics.holm([]) == []
    assert metrics.holm([0.7, 0.9]) == pytest.approx([1, 1])
