"""The key changes if and only if a field does; a mismatch names the field."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from fake_cache import fake_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.errors import CacheError
from featx.records import ExtractionKey, ImageSpec, to_json
from featx.store import CacheEntry
from featx.store.folders import entry_name

# A busy machine is no failure.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

text = st.text(max_size=8)
values = st.one_of(st.integers(-3, 3), st.booleans(), text, st.tuples(st.integers(), text))
images = st.builds(
    ImageSpec,
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(["a", "b"]),
    text,
    st.sampled_from(["", "flip", "augment-1"]),
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "backbone": text,
    "params": st.dictionaries(text, values, max_size=3),
    "weights": text,
    "preprocess": text,
    "image": images,
    "precision": st.sampled_from(["float32", "bfloat16", "float16"]),
    "stored": st.sampled_from(["float32", "float16"]),
    "format_version": st.integers(1, 3),
}
keys = st.builds(ExtractionKey, **fields)


def test_every_field_is_tried() -> None:
    assert set(fields) == {f.name for f in dataclasses.fields(ExtractionKey)}


def same(one: object, two: object) -> bool:
    """Equal, types included: 1, 1.0 and True are three parameter values."""
    return json.dumps(to_json(one), sort_keys=True) == json.dumps(to_json(two), sort_keys=True)


@calm
@given(keys, st.data())
def test_the_digest_changes_if_and_only_if_a_field_does(
    key: ExtractionKey, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(fields[name])
    changed = dataclasses.replace(key, **{name: value})
    assert (changed.digest() == key.digest()) == same(getattr(key, name), value)


@calm
@given(keys, keys)
def test_two_keys_share_a_digest_only_if_they_are_equal(
    one: ExtractionKey, two: ExtractionKey
) -> None:
    assert (one.digest() == two.digest()) == same(one, two)


@calm
@given(keys)
def test_a_key_survives_json(key: ExtractionKey) -> None:
    again = ExtractionKey.from_json(json.loads(json.dumps(to_json(key))))
    assert again == key
    assert again.digest() == key.digest()


@calm
@given(keys)
def test_the_order_of_parameters_does_not_matter(key: ExtractionKey) -> None:
    turned = dataclasses.replace(key, params=dict(reversed(key.params.items())))
    assert turned.digest() == key.digest()


def test_the_digest_of_this_format_never_changes() -> None:
    """Or else every cache there is would be computed again without need."""
    assert fake_key().digest() == "a9de9ccd38fed9a79e9f653b3b304602ab9839c92c7b5d603291fad09c4f4b6e"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": "1" * 64}, "weights is '0"),
        ({"stored": "float16"}, "stored is 'float32' there, 'float16' wanted"),
        ({"params": {"alpha": 0.5}}, r"params is \{'alpha': 0.25\} there, \{'alpha': 0.5\} wanted"),
        ({"image": ImageSpec(32, 64)}, "image is .*'width': 32"),
    ],
)
def test_a_mismatch_names_the_field(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """A folder that was renamed to stand for another key is not read as that."""
    mine, other = fake_key(), fake_key(**change)
    entry = CacheEntry.open(tmp_path, "toy", mine, create=True)
    entry.path.rename(entry.path.with_name(entry_name(other)))
    for create in (False, True):
        with pytest.raises(CacheError, match=said) as caught:
            CacheEntry.open(tmp_path, "toy", other, create=create)
        assert "precision" not in str(caught.value)


def test_the_view_is_left_out_of_the_key_of_plain_images() -> None:
    plain = ExtractionKey("mobilenet", {}, "0" * 64, "mobilenet", ImageSpec(224, 224))
    assert "view" not in plain.canonical()
    assert plain.digest() == "0f39acb395ce0d354df0e995b70c268193d08d751fdef0596e87df2fddf4f767"
    flip = dataclasses.replace(plain, image=ImageSpec(224, 224, view="flip"))
    assert flip.digest() != plain.digest()
    for key in (plain, flip):
        assert ExtractionKey.from_json(json.loads(key.canonical())) == key
