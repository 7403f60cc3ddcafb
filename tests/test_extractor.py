"""The transformer: any images in, a row each, in any scikit-learn tool."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.utils import estimator_checks

import featx
from featx.errors import (
    CacheWriteError,
    ImageError,
    ImageSizeError,
    SpecError,
    UnknownNameError,
    WeightsError,
)
from featx.extractor import FeatureExtractor

# scikit-learn's checks that need no table of numbers as input; the rest give it one, which is no
# image.
CHECKS = [
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_mixin_order",
]


@pytest.fixture
def make(projection: str) -> Any:
    """Return what makes extractors on the stand-in engine."""

    def make(**changes: Any) -> FeatureExtractor:
        options = {"weights": "random", "engine": projection, "image_size": 32}
        return FeatureExtractor(**{**options, **changes})

    return make


@pytest.fixture
def files(photos: Path) -> list[str]:
    return sorted(str(path) for path in photos.rglob("*.*"))


def labels(files: list[str]) -> list[str]:
    return [Path(path).parent.name for path in files]


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learn_checks(name: str) -> None:
    getattr(estimator_checks, name)("FeatureExtractor", FeatureExtractor())


def test_rows_are_those_of_extract(
    make: Any, files: list[str], photos: Path, tmp_path: Path, projection: str
) -> None:
    report = featx.extract(
        photos, weights="random", engine=projection, image_size=32, pooling=["avg", "flatten"],
        cache_dir=tmp_path / "cache",
    )  # fmt: skip
    cached = featx.load_features(report.caches[0]["path"], tap="avg")
    order = [cached.paths.index(str(Path(f).relative_to(photos))) for f in reversed(files)]
    rows = make().fit_transform(files[::-1])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, cached.X[order])
    flat = featx.load_features(report.caches[0]["path"], tap="flatten").X[order]
    both = make(pooling=["flatten", "avg"]).transform(files[::-1])
    np.testing.assert_array_equal(both, np.hstack([flat, rows]))


def test_paths_of_all_sorts_and_pixels_give_the_same(make: Any, files: list[str]) -> None:
    pngs = [f for f in files if f.endswith(".png")]
    wanted = make().transform(pngs)
    pixels = [np.asarray(Image.open(f).convert("RGB")) for f in pngs]
    for same in (
        tuple(pngs),
        [Path(f) for f in pngs],
        np.array(pngs),
        np.array(pngs, object)[:, None],
        pixels,
        np.stack(pixels),
    ):
        np.testing.assert_array_equal(make().transform(same), wanted)


def test_pixels_of_several_sizes_and_many_batches(make: Any) -> None:
    rng = np.random.default_rng(0)
    shapes = [(5 + i, 40 - i, 3) for i in range(2 * fakes.BATCH + 3)]
    images = [rng.integers(0, 256, shape, np.uint8) for shape in shapes]
    rows = make().transform(images)
    alone = [make().transform([image])[0] for image in images]
    np.testing.assert_array_equal(rows, alone)


def test_the_same_image_twice_is_computed_once(make: Any, files: list[str]) -> None:
    fakes.PASSES.clear()
    rows = make().transform([files[1], files[0], files[1]])
    assert len(fakes.PASSES) == 1
    np.testing.assert_array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[1])


def test_pipeline_grid_search_and_clones(make: Any, files: list[str], tmp_path: Path) -> None:
    model = make_pipeline(make(cache_dir=str(tmp_path / "cache")), KNeighborsClassifier())
    grid = {"featureextractor__pooling": ["avg", "max"], "kneighborsclassifier__n_neighbors": [1]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(files, labels(files))
    assert search.best_score_ > 0.8
    assert search.predict(files[:1]) == labels(files)[:1]
    batches = len(fakes.PASSES)
    assert cross_val_score(search.best_estimator_, files, labels(files), cv=2).mean() > 0.8
    assert len(fakes.PASSES) == batches  # all came from the cache
    assert clone(model).get_params().keys() == model.get_params().keys()


def test_rows_that_extract_cached_are_taken_and_new_ones_kept(
    make: Any, files: list[str], photos: Path, tmp_path: Path, projection: str
) -> None:
    cache = tmp_path / "cache"
    featx.extract(photos, weights="random", engine=projection, image_size=32, cache_dir=cache)
    fakes.PASSES.clear()
    extractor = make(cache_dir=cache)
    rows = extractor.transform(files)
    assert not fakes.PASSES
    new = tmp_path / "new.png"
    Image.effect_noise((30, 30), 90).convert("RGB").save(new)
    mixed = extractor.transform([files[3], str(new), files[0]])
    assert len(fakes.PASSES) == 1
    np.testing.assert_array_equal(mixed[[0, 2]], rows[[3, 0]])
    np.testing.assert_array_equal(mixed[1], make().transform([new])[0])
    fakes.PASSES.clear()
    np.testing.assert_array_equal(extractor.transform([new]), mixed[1:2])
    assert not fakes.PASSES
    # The data set's own view is left as it was.
    (entry,) = (path for path in cache.glob("photos/*") if path.is_dir())
    assert featx.load_features(entry).X.shape[0] == len(files)


def test_many_calls_for_single_images_leave_few_files(
    make: Any, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.extraction.rows.MANY_PARTS", 4)
    extractor = make(cache_dir=tmp_path / "cache")
    rows = np.concatenate([extractor.transform([file]) for file in files])
    assert len(list(tmp_path.glob("cache/extractor/*/parts/*.h5"))) <= 5
    np.testing.assert_array_equal(extractor.transform(files), rows)
    np.testing.assert_array_equal(make().transform(files), rows)


def test_taps_in_the_cache_in_part(make: Any, files: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    make(cache_dir=cache, pooling="flatten").transform(files[:5])
    fakes.PASSES.clear()
    found = make(cache_dir=cache, pooling=["avg", "flatten"]).transform(files[:5])
    assert not fakes.PASSES  # avg is derived
    plain = make(pooling=["avg", "flatten"]).transform(files[:5])
    np.testing.assert_allclose(found, plain, rtol=1e-6)


def test_pickles_without_the_engine_and_copies_give_the_same(make: Any, files: list[str]) -> None:
    extractor = make().fit(files)
    rows = extractor.transform(files[:3])
    data = pickle.dumps(extractor)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data).transform(files[:3]), rows)  # noqa: S301


def test_equal_extractors_share_one_graph(
    make: Any, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    load = fakes.ProjectionEngine.load

    def counted(self: Any, spec: Any, *rest: Any) -> Any:
        made.append(spec.text)
        return load(self, spec, *rest)

    monkeypatch.setattr(fakes.ProjectionEngine, "load", counted)
    for _ in range(2):
        for alpha in (0.25, 0.5):
            sizes = {"image_size": np.int64(40)} if alpha == 0.5 else {"image_size": (40, 40)}
            make(backbone=f"mobilenet(alpha={alpha})", **sizes).transform(files[:2])
    assert made == ["mobilenet(alpha=0.25)", "mobilenet(alpha=0.5)"]


def test_threads_may_share_it(make: Any, files: list[str]) -> None:
    from joblib import Parallel, delayed

    extractor = make()
    wanted = extractor.transform(files)
    parts = Parallel(n_jobs=4, backend="threading")(
        delayed(extractor.transform)(files[i::4]) for i in range(4)
    )
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(part, wanted[i::4])


def test_names_of_columns(make: Any, files: list[str]) -> None:
    extractor = make(pooling=["avg", "max"])
    n = extractor.transform(files[:1]).shape[1]
    names = extractor.get_feature_names_out()
    assert (len(names), names[0], names[-1]) == (n, "mobilenet_avg_0", "mobilenet_max_5")
    plain = FeatureExtractor("resnet50", pooling=["max"]).get_feature_names_out()
    assert (len(plain), plain[-1]) == (2048, "resnet50_max_2047")
    union = make_union(make(), make(image_size=48)).fit(files)
    union.transform(files[:1])
    assert len(union.get_feature_names_out()) == 12


def test_bad_images_are_named(make: Any, files: list[str], tmp_path: Path) -> None:
    bad = tmp_path / "cut.jpg"
    bad.write_bytes(Path(files[0]).read_bytes()[:300])
    for extractor in (make(), make(cache_dir=tmp_path / "cache")):
        with pytest.raises(ImageError, match=r"cut\.jpg: .*truncated.*leave this one out") as told:
            extractor.transform([*files, bad])
        assert told.value.path == str(bad)
        with pytest.raises(ImageError, match=r"none\.jpg: cannot be read: no such file"):
            extractor.transform([files[0], tmp_path / "none.jpg"])
        with pytest.raises(ImageError, match="cannot be read: is a directory"):
            extractor.transform([tmp_path])
        with pytest.raises(ImageError, match="cannot be read"):
            extractor.transform(["a\0b.jpg"])


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ("photo.jpg", "X is one path, 'photo.jpg'"),
        ([], "X is empty"),
        (np.zeros((0, 8, 8, 3), np.uint8), "X is empty"),
        (np.zeros((2, 8, 8, 3)), "float64 values.*np.rint"),
        (np.zeros((2, 8, 8), np.uint8), "grey images"),
        (np.zeros((2, 8, 8, 1), np.uint8), "grey images"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"shape \(2, 8, 8, 4\)"),
        (np.zeros((2, 9)), r"shape \(2, 9\)"),
        ([[1, 2], [3, 4]], "X holds list"),
        (["a.jpg", None], "X holds NoneType and str"),
        (["a.jpg", np.zeros((8, 8, 3), np.uint8)], "X holds ndarray and str"),
        (np.array([["a.jpg", "b.jpg"]]), "one column of paths"),
        (5, "X has int64 values"),
    ],
)
def test_what_is_no_image_is_told(make: Any, images: Any, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        make().transform(images)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"backbone": "resnet5"}, UnknownNameError),
        ({"backbone": "mobilenet(beta=1)"}, SpecError),
        ({"pooling": "block4_pool:mean"}, SpecError),
        ({"pooling": []}, SpecError),
        ({"image_size": 8}, ImageSizeError),
        ({"image_size": 224.5}, ImageSizeError),
        ({"image_size": (64, 64, 3)}, ImageSizeError),
        ({"precision": "int8"}, SpecError),
        ({"engine": "tensorflaw"}, UnknownNameError),
        ({"weights": " "}, SpecError),
    ],
)
def test_wrong_parameters_are_told_by_fit(parameters: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        FeatureExtractor(**parameters).fit(["a.jpg"])


def test_missing_weights_and_folders_that_cannot_be_written(
    make: Any, files: list[str], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"none\.weights\.h5"):
        make(weights=tmp_path / "none.weights.h5").transform(files[:1])
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(CacheWriteError):
        make(cache_dir=in_the_way).transform(files[:1])


@pytest.mark.slow
def test_real_backbone_on_real_engine_from_pixels_and_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 32, 32, 3), np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    options = {"backbone": "mobilenet(alpha=0.25)", "weights": "random", "image_size": 32}
    by_array = FeatureExtractor(**options).fit_transform(pixels)
    by_file = FeatureExtractor(**options, cache_dir=tmp_path / "cache").transform(
        sorted(tmp_path.glob("*.png"))
    )
    assert by_array.shape == (5, 256)
    np.testing.assert_array_equal(by_array, by_file)
    assert len(FeatureExtractor(**options).get_feature_names_out()) == 256
