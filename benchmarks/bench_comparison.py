"""Accuracy of backbones and heads at several numbers of images a class, as one table a data set.

    python benchmarks/bench_comparison.py photos --cache-dir features

Everything cached of each data set is compared: mean accuracy over the draws, ± their standard
deviation. Writes benchmarks/results/comparison-<data set>.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path

from machine import describe_machine

from featx.classify import classify
from featx.compare import comparison_json

RESULTS = Path(__file__).parent / "results"
SHOTS = (5, 20, 100, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--cache-dir", default="features")
    parser.add_argument("--heads", default="linear_svc logreg ridge lda knn centroid")
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    about = describe_machine("numpy", "scikit-learn")
    for data in options.data:
        started = time.perf_counter()
        comparison = classify(
            data,
            heads=options.heads.split(),
            shots=SHOTS,
            draws=options.draws,
            cache_dir=options.cache_dir,
            runs_dir=None,
        )
        seconds = time.perf_counter() - started
        found: dict[tuple[str, str], dict[int | None, list[float]]]
        found = defaultdict(lambda: defaultdict(list))
        for row in comparison_json(comparison)["rows"]:
            found[row["backbone"], row["head"]][row["shots"]].append(row["accuracy"])
        name = Path(data).name
        lines = [f"# {name}", "", *(f"- {k}: {v}" for k, v in about.items())]
        lines += [f"- all of it from a warm cache: {seconds:.0f} s", ""]
        lines += ["| backbone | head | " + " | ".join(str(s or "all") for s in SHOTS) + " |"]
        lines += ["| --- | --- |" + " --- |" * len(SHOTS)]
        for (backbone, head), by_shots in sorted(found.items(), key=lambda item: item[0]):
            cells = [_cell(by_shots[shots]) for shots in SHOTS]
            lines.append(f"| {backbone} | {head} | " + " | ".join(cells) + " |")
        text = "\n".join(lines) + "\n"
        print(text)
        (RESULTS / f"comparison-{name}.md").write_text(text)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    main()
