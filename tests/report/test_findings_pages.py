"""Every finding has an explanation, and a page that begins with it."""

from __future__ import annotations

from pathlib import Path

import pytest

import featx.report.choose as choose
from featx.compare.explained import EXPLANATIONS, explain
from featx.compare.findings import CHECKS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "findings"


def test_every_code_is_explained() -> None:
    source = Path(choose.__file__).read_text()
    of_choosing = {code for code in EXPLANATIONS if f'"{code}"' in source}
    assert of_choosing == {"run-unreadable", "runs-not-comparable"}
    assert set(EXPLANATIONS) == set(CHECKS) | of_choosing
    assert explain("no-such-code") == ""


def test_there_is_a_page_a_code_and_no_other() -> None:
    assert {p.stem for p in PAGES.glob("*.md")} - {"README"} == set(EXPLANATIONS)
    listed = (PAGES / "README.md").read_text()
    assert all(f"[{code}]({code}.md)" in listed for code in EXPLANATIONS)


@pytest.mark.parametrize("code", EXPLANATIONS)
def test_the_page_begins_with_the_explanation(code: str) -> None:
    title, first, *rest = (PAGES / f"{code}.md").read_text().split("\n\n")
    assert title == f"# {code}"
    assert " ".join(first.split()) == " ".join(EXPLANATIONS[code].split())
    assert "## What to do" in rest
