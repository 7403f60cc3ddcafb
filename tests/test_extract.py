"""Extraction as a whole, on real image files, with an engine that needs no Keras."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fakes
import h5py
import numpy as np
import pytest
from PIL import Image

import featx
from featx.backbones import parse_backbone
from featx.datasets.decode import read_image
from featx.engines import Runner
from featx.engines.batch import Collect, Submit
from featx.errors import (
    CacheWriteError,
    DatasetError,
    EngineError,
    EngineMemoryError,
    ImageError,
    ImageSizeError,
    SpecError,
    UnknownNameError,
)
from featx.extraction.report import ExtractReport
from featx.extraction.rows import Wanted, compute_pixels
from featx.records import BackboneSpec, ImageSpec, TapSpec

Run = Callable[..., ExtractReport]


@pytest.fixture
def run(photos: Path, tmp_path: Path, projection: str) -> Run:
    def extract(**options: Any) -> ExtractReport:
        options.setdefault("data", photos)
        return featx.extract(
            **{
                "backbone": "mobilenet",
                "weights": "random",
                "engine": projection,
                "cache_dir": tmp_path / "cache",
                **options,
            }
        )

    return extract


def rows_of(report: ExtractReport, tap: str = "avg", cache: int = 0) -> dict[str, np.ndarray]:
    features = featx.load_features(report.caches[cache]["path"], tap=tap)
    return dict(zip(features.paths, features.X, strict=True))


def expected(photos: Path, relpath: str, pooling: str, text: str = "mobilenet") -> np.ndarray:
    image = read_image(str(photos / relpath), ImageSpec(224, 224))
    maps = fakes.feature_maps(image[None], sum(text.encode()))
    return fakes.pooled(maps, pooling)[0]


def test_every_row_is_the_features_of_its_own_image(run: Run, photos: Path) -> None:
    report = run(pooling=["avg", "max", "flatten"])
    assert (report.images, report.extracted, report.reused) == (24, 24, 0)
    for tap in ("avg", "max", "flatten"):
        rows = rows_of(report, tap)
        assert len(rows) == 24
        for relpath, row in rows.items():
            np.testing.assert_array_equal(row, expected(photos, relpath, tap))


def test_labels_and_classes_follow_the_folders(run: Run) -> None:
    features = featx.load_features(run().caches[0]["path"])
    assert features.classes == ("class0", "class1", "class2")
    for path, label in zip(features.paths, features.y, strict=True):
        assert path.startswith(features.classes[label])


def test_a_second_run_makes_no_forward_pass(run: Run) -> None:
    first = rows_of(run())
    fakes.PASSES.clear()
    report = run()
    assert fakes.PASSES == []
    assert (report.extracted, report.reused, report.engine) == (0, 24, "")
    again = rows_of(report)
    assert all(np.array_equal(first[p], again[p]) for p in first)


def test_what_was_added_or_edited_costs_its_own_row(run: Run, photos: Path) -> None:
    run()
    Image.new("RGB", (30, 20), (1, 2, 3)).save(photos / "class0" / "new.png")
    Image.new("RGB", (30, 20), (4, 5, 6)).save(photos / "class1" / "001.png")
    report = run()
    assert (report.extracted, report.reused) == (2, 23)
    rows = rows_of(report)
    assert len(rows) == 25
    for relpath in ("class0/new.png", "class1/001.png"):
        np.testing.assert_array_equal(rows[relpath], expected(photos, relpath, "avg"))


def test_what_was_renamed_moved_or_deleted_costs_nothing(run: Run, photos: Path) -> None:
    run()
    (photos / "class0" / "000.jpg").rename(photos / "class0" / "zzz.jpg")
    (photos / "class0" / "001.png").rename(photos / "class1" / "moved.png")
    (photos / "class2" / "000.jpg").unlink()
    report = run()
    assert (report.extracted, report.images) == (0, 23)
    rows = rows_of(report)
    assert "class2/000.jpg" not in rows
    for relpath, row in rows.items():
        np.testing.assert_array_equal(row, expected(photos, relpath, "avg"))


def test_a_duplicate_costs_nothing_and_is_counted(run: Run, photos: Path) -> None:
    shutil.copy(photos / "class0" / "000.jpg", photos / "class1" / "copy.jpg")
    report = run()
    assert (report.images, report.extracted, report.duplicates) == (25, 24, 1)
    rows = rows_of(report)
    np.testing.assert_array_equal(rows["class0/000.jpg"], rows["class1/copy.jpg"])


def test_a_new_tap_joins_its_entry_and_pools_come_of_a_cached_flatten(run: Run) -> None:
    first = run(pooling="flatten")
    fakes.PASSES.clear()
    second = run(pooling=["avg", "max"])
    assert fakes.PASSES == []
    assert first.caches[0]["path"] == second.caches[0]["path"]
    assert set(second.caches[0]["taps"]) == {"avg", "max", "flatten"}
    flat = featx.load_features(second.caches[0]["path"], tap="flatten").X
    maps = flat.reshape(len(flat), -1, fakes.CHANNELS)
    np.testing.assert_allclose(
        featx.load_features(second.caches[0]["path"], tap="avg").X, maps.mean(axis=1), rtol=1e-6
    )
    np.testing.assert_array_equal(
        featx.load_features(second.caches[0]["path"], tap="max").X, maps.max(axis=1)
    )


def test_new_images_get_every_tap_that_the_entry_has(run: Run, photos: Path) -> None:
    run(pooling=["avg", "flatten"])
    Image.new("RGB", (30, 20), (1, 2, 3)).save(photos / "class0" / "new.png")
    report = run(pooling="avg")
    assert "class0/new.png" in rows_of(report, "flatten")


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "mobilenet(alpha=0.5)"},
        {"backbone": "mobilenet_v2"},
        {"image_size": 128},
        {"image_size": (128, 160)},
        {"stored": "float16"},
    ],
    ids=str,
)
def test_what_changes_a_value_makes_another_entry(run: Run, change: dict[str, Any]) -> None:
    before, after = run(), run(**change)
    assert before.caches[0]["path"] != after.caches[0]["path"]
    assert after.extracted == 24


def test_a_sweep_of_sizes_is_an_entry_each_in_one_pass(run: Run) -> None:
    sweep = run(image_size=[32, 64, (64, 96), 64], backbone=["mobilenet", "mobilenet(alpha=0.5)"])
    assert [tuple(c["image_size"]) for c in sweep.caches] == [
        size for size in [(32, 32), (64, 64), (64, 96)] for _ in range(2)
    ]
    assert len({c["digest"] for c in sweep.caches}) == 6
    assert sweep.extracted == 24
    assert "  mobilenet (random weights) 32x32: avg 6 -> " in sweep.summary()
    alone = run(image_size=(64, 96))
    assert alone.extracted == 0
    assert alone.caches[0] == sweep.caches[4]
    with pytest.raises(ImageSizeError, match=r"16x16 is below the minimum of mobilenet: 32x32"):
        run(image_size=[32, 16])


def test_views_are_entries_beside_the_plain_one(run: Run, photos: Path) -> None:
    plain = run()
    both = run(views="flip,2")
    assert both.caches[0] == plain.caches[0]
    assert [c["backbone"].rpartition(" (")[2] for c in both.caches[1:]] == [
        "flip)",
        "augment-1)",
        "augment-2)",
    ]
    assert len({c["path"] for c in both.caches}) == 4
    fakes.PASSES.clear()
    assert run(views="2,flip").extracted == 0
    assert fakes.PASSES == []
    image = read_image(str(photos / "class0/000.jpg"), ImageSpec(224, 224))
    maps = fakes.feature_maps(image[None, :, ::-1], sum(b"mobilenet"))
    np.testing.assert_array_equal(
        rows_of(both, cache=1)["class0/000.jpg"], fakes.pooled(maps, "avg")[0]
    )


def test_precision_auto_is_settled_before_the_key_is_made(run: Run) -> None:
    report = run(precision="auto")
    assert report.precision == "float32"  # the stand-in engine has nothing else
    assert run(precision="float32").caches == report.caches
    with pytest.raises(SpecError, match="float8"):
        run(precision="float8")


def test_another_weights_file_makes_another_entry(run: Run, tmp_path: Path) -> None:
    paths = []
    for content in (b"one", b"two"):
        (tmp_path / "w.weights.h5").write_bytes(content)
        paths.append(run(weights=str(tmp_path / "w.weights.h5")).caches[0]["path"])
    assert paths[0] != paths[1]


def test_two_backbones_share_one_decode(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import featx.extraction.pipeline

    decoded = []

    def decode(data: bytes, spec: ImageSpec) -> np.ndarray:
        decoded.append(spec)
        return real(data, spec)

    real = featx.extraction.pipeline.decode_image
    monkeypatch.setattr(featx.extraction.pipeline, "decode_image", decode)
    report = run(backbone=["mobilenet", "mobilenet(alpha=0.25)"])
    assert len(decoded) == 24
    assert report.extracted == 24
    assert not np.array_equal(
        rows_of(report, cache=0)["class0/000.jpg"], rows_of(report, cache=1)["class0/000.jpg"]
    )


def test_bad_images_are_set_aside_with_the_reason_and_the_run_goes_on(
    run: Run, photos: Path
) -> None:
    whole = (photos / "class0" / "000.jpg").read_bytes()
    (photos / "class0" / "000.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "class1" / "text.jpg").write_text("no picture")
    report = run()
    assert report.extracted == 23
    assert {p for p, _ in report.quarantined} == {"class0/000.jpg", "class1/text.jpg"}
    assert all(reason for _, reason in report.quarantined)
    assert not {"class0/000.jpg", "class1/text.jpg"} & set(rows_of(report))

    fakes.PASSES.clear()
    again = run()
    assert fakes.PASSES == []
    assert len(again.quarantined) == 2

    (photos / "class0" / "000.jpg").write_bytes(whole)
    mended = run()
    assert mended.extracted == 1
    assert "class0/000.jpg" in rows_of(mended)


def test_strict_stops_at_a_bad_image_and_keeps_what_was_done(run: Run, photos: Path) -> None:
    (photos / "class2" / "zzz.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"zzz\.jpg"):
        run(strict=True)
    with pytest.raises(ImageError, match=r"zzz\.jpg"):
        run(strict=True)
    assert run().extracted < 24


def test_nothing_but_bad_images_is_an_error(run: Run, photos: Path) -> None:
    for path in photos.rglob("*.*"):
        path.write_text(f"no picture {path}")
    with pytest.raises(DatasetError, match="None of the 24 images"):
        run()


def test_a_file_that_changes_after_it_was_indexed_is_never_filed_under_the_old_digest(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import featx.extraction.pipeline

    changed = photos / "class0" / "001.png"

    def decode(data: bytes, spec: ImageSpec) -> np.ndarray:
        if not done:
            done.append(True)
            Image.new("RGB", (30, 20), (9, 9, 9)).save(changed)
        return real(data, spec)

    done: list[bool] = []
    real = featx.extraction.pipeline.decode_image
    monkeypatch.setattr(featx.extraction.pipeline, "decode_image", decode)
    monkeypatch.setattr(featx.extraction.pipeline, "decode_threads", lambda: 1)
    report = run()
    assert [(p, "changed" in r) for p, r in report.quarantined] == [("class0/001.png", True)]
    monkeypatch.undo()
    again = run()
    assert again.quarantined == ()
    np.testing.assert_array_equal(
        rows_of(again)["class0/001.png"], expected(photos, "class0/001.png", "avg")
    )


def test_a_dry_run_says_what_is_needed_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    report = run(dry_run=True)
    assert (report.needs["rows"], report.needs["bytes"]) == (24, 24 * 6 * 4)
    assert report.needs["seconds"] > 0
    assert report.needs["memory_bytes"] > 1e6
    assert report.extracted == 24
    assert not (tmp_path / "cache").exists()
    assert "24 to extract" in report.summary()
    assert "24 rows to compute in about" in report.summary()

    run()
    again = run(dry_run=True)
    assert (again.needs["rows"], again.needs["seconds"], again.reused) == (0, 0, 24)
    assert "plan: nothing to compute" in again.summary()


def test_a_plan_for_more_images_grows_with_them(run: Run) -> None:
    run()  # what is cached does not count
    some, more = (run(dry_run=True, images=n) for n in (10**6, 10**9))
    assert (some.needs["rows"], more.needs["rows"]) == (10**6, 10**9)
    assert (some.needs["bytes"], more.needs["bytes"]) == (10**6 * 24, 10**9 * 24)
    assert more.needs["view_seconds"] == pytest.approx(1000 * some.needs["view_seconds"])
    # 24 bytes and a digest a row: 128 MiB hold 1,525,201 rows.
    assert (some.needs["parts"], more.needs["parts"]) == (1, 656)
    assert "plan for 1,000,000,000 images like these" in more.summary()
    assert "workers" not in more.needs


def test_a_plan_with_a_deadline_counts_workers(run: Run) -> None:
    report = run(dry_run=True, images=10**6, deadline=1e9)
    assert report.needs["workers"] == 1
    assert "workers: 1 like this machine to be done in" in report.summary()
    never = run(dry_run=True, images=10**6, deadline=1.0)
    assert never.needs["workers"] is None
    assert "No number of workers is done in 1 s" in never.summary()
    with pytest.raises(featx.errors.SpecError, match="dry_run=True"):
        run(deadline=60.0)


def test_a_dry_run_says_where_the_plan_does_not_fit(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import featx.extraction.steps

    monkeypatch.setattr(featx.extraction.steps, "disk_free", lambda folder: 24 * 6 * 4 - 1)
    assert "does not fit on the disk" in run(dry_run=True).summary()


def test_compressed_rows_are_the_same_rows_and_stay_compressed(run: Run, photos: Path) -> None:
    report = run(pooling=["flatten", "avg"], compression="blosc2")
    plain = run(pooling=["flatten", "avg"], cache_dir=photos.parent / "plain")
    for tap in ("flatten", "avg"):
        both = [featx.load_features(r.caches[0]["path"], tap) for r in (report, plain)]
        np.testing.assert_array_equal(both[0].X, both[1].X)

    Image.new("RGB", (30, 20), (9, 9, 9)).save(photos / "class0" / "new.png")
    assert run(pooling=["flatten", "avg"]).extracted == 1
    for part in Path(report.caches[0]["path"], "parts").glob("*.h5"):
        with h5py.File(part) as file:
            assert file["features/avg"].chunks, "written uncompressed"


def test_a_plan_that_does_not_fit_on_the_disk_stops_before_it_starts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import featx.extraction.steps

    monkeypatch.setattr(featx.extraction.steps, "SPARE_BYTES", 1 << 60)
    with pytest.raises(CacheWriteError, match=r"need .* GB .* has .* GB free"):
        run()
    assert fakes.PASSES == []


def test_an_engine_that_fails_stops_the_run_with_its_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(batch: np.ndarray, seed: int) -> np.ndarray:
        if fakes.PASSES[1:]:
            raise EngineError("the device is gone")
        return real(batch, seed)

    real = fakes.feature_maps
    monkeypatch.setattr(fakes, "feature_maps", broken)
    with pytest.raises(EngineError, match="the device is gone"):
        run()
    monkeypatch.undo()
    report = run()
    assert report.extracted == 16  # the first batch of eight had been kept
    assert report.reused == 8


@pytest.fixture
def small_memory(projection: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stand-in engine on a device that from its second batch on takes two images at most."""

    def load(
        self: object, spec: BackboneSpec, weights: object, taps: Sequence[TapSpec], precision: str
    ) -> Runner:
        def compile(size: int) -> tuple[Submit, Collect]:
            def submit(batch: np.ndarray) -> list[np.ndarray]:
                if fakes.PASSES and size > 2:
                    raise EngineMemoryError("the device is full")
                fakes.PASSES.append(len(batch))
                maps = fakes.feature_maps(batch, sum(spec.text.encode()))
                return [fakes.pooled(maps, tap.pooling) for tap in taps]

            return submit, lambda ticket: ticket

        shapes = {tap.name: (fakes.CHANNELS,) for tap in taps}
        size = (spec.image.height, spec.image.width)
        return Runner.compiled(shapes, size, fakes.BATCH, 2, compile, spec.text)

    monkeypatch.setattr(fakes.ProjectionEngine, "load", load)
    return projection


@pytest.mark.usefixtures("small_memory")
def test_memory_that_runs_out_costs_no_row(
    run: Run, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = run()
    assert report.extracted == 24
    rows = rows_of(report)
    assert len(rows) == 24
    for relpath, row in rows.items():
        np.testing.assert_array_equal(row, expected(photos, relpath, "avg"))
    assert fakes.PASSES == [8] + [2] * 8
    told = [m for m in caplog.messages if "images at once" in m]
    assert [m.partition(": ")[2] for m in told] == [
        "no memory for 8 images at once; going on with 4",
        "no memory for 4 images at once; going on with 2",
    ]


def test_pixels_lose_no_row_where_memory_runs_out(small_memory: str) -> None:
    spec = parse_backbone("mobilenet", weights="random", image_size=44)
    pixels = np.random.default_rng(0).integers(0, 256, (21, 44, 44, 3), dtype=np.uint8)
    rows = compute_pixels(list(pixels), Wanted(spec, (TapSpec("", "avg"),), small_memory))
    maps = fakes.feature_maps(pixels, sum(spec.text.encode()))
    np.testing.assert_array_equal(rows["avg"], fakes.pooled(maps, "avg"))


def test_a_full_disk_stops_the_run_and_nothing_half_written_is_published(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    import featx.store.writer

    def full(*_: object, **__: object) -> None:
        raise featx.store.atomic.write_error(Path("part"), OSError(errno.ENOSPC, "full"))

    monkeypatch.setattr(featx.store.writer, "write_part", full)
    with pytest.raises(CacheWriteError):
        run()
    monkeypatch.undo()
    assert run().extracted == 24


def test_wrong_requests_are_told_before_any_work(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="mobilenet"):
        run(backbone="mobilnet")
    with pytest.raises(SpecError, match="3 backbones but 2 weights"):
        run(backbone=["vgg16", "vgg19", "mobilenet"], weights=["random", "random"])
    with pytest.raises(SpecError, match="tap"):
        run(pooling="block1:mean")
    with pytest.raises(UnknownNameError, match="engine"):
        run(engine="onyx")
    with pytest.raises(DatasetError):
        run(data=tmp_path / "nowhere")


def test_the_report_is_json(run: Run) -> None:
    document = json.loads(json.dumps(run().to_json(), allow_nan=False))
    assert set(document) == {
        "dataset",
        "images",
        "extracted",
        "reused",
        "quarantined",
        "duplicates",
        "caches",
        "seconds",
        "images_per_second",
        "engine",
        "precision",
    }
    assert set(document["seconds"]) == {"total", "decode", "forward", "write"}
    assert document["caches"][0]["taps"]["avg"] == {"shape": [24, 6], "dtype": "float32"}


def test_data_sets_of_one_name_keep_apart(run: Run, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / photos.name
    shutil.copytree(photos / "class0", other / "class0")
    shutil.copytree(photos / "class1", other / "class1")
    first, second = run(), run(data=other)
    assert first.caches[0]["path"] != second.caches[0]["path"]
    assert len(rows_of(first)) == 24
    assert run().extracted == 0


def test_the_same_images_under_another_name_are_found_by_that_name(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    from featx.views import find_views

    lists = [tmp_path / name / "photos.csv" for name in ("one", "two")]
    lines = [f"{p},{p.parent.name}" for p in sorted(photos.glob("*/*"))]
    for path in lists:
        path.parent.mkdir()
        path.write_text("\n".join(["path,label", *lines]))
        run(data=path)
    (view,) = find_views(lists[1], cache_dir=tmp_path / "cache")
    assert view.provenance["source"] == str(lists[1])


def test_reading_leaves_no_file_open(run: Run) -> None:
    path = Path(run().caches[0]["path"]).resolve()
    for lazy in (False, True):
        featx.load_features(path, lazy=lazy)
    gc.collect()
    left = [fd for fd in Path("/proc/self/fd").iterdir() if str(path) in os.path.realpath(fd)]
    assert left == []


def test_below_float32_rows_of_two_engines_never_meet_in_an_entry(
    run: Run, photos: Path, projection: str
) -> None:
    from featx.engines import ENGINES

    run(precision="bfloat16")
    run()
    Image.new("RGB", (30, 20), (9, 9, 9)).save(photos / "class0" / "new.png")
    ENGINES.register("another", ENGINES.get(projection))
    try:
        with pytest.raises(EngineError, match=f"made by {projection}.* --engine {projection}"):
            run(precision="bfloat16", engine="another")
        assert run(engine="another").extracted == 1
    finally:
        ENGINES.unregister("another")
    assert run(precision="bfloat16").extracted == 1
