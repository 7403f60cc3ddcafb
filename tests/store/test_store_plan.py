"""The plan: each digest once, nothing computed that is there or can be derived."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.store import EntryState, TapShape, plan_rows
from featx.store.compact import SMALL_BYTES, plan_compaction
from featx.store.plan import flatten_of

# A busy machine is no failure.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TAPS = ("avg", "max", "flatten", "b:avg", "b:flatten")
SHAPES = {
    "avg": TapShape((4,), "float32"),
    "max": TapShape((4,), "float32"),
    "flatten": TapShape((2, 2, 4), "float32"),
    "b:avg": TapShape((3,), "float32"),
    "b:flatten": TapShape((3,), "float32"),  # has no space to pool over
}
digests = st.lists(st.sampled_from("abcdefgh"), max_size=12)
taps = st.lists(st.sampled_from(TAPS), unique=True, min_size=1)
held = st.fixed_dictionaries({t: st.sets(st.sampled_from("abcdefgh")) for t in TAPS})


def make_state(rows: dict[str, set[str]]) -> EntryState:
    there = {t: {d: (0, i) for i, d in enumerate(sorted(ds))} for t, ds in rows.items() if ds}
    return EntryState(shapes={t: SHAPES[t] for t in there}, rows=there)


@calm
@given(held, digests, taps)
def test_a_plan_is_complete_and_frugal(
    rows: dict[str, set[str]], wanted: list[str], asked: list[str]
) -> None:
    plan = plan_rows(make_state(rows), [*wanted, ""], asked)
    derived = {d for ds in plan.derive.values() for d in ds}
    groups = [set(plan.reuse), derived, set(plan.extract)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == len(set(wanted))
    for digest in wanted:
        missing = {t for t in asked if digest not in rows[t]}
        if digest in plan.reuse:
            assert not missing
        elif digest in derived:
            assert {t for t, ds in plan.derive.items() if digest in ds} == missing
        else:
            assert set(plan.extract[digest]) == missing
            sources = {"avg": "flatten", "max": "flatten"}
            assert any(digest not in rows.get(sources.get(t, ""), ()) for t in missing)
    assert list(plan.extract) == [d for d in dict.fromkeys(wanted) if d in plan.extract]
    assert set(plan.extract_taps) == {t for ts in plan.extract.values() for t in ts}


@calm
@given(held, digests, st.permutations(TAPS))
def test_an_image_that_is_run_gives_all_it_lacks(
    rows: dict[str, set[str]], wanted: list[str], order: list[str]
) -> None:
    asked, also = order[:1], order[1:]
    plan = plan_rows(make_state(rows), wanted, asked, also)
    assert set(plan.extract) == set(plan_rows(make_state(rows), wanted, asked).extract)
    for digest, lacks in plan.extract.items():
        assert lacks == plan.extract[digest]
        assert set(lacks) == {t for t in TAPS if digest not in rows[t]}
    counts = plan.extract.counts()
    assert sum(counts.values()) == len(plan.extract)
    assert list(counts) == list(dict.fromkeys(plan.extract.values()))
    some = set(wanted[::2])
    assert dict(plan.extract.without(some)) == {
        d: lacks for d, lacks in plan.extract.items() if d not in some
    }


def test_where_a_tap_comes_from() -> None:
    assert flatten_of("avg") == flatten_of("max") == "flatten"
    assert flatten_of("block:max") == "block:flatten"
    assert flatten_of("block:flatten") is None


def state_of(parts: list[list[str]], part_bytes: int = SMALL_BYTES) -> EntryState:
    rows: dict[str, tuple[int, int]] = {}
    for number, names in reversed(list(enumerate(parts))):
        rows.update({d: (number, row) for row, d in enumerate(names)})
    return EntryState(
        parts=tuple(f"p{i}" for i in range(len(parts))),
        part_rows=tuple(map(len, parts)),
        part_bytes=(part_bytes,) * len(parts),
        part_taps=(("avg",),) * len(parts),
        shapes={"avg": SHAPES["avg"]},
        rows={"avg": rows},
    )


parts = st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1), max_size=5)


@calm
@given(parts, st.sets(st.sampled_from("abcdefgh")), st.integers(0, 5), st.booleans())
def test_compaction_keeps_what_is_in_demand(
    content: list[list[str]], live: set[str], known: int, small: bool
) -> None:
    state = state_of(content, 100 if small else SMALL_BYTES)
    plan = plan_compaction(state, sorted(live), [f"p{i}" for i in range(known)])
    left = [names for i, names in enumerate(content) if f"p{i}" not in plan.parts]
    kept = [d for ds in plan.keep.values() for d in ds]
    after = [d for names in left for d in names] + kept
    assert len(after) == len(set(after))  # no row twice
    old = {d for names in content for d in names}
    fresh = {d for names in content[known:] for d in names}
    assert old & live <= set(after)
    assert {d for d in fresh - live if state.rows["avg"][d][0] >= known} <= set(after)
    assert sum(map(len, content)) - plan.rows == len(after)
    again = state_of([*left, kept] if kept else left, SMALL_BYTES)
    assert plan_compaction(again, sorted(live), ()).parts == ()


def test_small_parts_are_merged_when_that_makes_fewer() -> None:
    assert plan_compaction(state_of([["a"], ["b"]], 100)).parts == ("p0", "p1")
    assert plan_compaction(state_of([["a"]], 100)).parts == ()
    assert plan_compaction(state_of([["a"], ["b"]])).parts == ()
