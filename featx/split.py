"""Stratified, seeded, duplicate-aware splits, k-shot draws and folds, all as row numbers.

Rows that must not be torn apart (the same image file, or the same group) form a *unit*; a unit goes
to one side as a whole. Every function is a pure function of its arguments: random numbers come from
`numpy.random.default_rng` under the seed given, so results are the same on every platform.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.errors import SplitError
from featx.records import SPLITS, Split


def make_split(
    y: np.ndarray,
    *,
    splits: Sequence[str] | np.ndarray,
    digests: Sequence[str],
    groups: Sequence[str] = (),
    seed: int = 0,
    test_fraction: float = 0.3,
    classes: Sequence[str] = (),
) -> Split:
    """Divide rows into train, validation and test.

    - Where the data set brings test rows, its own split stands: "val" rows are the validation side
      and rows marked "" count as train.
    - Where it does not, the test side is cut from the rows that are not "val": stratified, seeded,
      and with units whole. Its own "val" rows stay the validation side, and whatever shares a unit
      with them stays in train.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        Class number a row.
    splits : sequence of n str
        The data set's own "train", "val", "test" or "" a row.
    digests : sequence of n str, or empty
        Rows with equal digest are one unit; "" equals nothing.
    groups : sequence of n str, or empty
        Rows with equal group are one unit; "" equals nothing.
    seed : int
        Seed of the cut; without effect where the data set brings test rows.
    test_fraction : float
        Share of each class that goes to a test side cut here, in (0, 1).
    classes : sequence of str, optional
        Class names, for messages only.

    Returns
    -------
    Split
        Every row is on exactly one side. Without shared units each class has
        `round(test_fraction * its rows)` test rows, but at least one and not all.

    Raises
    ------
    SplitError
        A class is on one side only, or there are no rows to train on.
    """
    y = _class_numbers(y)
    n = len(y)
    own = np.asarray(splits, dtype=str)
    if own.shape != (n,):
        raise ValueError(f"{n} rows but splits of shape {own.shape}")
    unknown = sorted(set(np.unique(own).tolist()) - {*SPLITS, ""})
    if unknown:
        raise SplitError(f"Unknown split {unknown[0]!r}: use train, val, test or an empty text.")
    if not 0 < test_fraction < 1:
        raise SplitError(f"test_fraction is {test_fraction}: give a share between 0 and 1.")

    val = np.flatnonzero(own == "val")
    if (own == "test").any():
        test = np.flatnonzero(own == "test")
        train = np.flatnonzero((own == "train") | (own == ""))
        if not len(train):
            raise SplitError(f"All {n} images are marked val or test: mark some as train.")
        _check_both_sides(y, train, test, classes)
        return Split(train, val, test, seed)

    rows = np.flatnonzero(own != "val")
    if not len(rows):
        raise SplitError(f"All {n} images are marked val: mark some as train.")
    units = _units(n, digests, groups)
    held = np.isin(units[rows], units[val])
    is_test = _cut(y[rows], units[rows], held, test_fraction, np.random.default_rng(seed))
    train, test = rows[~is_test], rows[is_test]
    _check_cut(y, rows, train, test, classes)
    return Split(train, val, test, seed)


def draw_shots(
    y: np.ndarray,
    rows: np.ndarray,
    shots: int | None,
    *,
    draws: int,
    seed: int,
    digests: Sequence[str] = (),
    classes: Sequence[str] = (),
    totals: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Draw `shots` rows of every class out of `rows`, `draws` times.

    Draws are nested: draw d at 20 shots is a subset of draw d at 100. Copies of one image are used
    only where a class has fewer distinct images than `shots`. A class that has images enough, but
    of which the split leaves fewer than `shots` to train on, gives all of these; the comparison
    says so ("fewer-than-shots").

    Parameters
    ----------
    y : ndarray of shape (n,), int
        Class number of every row of the data set.
    rows : ndarray of int
        Row numbers to draw from (the training side).
    shots : int or None
        Rows a class; None gives one draw, which is `rows` itself.
    draws, seed : int
        Number of draws, and the seed of all of them.
    digests : sequence of n str, optional
        Image digest of every row of the data set.
    classes : sequence of str, optional
        Class names, for messages only.
    totals : ndarray of int, optional
        Images of each class in the whole data set, where `y` is but a part of it.

    Returns
    -------
    list of ndarray of int64
        Ascending row numbers, one array a draw.

    Raises
    ------
    SplitError
        A class has fewer images than `shots` in all, or none in `rows`.
    """
    y = _class_numbers(y)
    rows = np.asarray(rows, dtype=np.int64)
    if not (np.diff(rows) > 0).all():  # a million rows take a second to sort
        rows = np.unique(rows)
    if shots is None:
        return [rows]
    if shots < 1 or draws < 1:
        raise SplitError(f"{shots} shots in {draws} draws: both must be 1 or more.")
    pools = {int(c): rows[y[rows] == c] for c in np.unique(y)}
    totals = np.bincount(y) if totals is None else totals
    for c, pool in pools.items():
        if not len(pool):
            raise SplitError(f"Class {_named(c, classes)} has 0 training images: add some.")
        if totals[c] < shots:
            raise SplitError(
                f"Class {_named(c, classes)} has {totals[c]} images, fewer than {shots} shots: "
                f"ask for at most {min(totals[c] for c in pools)} shots, or add images."
            )
    drawn = []
    for draw in range(draws):
        chosen = []
        for c, pool in pools.items():
            order = np.random.default_rng([seed, draw, c]).permutation(pool)
            chosen.append(_copies_last(order, digests, shots))
        drawn.append(np.sort(np.concatenate(chosen)))
    return drawn


def cross_folds(
    y: np.ndarray,
    rows: np.ndarray,
    *,
    folds: int,
    seed: int,
    digests: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide `rows` into stratified folds with units whole.

    The number of folds comes down to the number of units of the smallest class, but not below two.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        Class number of every row of the data set.
    rows : ndarray of int
        Row numbers to divide (training rows).
    folds, seed : int
        Folds wanted (2 or more), and the seed.
    digests, groups : sequence of n str, optional
        As in `make_split`, of every row of the data set.

    Returns
    -------
    list of (ndarray, ndarray) of int64
        Ascending (training rows, validation rows), a pair a fold. Each row is in one validation
        part; without shared units, parts differ by at most one row in each class.

    Raises
    ------
    SplitError
        `folds` is below two, or a training part would hold fewer than two classes.
    """
    if folds < 2:
        raise SplitError(f"{folds} folds: ask for 2 or more.")
    y = _class_numbers(y)
    rows = np.unique(np.asarray(rows, dtype=np.int64))
    units = _units(len(y), digests, groups)[rows]
    labels, classes = y[rows], np.unique(y[rows])
    smallest = min((len(np.unique(units[labels == c])) for c in classes), default=0)
    folds = max(2, min(folds, smallest))
    fold = _assign_folds(labels, units, folds, np.random.default_rng([seed, 1]))
    parts = [(rows[fold != f], rows[fold == f]) for f in range(folds)]
    if any(len(np.unique(y[train])) < min(2, len(y)) or not len(val) for train, val in parts):
        raise SplitError(
            f"{len(rows)} training images in {len(classes)} classes are too few for "
            "cross-validation: give at least 2 distinct images a class."
        )
    return parts


def find_leaks(split: Split, digests: Sequence[str]) -> np.ndarray:
    """Return the test rows (int64, ascending) whose very image is also in train or validation."""
    seen = {digests[i] for i in (*split.train, *split.val)} - {""}
    return np.asarray([i for i in split.test if digests[i] in seen], dtype=np.int64)


# --- units -------------------------------------------------------------------------------------


def _class_numbers(y: np.ndarray) -> np.ndarray:
    y = np.asarray(y)
    if y.ndim != 1 or (len(y) and y.dtype.kind not in "iu"):
        raise ValueError(f"y must be class numbers, one a row; got {y.dtype} of shape {y.shape}")
    return y.astype(np.int64)


def _units(n: int, digests: Sequence[str], groups: Sequence[str]) -> np.ndarray:
    """Return a unit number a row: connected components of "same digest or same group"."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for names in (digests, groups):
        if len(names) not in (0, n):
            raise ValueError(f"{n} rows but {len(names)} digests or groups")
        first: dict[str, int] = {}
        for i, name in enumerate(names):
            if name:
                j = first.setdefault(name, i)
                if j != i:
                    parent[root(i)] = root(j)
    return np.asarray([root(i) for i in range(n)], dtype=np.int64)


def _big_units(
    labels: np.ndarray, units: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """Units of several rows, largest first, ties in random order; and the rows of single units."""
    order = np.argsort(units, kind="stable")
    _, starts = np.unique(units[order], return_index=True)
    members = np.split(order, starts[1:])
    big = [m for m in members if len(m) > 1]
    big = [big[i] for i in rng.permutation(len(big))]
    big.sort(key=len, reverse=True)
    single = np.asarray([m[0] for m in members if len(m) == 1], dtype=np.int64)
    return big, rng.permutation(np.sort(single))


def _cut(
    labels: np.ndarray,
    units: np.ndarray,
    held: np.ndarray,
    fraction: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Mask of the rows that go to the test side; `held` rows never do."""
    names, y = np.unique(labels, return_inverse=True)
    counts = np.bincount(y, minlength=len(names))
    # Half rounds up, as people expect; numpy's own rounding goes to even numbers.
    need = np.clip(np.floor(fraction * counts + 0.5).astype(np.int64), 1, np.maximum(counts - 1, 1))
    is_test = np.zeros(len(y), dtype=bool)
    seen, taken = np.zeros(len(names)), np.zeros(len(names), dtype=np.int64)
    big, single = _big_units(y, units, rng)
    for member in big:
        inside = np.bincount(y[member], minlength=len(names))
        seen += inside
        if held[member].any():
            continue
        # The test side gets its share of the units as they come, not the first ones: it takes one
        # if that brings its classes nearer to their share of what was seen (squared distance).
        lacking = seen * need / counts - taken
        if (inside * (2 * lacking - inside)).sum() >= 0 and (taken + inside < counts).all():
            is_test[member] = True
            taken += inside
    single = single[~held[single]]
    for c in range(len(names)):
        mine = single[y[single] == c]
        is_test[mine[: max(0, need[c] - taken[c])]] = True
    # A class of few large units may have got none: give it its smallest that can be spared.
    for c in range(len(names)):
        if not is_test[y == c].any():
            for member in reversed(big):
                left = np.bincount(y[~is_test], minlength=len(names))
                inside = np.bincount(y[member], minlength=len(names))
                if inside[c] and not held[member].any() and (left > inside)[inside > 0].all():
                    is_test[member] = True
                    break
    return is_test


def _assign_folds(
    labels: np.ndarray, units: np.ndarray, folds: int, rng: np.random.Generator
) -> np.ndarray:
    """Fold number of each row: units to where their classes are rarest, then single rows level."""
    names, y = np.unique(labels, return_inverse=True)
    count = np.zeros((folds, len(names)), dtype=np.int64)
    fold = np.zeros(len(y), dtype=np.int64)
    big, single = _big_units(y, units, rng)
    for member in big:
        inside = np.bincount(y[member], minlength=len(names))
        f = min(range(folds), key=lambda f: (int(count[f] @ inside), int(count[f].sum())))
        fold[member] = f
        count[f] += inside
    for c in range(len(names)):
        mine = single[y[single] == c]
        # All free places level by level, and within a level where the fold has fewest rows in all.
        places = [
            (level, total, f)
            for f, total in enumerate(count.sum(axis=1).tolist())
            for level in range(int(count[f, c]), int(count[:, c].max()) + len(mine) // folds + 2)
        ]
        places.sort()
        fold[mine] = [f for _, _, f in places[: len(mine)]]
        count[:, c] += np.bincount(fold[mine], minlength=folds) if len(mine) else 0
    return fold


def _copies_last(order: np.ndarray, digests: Sequence[str], count: int) -> np.ndarray:
    """Return the first of `order` with repetitions of an image behind all first occurrences."""
    if not len(digests):
        return order[:count]
    seen: set[str] = set()
    first: list[int] = []
    again: list[int] = []
    for i in order.tolist():
        digest = digests[i]
        (again if digest in seen else first).append(i)
        if digest:
            seen.add(digest)
        if len(first) == count:
            break
    return np.asarray((first + again)[:count], dtype=np.int64)


# --- checks ------------------------------------------------------------------------------------


def _named(c: int, classes: Sequence[str]) -> str:
    return repr(classes[c]) if c < len(classes) else str(c)


def _check_both_sides(
    y: np.ndarray, train: np.ndarray, test: np.ndarray, classes: Sequence[str]
) -> None:
    for c in np.setdiff1d(y[test], y[train]).tolist():
        count = int((y[test] == c).sum())
        raise SplitError(
            f"Class {_named(c, classes)} has {count} test images and none to train on: add some "
            "to its train part, or take the class out."
        )


def _check_cut(
    y: np.ndarray, rows: np.ndarray, train: np.ndarray, test: np.ndarray, classes: Sequence[str]
) -> None:
    for c, count in zip(*np.unique(y[rows], return_counts=True), strict=True):
        if count < 2:
            raise SplitError(
                f"Class {_named(int(c), classes)} has {count} image; a test split needs 2 or "
                "more a class: add images, or take the class out."
            )
        if not (y[train] == c).any() or not (y[test] == c).any():
            raise SplitError(
                f"Class {_named(int(c), classes)} has {count} images, but they are copies or one "
                "group and cannot be on both sides of a split: add different images."
            )
