"""Extraction end to end against a Keras predict loop, side by side in one run.

Both start from image files and end with pooled features on disk. Each backbone runs in turn, Keras
and featx alternating, and the ratio of the medians is printed. With --data a folder of class
folders of yours; by default crops of scikit-learn's two sample photos, 512×384 JPEG.

    python benchmarks/bench_extract.py --backbones mobilenet,resnet50 --images 400
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def make_photos(folder: Path, count: int) -> Path:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    for i in range(count):
        source = photos[i % 2]
        height = int(rng.integers(200, source.shape[0]))
        width = min(source.shape[1], height * 4 // 3)
        top = int(rng.integers(0, source.shape[0] - height + 1))
        left = int(rng.integers(0, source.shape[1] - width + 1))
        crop = Image.fromarray(source[top : top + height, left : left + width])
        target = folder / f"class{i % 2}" / f"{i:05}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        crop.resize((512, 384)).save(target, quality=90)
    return folder


class KerasLoop:
    """What people write: image_dataset_from_directory, preprocess_input, predict."""

    def __init__(self, backbone: str) -> None:
        from featx.backbones import build_backbone, parse_backbone, resolve_weights
        from featx.quiet import import_keras

        keras = import_keras()
        spec = parse_backbone(backbone, weights="random")
        self.size = (spec.image.height, spec.image.width)
        self.keras = keras
        trunk = build_backbone(spec, resolve_weights(spec))
        module = getattr(keras.applications, spec.preprocess)
        self.preprocess = module.preprocess_input
        pooled = keras.layers.GlobalAveragePooling2D()(trunk.output)
        self.model = keras.Model(trunk.input, pooled)
        self.model.predict(np.zeros((32, *self.size, 3), np.float32), verbose=0)

    def run(self, data: Path, out: Path) -> float:
        started = time.perf_counter()
        images = self.keras.utils.image_dataset_from_directory(
            data, image_size=self.size, batch_size=32, shuffle=False, verbose=False
        )
        features = self.model.predict(images.map(lambda x, y: self.preprocess(x)), verbose=0)
        np.save(out / "keras.npy", features)
        return time.perf_counter() - started


class Loaded:
    """An engine whose graph is loaded already, as the Keras model is before its clock starts."""

    summary = "for this benchmark"
    backend = None  # Keras is at work already

    def __init__(self, engine: str, backbone: str, precision: str) -> None:
        from featx.backbones import parse_backbone, resolve_weights
        from featx.engines import ENGINES
        from featx.records import TapSpec

        spec = parse_backbone(backbone, weights="random")
        taps = [TapSpec("", "avg")]
        started = time.perf_counter()
        self.runner = ENGINES.get(engine).load(spec, resolve_weights(spec), taps, precision)
        self.load_seconds = time.perf_counter() - started
        shape = (self.runner.batch_size, spec.image.height, spec.image.width, 3)
        self.batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self.runner.run(self.batch)
        self.name = f"loaded-{backbone}"
        ENGINES.register(self.name, self)

    def missing(self) -> None:
        return None

    def precisions(self) -> tuple[str, ...]:
        return ("float32", "bfloat16", "float16")

    def load(self, *_: object) -> object:
        return self.runner

    def run_alone(self, images: int) -> float:
        """Time the engine on ready arrays."""
        count = -(-images // self.runner.batch_size)
        started = time.perf_counter()
        for _ in self.runner.stream(self.batch for _ in range(count)):
            pass
        return (time.perf_counter() - started) * images / (count * self.runner.batch_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbones", default="mobilenet,resnet50")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()

    import featx
    from featx.engines import choose_engine

    machine = describe_machine("keras", "tensorflow", "openvino", "numpy", "pillow")
    engine = choose_engine()[0]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        temp = Path(name)
        data = options.data or make_photos(temp / "photos", options.images)
        for backbone in options.backbones.split(","):
            loop = KerasLoop(backbone)
            loaded = Loaded(engine, backbone, options.precision)
            times: dict[str, list[float]] = {"keras": [], "featx": [], "engine alone": []}
            for repeat in range(options.repeats):
                times["keras"].append(loop.run(data, temp))
                started = time.perf_counter()
                report = featx.extract(
                    data,
                    backbone=backbone,
                    weights="random",
                    engine=loaded.name,
                    precision=options.precision,
                    cache_dir=temp / f"cache-{backbone}-{repeat}",
                )
                times["featx"].append(time.perf_counter() - started)
                times["engine alone"].append(loaded.run_alone(report.images))
            rate = {k: report.images / statistics.median(v) for k, v in times.items()}
            row = {
                "backbone": backbone,
                "engine": engine,
                "precision": options.precision,
                "images": report.images,
                "load seconds": round(loaded.load_seconds, 1),
                **{f"{k} images/s": round(v, 1) for k, v in rate.items()},
                "featx over keras": round(rate["featx"] / rate["keras"], 2),
                "featx over engine alone": round(rate["featx"] / rate["engine alone"], 2),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)

    RESULTS.mkdir(exist_ok=True)
    document = {"machine": machine, "rows": rows}
    stem = f"extract-{options.precision}"
    (RESULTS / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = ["# Extraction against a Keras predict loop", ""]
    lines += [f"- {k}: {v}" for k, v in document["machine"].items()]
    lines += ["", "| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(str(v) for v in row.values()) + " |" for row in rows]
    (RESULTS / f"{stem}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
