"""Columns say what the texts said, and find a digest where it is first."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx import columns
from featx.columns import Coded, Digests, Finder, LateTexts, Texts, TextsBuilder, split_texts
from featx.samples import Sample, Samples

# What file names decode to: no NUL, bytes that are not UTF-8 as lone surrogates.
names = st.binary(max_size=6).map(
    lambda b: b.replace(b"\0", b"/").decode("utf-8", "surrogateescape")
)
digests = st.text("ab01", max_size=3)
calm = settings(deadline=None)


def pickled(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301


@calm
@given(st.lists(names), st.data())
def test_texts(texts: list[str], data: st.DataObject) -> None:
    column = Texts.of(texts)
    assert list(column) == texts == list(column[:])
    assert column == tuple(texts)
    assert [column[i] for i in range(-len(texts), len(texts))] == texts * 2
    rows = data.draw(st.lists(st.sampled_from(range(len(texts))))) if texts else []
    assert list(column.take(np.array(rows, np.int64))) == [texts[r] for r in rows]
    mask = np.array([len(t) > 1 for t in texts], bool)
    assert list(column.take(mask)) == [t for t in texts if len(t) > 1]
    assert list(column[1::2]) == texts[1::2]
    assert pickled(column) == texts
    if texts:
        assert list(split_texts(column.blob[:-1])) == texts
    with pytest.raises(IndexError):
        column[len(texts)]


@calm
@given(st.lists(names))
def test_a_builder_says_whether_texts_ascend(texts: list[str]) -> None:
    builder = TextsBuilder()
    for text in texts:
        builder.append(text)
    assert builder.ascending == (texts == sorted(set(texts)))


@calm
@given(st.lists(digests), st.lists(digests), st.booleans())
def test_a_finder_finds_the_first(held: list[str], wanted: list[str], collide: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if collide:  # every digest has the same hash
            patch.setattr(columns, "_hashes", lambda d: np.zeros(len(d), np.uint64))
        finder = Finder(Digests.of(held))
        found = finder.find(Digests.of(wanted))
        assert finder.firsts.tolist() == [d not in held[:i] for i, d in enumerate(held)]
        assert list(Digests.of(wanted).distinct()) == [d for d in dict.fromkeys(wanted) if d]
    assert found.tolist() == [held.index(d) if d in held else -1 for d in wanted]


def test_many_digests_are_found_in_blocks() -> None:
    rng = np.random.default_rng(0)
    held = Digests.of(rng.bytes(32).hex() for _ in range(5000))
    order = rng.permutation(5000)
    assert (Finder(held).find(held.take(order)) == order).all()


def test_a_digest_is_never_cut() -> None:
    with pytest.raises(ValueError, match="65 characters"):
        Digests.of(["a" * 65])


def test_late_texts_are_read_once_and_when_asked_for() -> None:
    asked = []

    def read() -> Texts:
        asked.append(1)
        return Texts.of(["a", "b", "c"])

    late = LateTexts(3, read)
    assert len(late) == 3
    assert late
    assert not asked
    assert (late[0], late[-1], list(late[1:]), tuple(late)) == (
        "a",
        "c",
        ["b", "c"],
        ("a", "b", "c"),
    )
    assert len(asked) == 1
    assert pickled(LateTexts(3, read)) == ("a", "b", "c")


def test_coded_texts_take_the_numbers_of_their_classes() -> None:
    column = Coded(np.array([1, 0, 1], np.int32), ("b", "a", "unused"))
    assert list(column) == list(Texts.of(column)) == ["a", "b", "a"]
    assert column.numbers(("a", "b")).tolist() == [0, 1, 0]
    with pytest.raises(KeyError):
        column.numbers(("a",))


samples = st.lists(
    st.builds(
        Sample, names, st.tuples(names, names), st.sampled_from(["", "train"]), digests, names
    )
)


@calm
@given(samples)
def test_samples_are_what_went_in(rows: list[Sample]) -> None:
    column = Samples.of(rows)
    assert list(column) == rows
    assert column == tuple(rows)
    assert [column[i] for i in range(len(rows))] == rows
    assert list(column[::-1]) == rows[::-1]
    assert pickled(column) == rows
