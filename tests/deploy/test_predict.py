"""Predicting with model files: paths, arrays, bad images, damaged models; memory stays flat."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.deploy import DeployedModel, find_images, load_model
from featx.deploy.formats import FORMATS
from featx.deploy.listing import Counts, json_pieces, predict_files
from featx.deploy.spec import ModelSpec
from featx.errors import DatasetError, DeployError, ImageError, SpecError
from featx.quiet import import_keras
from featx.records import ImageSpec

CLASSES = ("red", "green", "blue")
SPEC = ModelSpec(CLASSES, ImageSpec(16, 20), {"record": "toy"})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells which colour there is most of."""
    keras = import_keras()
    images = keras.Input((16, 20, 3), dtype="uint8", name="images")
    means = keras.ops.mean(keras.ops.cast(images, "float32"), axis=(1, 2)) / 32.0
    network = keras.Model(images, keras.layers.Softmax()(means))
    path = tmp_path_factory.mktemp("model") / "colours.keras"
    FORMATS.get("keras").save(network, path, SPEC)
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> DeployedModel:
    return load_model(file)


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Pictures in folders, in several sizes and forms."""
    root = tmp_path / "colours"
    for number, name in enumerate(CLASSES):
        (root / name / "deep").mkdir(parents=True)
        for i in range(20):
            pixels = np.full((10 + i, 30, 3), 20, np.uint8)
            pixels[..., number] = 220
            place = root / name / ("deep" if i % 2 else "")
            Image.fromarray(pixels).save(place / f"{i:02}.{'png' if i % 3 else 'jpg'}")
    Image.fromarray(np.full((9, 9), 100, np.uint8)).save(root / "grey.png")
    (root / "notes.txt").write_text("no image")
    (root / ".hidden.png").write_bytes(b"")
    return root


def test_a_folder_is_predicted_in_order(model: DeployedModel, colours: Path) -> None:
    found = model.predict(colours)
    assert len(found) == 61
    assert found.paths == tuple(find_images([colours]))
    assert found.paths[0].endswith("grey.png")
    named = [path.split("colours/")[1].split("/")[0] for path in found.paths[1:]]
    assert list(found.labels[1:]) == named
    np.testing.assert_allclose(found.probabilities[0], 1 / 3, atol=1e-6)
    records = found.to_records(top=2)
    assert len(records) == 122
    assert records[2] == {
        "path": found.paths[1],
        "rank": 1,
        "class": named[0],
        "probability": pytest.approx(found.probabilities[1].max()),
    }


def test_files_globs_and_folders_together(model: DeployedModel, colours: Path) -> None:
    found = model.predict([colours / "grey.png", f"{colours}/*/deep/*.png", str(colours / "red")])
    assert len(found) == 1 + 3 * 7 + 20
    assert set(found.labels[-20:]) == {"red"}


def test_arrays(model: DeployedModel) -> None:
    batch = np.zeros((3, 16, 20, 3), np.uint8)
    batch[[0, 1, 2], :, :, [2, 0, 1]] = 250
    found = model.predict(batch)
    assert (found.labels, found.paths) == (("blue", "red", "green"), ("0", "1", "2"))
    np.testing.assert_array_equal(model.predict(batch[0]).probabilities, found.probabilities[:1])
    several = model.predict([batch[0], np.full((50, 70, 3), [0, 255, 0], np.uint8)])
    assert several.labels == ("blue", "green")
    for wrong in (batch.astype(np.float32), batch[..., :1], [batch]):
        with pytest.raises(SpecError, match="uint8 RGB of shape"):
            model.predict(wrong)
    with pytest.raises(SpecError, match="mixed"):
        model.predict([batch[0], "a.jpg"])
    assert model.predict([]).probabilities.shape == (0, 3)


def test_bad_images_are_told_and_the_others_go_on(model: DeployedModel, colours: Path) -> None:
    (colours / "cut.jpg").write_bytes((colours / "red" / "00.jpg").read_bytes()[:100])
    (colours / "empty.png").touch()
    (colours / "a.heic").write_bytes(b"1234ftypheic")
    missing = str(colours / "missing.jpg")
    found = model.predict([colours, missing, f"{colours}/none*.jpg"])
    assert len(found) == 61
    reasons = {path.rpartition("/")[2]: reason for path, reason in found.errors.items()}
    assert set(reasons) == {"cut.jpg", "empty.png", "a.heic", "missing.jpg", "none*.jpg"}
    assert reasons["empty.png"] == "0 bytes"
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["missing.jpg"] == "no such file or directory"
    with pytest.raises(ImageError, match=r"missing\.jpg"):
        model.predict([missing], strict=True)


def test_more_bad_images_than_a_batch(model: DeployedModel, tmp_path: Path) -> None:
    for i in range(700):
        (tmp_path / f"{i:03}.png").touch()
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "350.png")
    records = list(model.stream([tmp_path]))
    assert [r.path for r in records] == sorted(r.path for r in records)
    assert [i for i, r in enumerate(records) if not r.error] == [350]


def test_images_are_read_no_further_ahead_than_a_few_batches(
    model: DeployedModel, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def endless() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield colours / "grey.png"

    threads = threading.active_count()
    found = model.stream(endless())
    for _ in range(200):
        next(found)
    assert asked < 200 + 6 * 64
    found.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= threads + 8


def test_links_in_circles_end(model: DeployedModel, colours: Path) -> None:
    (colours / "red" / "loop").symlink_to(colours)
    assert len(list(find_images([colours]))) == 61


# --- text --------------------------------------------------------------------------------------


def test_csv_has_a_line_an_image(model: DeployedModel, colours: Path, tmp_path: Path) -> None:
    (colours / "empty.png").touch()
    counts = Counts()
    out = tmp_path / "out.csv"
    records = list(predict_files(model, [colours], counts, csv_path=out, top=5))
    assert (counts.images, len(counts.errors), len(records)) == (61, 1, 62)
    lines = out.read_text().splitlines()
    assert lines[0] == "path,class,probability,class_2,probability_2,class_3,probability_3,error"
    assert lines[1].endswith("empty.png,,,,,,,0 bytes")
    assert len(lines) == 63
    with pytest.raises(DatasetError, match=r"1 of 62 images could not be read"):
        counts.require_all()


def test_the_json_pieces_make_one_document(model: DeployedModel, colours: Path) -> None:
    (colours / "empty.png").touch()
    for paths, good in (([colours], 61), ([colours / "empty.png"], 0)):
        counts = Counts()
        found = predict_files(model, paths, counts, top=2)
        document = json.loads("".join(json_pieces(model, found, counts, 2)))
        assert document["classes"] == list(CLASSES)
        assert len(document["predictions"]) == good
        assert [e["reason"] for e in document["errors"]] == ["0 bytes"]
        assert all(len(p["top"]) == 2 for p in document["predictions"])


def test_no_images_are_told(model: DeployedModel, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No images in"):
        list(predict_files(model, [tmp_path], Counts()))


# --- model files -------------------------------------------------------------------------------


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.txt").touch()
    (tmp_path / "a.bin").touch()
    (tmp_path / "a.xml").write_text("<net/>")
    for name in ("b.keras", "b.onnx"):
        (tmp_path / name).write_bytes(b"damaged")
    (tmp_path / "sm").mkdir()
    (tmp_path / "sm" / "saved_model.pb").write_bytes(b"damaged")
    cases = {
        "none.keras": "No model .*featx export RUN",
        "folder": r"without a saved_model\.pb",
        "a.txt": "is not a model",
        "a.bin": r"Name .*a\.xml",
        "a.xml": "cannot load",
        "b.keras": "Keras cannot load",
        "b.onnx": "ONNX Runtime cannot load",
        "sm": "was not exported by featx",
    }
    for name, message in cases.items():
        with pytest.raises(DeployError, match=message):
            load_model(tmp_path / name)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(DeployError, match=r"not beside it, in a\.bin"):
        load_model(tmp_path / "a.xml")
    (tmp_path / "sm" / "assets.extra").mkdir()
    (tmp_path / "sm" / "assets.extra" / "featx.json").write_text(SPEC.to_text())
    with pytest.raises(DeployError, match="TensorFlow cannot load"):
        load_model(tmp_path / "sm")


def test_models_of_others_are_told(tmp_path: Path) -> None:
    keras = import_keras()
    network = keras.Sequential([keras.Input((4, 4, 3), dtype="uint8"), keras.layers.Flatten()])
    network.save(tmp_path / "theirs.keras")
    with pytest.raises(DeployError, match="does not say what its classes are"):
        load_model(tmp_path / "theirs.keras")


def test_code_in_a_model_is_not_run(tmp_path: Path) -> None:
    keras = import_keras()
    network = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Lambda(lambda x: x * 2)])
    FORMATS.get("keras").save(network, tmp_path / "evil.keras", SPEC)
    with pytest.raises(DeployError, match="Keras cannot load"):
        load_model(tmp_path / "evil.keras")


def test_later_versions_and_other_texts_are_told(file: Path, tmp_path: Path) -> None:
    later = SPEC.to_text().replace('"featx_model": 1', '"featx_model": 9')
    with pytest.raises(DeployError, match="exported as version 9"):
        ModelSpec.from_text(later, file)
    for text in ("", "[]", "{}", '{"featx_model": 1}'):
        with pytest.raises(DeployError, match="nothing of its classes"):
            ModelSpec.from_text(text, file)
    assert ModelSpec.from_text(SPEC.to_text(), file) == SPEC


def test_odd_class_names_survive_every_format(tmp_path: Path) -> None:
    names = ('a "b"', "naïve ☃", "c,d\n", "<&>", "x/y")
    keras = import_keras()
    images = keras.Input((4, 4, 3), dtype="uint8", name="images")
    values = keras.ops.cast(keras.ops.mean(images, axis=(1, 2)), "float32")
    network = keras.Model(images, keras.layers.Dense(5, activation="softmax")(values))
    spec = ModelSpec(names, ImageSpec(4, 4))
    for name in FORMATS.names():
        path = tmp_path / f"m{FORMATS.get(name).suffix}"
        FORMATS.get(name).save(network, path, spec)
        assert load_model(path).classes == names
    moved = shutil.move(tmp_path / "m", tmp_path / "moved")
    assert load_model(moved).predict(np.zeros((1, 4, 4, 3), np.uint8)).probabilities.shape == (1, 5)


def test_what_is_missing_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file.with_suffix(".onnx")
    path.touch()
    monkeypatch.setattr("featx.deploy.formats.onnx.is_installed", lambda name: False)
    with pytest.raises(DeployError, match="Run: pip install onnxruntime"):
        load_model(path)
