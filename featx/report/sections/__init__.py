"""The sections of a report, each made by a function of the subject; None where it has nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from featx import __version__
from featx.report.blocks import Report, Section
from featx.report.numbers import count_of
from featx.report.sections.choices import show_choices
from featx.report.sections.comparison import list_groups, show_comparison
from featx.report.sections.confidence import show_confidence
from featx.report.sections.cost import show_cost
from featx.report.sections.data import show_data
from featx.report.sections.map import show_map
from featx.report.sections.mistakes import show_mistakes
from featx.report.sections.provenance import show_provenance
from featx.report.sections.summary import show_summary
from featx.report.subject import Subject

SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    show_summary,
    show_comparison,
    show_mistakes,
    show_confidence,
    show_map,
    show_choices,
    show_cost,
    show_data,
    show_provenance,
)
"""In the order of the page: what won, why to believe it, what it gets wrong, what it took."""


def list_sections(subject: Subject) -> Report:
    """Return the whole report."""
    winner = subject.winning_run
    counts = [
        count_of(len(subject.comparison.groups), "model"),
        count_of(len(subject.records), "run"),
        count_of(len(subject.classes), "class", "classes"),
        count_of(subject.n_test, "test image"),
    ]
    if subject.view is not None:
        counts.insert(0, count_of(subject.view.rows, "image"))
    return Report(
        title=winner.dataset or "Runs",
        subtitle=" · ".join(counts),
        sections=tuple(s for make in SECTIONS if (s := make(subject)) is not None),
        comparison=list_groups(subject),
        about={
            "dataset": winner.dataset,
            "test_digest": winner.split["test_digest"],
            "runs": len(subject.records),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "featx": __version__,
        },
        findings=subject.findings,
    )
