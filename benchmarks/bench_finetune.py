"""Fine-tuning with the frozen part computed once, against running it in every epoch.

    python benchmarks/bench_finetune.py PHOTOS FILE [--backbone mobilenet] [--unfreeze 20,half]

Each amount is trained twice on the same rows with the same seed and number of epochs, all in one
run: seconds an epoch, and of the whole training with the rows of the frozen part, which are
computed anew. What the two differ in is told too: losses, and the probabilities of the test images.
Results go to benchmarks/results/finetune.md and .json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine

import featx
from featx.finetune import finetune
from featx.records import RunRecord
from featx.runs import load_runs

RESULTS = Path(__file__).parent / "results"


def train(trunk: str, unfreeze: str, cache: Path, options: argparse.Namespace) -> RunRecord:
    """Train one network and return its record; no rows of a frozen part are left from before."""
    shutil.rmtree(cache / ".trunks", ignore_errors=True)
    with tempfile.TemporaryDirectory() as runs:
        finetune(
            options.photos,
            backbones=[options.backbone],
            weights=[options.weights],
            image_size=options.image_size,
            unfreeze=unfreeze,
            shots=(options.shots,),
            epochs=options.epochs,
            patience=options.epochs,
            trunk=trunk,
            cache_dir=cache,
            runs_dir=runs,
        )
        (record,) = load_runs(runs)
    return record


def compare(whole: RunRecord, cached: RunRecord, features_seconds: float) -> dict[str, Any]:
    """Return times, ratios and differences of two trainings of the same network."""
    # The first epoch traces the graph: the median is what an epoch costs.
    epochs = [statistics.median(r.cost["history"]["seconds"]) for r in (whole, cached)]
    trunk_seconds = cached.cost["trunk_seconds"]
    totals = [whole.seconds["fit"], cached.seconds["fit"] + trunk_seconds]
    losses = [np.array(r.cost["history"]["val_loss"], float) for r in (whole, cached)]
    scores = [r.arrays["scores"] for r in (whole, cached)]
    return {
        "unfreeze": whole.params["unfreeze"],
        "trained_on": whole.split["n_train"],
        "frozen_share": cached.cost["trunk_share"],
        "features_seconds": features_seconds,
        "trunk_seconds": trunk_seconds,
        "epoch_seconds": epochs,
        "epoch_ratio": epochs[0] / epochs[1],
        "total_seconds": totals,
        "total_ratio": totals[0] / totals[1],
        "loss_difference": float(np.abs(losses[0] - losses[1]).max()),
        "probability_difference": float(np.abs(scores[0] - scores[1]).max()),
        "accuracy": [r.metrics["accuracy"] for r in (whole, cached)],
    }


def main() -> None:
    """Train every amount both ways, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?")
    parser.add_argument("weights", nargs="?", metavar="FILE")
    parser.add_argument("--backbone", default="mobilenet")
    parser.add_argument("--unfreeze", default="12,24,half")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--shots", type=int, default=50, help="training images a class")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    if not options.weights:
        parser.exit(0, "bench_finetune.py: needs photos and trained weights; nothing done\n")
    machine = describe_machine("openvino", "tensorflow", "keras")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        report = featx.extract(
            options.photos,
            backbone=options.backbone,
            weights=options.weights,
            image_size=options.image_size,
            cache_dir=cache,
        )
        for amount in options.unfreeze.split(","):
            whole, cached = (train(t, amount, cache, options) for t in ("whole", "cached"))
            found.append(compare(whole, cached, report.seconds["total"]))
            print(json.dumps(found[-1]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    settings = {k: getattr(options, k) for k in ("backbone", "image_size", "shots", "epochs")}
    document = {"machine": machine, "photos": Path(options.photos).name, **settings, "runs": found}
    (RESULTS / "finetune.json").write_text(json.dumps(document, indent=1) + "\n")
    text = markdown(document)
    (RESULTS / "finetune.md").write_text(text)
    print(text)


def markdown(document: dict[str, Any]) -> str:
    """Return the page of results."""
    lines = [
        "# Fine-tuning with the frozen part computed once",
        "",
        f"{document['photos']}, {document['backbone']} at {document['image_size']} pixels, "
        f"{document['shots']} images a class, {document['epochs']} epochs; same seed and rows. "
        "Seconds with the whole network run in every epoch / with the frozen part computed once; "
        "the total has the computing of the frozen part in it.",
        "",
        ", ".join(f"{k} {v}" for k, v in document["machine"].items()),
        "",
        "| layers trained | multiplications frozen | an epoch | ratio | in all | ratio | "
        "greatest difference: loss, probability |",
        "|" + " --- |" * 7,
    ]
    for run in document["runs"]:
        epoch, total = (
            " / ".join(f"{s:.1f}" for s in run[key]) for key in ("epoch_seconds", "total_seconds")
        )
        lines.append(
            f"| {run['unfreeze']} | {100 * run['frozen_share']:.0f}% | {epoch} | "
            f"{run['epoch_ratio']:.1f} | {total} | {run['total_ratio']:.1f} | "
            f"{run['loss_difference']:.1g}, {run['probability_difference']:.1g} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
