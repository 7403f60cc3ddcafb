"""Every error that featx raises on purpose.

::

    FeatxError                    the one to catch; the command line prints it and exits with 1
    ├── SpecError                 a spec string, name, parameter or option value that cannot be used
    │   └── UnknownNameError      a name that no registry holds; carries the near misses
    ├── DatasetError              a data set that cannot be indexed or is unfit for its purpose
    │   ├── ArchiveError          an archive that is damaged or reaches outside its target
    │   ├── ImageError            one image that cannot be decoded; `.reason` says why
    │   └── SplitError            too few images or classes for the split or shots asked for
    ├── BackboneError             a backbone that cannot be built as described
    │   ├── WeightsError          weights that are absent, unreachable or do not fit
    │   └── ImageSizeError        an input size below the backbone's minimum
    ├── EngineError               an engine that is not installed or cannot run the graph
    │   └── EngineMemoryError     memory ran out in an engine, in whatever way it says so
    ├── CacheError                the feature cache
    │   ├── CacheMissError        asked for an entry, tap or row that is not there
    │   ├── CacheCorruptError     bytes that are not what was written; names file, tap and rows
    │   ├── CacheBusyError        another process holds the entry; says who and since when
    │   └── CacheWriteError       a full disk, a read-only or missing directory
    ├── HeadError                 a head that cannot be fitted as asked
    ├── DeployError               a run that cannot be exported, or a model file that cannot be used
    ├── RunError                  a run record that cannot be written or read
    ├── ClusterError              a Ray cluster that cannot be reached, or whose workers cannot work
    ├── RecipeError               a recipe that cannot be read, or lacks data or weights to run
    └── ProtocolError             test rows asked for before every choice was frozen, or twice
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class FeatxError(Exception):
    """Base of all errors that featx raises on purpose; its text names the remedy."""


class SpecError(FeatxError, ValueError):
    """A spec string, name, parameter or option value that cannot be used."""


class UnknownNameError(SpecError):
    """A name that no registry holds.

    Parameters
    ----------
    kind : str
        What was looked for, in singular ("backbone", "head").
    name : str
        The name received.
    near : sequence of str
        Names close to it, best first.
    hint : str
        Where the valid names can be seen.
    """

    def __init__(self, kind: str, name: str, near: Sequence[str] = (), hint: str = "") -> None:
        self.kind, self.name, self.near, self.hint = kind, name, tuple(near), hint
        text = f"Unknown {kind} {name!r}."
        if self.near:
            text += f" Did you mean {' or '.join(repr(n) for n in self.near)}?"
        super().__init__(f"{text} {hint}".rstrip())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, self.name, self.near, self.hint)


class DatasetError(FeatxError):
    """A data set that cannot be indexed or is unfit for its purpose."""


class ArchiveError(DatasetError):
    """An archive that is damaged or has a member that reaches outside its target."""


class ImageError(DatasetError):
    """One image that cannot be decoded.

    Parameters
    ----------
    reason : str
        Why, without the path: "truncated", "not an image", "0 bytes".
    path : str
        The image's path, where it is known.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        self.reason, self.path = reason, path
        super().__init__(f"{path}: {reason}" if path else reason)


class SplitError(DatasetError):
    """Too few images or classes for the split or the shots asked for."""


class BackboneError(FeatxError):
    """A backbone that cannot be built as described."""


class WeightsError(BackboneError):
    """Weights that are absent, unreachable or do not fit the backbone."""


class ImageSizeError(BackboneError):
    """An input size below the backbone's minimum."""


class EngineError(FeatxError):
    """An engine that is not installed or cannot run the graph."""


class EngineMemoryError(EngineError):
    """Memory ran out in an engine, the host's or the device's."""


class CacheError(FeatxError):
    """Something wrong with the feature cache."""


class CacheMissError(CacheError):
    """An entry, tap or row that is not in the cache."""


class CacheCorruptError(CacheError):
    """Bytes that are not what was written.

    Parameters
    ----------
    message : str
        The readable text.
    path, tap : str
        The part file and the tap concerned.
    rows : sequence of int
        Row numbers inside the part.
    """

    def __init__(
        self, message: str, path: str = "", tap: str = "", rows: Sequence[int] = ()
    ) -> None:
        self.path, self.tap, self.rows = path, tap, tuple(rows)
        super().__init__(message)


class CacheBusyError(CacheError):
    """Another process holds the entry."""


class CacheWriteError(CacheError):
    """The cache could not be written: a full disk, a read-only or missing directory."""


class HeadError(FeatxError):
    """A head that cannot be fitted as asked."""


class DeployError(FeatxError):
    """A run that cannot be exported, or a model file that cannot be used."""


class RunError(FeatxError):
    """A run record that cannot be written or read."""


class ClusterError(FeatxError):
    """A Ray cluster that cannot be reached, or whose workers cannot do their work."""


class RecipeError(FeatxError):
    """A recipe that cannot be read, or lacks the data or weights that it needs."""


class ProtocolError(FeatxError):
    """Test rows asked for before every choice was frozen, or a second time."""


def pack_error(error: FeatxError) -> list[Any]:
    """Return the error as JSON-able data, for another process; see `unpack_error`."""
    return [type(error).__name__, str(error), vars(error)]


def unpack_error(packed: Sequence[Any]) -> FeatxError:
    """Return the error that `pack_error` packed, with its type, text and attributes."""
    name, text, attributes = packed
    kind = globals()[name]
    error: FeatxError = kind.__new__(kind, text)  # their constructors take other things
    vars(error).update(attributes)
    return error
