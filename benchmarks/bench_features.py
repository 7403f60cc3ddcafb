"""What bfloat16 and altered copies do to features and to a head's accuracy, on real photos.

    python benchmarks/bench_features.py PHOTOS mobilenet=FILE 'mobilenet(alpha=0.25)=FILE'

For each backbone: distance of the bfloat16 features from float32's, and the accuracy of a linear
SVC (C=0.001) over splits of seeds 0 to 4, with all training images and with 20 a class, on float32,
bfloat16, float32 with mirrored copies, and float32 with mirrored and three augmented copies. Both
accuracies of a difference are on the same splits. Results go to benchmarks/results/features.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from machine import describe_machine

import featx
from featx.evaluate import evaluate
from featx.records import FeatureSet
from featx.views import find_sources, with_copies

RESULTS = Path(__file__).parent / "results"
SEEDS, SHOTS = range(5), (None, 20)
HEAD = "linear_svc(C=0.001)"


def accuracies(features: FeatureSet) -> np.ndarray:
    """Return accuracy in per cent, a row a seed, a column a number of shots."""
    found = [
        [r.metrics["accuracy"] for r in evaluate(features, [HEAD], shots=SHOTS, seed=seed)]
        for seed in SEEDS
    ]
    return 100 * np.array(found)


def against(found: np.ndarray, base: np.ndarray) -> list[str]:
    """Return mean difference and its standard error, a number of shots."""
    gain = found - base
    errors = gain.std(axis=0, ddof=1) / len(gain) ** 0.5
    return [f"{m:+.2f} ± {e:.2f}" for m, e in zip(gain.mean(axis=0), errors, strict=True)]


def main() -> None:
    """Extract what the cache lacks, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?")
    parser.add_argument("backbones", nargs="*", metavar="BACKBONE=FILE")
    parser.add_argument("--cache-dir", default="features")
    parser.add_argument("--no-views", action="store_true")
    options = parser.parse_args()
    if not options.backbones:
        parser.exit(0, "bench_features.py: needs photos and trained weights; nothing done\n")
    lines = ["| backbone | features | distance | all images | 20 a class |", "|" + " --- |" * 5]
    for text in options.backbones:
        backbone, _, file = text.rpartition("=")
        common = {"backbone": backbone, "weights": file, "cache_dir": options.cache_dir}
        views = "" if options.no_views else "flip,3"
        plain = featx.extract(options.photos, views=views, **common)
        half = featx.extract(options.photos, precision="bfloat16", **common)
        own = featx.load_features(plain.caches[0]["path"])
        rounded = featx.load_features(half.caches[0]["path"])
        base = accuracies(own)
        shown = [f"{m:.2f}" for m in base.mean(axis=0)]
        lines.append(f"| {backbone} | float32 | | {' | '.join(shown)} |")
        distance = np.linalg.norm(own.X - rounded.X) / np.linalg.norm(own.X)
        cells = against(accuracies(rounded), base)
        lines.append(f"| {backbone} | bfloat16 | {distance:.3f} | {' | '.join(cells)} |")
        for only in ("flip", "") if views else ():
            source = find_sources(plain.caches[0]["path"], taps=["avg"])
            (full,) = (s for s in with_copies(source) if s.copies)
            copies = tuple(c for c in full.copies if only in ("", c.key.image.view))
            cells = against(accuracies(type(full)(full.parts, copies).load(None)), base)
            name = f"float32, with {len(copies)} cop{'y' if len(copies) == 1 else 'ies'}"
            lines.append(f"| {backbone} | {name} | | {' | '.join(cells)} |")
        print("\n".join(lines[-4:]), flush=True)
    machine = ", ".join(f"{k} {v}" for k, v in describe_machine("openvino").items())
    RESULTS.mkdir(exist_ok=True)
    notes = (
        f"# Features\n\n{Path(options.photos).name}, {HEAD}, {len(SEEDS)} splits; accuracy in per "
        "cent, below float32's own the difference to it in points with its standard error.\n\n"
        f"{machine}\n\n"
    )
    (RESULTS / "features.md").write_text(notes + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
