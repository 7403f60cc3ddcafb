"""The wall between choosing and testing.

`seal` takes features apart: `TrainingRows`, all that choosing and fitting ever see, and
`TestRows`, which gives its rows out once a run and only after that run is frozen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import ProtocolError
from featx.records import FeatureSet, Split

LAZY_BYTES = 2**30
"""Features of lazy sets are read whole up to this size, and by blocks beyond it."""

BLOCK_BYTES = 2**27
"""Size of a block of rows."""


@dataclass(frozen=True)
class TrainingRows:
    """The training and validation rows of a data set, and no other.

    Attributes
    ----------
    y : ndarray of shape (n,), int
        Of the training rows, then the validation rows; (n, n_columns) where several label columns
        are learnt at once.
    strata : ndarray of shape (n,), int
        What draws are stratified by: `y`, or the labels of another column.
    n_train : int
        The first so many are training rows.
    digests, groups : tuple of str
        A row each, or empty.
    copies : int
        Rows that `take_copies` gives for one: the image's own, and one a view.
    """

    _X: Any
    _rows: np.ndarray
    y: np.ndarray
    strata: np.ndarray
    n_train: int
    digests: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    _views: tuple[Any, ...] = ()

    @property
    def copies(self) -> int:
        """1, and one more a view."""
        return 1 + len(self._views)

    @property
    def train(self) -> np.ndarray:
        """Positions of the training rows."""
        return np.arange(self.n_train)

    @property
    def val(self) -> np.ndarray:
        """Positions of the validation rows."""
        return np.arange(self.n_train, len(self.y))

    def take(self, positions: np.ndarray) -> Any:
        """Return the features at `positions`: an array, or `RowsOf` where they are too large.

        Raises
        ------
        ProtocolError
            A position outside the training and validation rows.
        """
        outside = (positions < 0) | (positions >= len(self._rows))
        if outside.any():
            raise ProtocolError(
                f"Position {positions[outside][0]} is not a training row: there are "
                f"{len(self._rows)} training and validation rows."
            )
        return _take_rows(self._X, self._rows[positions])

    def take_copies(self, positions: np.ndarray) -> np.ndarray:
        """Return the features at `positions`, then in the same order those of each view in turn.

        Raises
        ------
        ProtocolError
            As `take`.
        """
        own = in_memory(self.take(positions))
        rows = self._rows[positions]
        return np.concatenate([own, *(in_memory(_take_rows(X, rows)) for X in self._views)])

    def pick(self, names: tuple[str, ...], positions: np.ndarray) -> tuple[str, ...]:
        """Return `names` (digests or groups) at `positions`; empty stays empty."""
        return tuple(names[i] for i in positions) if names else ()


class TestRows:
    """The test rows, locked. Each run may have them once, after its choices are frozen.

    Parameters
    ----------
    features : FeatureSet
    rows : ndarray of int
        Row numbers of the test side; they are no secret.

    Examples
    --------
    >>> _, test = seal(features, split)  # doctest: +SKIP
    >>> test.freeze("logreg, draw 0", {"C": 0.1})  # doctest: +SKIP
    >>> X, y = test.hand_out("logreg, draw 0")  # doctest: +SKIP
    """

    __test__ = False  # not a test class, whatever its name

    def __init__(self, features: FeatureSet, rows: np.ndarray) -> None:
        self.rows = rows
        self.__features = features
        self.__loaded: Any = None
        self.__frozen: dict[str, str] = {}
        self.__handed_out: set[str] = set()

    def freeze(self, run: str, choices: Mapping[str, Any]) -> None:
        """Declare that `run` has chosen and fitted all that it will.

        Raises
        ------
        ProtocolError
            It was frozen before.
        """
        if run in self.__frozen:
            raise ProtocolError(
                f"The choices of {run!r} are frozen already ({self.__frozen[run]}): "
                "what is chosen again is a new run."
            )
        self.__frozen[run] = repr(dict(choices))

    def hand_out(self, run: str) -> tuple[Any, np.ndarray]:
        """Return features (an array, or `RowsOf` where they are too large) and labels.

        With views the features of all test rows are followed by those of each view in turn.

        Raises
        ------
        ProtocolError
            The run is not frozen, or has had them.
        """
        if run not in self.__frozen:
            raise ProtocolError(
                f"{run!r} asked for the test rows before its choices were frozen: freeze it first."
            )
        if run in self.__handed_out:
            raise ProtocolError(f"{run!r} asked for the test rows a second time.")
        self.__handed_out.add(run)
        if self.__loaded is None:
            self.__loaded = _take_rows(self.__features.X, self.rows)
            if self.__features.views:
                views = [in_memory(_take_rows(X, self.rows)) for X in self.__features.views]
                self.__loaded = np.concatenate([in_memory(self.__loaded), *views])
            if isinstance(self.__loaded, np.ndarray):
                self.__loaded.setflags(write=False)
        return self.__loaded, self.__features.y[self.rows]


def seal(features: FeatureSet, split: Split) -> tuple[TrainingRows, TestRows]:
    """Take features apart into what fitting may see and what it may not.

    Raises
    ------
    ProtocolError
        A row is on two sides.
    """
    rows = np.concatenate([split.train, split.val])
    if np.intersect1d(rows, split.test).size or len(np.unique(rows)) < len(rows):
        raise ProtocolError(
            "The split has a row on two sides: make it with featx.split.make_split."
        )
    training = TrainingRows(
        features.X,
        rows,
        features.y[rows],
        (features.strata or features).y[rows],
        len(split.train),
        tuple(features.digests[i] for i in rows) if features.digests else (),
        tuple(features.groups[i] for i in rows) if features.groups else (),
        features.views,
    )
    return training, TestRows(features, split.test)


class RowsOf:
    """Some rows of a lazy matrix, themselves a lazy matrix; or of lazy images, likewise.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, X: Any, rows: np.ndarray) -> None:
        self._X, self._rows = X, rows
        self.shape, self.dtype = (len(rows), *X.shape[1:]), X.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return rows, in the order asked for."""
        return np.asarray(self._X.rows(self._rows[indices]))

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Return the columns from `start` to before `stop`."""
        return np.asarray(self._X.columns(start, stop)[self._rows])


class ReadWhole:
    """A lazy matrix whose rows, once chosen, are read into memory however many they are.

    Parameters
    ----------
    X : lazy matrix or ndarray
    """

    def __init__(self, X: Any) -> None:
        self._X = X
        self.shape, self.dtype = X.shape, X.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self._X.rows(rows) if hasattr(self._X, "rows") else self._X[rows])


def row_blocks(X: Any) -> Iterator[np.ndarray]:
    """Yield the rows of an array as they are, those of a lazy matrix in blocks."""
    if not hasattr(X, "rows"):
        yield X
        return
    step = max(1, BLOCK_BYTES // (4 * X.shape[1]))
    for start in range(0, len(X), step):
        yield X.rows(np.arange(start, min(start + step, len(X))))


def in_memory(X: Any) -> np.ndarray:
    """Return all of X as an array."""
    return np.asarray(X.rows(np.arange(len(X)))) if hasattr(X, "rows") else X


def _take_rows(X: Any, rows: np.ndarray) -> Any:
    if not hasattr(X, "rows"):
        return np.asarray(X[rows])
    lazy = RowsOf(X, rows)
    size = np.dtype(X.dtype).itemsize * math.prod(lazy.shape)
    return lazy if size > LAZY_BYTES else in_memory(lazy)
