"""Extraction, measured side by side in one run: speed, overlap, arithmetic, memory, steadiness.

    python benchmarks/bench_extract.py                       # every section, some minutes
    python benchmarks/bench_extract.py --only table --backbones mobilenet --precision bfloat16
    python benchmarks/bench_extract.py --only memory --memory-images 100000
    python benchmarks/bench_extract.py --only steady --minutes 30

Weights are random, since speed does not depend on them, and every graph is loaded before its clock
starts. Contestants run in turn, and medians over the rounds are told: of a ratio, those of the
rounds' own, since a machine's pace changes from minute to minute. With --data a folder of class
folders of yours; by default crops of scikit-learn's two sample photos, 512×384 JPEG. Results go to
benchmarks/results/extract.json and .md; sections and rows that were not run again stay there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from extract.lasting import memory, steady
from extract.speed import Settings, overlap, roofline, shared, table
from machine import describe_machine

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("keras", "tensorflow", "openvino", "jax", "onnxruntime", "numpy", "pillow")

# The table first: what it has measured serves the two after it.
SECTIONS = {
    "table": table,
    "overlap": overlap,
    "roofline": roofline,
    "shared": shared,
    "memory": memory,
    "steady": steady,
}
SAME = ("backbone", "backbones", "precision", "images", "slice")
"""Rows of a section that agree in these are of the same thing: the new one replaces the old."""


def markdown(document: dict[str, Any]) -> str:
    lines = ["# Extraction", ""]
    for name, section in document["sections"].items():
        lines += [f"## {name}", "", section["about"], ""]
        lines += [f"- {k}: {v}" for k, v in section["machine"].items()]
        columns = list(dict.fromkeys(key for row in section["rows"] for key in row))
        lines += ["", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        for row in section["rows"]:
            lines.append("| " + " | ".join(_cell(row.get(key, "")) for key in columns) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def subject(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(key) for key in SAME)

    fresh = {subject(row): row for row in new}
    return [fresh.pop(subject(row), row) for row in old] + list(fresh.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], choices=SECTIONS, help="these sections")
    parser.add_argument("--backbones", default="mobilenet,resnet50,inception_v3,vgg16")
    parser.add_argument("--precision", default="float32", help="several take commas")
    parser.add_argument("--images", type=int, default=0, help="default: by the backbone, 96 to 768")
    parser.add_argument(
        "--repeats", type=int, default=0, help="rounds; default: 3, or 2 where they take long"
    )
    parser.add_argument("--data", type=Path, help="photos to use instead of made ones")
    parser.add_argument(
        "--memory-images", type=int, default=10_000, help="the most (default 10000)"
    )
    parser.add_argument("--minutes", type=float, default=0.4, help="of the steady section (0.4)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()

    from featx.backend import is_installed
    from featx.engines import choose_engine

    installed = [p for p in PACKAGES if is_installed({"pillow": "PIL"}.get(p, p))]
    path = options.out / "extract.json"
    document: dict[str, Any] = {"sections": {}}
    if path.exists():
        document = json.loads(path.read_text())
    with tempfile.TemporaryDirectory(prefix="featx-") as temp:
        settings = Settings(
            temp=Path(temp),
            backbones=options.backbones.split(","),
            precisions=options.precision.split(","),
            repeats=options.repeats,
            images=options.images,
            data=options.data,
            minutes=options.minutes,
            memory_images=options.memory_images,
            engine=choose_engine()[0],
        )
        for name, section in SECTIONS.items():
            if options.only and name not in options.only:
                continue
            machine = {**describe_machine(*installed), "engine": settings.engine}
            rows = section(settings)
            for row in rows:
                print(json.dumps({"section": name, **row}), flush=True)
            old = document["sections"].get(name, {"rows": []})["rows"] if options.only else []
            about = (section.__doc__ or "").splitlines()[0]
            document["sections"][name] = {
                "about": about,
                "machine": machine,
                "rows": _merged(old, rows),
            }
            options.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document, indent=1) + "\n")
            path.with_suffix(".md").write_text(markdown(document))


if __name__ == "__main__":
    main()
