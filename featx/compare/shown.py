"""A comparison that shows itself: as text, in a notebook, as a chart, as a data frame."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from featx.compare.table import LEGEND, TEXT_COLUMNS, format_table, table_cells, table_notes
from featx.errors import FeatxError
from featx.records import Comparison

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects


class ShownComparison(Comparison):
    """Runs side by side, shown as a table where a notebook's cell ends with it.

    The fields are those of `featx.records.Comparison`.
    """

    def __repr__(self) -> str:
        return (
            f"<Comparison of {len(self.rows)} run{'s'[: len(self.rows) - 1]} in "
            f"{len(self.groups)} group{'s'[: len(self.groups) - 1]}, best: {self.baseline}>"
        )

    def __str__(self) -> str:
        return format_table(self)

    def _repr_html_(self) -> str:
        header, *lines = table_cells(self)
        head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
        body = "\n".join(
            f"<tr>{''.join(map(_cell, range(len(line)), line))}</tr>" for line in lines
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in table_notes(self))
        return (
            f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
            f"<p><small>{html.escape(LEGEND)}</small></p>{notes}"
        )

    def plot(self) -> plotly.graph_objects.Figure:
        """Draw the accuracies with their 95% intervals over test images.

        Against the number of images a class where runs differ in that, else a line each.

        Returns
        -------
        plotly.graph_objects.Figure
            A notebook shows it; `figure.write_html("comparison.html")` keeps it.
        """
        from featx.compare.plot import plot_accuracy

        return plot_accuracy(self)

    def to_frame(self, *, by: str = "group") -> pandas.DataFrame:
        """Return the comparison as a data frame.

        Parameters
        ----------
        by : str
            "group", a row for all draws of a head, tap and number of images; or "run", a row each.

        Returns
        -------
        pandas.DataFrame
            With the fields of `groups`, or of `rows`; "shots" is missing where all images were
            used.

        Raises
        ------
        ValueError
            `by` is neither.
        FeatxError
            pandas is not installed.
        """
        if by not in ("group", "run"):
            raise ValueError(f"by={by!r}: give 'group' or 'run'.")
        try:
            import pandas
        except ImportError:
            raise FeatxError(
                "A data frame needs pandas. Install it (pip install pandas), or use .groups and "
                ".rows, which are plain dicts."
            ) from None
        frame = pandas.DataFrame(
            [dict(row) for row in (self.groups if by == "group" else self.rows)]
        )
        return frame.astype({"shots": "Int64"})


def _cell(number: int, text: str) -> str:
    style = "" if number < TEXT_COLUMNS else ' style="text-align: right; white-space: nowrap"'
    return f"<td{style}>{html.escape(text)}</td>"
