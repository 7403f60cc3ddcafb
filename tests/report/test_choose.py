"""Which runs a report is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from featx.errors import RunError, SpecError
from featx.records import HeadSpec
from featx.report.choose import choose_runs
from featx.runs import save_run


def test_no_runs_name_the_remedy(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match=r"No run records .* featx classify"):
            choose_runs(None, folder)


@pytest.mark.parametrize("data", [None, "shapes", "./shapes", "/elsewhere/shapes"])
def test_a_data_set_by_path_name_or_left_out(home: Path, data: str | None) -> None:
    assert len(choose_runs(data, home / "runs").records) == 15


def test_a_data_set_by_where_it_came_from(home: Path, records) -> None:
    test_set = choose_runs(None, home / "runs").test_set
    assert test_set is not None
    for record in records:
        save_run(replace(record, dataset="named"), home / "named", test_set=test_set)
    assert len(choose_runs(test_set.source, home / "named").records) == 15


def test_several_data_sets_are_listed(home: Path, add_run) -> None:
    add_run(dataset="flowers")
    with pytest.raises(SpecError, match=r"flowers \(1 run\), shapes \(15 runs\).*report flowers"):
        choose_runs(None, home / "runs")
    assert len(choose_runs("flowers", home / "runs").records) == 1
    with pytest.raises(SpecError, match=r"No run of 'birds' .* which has: flowers"):
        choose_runs("birds", home / "runs")


def test_of_a_run_made_twice_the_newest_counts(home: Path, add_run) -> None:
    before = choose_runs(None, home / "runs").records
    old = next(r for r in before if r.shots is None and r.head.name == "centroid")
    again = {**old.environment, "time": "2999-01-01T00:00:00Z"}
    add_run("centroid", environment=again, metrics={**old.metrics, "accuracy": 0.125})
    after = choose_runs(None, home / "runs").records
    assert len(after) == len(before)
    assert after[-1].metrics["accuracy"] == 0.125
    assert after[-1].head == HeadSpec("centroid")


def test_other_test_rows_are_left_out_and_told(home: Path, add_run, records) -> None:
    split = {**records[0].split, "test_digest": "f" * 64, "seed": 7}
    add_run("late", split=split, environment={"time": "2999-01-01T00:00:00Z"})
    late = choose_runs(None, home / "runs")
    assert [r.head.name for r in late.records] == ["late"]
    (finding,) = late.findings
    assert finding.code == "runs-not-comparable"
    digits = records[0].split["test_digest"][:8]
    assert f"15 runs on other test images are left out: {digits} (15 runs" in finding.text
    early = choose_runs(None, home / "runs", test_rows=digits)
    assert len(early.records) == 15
    assert "1 run on other test images is left out: ffffffff (1 run" in early.findings[0].text
    with pytest.raises(SpecError, match=r"No sets of test rows .* begin with '0123z'"):
        choose_runs(None, home / "runs", test_rows="0123z")


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_damaged_run_is_left_out_and_told(home: Path, suffix: str) -> None:
    victim = next((home / "runs").glob("*-knn-2shot-draw0-*.json"))
    victim.with_suffix(suffix).write_bytes(b"{")
    chosen = choose_runs(None, home / "runs")
    assert len(chosen.records) == 14
    assert [f.code for f in chosen.findings] == ["run-unreadable"]
    assert victim.name in chosen.findings[0].text


def test_nothing_but_damage_is_an_error(home: Path) -> None:
    for path in (home / "runs").glob("*.json"):
        path.write_text("[]")
    with pytest.raises(RunError, match="Cannot read the run record"):
        choose_runs(None, home / "runs")


def test_scores_stay_on_the_disk(home: Path) -> None:
    for record in choose_runs(None, home / "runs").records:
        assert set(record.arrays) == {"test_rows", "y_true", "y_pred"}
        assert "confusion" not in record.metrics


def test_a_label_column_of_several(home: Path, add_run, records) -> None:
    split = {**records[0].split, "test_digest": "f" * 64, "target": "shape"}
    add_run("late", split=split, environment={"time": "2999-01-01T00:00:00Z"})
    assert len(choose_runs(None, home / "runs", target="class").records) == 15
    assert not choose_runs(None, home / "runs", target="class").findings
    assert len(choose_runs(None, home / "runs", target="shape").records) == 1
    told = choose_runs(None, home / "runs", test_rows=records[0].split["test_digest"][:6])
    assert "label column shape" in told.findings[0].text
    with pytest.raises(SpecError, match="'colour': there are class, shape"):
        choose_runs(None, home / "runs", target="colour")
