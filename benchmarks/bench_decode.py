"""How fast JPEG files become a backbone's input, featx against other decoders, in one run.

    python benchmarks/bench_decode.py [--photos FOLDER ...] [--size 224] [--threads 1 2]

Every decoder turns the bytes of a JPEG file into uint8 RGB of SIZE × SIZE. Columns: images a second
by number of threads; processor time an image on one thread, which other work on the machine
disturbs less; that time of Pillow decoding in full over this; and how far the pixels are from that
one's (mean over images; largest), of 255. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

from featx.datasets.decode import decode_image
from featx.records import ImageSpec

Decoder = Callable[[bytes], np.ndarray]


def synthetic(height: int, width: int, count: int) -> list[bytes]:
    """Photo-like JPEG files: coarse shapes with fine noise, quality 90."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC))
        noisy = (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def photos(folder: Path, count: int) -> list[bytes]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    return [p.read_bytes() for p in files[:: max(1, len(files) // count)][:count]]


def decoders(size: int) -> dict[str, Decoder]:
    spec, target = ImageSpec(size, size), (size, size)

    def pillow(data: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB").resize(target, Image.BILINEAR))

    found: dict[str, Decoder] = {
        "Pillow, in full": pillow,
        "featx": lambda data: decode_image(data, spec),
    }
    try:
        import simplejpeg
    except ImportError:
        pass
    else:

        def simple(data: bytes) -> np.ndarray:
            pixels = simplejpeg.decode_jpeg(data, min_height=2 * size, min_width=2 * size)
            return np.asarray(Image.fromarray(pixels).resize(target, Image.BILINEAR))

        found["simplejpeg in scale + Pillow resize"] = simple
    try:
        import cv2
    except ImportError:
        pass
    else:
        cv2.setNumThreads(1)

        def opencv(data: bytes) -> np.ndarray:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            return np.asarray(Image.fromarray(pixels).resize(target, Image.BILINEAR))

        def opencv_area(data: bytes) -> np.ndarray:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            return cv2.resize(pixels, target, interpolation=cv2.INTER_AREA)

        found["OpenCV + Pillow resize"] = opencv
        found["OpenCV + its area resize"] = opencv_area
    try:
        import tensorflow as tf
    except ImportError:
        pass
    else:
        tf.config.threading.set_intra_op_parallelism_threads(1)

        def tensorflow(data: bytes) -> np.ndarray:
            pixels = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
            small = tf.image.resize(pixels, target, antialias=True)
            return np.rint(small.numpy()).astype(np.uint8)

        found["TensorFlow"] = tensorflow
    return found


def rate(decode: Decoder, files: list[bytes], threads: int, repeats: int) -> float:
    """Best images a second over some repeats."""
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            if threads == 1:
                for data in files:
                    decode(data)
            else:
                list(pool.map(decode, files * threads))
            best = max(best, len(files) * threads / (time.perf_counter() - start))
    return best


def cpu_ms(decode: Decoder, files: list[bytes], repeats: int) -> float:
    """Least processor time an image, in milliseconds, on one thread."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        for data in files:
            decode(data)
        best = min(best, (time.process_time() - start) / len(files))
    return best * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, nargs="*", default=[])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    sets = {str(folder.name): photos(folder, 100) for folder in args.photos}
    sets["512 × 384"] = synthetic(384, 512, 50)
    sets["4000 × 3000"] = synthetic(3000, 4000, 4)
    threads = "".join(f"{f'{n} thr.':>9}" for n in args.threads)
    for title, files in sets.items():
        print(f"\n{title}, {len(files)} files{'':<12}{threads}   CPU ms   ratio    mean  max")
        base = 0.0
        wanted: list[np.ndarray] = []
        for name, decode in decoders(args.size).items():
            got = [decode(data).astype(int) for data in files]
            wanted = wanted or got
            off = [np.abs(a - b) for a, b in zip(got, wanted, strict=True)]
            shown = "".join(f"{rate(decode, files, n, args.repeats):9.1f}" for n in args.threads)
            cost = cpu_ms(decode, files, args.repeats)
            base = base or cost
            mean, largest = np.mean([o.mean() for o in off]), max(o.max() for o in off)
            print(
                f"{name:<36}{shown}{cost:9.3f}{base / cost:8.2f}{mean:8.2f}{largest:5d}", flush=True
            )


if __name__ == "__main__":
    main()
