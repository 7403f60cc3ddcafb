from __future__ import annotations

import pytest

from featx.errors import UnknownNameError
from featx.registry import Registry, near_misses


@pytest.fixture
def fruits() -> Registry[int]:
    registry: Registry[int] = Registry("fruit", hint="See: featx list fruits")
    registry.register("apple", 1)
    registry.register("pear", 2)
    return registry


def test_a_wrong_name_is_answered_with_the_near_miss_and_where_to_look(
    fruits: Registry[int],
) -> None:
    with pytest.raises(UnknownNameError) as caught:
        fruits.get("aple")
    assert str(caught.value) == "Unknown fruit 'aple'. Did you mean 'apple'? See: featx list fruits"
    assert caught.value.near == ("apple",)


def test_a_name_like_nothing_gets_no_guess(fruits: Registry[int]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        fruits.get("zzzz")
    assert "Did you mean" not in str(caught.value)


def test_a_name_is_given_once(fruits: Registry[int]) -> None:
    with pytest.raises(ValueError, match="already"):
        fruits.register("apple", 3)
    assert fruits.names() == ["apple", "pear"]
    assert "apple" in fruits
    assert len(fruits) == 2


def test_keras_spelling_finds_ours() -> None:
    assert near_misses("ResNet50V2", ["resnet50", "resnet50_v2"]) == ["resnet50_v2"]
