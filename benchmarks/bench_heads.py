"""Linear heads against scikit-learn's, in one run: time, objective, predictions, memory.

    python benchmarks/bench_heads.py                    # every case; scikit-learn takes minutes
    python benchmarks/bench_heads.py --quick            # smaller shapes
    python benchmarks/bench_heads.py --entry features/trashnet/mobilenet-0123456789ab

With --entry, a cache entry with the taps avg and flatten, the wide and the pooled case are real
features (70% of the rows); else, as in the other cases, they are made to look like embeddings: ReLU
of a low-rank signal and noise. Every fit includes the standardisation. A ratio of times comes with
the relative objectives, so that no time is bought with accuracy: `excess` is
(ours - scikit-learn's) / scikit-learn's, negative where ours is lower. It gets a tolerance
at which it comes near our objective.
Results go to benchmarks/results/heads.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from sklearn import linear_model, svm
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import featx
from featx.heads.linear.gram import gram_spaces
from featx.heads.linear.threads import side_by_side
from featx.heads.linear_svc import LinearSVC
from featx.heads.logreg import LogisticRegression
from featx.heads.ridge import Ridge

RESULTS = Path(__file__).parent / "results"


def make_features(
    n: int, d: int, classes: int, *, seed: int = 0, separation: float = 0.5, rank: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    axes = rng.standard_normal((rank, d), dtype=np.float32)
    axes *= np.geomspace(1, 0.05, rank, dtype=np.float32)[:, None]
    y = rng.permutation(np.arange(n) % classes)
    centres = separation * rng.standard_normal((classes, rank), dtype=np.float32)
    X = (centres[y] + rng.standard_normal((n, rank), dtype=np.float32)) @ axes
    X += 0.3 * rng.standard_normal((n, d), dtype=np.float32)
    return np.maximum(X, 0, out=X), y


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def svc_objective(head: Any, X: np.ndarray, y: np.ndarray, scaler: StandardScaler) -> float:
    """Sum over the classes of what LinearSVC minimises, of coefficients on raw features."""
    coef = head.coef_ * scaler.scale_
    bias = head.intercept_ + head.coef_ @ scaler.mean_
    margins = head.decision_function(X).copy()
    rows = np.arange(len(y))
    margins[rows, y] = -margins[rows, y]
    loss = (np.maximum(0.0, 1.0 + margins) ** 2).sum()
    return float(0.5 * (coef**2).sum() + 0.5 * (bias**2).sum() + head.C * loss)


def log_objective(head: Any, X: np.ndarray, y: np.ndarray, scaler: StandardScaler) -> float:
    Z = head.decision_function(X)
    loss = np.logaddexp.reduce(Z, axis=1) - Z[np.arange(len(y)), y]
    return float(0.5 * ((head.coef_ * scaler.scale_) ** 2).sum() + head.C * loss.sum())


def raw_space(pipeline: Any, blank: Any) -> Any:
    """Return a Pipeline of scaler and linear classifier as one head on raw features."""
    scaler, inner = pipeline[0], pipeline[-1]
    blank.classes_, blank.n_features_in_ = inner.classes_, len(scaler.mean_)
    blank.coef_ = inner.coef_ / scaler.scale_
    blank.intercept_ = inner.intercept_ - blank.coef_ @ scaler.mean_
    return blank


def compare(
    name: str, ours: Any, theirs: Any, objective: Callable[..., float], X: Any, y: Any
) -> dict[str, Any]:
    """Time both in turn, five times where that is short, three below a minute; take medians."""
    times: list[tuple[float, float]] = []
    while not times or len(times) < (5 if times[0][1] < 5 else 3 if times[0][1] < 60 else 1):
        seconds, head = timed(lambda: ours.fit(X, y))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            their_seconds, pipeline = timed(
                lambda: make_pipeline(StandardScaler(), theirs).fit(X, y)
            )
        times.append((seconds, their_seconds))
    seconds, their_seconds = (statistics.median(t) for t in zip(*times, strict=True))
    other = raw_space(pipeline, type(ours)(ours.C, standardize=True))
    a, b = (objective(h, X, y, pipeline[0]) for h in (head, other))
    agree = float(np.mean(head.predict(X) == other.predict(X)))
    row = {
        "case": name,
        "featx_seconds": seconds,
        "sklearn_seconds": their_seconds,
        "ratio": their_seconds / seconds,
        "excess": a / b - 1,
        "same_predictions": agree,
        "newton_steps": head.n_iter_,
        "sklearn_converged": not any("converge" in str(w.message) for w in caught),
    }
    print(json.dumps(row), flush=True)
    return row


def path_rows(name: str, head: Any, X: Any, y: Any) -> dict[str, Any]:
    """Time one fit at the default value, and the 25 values of the path."""
    one, _ = timed(lambda: head.fit(X, y))
    path, fitted = timed(lambda: head.fit_path(X, y))
    row = {
        "case": name,
        "one_fit_seconds": one,
        "path_seconds": path,
        "path_over_one_fit": path / one,
        "values": len(fitted),
        "converged": all(f.converged_ for f in fitted),
    }
    print(json.dumps(row), flush=True)
    return row


def few_shot_table(quick: bool) -> dict[str, Any]:
    """4 backbones × {avg, flatten} × 3 heads × 25 values × 5 draws at 100 a class, 6 classes."""
    widths = [(1024, 50_176), (1024, 12_544), (1280, 62_720), (2048, 100_352)]
    n, classes, draws = 1769, 6, 5
    if quick:
        widths = [(256, 3000)] * 4
    heads = [LinearSVC(standardize=True), LogisticRegression(standardize=True)]
    heads.append(Ridge(standardize=True))
    seconds, fits = 0.0, 0
    for pair in widths:
        for width in pair:
            X, y = make_features(n, width, classes)
            rng = np.random.default_rng(0)
            order = [rng.permutation(n) for _ in range(draws)]
            sets = [np.concatenate([o[y[o] == k][:100] for k in range(classes)]) for o in order]
            held = [np.setdiff1d(np.arange(n), rows) for rows in sets]
            started = time.perf_counter()
            spaces = gram_spaces(X, sets, held, standardize=True, centred=True, dtype=np.float32)
            tasks = [
                partial(head.path_decisions, X, y, rows=rows, held=others, space=space)
                for rows, others, space in zip(sets, held, spaces, strict=True)
                for head in heads
            ]
            fits += sum(len(scores) for scores in side_by_side(tasks))
            seconds += time.perf_counter() - started
    row = {"case": "table of 4 backbones, 5 draws", "seconds": seconds, "fits": fits}
    print(json.dumps(row), flush=True)
    return row


class MadeRows:
    """A lazy matrix of any number of rows, of which none is kept."""

    def __init__(self, n: int, d: int) -> None:
        self.shape, self.dtype, self.read = (n, d), np.dtype(np.float32), 0
        self.X, self.y = make_features(4096, d, 10)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        self.read += len(indices)
        return self.X[indices % 4096] * (1.0 + (indices // 4096 % 97)[:, None].astype("f4") / 500)

    def columns(self, start: int, stop: int) -> np.ndarray:
        raise NotImplementedError("rows are streamed")


def streaming(quick: bool) -> dict[str, Any]:
    """More rows than memory, at a scaled size; the cost line gives the full one."""
    from featx.heads.linear import classifier

    n, d = (20_000, 256) if quick else (100_000, 1024)
    kept, classifier.HELD_BYTES = classifier.HELD_BYTES, 1
    X = MadeRows(n, d)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, head = timed(
        lambda: LinearSVC(1e-3, standardize=True).fit(X, X.y[np.arange(n) % 4096])
    )
    classifier.HELD_BYTES = kept
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    passes = X.read / n
    row = {
        "case": f"streamed LinearSVC, {n} x {d}, 10 classes",
        "seconds": seconds,
        "passes": passes,
        "seconds_a_pass": seconds / passes,
        "data_mib": 4 * n * d / 2**20,
        "peak_growth_mib": grown,
        "converged": head.converged_,
        "cost_line_seconds_1000000_x_2048": seconds * (1e6 / n) * (2048 / d),
    }
    print(json.dumps(row), flush=True)
    return row


def wide_memory(quick: bool) -> dict[str, Any]:
    """2,500 rows of 100,352 features that are never in memory at once."""
    n, d = (400, 20_000) if quick else (2500, 100_352)

    class MadeColumns:
        shape, dtype = (n, d), np.dtype(np.float32)

        def rows(self, indices: np.ndarray) -> np.ndarray:
            raise NotImplementedError("columns are streamed")

        def columns(self, start: int, stop: int) -> np.ndarray:
            made = np.random.default_rng(start).standard_normal((n, stop - start), "f4")
            return np.maximum(made, 0, out=made)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, head = timed(
        lambda: LinearSVC(1e-4, standardize=True).fit(MadeColumns(), np.arange(n) % 6)
    )
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    row = {
        "case": f"LinearSVC, {n} x {d}, 6 classes, streamed by columns",
        "seconds": seconds,
        "gram_mib": 8 * n * n / 2**20,
        "peak_growth_mib": grown,
        "converged": head.converged_,
    }
    print(json.dumps(row), flush=True)
    return row


def markdown(report: dict[str, Any]) -> str:
    lines = ["# Linear heads against scikit-learn", ""]
    lines += [f"- {k}: {v}" for k, v in report["machine"].items()]
    for row in report["rows"]:
        lines += ["", f"**{row['case']}**", ""]
        shown = [(k, f"{v:.4g}" if isinstance(v, float) else str(v)) for k, v in row.items()]
        shown = [item for item in shown if item[0] != "case"]
        lines.append("| " + " | ".join(k.replace("_", " ") for k, _ in shown) + " |")
        lines.append("|" + " --- |" * len(shown))
        lines.append("| " + " | ".join(v for _, v in shown) + " |")
    return "\n".join(lines) + "\n"


def memory(quick: bool, _: str | None) -> list[dict[str, Any]]:
    return [streaming(quick), wide_memory(quick)]


def table(quick: bool, _: str | None) -> list[dict[str, Any]]:
    return [few_shot_table(quick)]


def paths(quick: bool, entry: str | None) -> list[dict[str, Any]]:
    made = make_features(*((1500, 128, 20) if quick else (4000, 512, 10)))
    rows = []
    for X, y in [made, real_features(entry, "avg")] if entry else [made]:
        for head in (LinearSVC, LogisticRegression, Ridge):
            name = f"25-value path, {head.__name__}, {_shape(X, y)}"
            rows.append(path_rows(name, head(standardize=True), X, y))
    return rows


def wide(quick: bool, entry: str | None) -> list[dict[str, Any]]:
    """Flattened features: one fit, and a path, against that many fits of scikit-learn's."""
    if entry:
        X, y = real_features(entry, "flatten")
    else:
        X, y = make_features(*((300, 4000, 6) if quick else (1769, 50_176, 6)))
    theirs = svm.LinearSVC(dual="auto", max_iter=1000, random_state=0)
    ours = LinearSVC(standardize=True)
    one = compare(f"LinearSVC, C=1, {_shape(X, y)}", ours, theirs, svc_objective, X, y)
    path = path_rows(f"25-value path, LinearSVC, {_shape(X, y)}", ours, X, y)
    path["sklearn_one_fit_times_25_over_path"] = 25 * one["sklearn_seconds"] / path["path_seconds"]
    return [one, path]


def logreg(quick: bool, entry: str | None) -> list[dict[str, Any]]:
    cases = [make_features(*((1500, 128, 20) if quick else (8000, 1024, 100)))]
    if entry:
        cases.append(real_features(entry, "avg"))
    return [
        compare(
            f"LogisticRegression, C={C}, {_shape(X, y)}",
            LogisticRegression(C, standardize=True),
            linear_model.LogisticRegression(C=C, max_iter=10_000, tol=1e-6),
            log_objective,
            X,
            y,
        )
        for X, y in cases
        for C in (0.01, 1.0)
    ]


def svc(quick: bool, entry: str | None) -> list[dict[str, Any]]:
    cases = [make_features(*((1500, 128, 20) if quick else (8000, 1024, 100)))]
    if entry:
        cases.insert(0, real_features(entry, "avg"))
    return [
        compare(
            f"LinearSVC, C={C}, {_shape(X, y)}",
            LinearSVC(C, standardize=True),
            svm.LinearSVC(C=C, dual="auto", max_iter=1000, random_state=0),
            svc_objective,
            X,
            y,
        )
        for X, y in cases
        for C in (0.01,)
    ]


# Memory first: the peak of a process only grows.
CASES = {
    "memory": memory,
    "table": table,
    "path": paths,
    "wide": wide,
    "logreg": logreg,
    "svc": svc,
}


def real_features(entry: str, tap: str) -> tuple[np.ndarray, np.ndarray]:
    """Return 70% of an entry's rows."""
    features = featx.load_features(entry, tap=tap)
    n = len(features.y)
    rows = np.sort(np.random.default_rng(0).permutation(n)[: int(0.7 * n)])
    return features.X[rows], features.y[rows]


def _shape(X: np.ndarray, y: np.ndarray) -> str:
    return f"{X.shape[0]:,} x {X.shape[1]:,}, {len(np.unique(y))} classes"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller shapes")
    parser.add_argument("--entry", help="cache entry with the taps avg and flatten")
    parser.add_argument("--only", nargs="*", default=[], choices=CASES, help="these cases alone")
    args = parser.parse_args(argv)
    about = describe_machine("numpy", "scipy", "scikit-learn")
    report: dict[str, Any] = {"machine": about, "quick": args.quick, "rows": []}
    for name, case in CASES.items():
        if not args.only or name in args.only:
            report["rows"] += case(args.quick, args.entry)
    RESULTS.mkdir(exist_ok=True)
    if args.only and (RESULTS / "heads.json").exists():  # what was not run again stays
        rows = {row["case"]: row for row in report["rows"]}
        kept = json.loads((RESULTS / "heads.json").read_text())["rows"]
        report["rows"] = [rows.pop(row["case"], row) for row in kept] + list(rows.values())
    (RESULTS / "heads.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "heads.md").write_text(markdown(report))


if __name__ == "__main__":
    main()
