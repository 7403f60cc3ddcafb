"""Break-even: when frozen features cost less than training a network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.compare.breakeven import break_even, count_until_cheaper, format_break_even

seconds = st.integers(0, 500).map(float)


def group(kind: str, name: str, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "shots": None,
        "accuracy": 0.9,
        "n_classes": 6,
        "extract_seconds": 0.0,
        "select_seconds": 0.0,
        "fit_seconds": 1.0,
        "predict_seconds": 0.0,
    }
    return {**fields, **changes}


HEAD = group("head", "mobilenet avg knn, all images", extract_seconds=60.0, select_seconds=2.0)
WEAK = group("head", "mobilenet avg centroid, all images", accuracy=0.7, extract_seconds=60.0)
TUNED = group("finetune", "mobilenet finetune(), all images", accuracy=0.95, fit_seconds=33.0)
SCRATCH = group("baseline", "simple_cnn, all images", accuracy=0.5, fit_seconds=1.0)


@given(seconds, seconds, seconds, seconds)
def test_the_first_and_last_number_are_those_found_by_counting(
    once: float, each: float, other_once: float, other_each: float
) -> None:
    after, until = count_until_cheaper(once, each, other_once, other_each)

    def cheaper(n: int) -> bool:
        return once + n * each < other_once + n * other_each

    counted = [n for n in range(1, 1200) if cheaper(n)]
    assert after == (counted[0] if counted else None)
    assert until == (counted[-1] if counted and counted[-1] < 1199 else None)


def test_each_network_is_held_against_the_best_head() -> None:
    found = break_even([HEAD, WEAK, TUNED, SCRATCH])
    tuned, scratch = found["pairs"]
    assert tuned["frozen"] == scratch["frozen"] == HEAD["name"]
    # 60 + 3 N < 33 N from N = 3; 60 + (10 + 3) N < 33 N from N = 4; 63 N < 33 N never.
    assert tuned["heads"] == {"after": 3, "until": None}
    assert tuned["classes"] == {"after": 4, "until": None}
    assert tuned["retrains"] == {"after": None, "until": None}
    assert tuned["difference"] == pytest.approx(-0.05)
    assert all(scratch[what]["after"] is None for what in ("heads", "classes", "retrains"))
    assert found["not_applicable"] == []


def test_accuracy_for_each_minute() -> None:
    costs = {c["name"]: c for c in break_even([HEAD, TUNED])["costs"]}
    assert costs[HEAD["name"]]["points_a_minute"] == pytest.approx(90 / (63 / 60))
    assert costs[HEAD["name"]]["points_a_minute_next"] == pytest.approx(90 / (3 / 60))
    assert costs[TUNED["name"]]["points_a_minute"] == pytest.approx(95 / (33 / 60))
    assert (
        break_even([group("head", "free", fit_seconds=0.0)])["costs"][0]["points_a_minute"] is None
    )


def test_only_the_same_number_of_shots_is_held_against_each_other() -> None:
    few = group("head", "few", shots=20, accuracy=0.6)
    found = break_even([HEAD, few, {**TUNED, "shots": 20}, {**SCRATCH, "shots": 5}])
    assert [(p["frozen"], p["shots"]) for p in found["pairs"]] == [("few", 20)]


@pytest.mark.parametrize(
    ("groups", "absent"),
    [
        ([HEAD], ["fine-tuning", "a network from scratch"]),
        ([TUNED], ["heads on frozen features", "a network from scratch"]),
        ([SCRATCH, TUNED], ["heads on frozen features"]),
        ([group("zeroshot", "z")], ["heads", "fine-tuning", "a network from scratch"]),
    ],
)
def test_what_is_absent_is_called_not_applicable(groups: list[Any], absent: list[str]) -> None:
    found = break_even(groups)
    assert found["pairs"] == []
    assert len(found["not_applicable"]) == len(absent)
    for text, word in zip(found["not_applicable"], absent, strict=True):
        assert text.startswith(word)
    assert format_break_even(found) == ""


def test_as_text() -> None:
    text = format_break_even(break_even([HEAD, TUNED]))
    assert text.splitlines() == [
        "Break-even of mobilenet avg knn, all images: 60.0 s to extract once, 3.0 s a head; "
        "86 points of accuracy a minute, 1,800 then.",
        "  against fine-tuning, mobilenet finetune(), all images (33.0 s each time; 173 points of "
        "accuracy a minute): cheaper from 3 heads on, from 4 added classes on, for no number of "
        "trainings on new images; accuracy -5.0 points.",
        "  not applicable: a network from scratch: no row of this comparison.",
    ]
