"""Zero-shot: probabilities of classes, the record, and real weights on real photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx.backbones import parse_backbone
from featx.classify import classify
from featx.compare import compare
from featx.errors import SpecError, WeightsError
from featx.records import WeightsRecord
from featx.runs import load_runs, load_test_set
from featx.zeroshot import propose_mapping, propose_overlap, zeroshot
from featx.zeroshot.mapping import OverlapSpec
from featx.zeroshot.scoring import class_probabilities

SMALL = "mobilenet(alpha=0.25)"
TENCH, GOLDFISH, BEER_GLASS, GOBLET, TISSUE = 0, 1, 441, 572, 999


def test_a_class_has_the_sum_of_its_synsets() -> None:
    overlap = propose_overlap(["glass", "metal", "paper"])
    outputs = np.zeros((3, 1000))
    outputs[0, [BEER_GLASS, GOBLET, TISSUE, TENCH]] = 0.1, 0.2, 0.1, 0.6
    outputs[1, TISSUE] = 1e-30
    outputs[2, TENCH] = 1.0
    found = class_probabilities(outputs, overlap)
    np.testing.assert_allclose(found, [[0.75, 0, 0.25], [0, 0, 1], [0.5, 0, 0.5]])


class Classifier:
    """A stand-in: red images are goblets, green ones toilet tissue, others tench."""

    trainable_weights: tuple[Any, ...] = ()
    non_trainable_weights: tuple[Any, ...] = ()
    layers: tuple[Any, ...] = ()

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.uint8
        outputs = np.full((len(batch), 1000), 1e-6, np.float32)
        best = batch.reshape(len(batch), -1, 3).mean(axis=1).argmax(axis=1)
        outputs[np.arange(len(batch)), np.array([GOBLET, TISSUE, TENCH])[best]] = 0.9
        return outputs


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Glass is red but for two green ones, paper green, metal blue; a classifier for them."""
    rng = np.random.default_rng(0)
    root = tmp_path / "colours"
    for name, channel in (("glass", 0), ("metal", 2), ("paper", 1)):
        (root / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 60, (20, 20, 3)).astype(np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    (root / "metal" / "broken.png").write_bytes(b"no image")

    def build(spec: Any) -> tuple[Classifier, WeightsRecord]:
        return Classifier(), WeightsRecord("file", f"{len(spec.text):064d}", "top.h5")

    monkeypatch.setattr("featx.backbones.classifier.build_classifier", build)
    monkeypatch.chdir(tmp_path)
    return root


def test_a_record_counts_other_classes_as_wrong(colours: Path) -> None:
    comparison = zeroshot(colours, backbones=["mobilenet", SMALL], seed=1)
    record, other = load_runs("runs")
    assert record.kind == "zeroshot"
    assert (record.shots, record.tap, record.head.text) == (0, "", "zeroshot")
    assert record.split["n_train"] == 0
    assert record.metrics["accuracy"] == pytest.approx(6 / 9)
    overlap = record.cost["overlap"]
    assert overlap["accuracy"] == 1.0
    assert (overlap["n_test"], overlap["n_test_others"]) == (6, 3)
    assert overlap["taken_for"]["metal"] == [["tench", 1.0]]
    assert overlap["taken_for"]["paper"] == [["toilet tissue", 1.0]]
    assert record.selection["mapping"] == {
        "glass": ["n02823750", "n03443371"], "metal": [], "paper": ["n15075141"],
    }  # fmt: skip
    assert record.key is not None
    assert other.key is not None
    assert record.key.digest() != other.key.digest()
    assert record.metrics["per_class"]["recall"] == [1.0, 0.0, 1.0]
    row = comparison.rows[0]
    assert row["overlap"]["text"].startswith("2 of 3 classes overlap ImageNet")
    (text,) = [f.text for f in comparison.findings if f.code == "imagenet-overlap"]
    assert "Among the 6 test images of these" in text
    assert "with the 3 of other classes counted as wrong, 0.667" in text
    assert "some training images are mostly taken: metal for tench." in text
    shown = load_test_set(record, "runs")
    assert shown is not None
    assert len(shown.paths) == 9


def test_test_rows_are_those_of_classify(colours: Path, projection: str) -> None:
    from featx import extract

    extract(colours, weights="random", engine=projection)
    classify(colours, heads=["centroid"], seed=2)
    zeroshot(colours, seed=2)
    head, found = load_runs("runs")
    assert head.kind != found.kind
    np.testing.assert_array_equal(head.arrays["y_true"], found.arrays["y_true"])
    assert head.split["test_digest"] == found.split["test_digest"]
    assert len(compare([head, found]).rows) == 2


def test_a_mapping_is_written_edited_and_used(colours: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    overlap = propose_mapping(colours, path)
    assert overlap.others == ["metal"]
    path.write_text(path.read_text().replace("metal,,", "metal,tench,"))
    comparison = zeroshot(colours, mapping=path, runs_dir=None)
    assert comparison.rows[0]["accuracy"] == 1.0
    assert comparison.rows[0]["head"] == "zeroshot(mapping='map.csv')"  # told apart from by name
    assert comparison.rows[0]["overlap"]["n_test_others"] == 0
    assert not Path("runs").exists()


def test_nothing_in_common(colours: Path, tmp_path: Path) -> None:
    for name in ("glass", "metal", "paper"):
        (colours / name).rename(colours / f"{name}x")
    with pytest.raises(SpecError, match=r"No class of colours.*--write-mapping map.csv"):
        zeroshot(colours)
    (tmp_path / "map.csv").write_text("class,imagenet\nglassx,\nmetalx,\npaperx,\n")
    with pytest.raises(SpecError, match="gives none of the classes"):
        zeroshot(colours, mapping=tmp_path / "map.csv")
    (tmp_path / "map.csv").write_text("class,imagenet\nglassx,\nmetalx,tench\npaperx,\n")
    (row,) = zeroshot(colours, mapping=tmp_path / "map.csv").rows
    assert row["accuracy"] == pytest.approx(1 / 3)  # one class alone: all are called that


def test_top_5_counts_other_classes_as_wrong() -> None:
    from featx.zeroshot.scoring import _top_k

    rng = np.random.default_rng(0)
    y = rng.integers(0, 12, 200)
    found = rng.random((200, 12))
    known = np.arange(12) < 8
    found[:, ~known] = 0
    top = _top_k(y, found, known)
    order = np.argsort(-found, axis=1)[:, :5]
    assert top["top5"] == pytest.approx(((order == y[:, None]).any(axis=1)).mean())
    assert top["top10"] == pytest.approx((y < 8).mean())
    assert _top_k(y % 3, found[:, :3], known[:3]) == {"top5": None, "top10": None}


# --- the command -------------------------------------------------------------------------------


def test_the_command(colours: Path, run_cli: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = run_cli("zeroshot", colours, "-q")
    assert status == 0
    assert "imagenet-overlap: mobilenet: 2 of 3 classes overlap ImageNet: glass (beer" in out
    status, out, _ = run_cli("zeroshot", colours, "-q", "--json")
    found = json.loads(out)
    assert found["rows"][0]["kind"] == "zeroshot"
    assert found["rows"][0]["overlap"]["others"] == ["metal"]
    status, out, _ = run_cli("zeroshot", colours, "--write-mapping", "map.csv")
    assert status == 0
    assert "Written to map.csv." in out
    status, _, err = run_cli("zeroshot", colours, "--write-mapping", "map.csv")
    assert status == 1
    assert "is there already" in err
    for words, message in (
        (["--mapping", "nowhere.csv"], "No such file"),
        (["--target", "colour"], "No label column 'colour'"),
        (["-b", "mobilnet"], "Did you mean 'mobilenet'"),
    ):
        status, out, err = run_cli("zeroshot", colours, "-q", *words)
        assert (status, out) == (1, "")
        assert message in err


# --- real weights ------------------------------------------------------------------------------


@pytest.fixture
def glass_and_paper(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "rubbish"
    for name in ("glass", "metal", "paper"):
        (root / name).mkdir(parents=True)
        photos = sorted((shared / "datasets" / "trashnet" / name).glob("*.jpg"))
        for path in photos[:: len(photos) // 30]:
            (root / name / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return root


@pytest.mark.shared
@pytest.mark.slow
def test_a_pretrained_classifier_tells_glass_from_paper(
    shared: Path, glass_and_paper: Path, tmp_path: Path
) -> None:
    weights = str(shared / "weights" / "mobilenet_1.0_224_qat8_top.weights.h5")
    (tmp_path / "map.csv").write_text(
        'class,imagenet\nglass,"glass, bottle, goblet"\nmetal,\npaper,"toilet tissue, envelope"\n'
    )
    (row,) = zeroshot(glass_and_paper, weights=[weights], mapping="map.csv").rows
    assert row["overlap"]["accuracy"] > 0.8
    share = row["overlap"]["n_test"] / row["n_test"]
    assert row["accuracy"] == pytest.approx(share * row["overlap"]["accuracy"])


@pytest.mark.shared
@pytest.mark.slow
def test_weights_without_classifier_are_refused(shared: Path, glass_and_paper: Path) -> None:
    folder = shared / "weights"
    for text, file, message in (
        ("mobilenet", "mobilenet_1.0_224_qat8_notop.weights.h5", "without its classifier"),
        (SMALL, "mobilenet_0.25_224_notop.weights.h5", "without its classifier"),
        ("mobilenet", "mobilenet_0.25_224_top.weights.h5", "does not fit the classifier"),
    ):
        with pytest.raises(WeightsError, match=message):
            zeroshot(glass_and_paper, backbones=[text], weights=[str(folder / file)])
    for weights in ("random", "auto"):
        with pytest.raises(SpecError, match=f"{weights} weights know no classes"):
            zeroshot(glass_and_paper, weights=[weights])


@pytest.mark.shared
@pytest.mark.slow
def test_the_graph_is_kerass_own_classifier(shared: Path) -> None:
    import keras

    from featx.backbones.classifier import build_classifier

    path = str(shared / "weights" / "mobilenet_0.25_224_top.weights.h5")
    graph, weights = build_classifier(parse_backbone(SMALL, weights=path))
    assert weights.kind == "file"
    model = keras.applications.MobileNet(alpha=0.25, weights=None)
    model.load_weights(path)
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    pixels = keras.applications.mobilenet.preprocess_input(images.astype(np.float32))
    np.testing.assert_allclose(
        np.asarray(graph.predict_on_batch(images)),
        np.asarray(model.predict_on_batch(pixels)),
        atol=1e-6,
    )
    with pytest.raises(SpecError, match="takes images of 224x224, not 192x192"):
        build_classifier(parse_backbone(SMALL, weights=path, image_size=192))


def test_an_overlap_is_plain_data() -> None:
    overlap = OverlapSpec({"a": (1,), "b": ()}, "names")
    assert (overlap.overlapping, overlap.others) == (["a"], ["b"])
    assert overlap.names("a") == ["goldfish"]
