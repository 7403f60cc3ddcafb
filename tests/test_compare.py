"""Comparisons: rows, draws put together, paired tests, findings, the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from featuresets import digits_features

from featx import metrics
from featx.compare import compare, comparison_json, format_table
from featx.compare.findings import CHECKS
from featx.errors import ProtocolError, SpecError
from featx.evaluate import evaluate
from featx.records import ExtractionKey, HeadSpec, ImageSpec, RunRecord, to_json
from featx.runs import load_runs, save_run

CLASSIFY_FIELDS = {
    "kind", "target", "test_on", "backbone", "image_size", "precision", "tap", "head",
    "params", "shots", "draw", "n_train", "n_test",
    "feature_dim", "accuracy", "accuracy_ci", "top5", "top10", "macro_f1", "macro_precision",
    "macro_recall", "extract_seconds", "select_seconds", "fit_seconds", "predict_seconds",
}  # fmt: skip


PART = {"key": to_json(ExtractionKey("vgg16", {}, "0" * 64, "vgg16", ImageSpec(224, 224)))}


def make_run(
    right: np.ndarray,
    head: str = "logreg",
    *,
    shots: int | None = None,
    draw: int = 0,
    **changes: Any,
) -> RunRecord:
    """A run on len(right) test rows of four classes, right where `right` says so."""
    n = len(right)
    y = np.arange(n) % 4
    guess = np.where(right, y, (y + 1) % 4)
    fields: dict[str, Any] = {
        "kind": "head",
        "dataset": "shapes",
        "key": ExtractionKey("mobilenet", {}, "0" * 64, "mobilenet", ImageSpec(224, 224)),
        "backbone": "mobilenet",
        "tap": "avg",
        "head": HeadSpec(head),
        "params": {"C": 1.0},
        "shots": shots,
        "draw": draw,
        "split": {"n_train": 500, "n_val": 0, "n_test": n, "test_digest": f"{n}"},
        "metrics": metrics.score(y, guess, n_classes=4),
        "selection": {"parameter": "C", "chosen": 1.0, "at_edge": False},
        "seconds": {"extract": 10.0, "select": 2.0, "fit": 0.5, "predict": 0.01},
        "cost": {"feature_dim": 1024, "spread": 0.7, "rows_a_class": [100, 150], "warnings": []},
        "environment": {"time": "2026-01-01T00:00:00Z"},
        "classes": ("circle", "cross", "square", "star"),
        "arrays": {"y_true": y, "y_pred": guess},
    }
    return RunRecord(**{**fields, **changes})


def rights(n: int, wrong: slice) -> np.ndarray:
    right = np.ones(n, bool)
    right[wrong] = False
    return right


GOOD = rights(400, slice(0, 20))


# --- rows --------------------------------------------------------------------------------------


def test_rows_have_the_fields_of_classify_json() -> None:
    document = comparison_json(compare([make_run(GOOD), make_run(GOOD, "ridge", draw=1)]))
    assert set(document) == {"rows", "findings", "break_even"}
    for row in document["rows"]:
        assert set(row) == CLASSIFY_FIELDS
    first = document["rows"][0]
    assert first["accuracy"] == 0.95
    assert first["accuracy_ci"][0] < 0.95 < first["accuracy_ci"][1]
    assert first["top5"] is None
    assert first["params"] == {"C": 1.0}


def test_nothing_to_compare() -> None:
    with pytest.raises(SpecError, match="No run"):
        compare([])


def test_different_test_rows_are_refused() -> None:
    other = make_run(GOOD, "ridge", split={"n_train": 5, "n_test": 400, "test_digest": "other"})
    with pytest.raises(ProtocolError, match="different test rows") as caught:
        compare([make_run(GOOD), other])
    assert "mobilenet avg ridge on 400 of shapes" in str(caught.value)


# --- draws -------------------------------------------------------------------------------------


def test_draws_are_put_together_and_spreads_kept_apart() -> None:
    runs = [
        make_run(rights(400, slice(0, wrong)), shots=5, draw=d)
        for d, wrong in enumerate((40, 60, 80))
    ]
    (group,) = compare(runs).groups
    assert group["draws"] == 3
    assert group["members"] == (0, 1, 2)
    assert group["accuracy"] == pytest.approx(0.85)
    assert group["accuracy_spread"] == pytest.approx(0.05)
    low, high = group["accuracy_ci"]
    # Rows are right in 0, 1, 2 or 3 draws: the interval of their mean, by the normal law.
    share = np.mean([r.arrays["y_pred"] == r.arrays["y_true"] for r in runs], axis=0)
    half = 1.96 * share.std() / 20
    assert (high - low) / 2 == pytest.approx(half, rel=0.06)
    single = compare(runs[:1]).groups[0]
    assert single["accuracy_spread"] is None
    assert single["accuracy_ci"] == tuple(runs[0].metrics["accuracy_ci"])


def test_groups_differ_by_cache_key_and_say_so() -> None:
    random = ExtractionKey("mobilenet", {}, "random-0", "mobilenet", ImageSpec(224, 224))
    comparison = compare([make_run(GOOD), make_run(rights(400, slice(0, 99)), key=random)])
    assert len(comparison.groups) == 2
    assert len({g["name"] for g in comparison.groups}) == 2


# --- tests -------------------------------------------------------------------------------------


def test_sizes_and_precisions_of_one_backbone_are_told_apart_where_they_differ() -> None:
    def key(size: tuple[int, int], precision: str = "float32") -> ExtractionKey:
        return ExtractionKey("mobilenet", {}, "0" * 64, "mobilenet", ImageSpec(*size), precision)

    sweep = [make_run(GOOD, key=key(size)) for size in [(128, 128), (160, 224)]]
    other = make_run(GOOD, key=key((96, 96)), backbone="vgg16")
    fused = make_run(GOOD, key=None, backbone="vgg16+mobilenet", parts=())
    comparison = compare([*sweep, other, fused])
    shown = [g["backbone"] for g in comparison.groups]
    assert shown == ["mobilenet 128x128", "mobilenet 160x224", "vgg16", "vgg16+mobilenet"]
    assert [row["backbone"] for row in comparison.rows][:2] == ["mobilenet", "mobilenet"]
    assert [row["image_size"] for row in comparison.rows][1:] == [[160, 224], [96, 96], None]
    assert "mobilenet 160x224 avg" in format_table(comparison)

    both = compare([make_run(GOOD, key=key((96, 96), p)) for p in ("float32", "bfloat16")])
    assert [g["backbone"] for g in both.groups] == ["mobilenet float32", "mobilenet bfloat16"]
    assert len({g["name"] for g in both.groups}) == 2


def test_clear_difference_is_shown() -> None:
    comparison = compare([make_run(GOOD), make_run(rights(400, slice(0, 90)), "knn")])
    (test,) = comparison.tests
    assert test["shown"]
    assert (test["only_best"], test["only_other"]) == (70, 0)
    assert test["p"] == pytest.approx(2 * 0.5**70)
    assert test["difference"] == pytest.approx(0.175)
    assert test["difference_ci"][0] > 0.1
    assert "It beats the next, mobilenet avg knn" in format_table(comparison)


def test_small_difference_is_not_shown() -> None:
    comparison = compare([make_run(GOOD), make_run(rights(400, slice(376, 400)), "knn")])
    (test,) = comparison.tests
    assert not test["shown"]
    assert test["p"] == pytest.approx(metrics.mcnemar(GOOD, rights(400, slice(376, 400)))[2])
    text = format_table(comparison)
    assert "No difference shown to the next, mobilenet avg knn" in text
    assert "1 of 1 others are not shown to be worse" in text


def test_many_comparisons_are_corrected() -> None:
    worse = [make_run(rights(400, slice(8, 28)), f"h{i}") for i in range(30)]
    one = compare([make_run(rights(400, slice(0, 8))), worse[0]]).tests
    many = compare([make_run(rights(400, slice(0, 8))), *worse]).tests
    assert len(many) == 30
    assert one[0]["p"] == many[0]["p"]
    assert one[0]["shown"]
    assert not many[0]["shown"]


def test_best_is_taken_a_number_of_shots_and_overall_at_the_most() -> None:
    comparison = compare(
        [
            make_run(rights(400, slice(0, 100)), "a", shots=5),
            make_run(rights(400, slice(0, 5)), "b", shots=5),
            make_run(rights(400, slice(0, 50)), "b"),
            make_run(rights(400, slice(0, 40)), "a"),
        ]
    )
    assert comparison.baseline == "mobilenet avg a, all images"
    named = [(comparison.groups[t["best"]]["name"], t["shots"]) for t in comparison.tests]
    assert named == [
        ("mobilenet avg b, 5 images a class", 5),
        ("mobilenet avg a, all images", None),
    ]


def test_quicker_head_wins_a_tie() -> None:
    slow = {"extract": 10.0, "select": 2.0, "fit": 9.0, "predict": 0.01}
    comparison = compare([make_run(GOOD, "a", seconds=slow), make_run(GOOD, "b")])
    assert comparison.baseline == "mobilenet avg b, all images"
    assert comparison.tests[0]["p"] == 1


def test_different_numbers_of_draws_are_tested_on_their_means() -> None:
    comparison = compare(
        [make_run(GOOD, "mlp", draw=d) for d in range(3)]
        + [make_run(rights(400, slice(0, 90)), "knn")]
    )
    (test,) = comparison.tests
    assert test["only_best"] is None
    assert test["difference"] == pytest.approx(0.175)
    assert test["p"] == pytest.approx(2 * 0.5**70)


def test_records_without_predictions_are_compared_but_not_tested() -> None:
    comparison = compare([make_run(GOOD), make_run(GOOD, "old", arrays={})])
    assert comparison.tests == ()
    assert len(comparison.groups) == 2


# --- findings ----------------------------------------------------------------------------------


def codes(*runs: RunRecord) -> list[str]:
    return [f.code for f in compare(runs).findings]


def test_sound_runs_have_no_findings() -> None:
    assert codes(make_run(GOOD)) == []


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("random-weights", {"key": ExtractionKey("a", {}, "random-0", "a", ImageSpec(8, 8))}),
        (
            "preprocessing-mismatch",
            {"key": ExtractionKey("vgg16", {}, "0" * 64, "mobilenet", ImageSpec(224, 224))},
        ),
        (
            "preprocessing-mismatch",
            {"key": None, "parts": (PART, {"key": {**PART["key"], "preprocess": "resnet"}})},
        ),
        ("preprocessing-unknown", {"key": None}),
        ("preprocessing-unknown", {"key": ExtractionKey("a", {}, "0", "a", ImageSpec(8, 8))}),
        ("collapsed-embedding", {"cost": {"spread": 0.001}}),
        (
            "train-test-duplicates",
            {"split": {"n_train": 9, "n_test": 400, "test_digest": "", "train_test_duplicates": 4}},
        ),
        ("unbalanced-classes", {"cost": {"rows_a_class": [10, 200]}}),
        ("not-converged", {"cost": {"converged": False}}),
        ("not-converged", {"cost": {"warnings": ["ConvergenceWarning: raise max_iter"]}}),
        ("c-at-grid-edge", {"selection": {"parameter": "C", "chosen": 100.0, "at_edge": True}}),
    ],
)
def test_finding(code: str, changes: dict[str, Any]) -> None:
    comparison = compare([make_run(GOOD, **changes)])
    assert [f.code for f in comparison.findings] == [code]
    assert code in CHECKS
    text = comparison.findings[0].text
    assert text.endswith(".")
    assert f"{code}: {text}" in format_table(comparison)
    assert comparison_json(comparison)["findings"] == [{"code": code, "text": text}]


def test_nothing_is_said_of_preprocessing_where_there_is_none_or_it_is_right() -> None:
    assert codes(make_run(GOOD, key=None, parts=(PART, PART))) == []
    assert codes(make_run(GOOD, key=None, kind="baseline", backbone="", tap="")) == []
    average = {"params": {"n": 2, "members": ("a", "b")}, "key": None}
    assert codes(make_run(GOOD, "average", **average)) == []


def test_few_test_rows() -> None:
    assert codes(make_run(rights(120, slice(0, 9)))) == ["too-few-test-rows"]
    assert codes(make_run(rights(16, slice(0, 2)))) == ["too-few-test-rows"]


def test_findings_name_few_and_count_the_rest() -> None:
    runs = [make_run(GOOD, f"h{i}", cost={"converged": False}) for i in range(9)]
    text = compare(runs).findings[0].text
    assert "mobilenet avg h3 and 5 more" in text


# --- the table ---------------------------------------------------------------------------------


def test_table_keeps_to_120_columns_and_says_what_matters() -> None:
    runs = [
        make_run(GOOD, "mlp(hidden=(1024, 512), dropout=0.3, batch_norm=True, epochs=200)"),
        make_run(
            rights(400, slice(0, 90)), backbone="inception_resnet_v2", tap="block17_20_ac:avg"
        ),
        make_run(GOOD, shots=20, draw=0),
        make_run(rights(400, slice(0, 24)), shots=20, draw=1),
    ]
    lines = format_table(compare(runs)).splitlines()
    table = lines[: lines.index("")]
    assert len(table) == 4
    assert max(map(len, table)) <= 120
    backbones = [line.split()[0] for line in table[1:]]
    assert backbones[:2] == ["mobilenet", "mobilenet"]
    assert backbones[2].startswith("inception")
    assert backbones[2].endswith("…")
    for word in ("backbone", "tap", "head", "shots", "accuracy", "macro F1", "extract", "fit"):
        assert word in table[0]
    assert " 20 " in table[1]
    assert "0.945 [" in table[1]
    assert "0.007" in table[1]  # the spread over two draws
    assert "-0.175" in table[3]
    assert all(line.endswith("1024") for line in table[1:])


def test_members_of_averages_are_told() -> None:
    def average(draw: int, *members: str) -> RunRecord:
        params = {"n": 2, "members": members}
        return make_run(GOOD, "average", backbone="", tap="", draw=draw, params=params, shots=5)

    text = format_table(compare([average(0, "a", "b"), average(1, "a", "c"), make_run(GOOD)]))
    line = "average, 5 images a class: a, b (1 of 2 draws), c (1 of 2 draws)."
    assert line in text.splitlines()


def test_end_to_end_through_the_disk(tmp_path) -> None:
    for record in evaluate(digits_features(300), ["ridge", "knn"], shots=(5, None), draws=2):
        save_run(record, tmp_path)
    comparison = compare(load_runs(tmp_path))
    assert len(comparison.rows) == 6
    assert len(comparison.groups) == 4
    assert len(comparison.tests) == 2
    assert "too-few-test-rows" in [f.code for f in comparison.findings]
    assert "Best: pixels avg" in format_table(comparison)


# --- networks ------------------------------------------------------------------------------------


def make_network(head: str = "simple_cnn", *, draw: int = 0, **params: Any) -> RunRecord:
    settings = {"image_size": (64, 64), "optimizer": "adam", "epochs": 9, "patience": 3, **params}
    cost = {"epochs": 4 + draw, "epoch_seconds": 2.0, "best_epoch": 3, "parameters_trained": 17044}
    return make_run(
        GOOD, head, draw=draw, kind="baseline", key=None, backbone="", tap="", params=settings,
        cost=cost,
    )  # fmt: skip


def test_networks_with_other_settings_are_no_draws_of_one() -> None:
    records = [
        make_run(GOOD),
        make_network(),
        make_network(draw=1),
        make_network(optimizer="sgd(0.1)"),
        make_network("small_cnn", image_size=(96, 128), epochs=20),
    ]
    groups = compare(records).groups
    assert [(g["backbone"], g["head"], g["draws"]) for g in groups] == [
        ("mobilenet", "logreg", 1),
        ("64x64 adam 9 epochs", "simple_cnn", 2),
        ("64x64 sgd(0.1) 9 epochs", "simple_cnn", 1),
        ("96x128 adam 20 epochs", "small_cnn", 1),
    ]
    assert len({g["name"] for g in groups}) == 4
    assert [r["image_size"] for r in compare(records).rows[::2]] == [
        [224, 224],
        [64, 64],
        [96, 128],
    ]
    alone = compare([make_run(GOOD), make_network(), make_network("small_cnn")]).groups
    assert [g["backbone"] for g in alone] == ["mobilenet", "", ""]


def test_the_table_says_what_training_came_to() -> None:
    text = format_table(compare([make_run(GOOD), make_network(), make_network(draw=1)]))
    assert "simple_cnn, all images: 4 epochs × 2.0 s, 17,044 parameters trained." in text
    assert "more may do better" not in text
    unfinished = make_network(epochs=3)
    assert "The last epoch was the best" in format_table(compare([unfinished]))
