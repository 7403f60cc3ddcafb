"""Embeddings made elsewhere: read, refused with a reason, and compared like what featx cached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx.classify import classify
from featx.embeddings import is_embeddings, read_embeddings
from featx.errors import CacheMissError, DatasetError, SpecError
from featx.extract import extract
from featx.store import export_entry, load_features
from featx.views import find_sources

N = 60


def parts(n: int = N) -> dict[str, Any]:
    X, y = load_digits(return_X_y=True)
    order = np.argsort(y, kind="stable")[:: max(1, len(y) // n)][:n]
    return {"X": X[order].astype(np.float32), "y": y[order]}


def save(path: Path, /, **arrays: Any) -> Path:
    """Write arrays in the way of the file's suffix."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                values = np.asarray(values)
                file[name] = values.astype(object) if values.dtype.kind == "U" else values
    else:
        import pyarrow
        from pyarrow import parquet

        columns = {
            name: list(values) if np.ndim(values) == 2 else values
            for name, values in arrays.items()
        }
        parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.fixture(params=[".npz", ".h5", ".parquet"])
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_plain_x_and_y_of_any_kind_of_file(tmp_path: Path, suffix: str) -> None:
    made = parts()
    words = np.array([f"digit {k}" for k in made["y"]])
    path = save(tmp_path / f"clip{suffix}", X=made["X"], y=words)
    assert is_embeddings(path)
    found = read_embeddings(path).features("")
    np.testing.assert_array_equal(found.X, made["X"])
    assert [found.classes[i] for i in found.y] == words.tolist()
    assert (found.dataset, found.provenance["backbone"], found.target) == ("clip", "clip", "class")
    assert (found.X.dtype, found.y.dtype, found.key) == (np.float32, np.int32, None)


@pytest.mark.parametrize("names", [("embeddings", "labels"), ("x", "Y"), ("Features", "target")])
def test_other_names(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    made = parts()
    path = save(tmp_path / f"a{suffix}", **{names[0]: made["X"], names[1]: made["y"]})
    found = read_embeddings(path).features("")
    np.testing.assert_array_equal(found.X, made["X"])
    assert found.classes == tuple("0123456789")
    np.testing.assert_array_equal(found.y, made["y"])


def test_whatever_belongs_to_the_rows(tmp_path: Path, suffix: str) -> None:
    made, n = parts(), N
    one = suffix == ".parquet"  # a column is named for one row
    splits = ["train", "valid", "test"] * (n // 3)
    more = {
        "path" if one else "paths": np.array([f"ä {i}.jpg" for i in range(n)]),
        "split" if one else "splits": np.array(splits),
        "digest" if one else "digests": np.array([f"{i:064x}" for i in range(n)]),
        "group" if one else "groups": np.array(["g1"] * 2 + [""] * (n - 2)),
        "label_side" if one else "labels_side": np.array(["left", "right"] * (n // 2)),
        "note": np.arange(n),
    }
    file = read_embeddings(save(tmp_path / f"a{suffix}", **made, **more))
    assert list(file.targets) == ["class", "side"]
    found = file.features("", "side")
    assert found.classes == ("left", "right")
    assert found.paths[1] == "ä 1.jpg"
    assert found.splits.tolist() == [s.replace("valid", "val") for s in splits]
    assert found.digests[2] == f"{2:064x}"
    assert found.groups[:3] == ("g1", "g1", "")


def test_splits_by_name(tmp_path: Path) -> None:
    made = parts()
    sides = {"train": slice(0, 30), "val": slice(30, 40), "test": slice(40, N)}
    arrays = {f"{k}_{s}": v[rows] for s, rows in sides.items() for k, v in made.items()}
    found = read_embeddings(save(tmp_path / "a.npz", **arrays)).features("")
    np.testing.assert_array_equal(found.X, made["X"])
    np.testing.assert_array_equal(found.y, made["y"])
    assert found.splits.tolist() == ["train"] * 30 + ["val"] * 10 + ["test"] * 20
    del arrays["y_val"]
    with pytest.raises(DatasetError, match="the same splits"):
        read_embeddings(save(tmp_path / "b.npz", **arrays))


def test_columns_of_floats_are_one_set(tmp_path: Path) -> None:
    made = parts()
    columns = {f"pc{i}": made["X"][:, i] for i in range(64)}
    found = read_embeddings(save(tmp_path / "a.parquet", **columns, label=made["y"])).features("")
    np.testing.assert_array_equal(found.X, made["X"])


def test_equal_rows_stay_on_one_side_and_paths_name_images(tmp_path: Path) -> None:
    made = parts()
    X = np.concatenate([made["X"], made["X"][:1]])
    y = np.append(made["y"], made["y"][0])
    plain = read_embeddings(save(tmp_path / "a.npz", X=X, y=y)).features("")
    assert plain.digests[0] == plain.digests[N] != plain.digests[1]
    paths = np.array([f"{i}.jpg" for i in range(N + 1)])
    named = read_embeddings(save(tmp_path / "b.npz", X=X, y=y, paths=paths)).features("")
    assert len(set(named.digests)) == N + 1
    assert named.groups[0] == named.groups[N] != ""
    assert named.groups[1] == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"y": None}, "has no labels: it has x"),
        ({"X": None}, "has no features: it has y"),
        ({"X": np.zeros(N)}, r"x of shape \(60,\)"),
        ({"X": np.zeros((N, 0))}, r"x of shape \(60, 0\)"),
        ({"X": np.full((N, 3), "a")}, "x of type <U1"),
        ({"X": np.ones((N, 3), complex)}, "x of type complex128"),
        ({"X": np.where(np.eye(N, 3) > 0, np.nan, 1)}, "not finite in 3 of 60 rows.*row 0"),
        ({"X": np.full((N, 3), 1e300)}, "not finite in 60"),
        ({"y": np.arange(N - 1)}, r"60 rows but y of shape \(59,\)"),
        ({"y": np.eye(N)}, "argmax"),
        ({"y": np.zeros(N, int)}, "one class only, '0'"),
        ({"y": np.linspace(0, 1, N)}, "y of type float64"),
        ({"y": np.where(np.arange(N) < 3, np.nan, 1.0)}, "y of type float64"),
        ({"y": np.array(["a", "b", ""] * 20)}, "no label in 20 of 60 rows, the first is row 2"),
        ({"y": np.arange(N) % 3, "classes": np.array(["a", "b"])}, "names 2 classes but has y"),
        ({"y": np.array(["a", "c"] * 30), "classes": np.array(["a", "b"])}, "y 'c', which is none"),
        ({"paths": np.array(["a.jpg"])}, "60 rows but 1 paths"),
        ({"splits": np.array(["dev"] * N)}, "a split 'dev'"),
        ({"embeddings": np.ones((N, 2))}, "which are the features"),
        ({"features_a": np.ones((N - 1, 2))}, r"features of \[59, 60\] rows"),
        ({"x": np.ones((N, 2))}, "two arrays 'x'"),
        ({"y": np.array([{"a": 1}] * N)}, "no objects"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    arrays = {k: v for k, v in {**parts(), **changes}.items() if v is not None}
    with pytest.raises(DatasetError, match=told):
        read_embeddings(save(tmp_path / "a.npz", **arrays))


def test_damaged_and_dangerous_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"not what it seems")
    with pytest.raises(DatasetError, match="Cannot read embeddings from"):
        read_embeddings(path)
    whole = save(tmp_path / f"b{suffix}", **parts()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="Cannot read embeddings from"):
        read_embeddings(path)


def test_an_h5_file_cannot_reach_into_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(N * 8))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("X", (N, 1), float, external=[(tmp_path / "secret", 0, N * 8)])
        file["y"] = np.arange(N) % 2
    with pytest.raises(DatasetError, match="/X lies in another file"):
        read_embeddings(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["X"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "/y")
        file["y"] = np.arange(N) % 2
    with pytest.raises(DatasetError, match="lies in another file"):
        read_embeddings(tmp_path / "b.h5")


def test_pictures_in_an_npz_are_not_embeddings(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    assert not is_embeddings(save(tmp_path / "a.npz", x_train=images, y_train=np.arange(4)))
    assert not is_embeddings(tmp_path / "none.npz")
    assert not is_embeddings(tmp_path)


def test_an_export_gives_the_same_runs_as_the_cache(
    tmp_path: Path, photos: Path, projection: str, suffix: str
) -> None:
    cache = tmp_path / "cache"
    report = extract(
        photos, weights="random", engine=projection, pooling=["avg", "max"], cache_dir=cache
    )
    entry = report.caches[0]["path"]
    own = load_features(entry, "max")
    file = export_entry(entry, tmp_path / f"export{suffix}")
    (avg, again) = (source.load(None) for source in find_sources(file))
    assert (avg.tap, again.tap) == ("avg", "max")
    np.testing.assert_array_equal(again.X, own.X)
    assert (again.paths, again.digests, again.classes) == (own.paths, own.digests, own.classes)
    np.testing.assert_array_equal(again.y, own.y)
    options: dict[str, Any] = {"heads": ["ridge", "knn"], "shots": [3, None], "draws": 2}
    cached = classify(photos, **options, cache_dir=cache, runs_dir=None)
    made = classify(file, **options, runs_dir=tmp_path / "runs")
    for name in ("tap", "head", "shots", "draw", "n_train", "accuracy", "params"):
        assert [r[name] for r in made.rows] == [r[name] for r in cached.rows]
    records = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("*.json")]
    assert {r["dataset"] for r in records} == {"export"}


def test_the_view_of_an_entry_is_the_entry(tmp_path: Path, photos: Path, projection: str) -> None:
    report = extract(photos, weights="random", engine=projection, cache_dir=tmp_path / "cache")
    entry = Path(report.caches[0]["path"])
    (source,) = find_sources(entry / "cache.h5")
    assert source.load(None).key is not None


def test_files_that_are_not_there_and_pictures_that_are_none(tmp_path: Path) -> None:
    for name in ("none.h5", "none.parquet"):
        with pytest.raises(DatasetError, match=r"There is no file .*none\.(h5|parquet)"):
            find_sources(tmp_path / name)
    with pytest.raises(CacheMissError, match="Run first: featx extract"):
        find_sources(tmp_path / "none.npz")
    with pytest.raises(DatasetError, match="featx classify takes them"):
        extract(save(tmp_path / "clip.npz", **parts()), cache_dir=tmp_path / "cache")


def test_options_that_choose_among_cached_features_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", **parts())
    with pytest.raises(SpecError, match=r"of which --backbone, --weights cannot choose"):
        find_sources(path, backbones=["mobilenet"], weights=["random"])
    with pytest.raises(CacheMissError, match="no features 'avg', it has: one set without a name"):
        find_sources(path, taps=["avg"])
    with pytest.raises(SpecError, match="no label column 'colour', it has: class"):
        read_embeddings(path).features("", "colour")
    with pytest.raises(SpecError, match="No label column 'colour'"):
        classify(path, target="colour", runs_dir=None)


def test_training_on_one_file_and_testing_on_another(tmp_path: Path) -> None:
    made = parts(200)
    one = save(tmp_path / "one.npz", X=made["X"][::2], y=made["y"][::2])
    two = save(tmp_path / "two.npz", X=made["X"][1::2], y=made["y"][1::2])
    found = classify(one, test_on=two, heads=["ridge"], runs_dir=None)
    assert found.rows[0]["n_test"] == 100
    assert found.rows[0]["accuracy"] > 0.7
    narrow = save(tmp_path / "narrow.npz", X=made["X"][:, :3], y=made["y"])
    with pytest.raises(CacheMissError, match="no features like those to train on"):
        classify(one, test_on=narrow, heads=["ridge"], runs_dir=None)
