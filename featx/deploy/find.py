"""Which run record is meant: a path, a name, how a name begins, or the best of a comparison."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from featx.compare import compare
from featx.errors import DeployError
from featx.records import RunRecord, to_json
from featx.registry import near_misses
from featx.runs import load_run, load_runs

BEST = "best"
"""The word for the best run."""


def find_run(
    run: str | os.PathLike[str],
    *,
    runs_dir: str | os.PathLike[str] = "runs",
    dataset: str | None = None,
) -> tuple[Path, RunRecord]:
    """Find a run record.

    Parameters
    ----------
    run : str or path
        The path of its JSON file, its name in `runs_dir`, the beginning of that name, or "best":
        the most accurate of those with the most training images, its first draw where there are
        several, so that no draw is chosen by the test images.
    runs_dir : path
    dataset : str, optional
        For "best", the data set's name, where there are runs on several.

    Returns
    -------
    path : Path
        The JSON file.
    record : RunRecord

    Raises
    ------
    DeployError
        There is none, or there are several.
    RunError
        It cannot be read.
    """
    text, folder = os.fspath(run), Path(runs_dir)
    if text == BEST:
        return _best(folder, dataset)
    for path in (Path(text), folder / text, folder / f"{text}.json"):
        path = path.with_suffix(".json") if path.suffix in (".npz", ".keras") else path
        if path.suffix == ".json" and path.is_file():
            return path, load_run(path)
    paths = sorted(folder.glob("*.json"))
    found = [path for path in paths if path.name.startswith(os.path.basename(text))]
    if len(found) == 1:
        return found[0], load_run(found[0])
    if found:
        raise DeployError(
            f"{len(found)} runs in {str(folder)!r} begin with {text!r}: {_listed(found)}. Write "
            "more of the name."
        )
    if not paths:
        raise DeployError(f"No runs in {str(folder)!r}. Run first: featx classify")
    near = near_misses(text, [BEST, *(path.stem for path in paths)])
    hint = f"Did you mean {near[0]!r}?" if near else f"There are: {_listed(paths)}; or write best."
    raise DeployError(f"No run {text!r} in {str(folder)!r}. {hint}")


def _best(folder: Path, dataset: str | None) -> tuple[Path, RunRecord]:
    runs = [(path, load_run(path)) for path in sorted(folder.glob("*.json"))]
    if not runs:
        raise DeployError(f"No runs in {str(folder)!r}. Run first: featx classify")
    names = sorted({record.dataset for _, record in runs})
    if dataset is not None:
        runs = [run for run in runs if run[1].dataset == dataset]
        if not runs:
            raise DeployError(f"No runs on {dataset!r} in {str(folder)!r}, but {', '.join(names)}.")
    elif len(names) > 1:
        raise DeployError(
            f"The runs in {str(folder)!r} are on {len(names)} data sets ({', '.join(names)}): say "
            "which with --dataset, or name the run."
        )
    columns = {record.split["test_digest"]: record for _, record in runs}
    if len(columns) > 1:
        told = ", ".join(
            f"{r.split.get('target', 'class')} of {r.split['n_test']} images"
            for r in columns.values()
        )
        raise DeployError(
            f"The runs in {str(folder)!r} are on {len(columns)} sets of test images ({told}), "
            "which cannot be compared: name the run."
        )
    comparison = compare([record for _, record in runs])
    (best,) = [g for g in comparison.groups if g["name"] == comparison.baseline]
    return min((runs[i] for i in best["members"]), key=lambda run: run[1].draw)


def find_members(record: RunRecord, runs_dir: str | os.PathLike[str]) -> list[RunRecord]:
    """Return the records of an average's members, in its order.

    Raises
    ------
    DeployError
        One is not in `runs_dir` any more.
    """
    runs = load_runs(runs_dir)[::-1]  # of equal runs the latest
    alike = ("dataset", "shots", "draw", "classes")
    runs = [
        run
        for run in runs
        if run.split["test_digest"] == record.split["test_digest"]
        and all(getattr(run, name) == getattr(record, name) for name in alike)
    ]
    found = []
    for member in record.selection["members"]:
        mine = [run for run in runs if _is_member(run, member)]
        if not mine:
            words = " ".join(w for w in (member["backbone"], member["tap"], member["head"]) if w)
            raise DeployError(
                f"{record.head.text} averages {words}, whose run is not in "
                f"{os.fspath(runs_dir)!r}: run featx classify again, or name its folder with "
                "--runs-dir."
            )
        found.append(mine[0])
    return found


def _is_member(run: RunRecord, member: dict[str, object]) -> bool:
    mine = (run.backbone, run.tap, run.head.text, to_json(run.params))
    return mine == (member["backbone"], member["tap"], member["head"], member["params"])


def _listed(paths: Sequence[Path]) -> str:
    names = [path.stem for path in paths[:5]]
    return ", ".join(names) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
