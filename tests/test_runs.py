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
from featx.evaluate import evaluate
from featx.records import RunRecord, to_json
from featx.runs import load_runs, save_run


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
