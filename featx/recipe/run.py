"""Run a recipe: the stages that are left, then all records of the run side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from featx.cluster import require_known
from featx.errors import FeatxError
from featx.recipe.kinds import STAGE_KINDS
from featx.recipe.markdown import outcome_markdown
from featx.recipe.outcome import REPORT, Outcome, page_names, read_outcome
from featx.recipe.plan import Plan, Step, plan_recipe
from featx.recipe.state import FOLDER, RunState, reporting, sole_run
from featx.records import to_json
from featx.report import write_report

Tell = Callable[[str], object]
"""Told one line as each stage begins and ends."""

MADE_ANEW = ("classify", "zeroshot")
"""Kinds whose stages take seconds: what a killed attempt left is dropped and made again."""


def run_recipe(
    recipe: str | os.PathLike[str],
    *,
    data: Sequence[str] = (),
    weights: Sequence[str] = (),
    limit_per_class: int | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    cache_dir: str | os.PathLike[str] = "features",
    runs_dir: str | os.PathLike[str] = "runs",
    cluster: str | None = None,
    progress: bool = False,
    tell: Tell | None = None,
) -> Outcome:
    """Run every stage of a recipe that is not finished, and set the results side by side.

    Parameters
    ----------
    recipe, data, weights, limit_per_class, epochs, image_size, cache_dir, runs_dir, progress
        As `plan_recipe`.
    cluster : str, optional
        As `featx.extract` and `featx.classify`, for stages of these kinds. Networks are trained in
        this process.
    tell : callable, optional
        Told one line as each stage begins and ends.

    Returns
    -------
    Outcome
        Records, `results.md`, and an HTML page for each set of test rows are in
        `outcome.plan.folder`.

    Raises
    ------
    RecipeError
        As `plan_recipe`, before any stage runs.
    SpecError
        There is no such cluster.
    RunError
        Another process runs the same recipe in the same folder.
    FeatxError
        A stage that failed; the message begins with its name. What was finished is kept.
    """
    if cluster is not None:
        require_known(cluster)
    plan = plan_recipe(
        recipe,
        data=data,
        weights=weights,
        limit_per_class=limit_per_class,
        epochs=epochs,
        image_size=image_size,
        cache_dir=cache_dir,
        runs_dir=runs_dir,
        progress=progress,
    )
    say = tell or (lambda line: None)
    for note in plan.notes:
        say(f"note: {note}")
    with sole_run(plan.folder):
        state = RunState(plan.folder)  # another process may have run since the plan was made
        with reporting(plan.folder):
            for ready in plan.data.values():
                ready.write(plan.folder / FOLDER)
        ran = []
        for number, step in enumerate(plan.steps, 1):
            label = f"[{number}/{len(plan.steps)}] {step.stage.name} ({step.stage.kind})"
            if step.state == "left out":
                say(f"{label}: left out, {step.reason}")
            elif not _is_due(plan, step, number, state):
                say(f"{label}: done before")
            else:
                say(label)
                seconds = _run_step(plan, step, state, cluster, progress)
                ran.append(step.stage.name)
                say(f"{label}: {seconds:.1f} s")
        outcome = read_outcome(plan, state, tuple(ran))
        with reporting(plan.folder):
            (plan.folder / REPORT).write_text(outcome_markdown(outcome), encoding="utf-8")
        for section, name in zip(outcome.sections, page_names(outcome), strict=True):
            if not ran and (plan.folder / name).is_file():
                continue
            write_report(
                section.records[0].dataset,
                out=plan.folder / name,
                runs_dir=plan.folder,
                cache_dir=plan.cache_dir,
                test_rows=str(section.records[0].split["test_digest"]),
            )
    return outcome


def _is_due(plan: Plan, step: Step, number: int, state: RunState) -> bool:
    """Tell whether a stage is to be run.

    An extraction that was finished is run again where a later stage of its data is due: its rows
    may have been removed since, and where they were not it costs next to nothing.
    """
    if not state.is_finished(step.stage.name, step.digest):
        return True
    later = [s for s in plan.steps[number:] if s.data is step.data and s.stage.kind != "extract"]
    return step.stage.kind == "extract" and any(
        not state.is_finished(s.stage.name, s.digest) for s in later
    )


def _run_step(
    plan: Plan, step: Step, state: RunState, cluster: str | None, progress: bool
) -> float:
    """Run one stage and note its end; return the seconds it took."""
    kind = STAGE_KINDS.get(step.stage.kind)
    assert step.data is not None
    arguments: dict[str, Any] = {
        **step.settings,
        "cache_dir": plan.cache_dir,
        "runs_dir": plan.folder,
        "cluster": cluster,
        "progress": progress,
    }
    function = kind.load()
    known = kind.all_arguments()
    state.begin(step.stage.name, step.digest)
    if step.stage.kind in MADE_ANEW:
        for name in state.leftover(step.stage.name):
            with reporting(plan.folder):
                (plan.folder / name).unlink(missing_ok=True)
                (plan.folder / name).with_suffix(".npz").unlink(missing_ok=True)
    started = time.perf_counter()
    try:
        made = function(plan.place(step.data), **{k: v for k, v in arguments.items() if k in known})
    except FeatxError as error:
        error.args = (f"Stage {step.stage.name!r}: {error}", *error.args[1:])
        raise
    seconds = time.perf_counter() - started
    report = to_json(made.to_json()) if step.stage.kind == "extract" else {}
    state.finish(step.stage.name, seconds, report)
    return seconds
