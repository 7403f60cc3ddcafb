"""`featx run` and `featx list recipes`: what they print, and how they fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """
title = "Small"
[data.main]
get = "Draw it."
[[stage]]
name = "features"
kind = "extract"
backbone = "mobilenet"
engine = "projection"
[[stage]]
name = "heads"
kind = "classify"
backbones = "mobilenet"
heads = ["centroid"]
[[published]]
name = "theirs"
source = "Table 1"
accuracy = 0.5
ours = { stage = "heads" }
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_is_planned_run_and_run_again(
    cli, recipe: Path, photos: Path, projection: str
) -> None:
    words = ("run", recipe, "--data", photos, "--weights", "random", "--limit-per-class", "6")
    status, out, _ = cli(*words, "--plan", "--quiet")
    assert status == 0
    assert "0 of 18 rows" in out
    assert not Path("runs").exists()
    status, out, err = cli(*words)
    assert status == 0, err
    assert "theirs" in out
    assert "0.500 / " in out
    assert "[2/2] heads (classify)" in err
    status, out, err = cli(*words, "--json")
    assert status == 0
    document = json.loads(out)
    assert [s["state"] for s in document["stages"]] == ["done", "done"]
    assert document["published"][0]["ours"]["figures"]["accuracy"] == pytest.approx(
        document["comparisons"][0]["rows"][0]["accuracy"]
    )
    assert err.count("done before") == 2
    status, out, err = cli(*words, "--plan", "--json", "--quiet")
    assert json.loads(out)["stages"][0]["cached"] == 18
    assert err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "smal"], "No such recipe: 'smal'"),
        (["run", "small.toml"], "Draw it."),
        (["run", "small.toml", "--data", "gone"], "No such data set: 'gone'"),
        (["run", "small.toml", "--data", "man=photos"], "no data set 'man'"),
        (["run", "small.toml", "--data", "photos", "--weights", "x.h5"], "no file 'x.h5'"),
        (
            ["run", "small.toml", "--data", "photos", "--limit-per-class", "1"],
            "2 images of a class",
        ),
        (["run", "small.toml", "--data", "photos", "--epochs", "0"], "epochs given is 0"),
        (["run", "photos"], "is a folder"),
    ],
)
def test_one_line_says_what_is_wrong(
    cli, recipe: Path, photos: Path, words: list[str], said: str
) -> None:
    status, out, err = cli(*words)
    assert (status, out) == (1, "")
    assert said in err
    assert "Traceback" not in err


def test_wrong_usage(cli) -> None:
    assert cli("run")[0] == 2
    assert cli("run", "small", "--epochs", "many")[0] == 2


def test_recipes_are_listed_without_keras() -> None:
    code = (
        "import sys; sys.argv = ['featx', 'list', 'recipes', '--json']\n"
        "from featx.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'keras', 'tensorflow', 'openvino', 'sklearn'} & set(sys.modules)\n"
        "    print(sorted(heavy), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {row["name"] for row in json.loads(done.stdout)}
    assert {"food101", "recycling", "cifar100", "household", "vgg-svm"} <= names
    assert done.stderr.strip().splitlines()[-1] == "[]"
