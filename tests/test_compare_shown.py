"""Comparisons in Python: from folders and each other, as text, HTML, charts and data frames."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_compare import GOOD, make_run, rights

import featx
from featx.compare import ShownComparison, compare, format_table
from featx.errors import FeatxError, ProtocolError, RunError, SpecError
from featx.runs import save_run


def runs() -> list[Any]:
    return [
        make_run(GOOD),
        make_run(rights(400, slice(0, 60)), "knn(k='<5>')", shots=20),
        make_run(rights(400, slice(0, 70)), "knn(k='<5>')", shots=20, draw=1),
        make_run(rights(400, slice(0, 90)), "knn(k='<5>')"),
    ]


@pytest.mark.parametrize("name", ["baseline", "classify", "compare", "finetune", "zeroshot"])
def test_a_module_named_like_its_function_can_be_called(name: str) -> None:
    module = importlib.import_module(f"featx.{name}")
    assert getattr(featx, name) is module
    function = getattr(module, name)
    assert inspect.signature(getattr(featx, name)) == inspect.signature(function)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        getattr(featx, name)(nonsense=1)


@pytest.mark.parametrize(
    "code",
    [
        "import featx; f = featx.compare; from featx.compare import compare, format_table",
        "from featx.compare import compare; import featx; f = featx.compare",
        "import featx.compare.table as t; import featx; f = featx.compare; t.format_table",
    ],
)
def test_in_whatever_order_it_is_imported(code: str) -> None:
    check = "; import inspect; assert 'dataset' in inspect.signature(f).parameters"
    subprocess.run([sys.executable, "-c", code + check], check=True)


def test_a_folder_a_file_records_and_comparisons(tmp_path: Path) -> None:
    made = runs()
    for i, record in enumerate(made):
        save_run(make_time(record, i), tmp_path)
    whole = featx.compare(tmp_path)
    assert [row["head"] for row in whole.rows] == [record.head.text for record in made]
    assert featx.compare(str(tmp_path)).rows == whole.rows
    file = min(tmp_path.glob("*.json"))
    assert len(featx.compare(file).rows) == len(featx.compare(made[0]).rows) == 1
    halves = [featx.compare(made[:2]), featx.compare(made[2:])]
    assert featx.compare(halves).rows == featx.compare([halves[0], *made[2:]]).rows == whole.rows
    assert [r.dataset for r in featx.load_runs(tmp_path)] == ["shapes"] * 4


def make_time(record: Any, second: int) -> Any:
    from dataclasses import replace

    return replace(record, environment={"time": f"2026-01-01T00:00:{second:02}Z"})


def test_of_the_same_run_the_newest_in_a_folder_counts(tmp_path: Path) -> None:
    save_run(make_time(make_run(rights(400, slice(0, 99))), 5), tmp_path)
    save_run(make_time(make_run(GOOD), 9), tmp_path)
    save_run(make_time(make_run(rights(400, slice(0, 200))), 2), tmp_path)
    (row,) = featx.compare(tmp_path).rows
    assert row["accuracy"] == GOOD.mean()


def test_one_data_set_of_several(tmp_path: Path) -> None:
    other = make_run(rights(300, slice(0, 5)), dataset="letters")
    with pytest.raises(ProtocolError, match=r"compare\(runs, dataset=\.\.\., target=\.\.\.\)"):
        featx.compare([*runs(), other])
    assert len(featx.compare([*runs(), other], dataset="letters").rows) == 1
    with pytest.raises(SpecError, match=r"No run on the data set .toys.; .*: letters, shapes"):
        featx.compare([*runs(), other], dataset="toys")


def test_one_label_column_of_several() -> None:
    split = {"n_train": 9, "n_val": 0, "n_test": 400, "test_digest": "other", "target": "colour"}
    made = [*runs(), make_run(GOOD, split=split)]
    assert len(featx.compare(made, target="colour").rows) == 1
    assert len(featx.compare(made, target="class").rows) == 4
    with pytest.raises(SpecError, match=r"the label column 'size'; .*: class, colour"):
        featx.compare(made, target="size")


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    for nothing in ([], tmp_path, tmp_path / "none", str(tmp_path / "none")):
        with pytest.raises(SpecError, match="No run to compare"):
            featx.compare(nothing)
    with pytest.raises(SpecError, match="int is no run"):
        featx.compare([5])  # type: ignore[list-item]
    with pytest.raises(RunError, match=r"none\.json"):
        featx.compare(tmp_path / "none.json")
    (tmp_path / "text.txt").write_text("runs")
    with pytest.raises(RunError, match=r"text\.txt"):
        featx.compare(tmp_path / "text.txt")


def test_text_and_html_say_the_same_and_names_are_escaped() -> None:
    comparison = compare(runs())
    assert isinstance(comparison, ShownComparison)
    assert str(comparison) == format_table(comparison)
    assert repr(comparison).startswith("<Comparison of 4 runs in 3 groups, best: mobilenet avg")
    page = comparison._repr_html_()
    assert page.count("<tr>") == 1 + 3
    assert "knn(k=&#x27;&lt;5&gt;&#x27;)" in page
    assert "<5>" not in page
    assert "Best: mobilenet avg logreg, all images" in page


def test_chart_of_one_number_of_images_has_the_best_on_top() -> None:
    made = [make_run(rights(400, slice(0, n)), head) for n, head in ((9, "ridge"), (50, "knn"))]
    comparison = compare(made)
    figure = comparison.plot()
    (trace,) = figure.data
    assert list(trace.x) == [1 - 50 / 400, 1 - 9 / 400]
    assert figure.layout.yaxis.ticktext[-1] == "mobilenet avg ridge"
    high = np.array(trace.x) + np.array(trace.error_x.array)
    low = np.array(trace.x) - np.array(trace.error_x.arrayminus)
    intervals = np.array(comparison.intervals)[::-1]
    np.testing.assert_allclose(np.stack([low, high], 1), intervals)


def test_chart_of_several_numbers_of_images_has_a_line_each() -> None:
    figure = compare(runs()).plot()
    lines = {trace.name: list(trace.y) for trace in figure.data}
    accuracy = [1 - 65 / 400, 1 - 90 / 400]
    assert lines.pop("mobilenet avg logreg") == [0.95]
    ((name, values),) = lines.items()
    assert name == "mobilenet avg knn(k='&lt;5>')"
    np.testing.assert_allclose(sorted(values), sorted(accuracy))
    assert figure.to_json()


def test_data_frames() -> None:
    comparison = compare(runs())
    groups, rows = comparison.to_frame(), comparison.to_frame(by="run")
    assert (len(groups), len(rows)) == (3, 4)
    assert groups["accuracy"].max() == pytest.approx(0.95)
    assert groups["shots"].isna().sum() == 2
    assert rows["shots"].tolist()[1:3] == [20, 20]
    with pytest.raises(ValueError, match="by='head'"):
        comparison.to_frame(by="head")


def test_a_data_frame_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(FeatxError, match="pip install pandas"):
        compare(runs()).to_frame()
