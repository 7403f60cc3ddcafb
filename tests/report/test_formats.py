"""One contract for every format, and what is special to each."""

from __future__ import annotations

import csv
import doctest
import html.parser
import io
import itertools
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from report_blocks import ODD, blocks_of

from featx.errors import RunError, SpecError
from featx.report import FORMATS, figures, make_report, numbers, write_report
from featx.report.blocks import Chart, Report, Table
from featx.report.document import report_document
from featx.report.html import write_html
from featx.report.markdown import escape
from featx.report.table import column_names, plain_rows


@pytest.fixture
def report(home: Path, networks: None) -> Report:
    return make_report("shapes")


@pytest.mark.parametrize("module", [figures, numbers])
def test_numbers_and_marks_are_written_as_people_read_them(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 1
    assert found.failed == 0


def test_formats_were_found() -> None:
    assert len(FORMATS) == 4


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_has_the_winner_and_can_be_made_again(report: Report, suffix: str) -> None:
    text = FORMATS[suffix](report)
    assert text == FORMATS[suffix](report)
    assert text.endswith("\n")
    assert "logreg" in text
    assert "simple_cnn" in text
    text.encode("utf-8")


@pytest.mark.parametrize("out", ["page.html", "new/page.HTML", "page.md", "page.csv", "page.json"])
def test_a_file_alone(home: Path, out: str) -> None:
    _, paths = write_report("shapes", out=out)
    assert paths == [Path(out)]
    assert Path(out).stat().st_size > 500
    assert not list(Path(out).parent.glob(".*partial"))


def test_a_folder_of_all(home: Path) -> None:
    _, paths = write_report(out="here/report")
    assert [p.name for p in paths] == ["report.html", "report.md", "report.csv", "report.json"]
    assert all(p.stat().st_size for p in paths)


def test_what_cannot_be_written(home: Path) -> None:
    with pytest.raises(SpecError, match=r"'report.pdf': end the name in .html, .md, .csv, .json"):
        write_report("shapes", out="report.pdf")
    Path("taken").write_text("a file")
    with pytest.raises(RunError, match=r"Cannot write the report taken/x.html: .* --out"):
        write_report("shapes", out="taken/x.html")
    with pytest.raises(SpecError, match="There is no folder 'nowhere'"):
        write_report("shapes", photos="nowhere")


def test_csv_has_a_row_a_model_with_plain_numbers(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](report))))
    assert len(rows) == len(report.comparison.rows)
    for row in rows:
        assert float(row["accuracy_low"]) <= float(row["accuracy"]) <= float(row["accuracy_high"])
        assert float(row["total_seconds"]) > 0
    assert rows[0]["images_a_class"] == "all"


def test_json_has_every_table_and_no_picture(report: Report) -> None:
    text = FORMATS["json"](report)
    document = json.loads(text, parse_constant=lambda c: pytest.fail(c))
    assert document["featx_report"] == 1
    assert document["dataset"] == "shapes"
    models = document["sections"][1]["blocks"][0]
    assert models["name"] == "models"
    assert len(models["rows"]) == len(report.comparison.rows)
    assert "data:image" not in text
    assert json.dumps(report_document(report))


def test_tables_have_names_for_their_columns(report: Report) -> None:
    tables = [b for s in report.sections for b in s.blocks if isinstance(b, Table)]
    tables += [
        b.table for s in report.sections for b in s.blocks if isinstance(b, Chart) and b.table
    ]
    for table in tables:
        names = column_names(table)
        assert len(set(names)) == len(names), table.name
        assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name) for name in names), names
        assert all(len(row) == len(names) for row in plain_rows(table))


def test_markdown_tables_are_whole_and_odd_names_stay_as_they_are(report: Report) -> None:
    lines = FORMATS["md"](report).splitlines()
    tables = 0
    for before, line in itertools.pairwise(lines):
        if re.fullmatch(r"\|( -+:? \|)+", line):
            tables += 1
            columns = len(re.findall(r"(?<!\\)\|", before))
            assert columns == line.count("|")
    assert tables > 8
    assert escape(ODD) in "\n".join(lines)
    assert ODD not in "\n".join(lines)


# --- the page ----------------------------------------------------------------------------------


class _Reader(html.parser.HTMLParser):
    """Collects what could reach outside, and whether elements are closed."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.headings: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        for name in ("src", "href", "srcset", "action"):
            value = found.get(name)
            if value and not value.startswith(("#", "data:")):
                self.outside.append(f"{tag} {name}={value}")
        if tag == "a":
            self.links.append(str(found["href"]))
        if tag == "img":
            self.images.append(found)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        assert tag not in ("iframe", "object", "embed", "link", "base")
        assert not any(name.startswith("on") for name in found)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(report: Report) -> str:
    return write_html(report)


def test_the_page_is_sound_and_reaches_nowhere(page: str) -> None:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert reader.outside == []
    assert len(set(reader.ids)) == len(reader.ids)
    assert reader.links
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert all("alt" in image for image in reader.images)
    assert reader.headings[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(reader.headings))
    assert "default-src 'none'" in page


def test_names_are_text_in_the_page(page: str, report: Report) -> None:
    assert ODD not in page
    assert "<i>" not in page.replace('<i style="left', "")
    assert "&lt;b&gt;a &amp; b&lt;i&gt; $x$" in page
    charts = re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)
    assert charts
    assert "<" not in charts[1]
    assert set(json.loads(charts[1])) == {
        b.name for s in report.sections for b in s.blocks if isinstance(b, Chart)
    }


def test_plotly_takes_every_figure(report: Report) -> None:
    import plotly.graph_objects as go

    charts = [b for s in report.sections for b in s.blocks if isinstance(b, Chart)]
    assert len(charts) > 8
    for chart in charts:
        text = json.dumps(chart.figure)
        assert re.search(r'"@c\d', text), chart.name
        hexed = re.sub(r'"@[a-z]\w*([/~][\d.]+)?"', '"#123456"', text)
        go.Figure(json.loads(hexed))  # raises where a name or value is not Plotly's


def test_colours_are_those_of_the_style_sheet(page: str, report: Report) -> None:
    style = page[page.index("<style>") : page.index("</style>")]
    used = {
        name
        for s in report.sections
        for b in s.blocks
        if isinstance(b, Chart)
        for name in re.findall(r'"@([a-z]\w*)', json.dumps(b.figure))
    }
    for theme in re.findall(r":root[^{]*\{([^}]*)\}", style)[:2]:
        assert used <= set(re.findall(r"--(\w+): #[0-9a-f]{6};", theme))


def test_findings_are_explained_in_the_page(page: str, report: Report) -> None:
    assert report.findings
    for finding in report.findings:
        assert f"<code>{finding.code}</code>" in page
        assert f"docs/findings/{finding.code}.md" in page


def test_constant_columns_are_told_once(page: str, report: Report) -> None:
    assert blocks_of(report, "models")
    head = page[page.index('id="table-models"') :]
    head = head[: head.index("</thead>")]
    assert "In every row:" not in head or "tap" in head
