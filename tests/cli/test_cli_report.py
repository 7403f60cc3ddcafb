"""`featx report` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def classified(cli: Cli, extracted: Path) -> Path:
    status, _, err = cli("classify", extracted, "-e", "centroid,knn", "--quiet")
    assert status == 0, err
    return extracted


def test_a_report_of_all_formats(cli: Cli, classified: Path) -> None:
    status, out, err = cli("report", classified)
    assert status == 0, err
    assert out.splitlines() == [f"report/report.{s}" for s in ("html", "md", "csv", "json")]
    assert all(Path(line).is_file() for line in out.splitlines())


def test_json_goes_to_stdout(cli: Cli, classified: Path) -> None:
    status, out, err = cli("report", "--json", "--out", "page.html")
    assert status == 0, err
    document = json.loads(out)
    assert document["dataset"] == classified.name
    assert document == json.loads(json.dumps(document))
    assert Path("page.html").is_file()
    assert cli("report", "--quiet", "--out", "page.md") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["birds"], "No run of 'birds' in 'runs', which has: photos (2 runs)"),
        (["--runs-dir", "nowhere"], "No run records in 'nowhere'"),
        (["--out", "page.pdf"], "Cannot write a report as 'page.pdf'"),
        (["--test-rows", "zz"], "No sets of test rows in 'runs' begin with 'zz'"),
        (["--photos", "nowhere"], "There is no folder 'nowhere'"),
    ],
)
def test_what_cannot_be_reported_is_one_line_with_the_remedy(
    cli: Cli, classified: Path, words: list[str], told: str
) -> None:
    status, out, err = cli("report", *words)
    assert status == 1
    assert out == ""
    assert told in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("report").exists()
