"""ImageNet's classes and what is above them in WordNet."""

from __future__ import annotations

import pytest

from featx.zeroshot.synsets import (
    classes_below,
    classes_with_word,
    find_meanings,
    imagenet_classes,
    load_synsets,
    short_name,
)

KERAS = {
    0: ("n01440764", "tench"),
    134: ("n02012849", "crane"),
    207: ("n02099601", "golden retriever"),
    281: ("n02123045", "tabby"),
    440: ("n02823428", "beer bottle"),
    517: ("n03126707", "crane"),
    610: ("n03595614", "jersey"),
    898: ("n04557648", "water bottle"),
    999: ("n15075141", "toilet tissue"),
}
"""Lines of Keras's imagenet_class_index.json."""


@pytest.mark.parametrize(("number", "line"), KERAS.items())
def test_order_is_that_of_keras(number: int, line: tuple[str, str]) -> None:
    synset = imagenet_classes()[number]
    assert (synset.id, synset.names[0]) == line
    assert synset.index == number


def test_the_table_is_whole() -> None:
    synsets = load_synsets()
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert [s.id for s in classes] == sorted(s.id for s in classes)
    for synset in synsets.values():
        assert synset.names
        assert set(synset.above) <= synsets.keys()
        assert classes_below(synset)  # nothing that has no ImageNet class below it
    (root,) = [s for s in synsets.values() if not s.above]
    assert root.names == ("entity",)
    assert len(classes_below(root)) == 1000


def test_every_class_is_found_by_its_short_name() -> None:
    for synset in imagenet_classes():
        name = short_name(synset)
        if name != synset.id:
            assert synset in find_meanings(name), name
    names = [short_name(s) for s in imagenet_classes()]
    assert len(set(names)) == 1000


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("bottle", "beer bottle"),
        ("BOTTLES", "beer bottle"),
        ("t-shirts", "jersey"),
        ("T_shirt", "jersey"),
        ("running shoe", "running shoe"),
        ("boxes", "carton"),
        ("wolves", "timber wolf"),
        ("n02876657", None),
        ("longsleeve", None),
        ("", None),
    ],
)
def test_names_in_any_spelling(name: str, first: str | None) -> None:
    found = find_meanings(name)
    if first is None:
        assert not found
    else:
        numbers = classes_below(found[0])
        assert first in {imagenet_classes()[n].names[0] for n in numbers}


def test_the_usual_meaning_comes_first() -> None:
    assert [s.id for s in find_meanings("crane")] == ["n03126707", "n02012849"]
    car = classes_below(find_meanings("car")[0])
    assert {"ambulance", "sports car"} <= {imagenet_classes()[n].names[0] for n in car}
    assert len(classes_below(find_meanings("dog")[0])) == 118


def test_steps_are_counted() -> None:
    (shirt,), (jersey,) = find_meanings("shirt"), find_meanings("T-shirt")
    assert classes_below(jersey) == {610: 0}
    assert classes_below(shirt) == {610: 1}


def test_classes_with_a_word_in_common() -> None:
    assert [s.names[0] for s in classes_with_word("trash")] == ["ashcan"]
    assert "paper towel" in [s.names[0] for s in classes_with_word("papers")]
    assert classes_with_word("of") == []
