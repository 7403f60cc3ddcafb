"""Running recipes: in order, once each, on from an interruption, results beside the study's."""

from __future__ import annotations

import fcntl
import functools
import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import fakes
import pytest

from featx import classify as classify_module
from featx.errors import FeatxError, HeadError, RecipeError, RunError, SpecError
from featx.recipe import outcome_json, outcome_markdown, outcome_text, plan_recipe, run_recipe
from featx.recipe.state import RunState
from featx.runs import load_runs

Write = Callable[..., Path]


@pytest.fixture
def run(
    tmp_path: Path, photos: Path, projection: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Run the recipe on the photos in an empty folder; give the outcome, keep what was told."""
    monkeypatch.chdir(tmp_path)

    def run(recipe: Path, **changes: Any) -> Any:
        told: list[str] = []
        outcome = run_recipe(recipe, **{"data": [str(photos)], "tell": told.append, **changes})
        return outcome, told

    return run


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Heads of every call of classify."""
    made: list[list[str]] = []
    original = classify_module.classify_targets

    @functools.wraps(original)
    def classify_targets(*args: Any, **kwargs: Any) -> Any:
        made.append(list(kwargs["heads"]))
        return original(*args, **kwargs)

    monkeypatch.setattr(classify_module, "classify_targets", classify_targets)
    return made


def test_all_stages_and_what_they_found(write: Write, run: Callable[..., Any]) -> None:
    outcome, told = run(write())
    assert outcome.ran == ("features", "svc", "near")
    assert [line for line in told if line.startswith("[") and not line.endswith("s")]
    (section,) = outcome.sections
    groups = {(g["head"], g["shots"]) for g in section.comparison.groups}
    assert groups == {("linear_svc(C=1)", None), ("knn(k=1)", None), ("knn(k=1)", 2),
                      ("centroid", None), ("centroid", 2)}  # fmt: skip
    folder = outcome.plan.folder
    assert len(load_runs(folder)) == 7  # a head on all images, two on two draws and on all
    svc, near, telescope = outcome.beside
    assert svc.ours.endswith(" avg linear_svc(C=1), all images")
    assert svc.figures["accuracy"] == section.comparison.rows[0]["accuracy"]
    assert near.ours.endswith(" avg knn(k=1), all images")
    assert (telescope.ours, telescope.why) == ("", "not repeated")
    text = (folder / "results.md").read_text()
    assert text == outcome_markdown(outcome)
    for word in ("# Small", "A study of noise", "their SVC", "0.250 / ", "90.0 s / "):
        assert word in text, word


def test_a_cluster_is_given_to_the_stages_that_know_one(
    write: Write, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []
    for module, name in (("featx.extract", "extract"), ("featx.classify", "classify_targets")):
        original = getattr(import_module(module), name)

        def told(*args: Any, original: Any, cluster: str | None, **options: Any) -> Any:
            asked.append((original.__name__, cluster))
            return original(*args, **options)

        wrapped = functools.wraps(original)(functools.partial(told, original=original))
        monkeypatch.setattr(import_module(module), name, wrapped)
    with pytest.raises(SpecError, match="Unknown cluster 'moon'"):
        run(write(), cluster="moon")
    outcome, _ = run(write(), cluster="local")
    assert asked == [("extract", "local"), *[("classify_targets", "local")] * 2]
    again, _ = run(write())  # not another run: results do not depend on where they are made
    assert (again.ran, again.plan.folder) == ((), outcome.plan.folder)


def test_the_second_time_nothing_is_run(
    write: Write, run: Callable[..., Any], calls: list[list[str]]
) -> None:
    recipe = write()
    first, _ = run(recipe)
    passes = list(fakes.PASSES)
    again, told = run(recipe)
    assert again.ran == ()
    assert passes == fakes.PASSES
    assert len(calls) == 2
    assert all(line.endswith("done before") for line in told)
    assert again.sections[0].comparison.rows == first.sections[0].comparison.rows
    assert again.seconds == first.seconds


def test_only_a_changed_stage_is_run_again(
    write: Write, run: Callable[..., Any], calls: list[list[str]]
) -> None:
    run(write())
    outcome, _ = run(write(("linear_svc(C=1)", "ridge")))
    assert outcome.ran == ("features", "svc")  # the extraction costs nothing but a look
    assert calls[-1] == ["ridge"]
    heads = {g["head"] for g in outcome.sections[0].comparison.groups}
    assert heads == {"ridge", "knn(k=1)", "centroid"}


def test_other_options_are_another_run(write: Write, run: Callable[..., Any]) -> None:
    folders = {run(write(), **change)[0].plan.folder.name for change in (
        {}, {"limit_per_class": 6}, {"image_size": 64},
    )}  # fmt: skip
    assert len(folders) == 3
    assert all(name.startswith("small-") for name in folders)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, HeadError])
def test_an_interrupted_run_goes_on(
    write: Write,
    run: Callable[..., Any],
    calls: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    stop: type[BaseException],
) -> None:
    """Stopped after two of the runs of the last stage were written."""
    import featx.runs

    written: list[str] = []
    original = featx.runs.save_run

    def save_run(record: Any, *args: Any, **kwargs: Any) -> Path:
        if len(written) == 3:
            raise stop("no more")
        written.append(record.head.text)
        return original(record, *args, **kwargs)

    recipe = write()
    monkeypatch.setattr(featx.runs, "save_run", save_run)
    with pytest.raises(stop):
        run(recipe)
    assert len(written) == 3
    monkeypatch.setattr(featx.runs, "save_run", original)
    plan = plan_recipe(recipe, data=[str(p) for p in [Path("photos")]])
    assert [s.state for s in plan.steps] == ["done", "done", "begun"]
    outcome, _ = run(recipe)
    assert outcome.ran == ("features", "near")
    assert len(load_runs(outcome.plan.folder)) == 7  # none of the two is there twice


def test_a_failed_stage_is_named(write: Write, run: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match=r"^Stage 'svc': .*linear_sv") as caught:
        run(write(("linear_svc(C=1)", "linear_sv")))
    assert "Did you mean 'linear_svc'" in str(caught.value)


def test_features_that_were_removed_are_made_again(write: Write, run: Callable[..., Any]) -> None:
    run(write())
    shutil.rmtree("features")
    outcome, _ = run(write(("knn(k=1)", "knn(k=3)")))
    assert outcome.ran == ("features", "near")


def test_records_that_were_removed_are_made_again(write: Write, run: Callable[..., Any]) -> None:
    folder = run(write())[0].plan.folder
    next(folder.glob("*linear_svc*.json")).unlink()
    assert run(write())[0].ran == ("features", "svc")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"featx_recipe": 99}', '{"featx_recipe": 1}'])
def test_a_damaged_state_file_costs_time_only(
    write: Write, run: Callable[..., Any], text: str
) -> None:
    folder = run(write())[0].plan.folder
    (folder / "recipe" / "state.json").write_text(text)
    outcome, _ = run(write())
    assert outcome.ran == ("features", "svc", "near")
    assert len(outcome.sections[0].comparison.rows) == 7


def test_two_runs_of_one_recipe_at_once_are_refused(write: Write, run: Callable[..., Any]) -> None:
    folder = run(write())[0].plan.folder
    with open(folder / "recipe" / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="Another process runs this recipe"):
            run(write())


def test_a_place_that_cannot_be_written_is_told(
    write: Write, run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(RunError, match=r"Cannot write .*--runs-dir"):
        run(write(), runs_dir=tmp_path / "taken")


def test_fewer_images_than_shots_take_all(write: Write, run: Callable[..., Any]) -> None:
    outcome, told = run(write(("shots = [2, ", "shots = [200, ")))
    assert {g["shots"] for g in outcome.sections[0].comparison.groups} == {None}
    assert any("all images instead of 200 of each class" in line for line in told)
    again, _ = run(write(("shots = [2, ", "shots = [200, "), ('shots = "all"', "shots = 200")))
    assert again.beside[1].ours == outcome.beside[1].ours != ""
    assert outcome.plan.notes


def test_nothing_runs_where_data_or_weights_are_not_at_hand(
    write: Write, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("featx.recipe.plan.find_weights", _unreachable)
    with pytest.raises(RecipeError, match="Draw it"):
        run(write(), data=[])
    with pytest.raises(RecipeError, match=r"lacks the ImageNet weights of mobilenet.*=PATH"):
        run(write(('weights = "random"\n', "")))
    assert not Path("runs").exists()
    assert fakes.PASSES == []


def _unreachable(specs: Any) -> list[Any]:
    from featx.doctor.weights import WeightsState

    return [WeightsState(s.text, "unreachable", "") for s in specs]


def test_weights_that_the_user_names(write: Write, run: Callable[..., Any], tmp_path: Path) -> None:
    recipe = write(('weights = "random"\n', ""))
    outcome, _ = run(recipe, weights=["random"])
    assert [s.settings["weights"] for s in outcome.plan.steps] == [["random"]] * 3
    for texts, words in (
        (["mobilnet=random"], "Did you mean 'mobilenet'"),
        (["mobilenet=gone.h5"], "there is no file 'gone.h5'"),
        (["mobilenet=random", "mobilenet=auto"], "given twice"),
        (["scv:mobilenet=random"], "no stage 'scv'. Did you mean 'svc'"),
        (["gone.h5"], "there is no file 'gone.h5'"),
    ):
        with pytest.raises(FeatxError) as caught:
            run(recipe, weights=texts)
        assert words in str(caught.value)
    plan = plan_recipe(
        recipe,
        data=["main=photos"],
        weights=["auto", "mobilenet(alpha=1.0)=random"],
    )
    assert plan.steps[0].settings["weights"] == ["random"]


def test_as_json_and_text(write: Write, run: Callable[..., Any]) -> None:
    outcome, _ = run(
        write(('{ stage = "svc" }', '{ stage = "svc", image_size = 224 }')), image_size=48
    )
    document = json.loads(json.dumps(outcome_json(outcome), allow_nan=False))
    assert [s["state"] for s in document["stages"]] == ["to run"] * 3
    assert document["published"][0]["ours"]["figures"]["accuracy"] is not None
    assert document["published"][2]["ours"] is None
    (comparison,) = document["comparisons"]
    assert {"rows", "findings", "break_even", "data", "target"} <= set(comparison)
    text = outcome_text(outcome)
    assert "their SVC" in text
    assert "results.md" in text


def test_label_columns_and_joined_data_are_compared_apart(
    write: Write, run: Callable[..., Any], tmp_path: Path
) -> None:
    from conftest import make_photos

    own = make_photos(tmp_path / "own", each=4, seed=3)
    recipe = write(
        ('get = "Draw it."', 'columns = { warm = ["class0"], wet = ["sea"] }\n'
         '[data.own]\noptional = true\n[data.across]\ntrain_on = "main"\ntest_on = "own"'),
        ('heads = ["linear_svc(C=1)"]', 'heads = ["linear_svc(C=1)"]\ntargets = ["class", "warm"]'),
        ('heads = ["knn(k=1)", "centroid"]', 'heads = ["knn(k=1)"]\ntargets = ["wet"]'),
        ('[[published]]\nname = "their SVC"', '[[stage]]\nname = "far"\nkind = "extract"\n'
         'data = "across"\nbackbone = "mobilenet"\nweights = "random"\nengine = "projection"\n'
         '[[stage]]\nname = "afar"\nkind = "classify"\ndata = "across"\n'
         'backbones = ["mobilenet"]\nweights = "random"\nheads = ["centroid"]\n'
         '[[published]]\nname = "their SVC"'),
        ('ours = { stage = "svc" }', 'ours = { stage = "svc", target = "warm" }'),
    )  # fmt: skip
    outcome, told = run(recipe)
    assert [s.state for s in outcome.plan.steps].count("left out") == 3
    assert any("wet" in line and "left out" in line for line in told)
    outcome, _ = run(recipe, data=[str(tmp_path / "photos"), f"own={own}"])
    assert [(s.data, s.target) for s in outcome.sections] == [
        ("main", "class"), ("main", "warm"), ("across", "class"),
    ]  # fmt: skip
    assert outcome.sections[2].records[0].split["n_test"] == 12
    assert outcome.beside[0].ours
    assert outcome.beside[1].why == "stage 'near' has no such run"


def test_what_is_on_the_disk_is_whole_or_absent(tmp_path: Path) -> None:
    state = RunState(tmp_path)
    state.begin("one", "a")
    (tmp_path / "run.json").write_text("{}")
    state.finish("one", 1.0, {})
    again = RunState(tmp_path)
    assert again.is_finished("one", "a")
    assert not again.is_finished("one", "b")
    assert again.stages["one"].records == ["run.json"]
    assert sorted(p.name for p in (tmp_path / "recipe").iterdir()) == ["state.json"]
