"""What a report says, and that it copes with what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from report_blocks import add_wrong_run, blocks_of, find, texts

from featx.report import make_report
from featx.report.blocks import Chart, Gallery, Report, Table
from featx.report.sections.comparison import pareto_front
from featx.report.sections.confidence import calibration_bins
from featx.report.sections.confusion import cluster_classes
from featx.report.sections.mistakes import confused_pairs
from featx.report.subject import find_confidence


@pytest.fixture
def report(home: Path) -> Report:
    return make_report("shapes")


def test_the_whole_of_it(report: Report) -> None:
    names = [section.name for section in report.sections]
    assert names == [
        "summary", "models", "mistakes", "confidence", "map", "training", "cost", "data",
        "provenance",
    ]  # fmt: skip
    assert report.title == "shapes"
    assert "73 images" in report.subtitle
    assert report.about["runs"] == 15
    everything = [b for s in report.sections for b in s.blocks]
    tables = [b for b in everything if isinstance(b, Table)]
    for table in tables:
        assert all(len(row) == len(table.columns) for row in table.rows), table.name
    charts = [b for b in everything if isinstance(b, Chart)]
    for blocks in (tables, charts):
        assert len({b.name for b in blocks}) == len(blocks)
    assert all(chart.alt.endswith(".") for chart in charts)


def test_the_best_comes_first_and_numbers_are_those_of_the_records(report: Report, records) -> None:
    table = report.comparison
    names = [c.name for c in table.columns]
    shots, accuracy = (
        [row[names.index(n)] for row in table.rows] for n in ("Images a class", "Accuracy")
    )
    assert shots[:3] == ["all"] * 3
    assert [a[0] for a in accuracy[:3]] == sorted((a[0] for a in accuracy[:3]), reverse=True)
    full = {r.head.name: r.metrics["accuracy"] for r in records if r.shots is None}
    assert {
        row[names.index("Head")]: row[names.index("Accuracy")][0] for row in table.rows[:3]
    } == full
    assert table.rows[table.marked[0]][names.index("Accuracy")][0] == max(full.values())
    assert f"{100 * max(full.values()):.1f}%" in texts(report, "summary")


def test_data_says_what_is_wrong_with_it(report: Report) -> None:
    facts = dict(find(report, "data", "data").items)
    assert facts["Images"] == "73"
    assert facts["Copies of other images"] == "1"
    assert facts["Set aside, since they could not be used"] == "1"
    (aside,) = [b for b in blocks_of(report, "data") if getattr(b, "name", "") == "set-aside"]
    assert aside.rows[0][0] == "class0/bad.jpg"
    counts = find(report, "data", "class-counts", Table)
    assert [c.name for c in counts.columns] == ["Class", "Training", "Test", "All"]
    assert sum(row[-1] for row in counts.rows) == 73
    assert all(row[1] + row[2] == row[3] for row in counts.rows)
    sizes = find(report, "data", "sizes-of-images")
    assert sizes.rows[0] == ("width, pixels", 32, 32, 32)
    assert sizes.rows[1] == ("height, pixels", 24, 24, 24)


def test_photos_of_mistakes_are_those_of_the_record(report: Report, records) -> None:
    galleries = [b for b in blocks_of(report, "mistakes") if isinstance(b, Gallery)]
    table = report.comparison
    if not galleries:
        assert table.rows[table.marked[0]][5][0] == 1.0
        return
    for photo in galleries[-1].photos:
        assert photo.path.startswith(photo.true + "/")
        assert photo.true != photo.predicted
        assert photo.image.startswith("data:image/webp;base64,")


def test_thumbnails_of_the_map_stand_at_their_points(home: Path, report: Report) -> None:
    chart = find(report, "map", "map")
    numbers = [c[2] for trace in chart.figure["data"] for c in trace["customdata"]]
    assert numbers == list(range(len(chart.thumbnails)))
    assert all(t.startswith("data:image/webp") for t in chart.thumbnails)


def test_without_a_cache_there_is_no_map_but_the_rest(home: Path) -> None:
    shutil.rmtree("features")
    report = make_report("shapes")
    assert "There is no map" in texts(report, "map")
    assert "not there any more" in texts(report, "data")
    assert find(report, "mistakes", "confusion").figure["data"]
    assert find(report, "data", "class-counts", Table).rows


def test_photos_that_moved_are_asked_for_and_found_where_named(home: Path) -> None:
    add_wrong_run(home)
    where = next(Path("runs").glob("test-*.npz"))
    root = Path(make_root(where))
    hidden = root.with_name("hidden")
    root.rename(hidden)
    Path("shapes").rename("moved")
    try:
        report = make_report("shapes")
        assert "not where they were" in texts(report, "mistakes")
        assert not [b for b in blocks_of(report, "mistakes") if isinstance(b, Gallery)]
        rows = find(report, "mistakes", "mistakes", Table).rows
        assert rows
        assert all("/" in row[0] for row in rows)
        moved = Path("moved")
        report = make_report("shapes", photos=moved)
        assert [b for b in blocks_of(report, "mistakes") if isinstance(b, Gallery)]
        for path in moved.rglob("*.jpg"):  # other photos under the same names are not shown
            path.write_bytes(path.read_bytes() + b"x")
        for path in moved.rglob("*.png"):
            path.write_bytes(path.read_bytes() + b"x")
        report = make_report("shapes", photos=moved)
        assert not [b for b in blocks_of(report, "mistakes") if isinstance(b, Gallery)]
    finally:
        hidden.rename(root)


def test_one_run_is_enough(home: Path) -> None:
    for path in Path("runs").glob("shapes-*"):
        if "centroid-all" not in path.name:
            path.unlink()
    report = make_report()
    assert len(report.comparison.rows) == 1
    assert "no learning curve" in texts(report, "models")


def test_runs_without_arrays(home: Path, add_run) -> None:
    add_run("bare", arrays={}, selection={"on": "given"}, cost={"warnings": []})
    for path in Path("runs").iterdir():
        if "-bare-" not in path.name:
            path.unlink()
    report = make_report()
    assert "were not kept" in texts(report, "mistakes")
    assert "is not known" in texts(report, "confidence")


@pytest.mark.usefixtures("networks")
def test_networks_stand_beside_heads(home: Path) -> None:
    report = make_report("shapes")
    kinds = {row[0] for row in report.comparison.rows}
    assert kinds == {"head", "baseline", "finetune", "zeroshot"}
    names = {t["name"] for t in find(report, "models", "accuracy-and-time").figure["data"]}
    assert {"Network from scratch", "Fine-tuned network", "ImageNet classes, no training"} <= names
    history = find(report, "training", "history-loss")
    assert history.figure["data"][1]["y"] == [1.1, 0.8, 0.75, 0.8]
    table = find(report, "cost", "break-even", Table)
    assert {row[2] for row in table.rows} == {"fine-tuning", "a network from scratch"}
    sizes = find(report, "cost", "sizes")
    assert "Frozen" in [c.name for c in sizes.columns]
    assert "Network from scratch: " in texts(report, "summary")


# --- the pieces --------------------------------------------------------------------------------


def test_pareto_front_holds_what_nothing_beats() -> None:
    def group(name: str, seconds: float, accuracy: float) -> dict[str, object]:
        steps = {f"{s}_seconds": 0.0 for s in ("extract", "select", "predict")}
        return {"name": name, "accuracy": accuracy, "fit_seconds": seconds, **steps}

    groups = [group("c", 3, 0.7), group("a", 1, 0.5), group("b", 2, 0.8), group("d", 9, 0.9)]
    assert [g["name"] for g in pareto_front(groups)] == ["a", "b", "d"]


def test_calibration_bins_hold_every_row_and_give_the_error() -> None:
    from featx.metrics import expected_calibration_error

    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.4] * 4, 500)
    y = rng.integers(0, 4, 500)
    right = p.argmax(axis=1) == y
    bins = calibration_bins(p.max(axis=1), right)
    assert sum(b["rows"] for b in bins) == 500
    gap = sum(b["rows"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / 500
    assert gap == pytest.approx(expected_calibration_error(y, p))
    assert all(b["low"] < b["confidence"] <= b["high"] for b in bins)


def test_confused_classes_become_neighbours() -> None:
    rng = np.random.default_rng(0)
    twins = rng.permutation(30).reshape(15, 2)
    matrix = 50 * np.eye(30, dtype=int)
    for a, b in twins:
        matrix[a, b] = matrix[b, a] = 20
    order = cluster_classes(matrix)
    assert sorted(order) == list(range(30))
    place = np.argsort(order)
    assert all(abs(place[a] - place[b]) == 1 for a, b in twins)
    pairs = confused_pairs(matrix, 60)
    assert len(pairs) == 30
    assert {frozenset(pair) for pair in pairs} == {frozenset(pair) for pair in twins.tolist()}


def test_confidence_of_records_without_it(records) -> None:
    for record in records:
        assert record.arrays["confidence"].max() <= 1
        from dataclasses import replace

        older = {n: v for n, v in record.arrays.items() if n != "confidence"}
        found = find_confidence(replace(record, arrays=older))
        if found is not None:
            np.testing.assert_allclose(found, record.arrays["confidence"], atol=1e-5)
        assert find_confidence(replace(record, arrays={})) is None


def make_root(test_set: Path) -> str:
    import json

    return str(json.loads(str(np.load(test_set)["about"]))["root"])
