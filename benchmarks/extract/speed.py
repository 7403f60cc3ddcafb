"""Images a second: against peers, against the engine alone, and with decoding shared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.arithmetic import count_flops, measure_peak
from extract.contestants import PEERS, Loaded, ReadyEngine
from extract.photos import make_photos

if TYPE_CHECKING:
    from featx.records import ImageSpec

IMAGES = {"mobilenet": 768, "resnet50": 256, "inception_v3": 192, "vgg16": 96}
"""Enough for five seconds of work and more each; others take `OTHER`."""
OTHER = 96
SHARED = 128

REPEATS = 3
LONG_SECONDS = 55
"""Two rounds that take longer than this are enough, where no number of rounds is asked for."""

Rows = list[dict[str, Any]]


@dataclass
class Settings:
    """What to measure, and with what."""

    temp: Path
    backbones: list[str]
    precisions: list[str]
    repeats: int = 0
    images: int = 0
    data: Path | None = None
    minutes: float = 0.5
    memory_images: int = 10_000
    engine: str = ""
    _measured: dict[str, dict[str, Any]] = field(default_factory=dict)

    def photos(self, backbone: str, count: int = 0) -> Path:
        """Return a folder of photos for this backbone, made where it is not there yet."""
        if self.data is not None:
            return self.data
        count = self.images or count or IMAGES.get(backbone, OTHER)
        folder = self.temp / f"photos-{count}"
        return folder if folder.is_dir() else make_photos(folder, count)

    def measure(self, backbone: str, *, peers: bool = False) -> dict[str, Any]:
        """Return images a second by what made them, a round; measured once a process."""
        if backbone not in self._measured:
            self._measured[backbone] = measure_backbone(self, backbone, peers=peers)
        return self._measured[backbone]


def measure_backbone(settings: Settings, backbone: str, *, peers: bool) -> dict[str, Any]:
    """Run everybody in turn, round after round.

    Returns
    -------
    dict
        "images", "repeats", "flops" (an image), "load seconds", and "rounds": images a second by
        name, a list of one a round, where featx has two names a precision: end to end, and the
        engine alone on ready arrays; "decode" is from files to pixels, and products are GFLOP/s.
    """
    from featx.backbones import build_backbone, parse_backbone, resolve_weights
    from featx.backend import is_installed
    from featx.quiet import import_keras

    import_keras()
    data = settings.photos(backbone)
    spec = parse_backbone(backbone, weights="random")
    flops = count_flops(build_backbone(spec, resolve_weights(spec)))
    loops = {
        name: make(backbone)
        for name, (make, packages) in PEERS.items()
        if peers and all(map(is_installed, packages))
    }
    loaded = {p: Loaded(settings.engine, backbone, p) for p in settings.precisions}
    engines = {p: ReadyEngine([one]).name for p, one in loaded.items()}
    rates: dict[str, list[float]] = {}

    def note(name: str, rate: float) -> None:
        rates.setdefault(name, []).append(rate)

    images = rounds = 0
    started = time.perf_counter()
    while rounds < (settings.repeats or REPEATS):
        if rounds == 2 and not settings.repeats and time.perf_counter() - started > LONG_SECONDS:
            break
        for precision in settings.precisions:
            folder = settings.temp / f"cache-{backbone}-{precision}-{rounds}"
            seconds, images = extract(
                data, folder, engines[precision], backbone=backbone, precision=precision
            )
            note(f"featx {precision}", images / seconds)
            note(f"alone {precision}", loaded[precision].run_alone(max(64, images / 2)))
        for name, loop in loops.items():
            note(name, images / loop.run(data, settings.temp))
        note("decode", decode_rate(data, spec.image))
        for name, peak in measure_peak().items():
            note(f"{name} product", peak)
        rounds += 1
    return {
        "images": images,
        "repeats": rounds,
        "flops": flops,
        "load seconds": {p: round(one.load_seconds, 1) for p, one in loaded.items()},
        "rounds": rates,
    }


def over(rates: Sequence[float], others: Sequence[float]) -> float:
    """Return the median over the rounds of one rate over another: both meet the same conditions."""
    return statistics.median(one / other for one, other in zip(rates, others, strict=True))


def in_turn(*rates: Sequence[float]) -> list[float]:
    """Return, a round, the rate of what does one thing and then the other on the same cores."""
    return [1 / sum(1 / rate for rate in some) for some in zip(*rates, strict=True)]


def extract(data: Path, cache: Path, engine: str, **options: Any) -> tuple[float, int]:
    """Return the seconds of one `featx.extract` into a new cache, and the number of images."""
    import featx

    started = time.perf_counter()
    report = featx.extract(data, weights="random", engine=engine, cache_dir=cache, **options)
    return time.perf_counter() - started, report.images


def table(settings: Settings) -> Rows:
    """From files to features on the disk, against peers in the same run."""
    rows = []
    for backbone in settings.backbones:
        found = settings.measure(backbone, peers=True)
        rounds = found["rounds"]
        for precision in settings.precisions:
            row = {"backbone": backbone, "precision": precision, "images": found["images"]}
            row["repeats"] = found["repeats"]
            rates = rounds[f"featx {precision}"]
            row["featx images/s"] = statistics.median(rates)
            missing = dict.fromkeys(PEERS.keys() - rounds.keys(), "not installed")
            medians = {p: statistics.median(rounds[p]) for p in PEERS if p in rounds} | missing
            ratios = {p: over(rates, rounds[p]) for p in PEERS if p in rounds} | missing
            row |= {f"{peer} images/s": medians[peer] for peer in PEERS}
            row |= {f"over {peer}": ratios[peer] for peer in PEERS}
            row["load seconds"] = found["load seconds"][precision]
            rows.append(row)
    return rows


def overlap(settings: Settings) -> Rows:
    """End to end over the engine alone, and over what decoding and forward passes cost together.

    On a CPU both are done by the same cores, so that an image cannot cost less than both.
    """
    rows = []
    for backbone in settings.backbones:
        found = settings.measure(backbone)
        for precision in settings.precisions:
            rates, alone = (found["rounds"][f"{name} {precision}"] for name in ("featx", "alone"))
            decode = found["rounds"]["decode"]
            both = in_turn(decode, alone)
            row = {"backbone": backbone, "precision": precision, "repeats": found["repeats"]}
            names = ("featx", "engine alone", "decoding alone", "both together")
            for name, values in zip(names, (rates, alone, decode, both), strict=True):
                row[f"{name} images/s"] = statistics.median(values)
            row |= {"over engine alone": over(rates, alone)}
            row |= {"over both together": over(rates, both)}
            rows.append(row)
    return rows


def decode_rate(data: Path, image: ImageSpec) -> float:
    """Return images a second from files to pixels, on all cores."""
    from featx.datasets.digest import digest_file
    from featx.extraction.pipeline import decode_file, decode_threads

    files = [(str(path), digest_file(str(path))[0]) for path in sorted(data.glob("*/*"))]
    with ThreadPoolExecutor(decode_threads()) as pool:
        started = time.perf_counter()
        list(pool.map(lambda item: decode_file(*item, {image}), files))
        return len(files) / (time.perf_counter() - started)


def shared(settings: Settings) -> Rows:
    """Two backbones with three taps each in one call, against six calls for one each."""
    pair, taps = ("mobilenet", "mobilenet(alpha=0.5)"), ("avg", "max", "flatten")
    data = settings.photos("mobilenet", SHARED)
    repeats = settings.repeats or REPEATS
    single = [Loaded(settings.engine, text, taps=(tap,)) for text in pair for tap in taps]
    together = [Loaded(settings.engine, text, taps=taps) for text in pair]
    apart, once = ReadyEngine(single).name, ReadyEngine(together).name
    seconds: dict[str, list[float]] = {"one call": [], "single calls": []}
    images = 0
    for repeat in range(repeats):
        folder = settings.temp / f"shared-{repeat}"
        spent, images = extract(data, folder, once, backbone=list(pair), pooling=list(taps))
        seconds["one call"].append(spent)
        seconds["single calls"].append(
            sum(
                extract(data, folder / f"{n}-{tap}", apart, backbone=text, pooling=tap)[0]
                for n, text in enumerate(pair)
                for tap in taps
            )
        )
    one, many = (statistics.median(values) for values in seconds.values())
    row: dict[str, Any] = {"backbones": " and ".join(pair), "taps": ", ".join(taps)}
    row |= {"images": images, "repeats": repeats}
    row |= {"one call seconds": one, "six single calls seconds": many, "one over six": one / many}
    return [row]


def roofline(settings: Settings) -> Rows:
    """The arithmetic done in a second over what the machine can do at float32."""
    rows = []
    for backbone in settings.backbones:
        found = settings.measure(backbone)
        rounds = found["rounds"]
        products = {name: rates for name, rates in rounds.items() if name.endswith("product")}
        peak = [max(some) for some in zip(*products.values(), strict=True)]
        for precision in settings.precisions:
            alone, whole = (
                [found["flops"] * rate / 1e9 for rate in rounds[f"{name} {precision}"]]
                for name in ("alone", "featx")
            )
            row = {"backbone": backbone, "precision": precision, "repeats": found["repeats"]}
            row |= {"GFLOP an image": found["flops"] / 1e9}
            row |= {"engine alone GFLOP/s": statistics.median(alone)}
            row |= {"featx GFLOP/s": statistics.median(whole)}
            row |= {f"{name} GFLOP/s": statistics.median(v) for name, v in products.items()}
            row |= {"engine alone of the peak": over(alone, peak)}
            row |= {"featx of the peak": over(whole, peak)}
            rows.append(row)
    return rows
