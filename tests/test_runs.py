"""Run records on disk."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from featuresets import digits_features

from featx.errors import RunError
from featx.evaluate import evaluate, list_tested
from featx.records import RunRecord, to_json
from featx.runs import load_run, load_runs, load_test_set, network_path, save_run


@pytest.fixture(scope="module")
def records() -> list[RunRecord]:
    return evaluate(digits_features(120), ["centroid", "knn(k=3, metric='euclidean')"], shots=(5,))


def assert_same(a: RunRecord, b: RunRecord) -> None:
    for field in fields(RunRecord):
        if field.name != "arrays":
            mine, theirs = (to_json(getattr(r, field.name)) for r in (a, b))
            assert mine == theirs, field.name
    assert a.key == b.key
    assert a.head == b.head
    assert set(a.arrays) == set(b.arrays)
    for name, values in a.arrays.items():
        np.testing.assert_array_equal(values, b.arrays[name])
        assert values.dtype == b.arrays[name].dtype


def test_records_come_back(records: list[RunRecord], tmp_path: Path) -> None:
    paths = [save_run(r, tmp_path / "new" / "runs") for r in records]
    assert [p.suffix for p in paths] == [".json", ".json"]
    assert paths[0].name.startswith("digits-pixels-avg-centroid-5shot-draw0-")
    loaded = {r.head.name: r for r in load_runs(tmp_path / "new" / "runs")}
    for record in records:
        assert_same(record, loaded[record.head.name])


def test_tuples_in_parameters_come_back(records: list[RunRecord], tmp_path: Path) -> None:
    head = replace(records[0].head, name="mlp", params={"hidden": (512, 256)})
    save_run(replace(records[0], head=head, params={"hidden": (512, 256)}), tmp_path)
    assert load_runs(tmp_path)[0].head.text == "mlp(hidden=(512, 256))"
    assert load_runs(tmp_path)[0].params["hidden"] == (512, 256)


def test_steps_and_parts_come_back(tmp_path: Path) -> None:
    features = digits_features(120)
    parts = ({"backbone": "pixels", "tap": "avg", "key": None, "feature_dim": 64},)
    features = replace(features, provenance={**features.provenance, "parts": list(parts)})
    (record,) = evaluate(features, ["power(alpha=0.3)+pca(n=5)+centroid"], shots=(5,))
    save_run(record, tmp_path)
    (loaded,) = load_runs(tmp_path)
    assert_same(record, loaded)
    assert loaded.head.text == "power(alpha=0.3)+pca(n=5)+centroid"
    assert loaded.parts == parts


def test_records_of_before_steps_and_parts_are_read(
    records: list[RunRecord], tmp_path: Path
) -> None:
    path = save_run(records[0], tmp_path)
    data = json.loads(path.read_text())
    del data["parts"], data["head"]["steps"]
    path.write_text(json.dumps(data))
    assert_same(load_runs(tmp_path)[0], records[0])


def test_names_are_unique_and_stable(records: list[RunRecord], tmp_path: Path) -> None:
    first = save_run(records[0], tmp_path)
    assert save_run(records[0], tmp_path) == first
    later = replace(records[0], environment={**records[0].environment, "time": "later"})
    assert save_run(later, tmp_path) != first
    assert len(load_runs(tmp_path)) == 2


def test_names_hold_no_path(records: list[RunRecord], tmp_path: Path) -> None:
    odd = replace(records[0], dataset="../../etc/ö x", tap="block4/pool:avg")
    path = save_run(odd, tmp_path)
    assert path.parent == tmp_path
    assert load_runs(tmp_path)[0].dataset == odd.dataset


def test_json_is_standard(records: list[RunRecord], tmp_path: Path) -> None:
    metrics = {**records[0].metrics, "log_loss": float("nan")}
    text = save_run(replace(records[0], metrics=metrics), tmp_path).read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse)["metrics"]["log_loss"] is None


@pytest.mark.parametrize("victim", [".npz", ".json"])
@pytest.mark.parametrize("damage", ["cut", "text", "gone"])
def test_damaged_records_are_named(
    records: list[RunRecord], tmp_path: Path, victim: str, damage: str
) -> None:
    path = save_run(records[0], tmp_path)
    target = path.with_suffix(victim)
    if damage == "gone":
        target.unlink()
    else:
        target.write_bytes(target.read_bytes()[:200] if damage == "cut" else b'{"x": 1}')
    if (victim, damage) == (".json", "gone"):
        assert load_runs(tmp_path) == []
        return
    with pytest.raises(RunError, match=path.name) as caught:
        load_runs(tmp_path)
    assert "\n" not in str(caught.value)


def test_pickles_are_never_opened(records: list[RunRecord], tmp_path: Path) -> None:
    path = save_run(records[0], tmp_path)
    arrays = {name: np.array([{"a": 1}], dtype=object) for name in records[0].arrays}
    np.savez(path.with_suffix(".npz"), **arrays)
    with pytest.raises(RunError, match="allow_pickle"):
        load_runs(tmp_path)


def test_an_interrupted_write_leaves_nothing(
    records: list[RunRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def fail_on_json(source, target) -> None:
        if str(target).endswith(".json"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", fail_on_json)
    with pytest.raises(RunError, match="No space left on device"):
        save_run(records[0], tmp_path)
    assert load_runs(tmp_path) == []
    assert not list(tmp_path.glob(".*"))


def test_no_folder_is_no_runs(tmp_path: Path) -> None:
    assert load_runs(tmp_path / "none") == []


def test_the_images_tested_on_come_back(tmp_path: Path) -> None:
    about = {"source": "photos", "root": os.fsdecode(b"/photos/\xff")}
    features = digits_features(120, provenance={"backbone": "pixels", **about})
    odd = ("\u00fc x.png", os.fsdecode(b"\xff.png"))
    features = replace(features, paths=odd * 60)
    first, second = evaluate(features, ["centroid", "knn(k=3)"])
    rows = first.arrays["test_rows"]
    assert load_test_set(first, tmp_path) is None
    save_run(first, tmp_path, test_set=list_tested(features, rows))
    save_run(second, tmp_path)
    found = load_test_set(load_runs(tmp_path)[1], tmp_path)
    assert found is not None
    assert (found.dataset, found.source, found.root, found.target) == (
        "digits", "photos", about["root"], "class"
    )  # fmt: skip
    assert found.classes == features.classes
    assert found.paths == tuple(features.paths[i] for i in rows)
    assert found.digests == tuple(features.digests[i] for i in rows)
    np.testing.assert_array_equal(found.labels, first.arrays["y_true"])
    assert len(list(tmp_path.glob("test-*.npz"))) == 1


def test_moved_images_are_found_at_the_latest_path(tmp_path: Path) -> None:
    features = digits_features(120)
    (record,) = evaluate(features, ["centroid"])
    rows = record.arrays["test_rows"]
    save_run(record, tmp_path, test_set=list_tested(features, rows))
    (file,) = tmp_path.glob("test-*.npz")
    before = file.stat().st_mtime_ns
    save_run(record, tmp_path, test_set=list_tested(features, rows))
    assert file.stat().st_mtime_ns == before, "what is the same is not written again"
    moved = replace(features, paths=tuple(f"new/{p}" for p in features.paths))
    save_run(record, tmp_path, test_set=list_tested(moved, rows))
    found = load_test_set(record, tmp_path)
    assert found is not None
    assert found.paths[0].startswith("new/")


def test_where_images_lie_is_not_forgotten(tmp_path: Path) -> None:
    features = digits_features(120, provenance={"backbone": "pixels", "root": "/photos"})
    (record,) = evaluate(features, ["centroid"])
    rows = record.arrays["test_rows"]
    save_run(record, tmp_path, test_set=list_tested(features, rows))
    nowhere = replace(features, provenance={"backbone": "pixels"})
    save_run(record, tmp_path, test_set=list_tested(nowhere, rows))
    found = load_test_set(record, tmp_path)
    assert found is not None
    assert found.root == "/photos"


def test_images_of_another_split_are_refused(tmp_path: Path) -> None:
    features = digits_features(120)
    (record,) = evaluate(features, ["centroid"])
    with pytest.raises(RunError, match="not those that the run was tested on"):
        save_run(record, tmp_path, test_set=list_tested(features, np.arange(10)))
    assert not list(tmp_path.iterdir())


def test_damaged_test_rows_are_named_and_mended(tmp_path: Path) -> None:
    features = digits_features(120)
    (record,) = evaluate(features, ["centroid"])
    tested = list_tested(features, record.arrays["test_rows"])
    save_run(record, tmp_path, test_set=tested)
    (file,) = tmp_path.glob("test-*.npz")
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(RunError, match=file.name):
        load_test_set(record, tmp_path)
    save_run(record, tmp_path, test_set=tested)
    assert load_test_set(record, tmp_path) is not None


def test_a_network_lies_beside_its_record(records: list[RunRecord], tmp_path: Path) -> None:
    def write(path: Path) -> None:
        assert path.suffix == ".keras"
        path.write_bytes(b"network")

    path = save_run(records[0], tmp_path, network=write)
    assert network_path(path).read_bytes() == b"network"
    assert load_run(path).head == records[0].head
    assert not list(tmp_path.glob(".*"))


def test_a_network_that_cannot_be_written_leaves_no_record(
    records: list[RunRecord], tmp_path: Path
) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        save_run(records[0], tmp_path, network=fail)
    assert not list(tmp_path.iterdir())


def test_arrays_may_be_left_on_the_disk(records: list[RunRecord], tmp_path: Path) -> None:
    path = save_run(records[0], tmp_path)
    assert set(load_run(path, arrays=("y_pred", "confidence", "none")).arrays) == {
        "y_pred",
        "confidence",
    }
    assert load_run(path, arrays=()).arrays == {}
