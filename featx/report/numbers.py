"""Numbers as people read them, by kind of column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NONE = "–"
"""Where there is no value."""


def write_value(kind: str, value: Any) -> str:
    """Return a value of a column of `kind` as text.

    >>> write_value("share", 0.91234), write_value("seconds", 75.3), write_value("count", 100352)
    ('0.912', '75 s', '100,352')
    """
    return NONE if value is None else KINDS[kind](value)


def is_number(kind: str) -> bool:
    """Return whether values of the kind stand on the right of their column."""
    return kind not in ("text", "code")


def write_seconds(value: float) -> str:
    """Return a duration.

    >>> [write_seconds(v) for v in (0, 0.0042, 0.31, 4.27, 99.6, 600, 9000)]
    ['0 s', '4 ms', '0.31 s', '4.3 s', '100 s', '10 min', '2.5 h']
    """
    if not value:
        return "0 s"
    if value < 0.01:
        return f"{1000 * value:.0f} ms"
    if value < 1:
        return f"{value:.2f} s"
    if value < 10:
        return f"{value:.1f} s"
    if value < 180:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def write_bytes(value: float) -> str:
    """Return a size.

    >>> write_bytes(900), write_bytes(12_345_678), write_bytes(1_181_356_032)
    ('900 B', '12.3 MB', '1.2 GB')
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f} B"


def write_percent(value: float) -> str:
    """Return a share as a percentage.

    >>> write_percent(0.9123)
    '91.2%'
    """
    return f"{100 * value:.1f}%"


def count_of(n: int, one: str, several: str = "") -> str:
    """Return a number with its noun.

    >>> count_of(1, "image"), count_of(2527, "image"), count_of(2, "class", "classes")
    ('1 image', '2,527 images', '2 classes')
    """
    return f"{n:,} {one if n == 1 else several or one + 's'}"


KINDS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "code": str,
    "count": lambda v: f"{v:,}",
    "share": lambda v: f"{v:.3f}",
    "percent": write_percent,
    "spread": lambda v: f"±{v:.3f}",
    "difference": lambda v: f"{v:+.3f}",
    "number": lambda v: f"{v:.3g}",
    "seconds": write_seconds,
    "bytes": write_bytes,
    "interval": lambda v: f"{v[0]:.3f} ({v[1]:.3f} to {v[2]:.3f})",
    "shots": lambda v: v if isinstance(v, str) else f"{v:,}",
    "verdict": str,
}
"""Kind of column to the function that writes a value of it."""
