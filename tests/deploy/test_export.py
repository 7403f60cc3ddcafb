"""Runs as model files: predictions are those of the cached evaluation, or a refusal says why."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_photos
from deployed import SMALL, Place
from PIL import Image

import featx
from featx.classify import classify
from featx.deploy import ExportRecord, export, find_run, load_model
from featx.deploy.find import find_members
from featx.deploy.formats import FORMATS
from featx.deploy.network import build_network, one_image
from featx.deploy.source import find_parts, load_parts
from featx.errors import CacheMissError, DeployError, RunError, SpecError, WeightsError
from featx.evaluate.refit import refit_head
from featx.records import ImageSpec, RunRecord
from featx.runs import load_run, load_test_set, save_run

NAMES = {"keras": "model.keras", "saved_model": "model", "onnx": "model.onnx"}
NAMES["openvino"] = "model.xml"


def photos_tested(place: Place, record: RunRecord) -> list[str]:
    tested = load_test_set(record, place.runs)
    assert tested is not None
    return [os.path.join(tested.root, path) for path in tested.paths]


def refitted(place: Place, record: RunRecord) -> np.ndarray:
    """Probabilities of the test rows by cached features; an average's are its members' mean."""
    average = record.head.name == "average"
    found = []
    for run in find_members(record, place.runs) if average else [record]:
        (parts,) = find_parts(run, place.cache)
        found.append(refit_head(load_parts(parts, run), run).probabilities)
    return np.mean(found, axis=0)


def assert_same(place: Place, run: Path, made: ExportRecord) -> None:
    """The file's predictions of all test photos are those that the run was scored on."""
    record = load_run(run)
    found = load_model(made.path).predict(photos_tested(place, record))
    assert not found.errors
    expected = refitted(place, record)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-4, atol=1e-5)
    confidence = record.arrays.get("confidence")
    if confidence is not None:
        np.testing.assert_allclose(found.probabilities.max(axis=1), confidence, atol=2e-5)
    top = np.sort(expected, axis=1)[:, -2:]
    clear = top[:, 1] - top[:, 0] > 1e-4
    np.testing.assert_array_equal(
        found.probabilities.argmax(axis=1)[clear], record.arrays["y_pred"][clear]
    )


# --- parity ------------------------------------------------------------------------------------


Models = Callable[[str], ExportRecord]


@pytest.fixture(scope="module")
def models(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Give one run in a format, exported once."""
    folder = tmp_path_factory.mktemp("models")
    run = place.run("linear_svc(C=0.01)")

    @cache
    def exported(name: str) -> ExportRecord:
        return export(run, folder / name / NAMES[name], cache_dir=place.cache)

    return exported


@pytest.mark.parametrize("name", FORMATS.names())
def test_every_format_predicts_what_the_run_did(name: str, models: Models, place: Place) -> None:
    run, made = place.run("linear_svc(C=0.01)"), models(name)
    assert made.format == name
    assert made.checked == 9
    assert made.largest_difference is not None
    assert made.largest_difference < 1e-5
    assert made.model.classes == ("class0", "class1", "class2")
    assert made.model.run["head"] == "linear_svc(C=0.01)"
    assert made.model.run["calibrated"] == "temperature"
    assert_same(place, run, made)
    assert not list(Path(made.path).parent.glob(".*"))  # no draft is left


@pytest.mark.parametrize(
    ("head", "tap", "fused"),
    [
        ("logreg(C=0.01)", "max", False),
        ("logreg(C=0.01)", "flatten", False),
        ("ridge(alpha=1.0)", "avg", True),
        ("average(n=3)", "avg", False),
    ],
)
def test_taps_fusions_and_averages(
    head: str, tap: str, fused: bool, place: Place, tmp_path: Path
) -> None:
    run = place.run(head, tap, fused=fused)
    made = export(run, tmp_path / "model.keras", cache_dir=place.cache)
    assert made.checked == 9
    assert_same(place, run, made)


@pytest.mark.slow
@pytest.mark.shared
def test_real_photos_and_weights(shared: Path, tmp_path: Path) -> None:
    """Every format and several heads, on every test photo of part of trashnet."""
    for folder in (shared / "datasets" / "trashnet").iterdir():
        if folder.is_dir():
            (tmp_path / "photos" / folder.name).mkdir(parents=True)
            for photo in sorted(folder.glob("*.jpg"))[:20]:
                (tmp_path / "photos" / folder.name / photo.name).symlink_to(photo)
    weights = str(shared / "weights" / "mobilenet_0.25_224_notop.weights.h5")
    place = Place(tmp_path / "photos", tmp_path / "features", tmp_path / "runs")
    featx.extract(place.photos, backbone=SMALL, weights=weights, cache_dir=place.cache)
    heads = ["linear_svc(C=0.001)", "mlp(epochs=5)", "knn(k=5)", "power+l2+ridge(alpha=100.0)"]
    classify(place.photos, heads=heads, draws=1, cache_dir=place.cache, runs_dir=place.runs)
    for head, name in zip(heads, NAMES, strict=True):
        out = tmp_path / name / NAMES[name]
        made = export(place.run(_written(head)), out, check=8, **place.folders())
        assert made.checked == 8
        assert_same(place, place.run(_written(head)), made)


def _written(head: str) -> str:
    from featx.heads import parse_head

    return parse_head(head).text


# --- without featx -----------------------------------------------------------------------------


def run_python(code: str, folder: Path) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_keras_loads_it_without_featx(models: Models) -> None:
    made = models("keras")
    code = """
        import json, sys, zipfile
        import keras, numpy as np
        model = keras.saving.load_model("model.keras")
        assert "featx" not in sys.modules
        classes = json.loads(zipfile.ZipFile("model.keras").read("featx.json"))["classes"]
        found = model.predict(np.full((2, 32, 32, 3), 200, np.uint8), verbose=0)
        print(json.dumps([classes, np.asarray(found).tolist()]))
    """
    folder = Path(made.path).parent
    classes, found = json.loads(run_python("\n".join(map(str.strip, code.splitlines())), folder))
    assert tuple(classes) == made.model.classes
    mine = load_model(made.path).predict(np.full((2, 32, 32, 3), 200, np.uint8))
    np.testing.assert_allclose(found, mine.probabilities, atol=1e-6)


def test_the_onnx_file_says_its_classes(models: Models) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(models("onnx").path)
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == ["class0", "class1", "class2"]
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["n", 32, 32, 3])
    (found,) = session.run(None, {"images": np.zeros((5, 32, 32, 3), np.uint8)})
    assert found.shape == (5, 3)


def test_the_openvino_weights_stay_float32(models: Models) -> None:
    path = Path(models("openvino").path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.bin", "model.xml"]
    assert "f16" not in path.read_text().lower()
    assert "class0" in path.read_text()


def test_the_saved_model_takes_encoded_images(models: Models, tmp_path: Path) -> None:
    import tensorflow as tf

    path = models("saved_model").path
    loaded = tf.saved_model.load(path)
    ramp = np.linspace(0, 255, 50, dtype=np.uint8)
    pixels = np.stack([np.tile(ramp, (60, 1)), np.tile(ramp[::-1], (60, 1)), np.full((60, 50), 9)])
    Image.fromarray(pixels.transpose(1, 2, 0).astype(np.uint8)).save(tmp_path / "ramp.png")
    encoded = tf.constant([(tmp_path / "ramp.png").read_bytes()] * 2)
    found = loaded.signatures["serve_encoded"](encoded=encoded)
    mine = load_model(path).predict([tmp_path / "ramp.png"] * 2)
    np.testing.assert_allclose(found["probabilities"], mine.probabilities, atol=0.02)
    assert [name.decode() for name in found["class"].numpy()] == list(mine.labels)


# --- networks ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of kind "baseline" with a network beside it, made from a head's run."""
    run = place.run("logreg(C=0.01)")
    record = load_run(run)
    made = build_network(run, record, cache_dir=place.cache)
    fields = {"kind": "baseline", "backbone": "", "tap": "", "key": None, "selection": {}}
    network = made.network
    return save_run(
        dataclasses.replace(record, **fields),
        tmp_path_factory.mktemp("trained"),
        test_set=load_test_set(record, place.runs),
        network=lambda path: network.save(path),
    )


@pytest.fixture
def trained(kept: Path, tmp_path: Path) -> Path:
    """A copy of that, to be damaged."""
    shutil.copytree(kept.parent, tmp_path / "runs")
    return tmp_path / "runs" / kept.name


@pytest.mark.parametrize("name", ["keras", "onnx"])
def test_a_trained_network_is_exported(name: str, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / NAMES[name]
    made = export(trained, out)
    assert made.checked == 9
    assert made.model.image.height == 32
    record = load_run(trained)
    tested = load_test_set(record, trained.parent)
    assert tested is not None
    found = load_model(out).predict([os.path.join(tested.root, p) for p in tested.paths])
    np.testing.assert_array_equal(found.probabilities.argmax(axis=1), record.arrays["y_pred"])


def test_a_network_beside_its_record_predicts_as_it_is(trained: Path, place: Place) -> None:
    model = load_model(trained.with_suffix(".keras"))
    assert model.classes == ("class0", "class1", "class2")
    assert len(model.predict(place.photos)) == 30


def test_a_network_of_another_run_is_found_out(trained: Path, tmp_path: Path) -> None:
    record = load_run(trained)
    wrong = (record.arrays["y_pred"] + 1) % 3
    path = trained.with_suffix(".npz")
    np.savez(path, **{**record.arrays, "y_pred": wrong})
    with pytest.raises(DeployError, match=r"predicts 9 of 9 test photos otherwise"):
        export(trained, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    trained.with_suffix(".keras").unlink()
    with pytest.raises(DeployError, match=r"is not at .*Run featx baseline again"):
        export(trained, tmp_path / "model.onnx")


# --- which run ---------------------------------------------------------------------------------


def test_runs_are_found_by_path_name_and_beginning(place: Place) -> None:
    run = place.run("linear_svc(C=0.01)")
    for text in (run, run.name, run.stem, run.stem[:-3], run.with_suffix(".npz")):
        assert find_run(text, runs_dir=place.runs)[0] == run
    with pytest.raises(DeployError, match=r"\d+ runs in .* begin with 'photos'.*Write more"):
        find_run("photos", runs_dir=place.runs)
    with pytest.raises(DeployError, match="Did you mean 'best'"):
        find_run("bset", runs_dir=place.runs)
    with pytest.raises(DeployError, match=r"No runs in .*featx classify"):
        find_run("best", runs_dir=place.runs / "none")


def test_best_is_of_one_comparison(place: Place, tmp_path: Path) -> None:
    path, record = find_run("best", runs_dir=place.runs)
    accuracies = [load_run(p).metrics["accuracy"] for p in place.runs.glob("*.json")]
    assert record.metrics["accuracy"] == max(accuracies)
    assert record.draw == 0
    runs = tmp_path / "runs"
    shutil.copytree(place.runs, runs)
    save_run(dataclasses.replace(record, dataset="other"), runs)
    with pytest.raises(DeployError, match=r"2 data sets \(other, photos\).*--dataset"):
        find_run("best", runs_dir=runs)
    assert find_run("best", runs_dir=runs, dataset="photos")[0].name == path.name
    with pytest.raises(DeployError, match="No runs on 'others'"):
        find_run("best", runs_dir=runs, dataset="others")
    split = {**record.split, "test_digest": "0" * 64, "target": "colour"}
    save_run(dataclasses.replace(record, split=split), runs)
    with pytest.raises(DeployError, match="2 sets of test images"):
        find_run("best", runs_dir=runs, dataset="photos")


# --- refusals ----------------------------------------------------------------------------------


def test_features_that_have_changed_are_told(projection: str, tmp_path: Path) -> None:
    photos, cache, runs = tmp_path / "photos", tmp_path / "features", tmp_path / "runs"
    make_photos(photos)
    options: dict[str, Any] = {"backbone": SMALL, "weights": "random", "engine": projection}
    featx.extract(photos, cache_dir=cache, **options)
    classify(photos, heads=["ridge(1.0)"], cache_dir=cache, runs_dir=runs)
    (run,) = runs.glob("*.json")
    (photos / "class0" / "000.jpg").unlink()
    shutil.copy(photos / "class1" / "000.jpg", photos / "class0" / "more.jpg")
    featx.extract(photos, cache_dir=cache, **options)
    with pytest.raises(RunError, match=r"not those that the run was made on.*Run featx classify"):
        export(run, tmp_path / "model.keras", cache_dir=cache)
    shutil.rmtree(cache)
    with pytest.raises(CacheMissError, match="--cache-dir, or run featx extract"):
        export(run, tmp_path / "model.keras", cache_dir=cache)
    assert not (tmp_path / "model.keras").exists()


def test_other_predictions_than_the_record_has_are_told(place: Place, tmp_path: Path) -> None:
    record = load_run(place.run("logreg(C=0.01)"))
    arrays = {**record.arrays, "y_pred": (record.arrays["y_pred"] + 1) % 3}
    run = save_run(dataclasses.replace(record, arrays=arrays), tmp_path)
    with pytest.raises(RunError, match="9 of 9 test images are given another class"):
        export(run, tmp_path / "model.keras", cache_dir=place.cache)


def test_weights_that_are_gone_or_others_are_told(projection: str, tmp_path: Path) -> None:
    photos, cache, runs = make_photos(tmp_path / "photos"), tmp_path / "features", tmp_path / "runs"
    file, moved = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    file.write_bytes(b"weights")
    options: dict[str, Any] = {"backbone": SMALL, "engine": projection}
    featx.extract(photos, weights=str(file), cache_dir=cache, **options)
    classify(photos, heads=["ridge(1.0)"], cache_dir=cache, runs_dir=runs)
    out = tmp_path / "model.keras"
    file.rename(moved)
    with pytest.raises(WeightsError, match=r"are not at .*a\.weights\.h5.*--weights"):
        export("best", out, cache_dir=cache, runs_dir=runs)
    file.write_bytes(b"others")
    with pytest.raises(WeightsError, match=r"is not the weights that .* was extracted with"):
        export("best", out, cache_dir=cache, runs_dir=runs)
    with pytest.raises(WeightsError, match="Cannot read"):  # they are found, and are no weights
        export("best", out, cache_dir=cache, runs_dir=runs, weights=[str(moved)])


def test_backbones_of_different_sizes_are_refused(place: Place) -> None:
    ((first, second),) = find_parts(
        load_run(place.run("ridge(alpha=1.0)", fused=True)), place.cache
    )
    key = dataclasses.replace(second.key, image=ImageSpec(40, 40))
    with pytest.raises(DeployError, match=r"mobilenet 32x32, mobilenet_v2 40x40.*--image-size"):
        one_image([first, dataclasses.replace(second, key=key)])
    assert one_image([first, second]) == ImageSpec(32, 32)


Change = Callable[[RunRecord], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {"kind": "zeroshot"}, "A zeroshot run has no head that was fitted"),
        (lambda r: {"backbone": f"{r.backbone} with 2 views"}, "without --views"),
        (lambda r: {"split": {**r.split, "test_on": "others"}}, "without --test-on"),
        (lambda r: {"key": None}, "features that featx did not extract"),
        (lambda r: {"params": {**r.params, "joint": True}}, "several label columns at once"),
    ],
)
def test_what_cannot_be_exported_says_why(
    change: Change, message: str, place: Place, tmp_path: Path
) -> None:
    record = load_run(place.run("logreg(C=0.01)"))
    run = save_run(dataclasses.replace(record, **change(record)), tmp_path)
    with pytest.raises(DeployError, match=message):
        export(run, tmp_path / "model.keras", cache_dir=place.cache)


def test_members_of_an_average_must_be_there(place: Place, tmp_path: Path) -> None:
    run = save_run(load_run(place.run("average(n=3)")), tmp_path)
    with pytest.raises(DeployError, match=r"averages mobilenet.*--runs-dir"):
        export(run, tmp_path / "model.keras", cache_dir=place.cache)


@pytest.mark.parametrize(
    ("out", "name", "message"),
    [
        ("model.pb", None, "Cannot tell the format"),
        ("model.onnx", "keras", "ends in .keras"),
        ("model.keras", "saved_model", "not the name of a folder"),
        ("model", "tflite", "Unknown model format"),
    ],
)
def test_names_and_formats_must_fit(
    out: str, name: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises((DeployError, SpecError), match=message):
        export("best", tmp_path / out, format=name)


def test_what_is_there_is_not_overwritten(place: Place, tmp_path: Path) -> None:
    run = place.run("logreg(C=0.01)")
    options: dict[str, Any] = {"cache_dir": place.cache, "check": 0}
    out = tmp_path / "model.keras"
    out.write_text("mine")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").touch()
    for name in ("model.keras", "model"):
        with pytest.raises(DeployError, match=r"is there already.*--force"):
            export(run, tmp_path / name, **options)
    assert out.read_text() == "mine"
    assert export(run, out, force=True, **options).checked == 0
    assert load_model(out).classes == ("class0", "class1", "class2")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious").touch()
    with pytest.raises(DeployError, match="no SavedModel"):
        export(run, mine, force=True, **options)
    assert (mine / "precious").exists()
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(DeployError, match="is a folder"):
        export(run, tmp_path / "folder.keras", **options)


def test_a_folder_that_cannot_be_written_is_told(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeployError, match="Cannot write"):
        export(place.run("logreg(C=0.01)"), tmp_path / "file" / "m.keras", cache_dir=place.cache)


def test_a_model_that_is_off_is_not_published(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.deploy.exporting.TOLERANCE", -1.0)
    with pytest.raises(DeployError, match="nothing was written"):
        export(place.run("logreg(C=0.01)"), tmp_path / "m.keras", cache_dir=place.cache)
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.deploy.formats.onnx.is_installed", lambda name: name != "tf2onnx")
    with pytest.raises(DeployError, match=r"pip install 'featx\[onnx\]'"):
        export("best", tmp_path / "m.onnx")
