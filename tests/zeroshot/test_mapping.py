"""Which ImageNet classes a class is: proposed, written, edited, read."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from featx.errors import DatasetError, RunError
from featx.zeroshot.mapping import OverlapSpec, propose_overlap, read_mapping, write_mapping
from featx.zeroshot.synsets import imagenet_classes

TRASH = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
CLOTHES = ("dress", "hat", "longsleeve", "pants", "shirt", "shoes", "t-shirt")


def test_overlap_by_name() -> None:
    overlap = propose_overlap(TRASH)
    assert overlap.overlapping == ["glass", "paper"]
    assert overlap.others == ["cardboard", "metal", "plastic", "trash"]
    assert overlap.names("glass") == ["beer glass", "goblet"]
    assert overlap.describe() == (
        "2 of 6 classes overlap ImageNet: glass (beer glass, goblet), paper (toilet tissue); not "
        "cardboard, metal, plastic, trash"
    )
    assert propose_overlap(["sofabed x", "zzz"]).describe() == "0 of 2 classes overlap ImageNet"
    assert "Chihuahua, Japanese spaniel" in propose_overlap(["dogs"]).describe()
    assert "and 114 more" in propose_overlap(["dogs"]).describe()


def test_the_nearer_class_gets_what_two_claim() -> None:
    overlap = propose_overlap(CLOTHES)
    assert overlap.names("t-shirt") == ["jersey"]
    assert "shirt" in overlap.others
    assert propose_overlap(["shirt"]).names("shirt") == ["jersey"]
    both = propose_overlap(["car", "automobile"])
    assert both.outputs["car"] == both.outputs["automobile"]


@pytest.mark.parametrize("classes", [TRASH, CLOTHES, ("dogs", "crane", "maillot", 'a "b", c')])
def test_what_is_written_is_read_the_same(tmp_path: Path, classes: tuple[str, ...]) -> None:
    overlap = propose_overlap(classes)
    write_mapping(overlap, tmp_path / "map.csv")
    again = read_mapping(tmp_path / "map.csv", classes)
    assert again.outputs == overlap.outputs
    assert again.source == str(tmp_path / "map.csv")


def test_a_file_suggests_by_words(tmp_path: Path) -> None:
    write_mapping(propose_overlap((*TRASH, "dogs")), tmp_path / "map.csv")
    with open(tmp_path / "map.csv", newline="") as file:
        lines = {line["class"]: line for line in csv.DictReader(file)}
    assert lines["trash"] == {"class": "trash", "imagenet": "", "suggestions": "ashcan"}
    assert lines["plastic"]["suggestions"] == "plastic bag"
    assert lines["glass"]["imagenet"] == "beer glass, goblet"
    assert lines["dogs"]["imagenet"] == "n02084071"  # 118 of them by what they all are


def test_names_synsets_and_what_is_above(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text(
        'class,imagenet\nglass,"beer glass, n02823750, bottle"\nmetal,\n"paper",paper towel\n'
        "plastic, n02876657 \ntrash,\ncardboard,carton\n"
    )
    overlap = read_mapping(path, TRASH)
    assert list(overlap.outputs) == list(TRASH)
    assert overlap.names("glass") == [
        "beer bottle", "beer glass", "pill bottle", "pop bottle", "water bottle", "water jug",
        "whiskey jug", "wine bottle",
    ]  # fmt: skip
    assert overlap.outputs["plastic"] == tuple(
        n for n in overlap.outputs["glass"] if imagenet_classes()[n].names[0] != "beer glass"
    )
    assert overlap.others == ["metal", "trash"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,imagenet\na,tench\n", "says nothing of the class 'b': add the line 'b,'"),
        ("class,imagenet\na,tench\nb,\na,\n", "line 4 gives the class 'a' again"),
        ("class,imagenet\na,tench\nc,\n", "no class 'c'. It has: a, b"),
        ("class,imagenet\na,bear glass\nb,\n", "no 'bear glass'. Did you mean 'beer glass'"),
        ("class,imagenet\na,n99999999\nb,\n", "line 2: ImageNet has no 'n99999999'"),
        ("class,imagenet\na,crane\nb,\n", "several things.*n03126707: crane; n02012849: crane"),
        ("class,imagenet\na,beer glass, goblet\nb,\n", "more fields than columns: put quotes"),
        ("a,b\n1,2\n", "has the columns a, b"),
        ("", "its first line must be"),
        ('class,imagenet\na,"x\n', "not sound CSV"),
    ],
)
def test_mappings_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_mapping(path, ("a", "b"))


def test_case_tells_a_garment_from_a_dog(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("class,imagenet\na,cardigan\nb,Cardigan\n")
    overlap = read_mapping(path, ("a", "b"))
    known = imagenet_classes()
    assert [known[overlap.outputs[name][0]].id for name in "ab"] == ["n02963159", "n02113186"]


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        read_mapping(tmp_path / "nowhere.csv", ("a",))
    overlap = OverlapSpec({"a": ()}, "names")
    with pytest.raises(RunError, match="Cannot write"):
        write_mapping(overlap, tmp_path / "nowhere" / "map.csv")
    write_mapping(overlap, tmp_path / "map.csv")
    with pytest.raises(RunError, match="is there already"):
        write_mapping(overlap, tmp_path / "map.csv")
