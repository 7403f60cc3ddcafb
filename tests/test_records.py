from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import SpecError
from featx.records import ExtractionKey, ImageSpec, TapSpec, to_json

KEY = ExtractionKey("mobilenet", {"alpha": 0.25}, "ab" * 32, "mobilenet", ImageSpec(224, 224))

keys = st.builds(
    ExtractionKey,
    backbone=st.sampled_from(["mobilenet", "vgg16"]),
    params=st.dictionaries(
        st.sampled_from(["alpha", "depth"]), st.sampled_from([0.25, 0.5, 1, (1, 2)]), max_size=2
    ),
    weights=st.sampled_from(["ab" * 32, "random-0", "random-1"]),
    preprocess=st.sampled_from(["mobilenet", "vgg16"]),
    image=st.builds(
        ImageSpec,
        height=st.sampled_from([128, 224]),
        width=st.sampled_from([128, 224]),
        resize=st.sampled_from(["bilinear-antialias", "other"]),
    ),
    precision=st.sampled_from(["float32", "bfloat16"]),
    stored=st.sampled_from(["float32", "float16"]),
)


@given(keys, keys)
def test_digests_are_equal_if_and_only_if_the_keys_are(a: ExtractionKey, b: ExtractionKey) -> None:
    assert (a.digest() == b.digest()) == (a == b)


@given(keys)
def test_a_key_survives_json(key: ExtractionKey) -> None:
    again = ExtractionKey.from_json(json.loads(key.canonical()))
    assert again == key
    assert again.digest() == key.digest()


def test_every_field_is_in_the_digest() -> None:
    for field in dataclasses.fields(ExtractionKey):
        value = getattr(KEY, field.name)
        other = {
            "image": ImageSpec(224, 192),
            "params": {"alpha": 0.5},
            "format_version": 99,
        }.get(field.name, f"{value}-other")
        changed = dataclasses.replace(KEY, **{field.name: other})
        assert changed.digest() != KEY.digest(), field.name


def test_the_digest_is_the_same_on_every_machine_and_day() -> None:
    # Frozen: a change here makes every cache in the world stale.
    assert KEY.canonical() == (
        '{"backbone":"mobilenet","format_version":1,"image":{"colour":"rgb","height":224,'
        '"resize":"bilinear-antialias","width":224},"params":{"alpha":0.25},'
        '"precision":"float32","preprocess":"mobilenet","stored":"float32",'
        f'"weights":"{"ab" * 32}"}}'
    )


@pytest.mark.parametrize(
    ("text", "layer", "pooling"),
    [
        ("avg", "", "avg"),
        (" flatten ", "", "flatten"),
        ("block4_pool:avg", "block4_pool", "avg"),
        ("block4_pool", "block4_pool", "flatten"),
    ],
)
def test_taps_are_read(text: str, layer: str, pooling: str) -> None:
    tap = TapSpec.parse(text)
    assert (tap.layer, tap.pooling) == (layer, pooling)
    assert TapSpec.parse(tap.name) == tap


@pytest.mark.parametrize("text", ["", "block4_pool:mean", ":avg", "a/b:avg"])
def test_taps_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="tap"):
        TapSpec.parse(text)


def test_json_has_no_nan_and_no_numpy() -> None:
    data = to_json({"a": np.float32("nan"), "b": np.arange(2), "c": (np.int64(1), {"d": KEY})})
    assert json.loads(json.dumps(data, allow_nan=False))["a"] is None
