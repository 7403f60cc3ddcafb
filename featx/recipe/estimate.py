"""How long the stages of a recipe will take, and how much of their features is cached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from featx.backbones import list_sizes, parse_backbone
from featx.doctor import keep_readings, load_readings
from featx.doctor.speed import read_speed
from featx.engines import choose_engine, choose_precision
from featx.extraction.steps import Extraction
from featx.progress import Bars
from featx.recipe.kinds import STAGE_KINDS
from featx.recipe.plan import Plan, Step, describe_stage, step_weights
from featx.recipe.tables import seconds_text, set_table
from featx.records import BackboneSpec, TapSpec

READING_SECONDS = 1.0
"""How long a backbone's speed is read for."""

TRAINING = 4.0
"""Times a forward pass of an engine that a training step takes an image: a Keras forward pass is
slower than an engine's, and the backward pass costs twice the forward pass."""

Speeds = dict[tuple[str, tuple[int, int]], float]
"""Images a second by backbone and image size."""


def estimate_steps(plan: Plan, progress: bool = False) -> list[dict[str, Any]]:
    """Tell what is cached and how long each stage will take.

    An extraction is tried on a few images. A network's time is told from its backbone's speed (the
    reading of `featx doctor`, or one taken now), and is an upper bound: training may stop early,
    and what is frozen is computed once. What cannot be told is None.

    Parameters
    ----------
    plan : Plan
    progress : bool
        Show progress on stderr.

    Returns
    -------
    list of dict
        A stage: "stage", "rows" and "cached" (feature rows wanted and there; None but for
        extractions), "estimate_seconds" (0 where it is done, None where there is no telling).
    """
    speeds = {(s.backbone, s.image_size): s.images_per_second for s in load_readings()
              if s.precision == "float32"}  # fmt: skip
    found = []
    for step in plan.steps:
        told: dict[str, Any] = {"stage": step.stage.name, "rows": None, "cached": None}
        if step.data is None:
            found.append({**told, "estimate_seconds": None})
            continue
        if step.stage.kind == "extract":
            told |= _count_rows(plan, step)
        if step.state == "done" or (told["rows"] and told["rows"] == told["cached"]):
            seconds: float | None = 0.0
        elif step.stage.kind == "extract":
            seconds = _try_extraction(plan, step, speeds, progress)
        else:
            seconds = _training_seconds(step, speeds)
        found.append({**told, "estimate_seconds": seconds})
    return found


def plan_text(plan: Plan, estimates: Sequence[dict[str, Any]]) -> str:
    """Return the plan for the terminal."""
    recipe = plan.recipe
    lines = [f"{recipe.title} ({recipe.path})"]
    lines += [f"study: {recipe.study}"] if recipe.study else []
    for name, data in plan.data.items():
        images, classes = len(data.index.samples), len(data.index.classes[0])
        lines.append(f"data {name}: {data.source}, {images} images of {classes} classes")
    rows = []
    for step, told in zip(plan.steps, estimates, strict=True):
        cached = f"{told['cached']} of {told['rows']} rows" if told["rows"] is not None else ""
        seconds = told["estimate_seconds"]
        what = step.reason if step.state == "left out" else describe_stage(step)
        time = "" if step.state == "left out" else _time(step, seconds)
        rows.append((step.stage.name, step.stage.kind, step.state, cached, time, what))
    header = ("stage", "kind", "state", "cached", "time", "what")
    lines += ["", set_table((header, rows), range(6)), ""]
    known = [t["estimate_seconds"] for t in estimates if t["estimate_seconds"]]
    lines += [f"note: {note}" for note in plan.notes]
    lines.append(
        f"In all at most about {seconds_text(sum(known))} where it can be told. Heads take seconds "
        "to minutes; training stops early where it no longer gains."
    )
    lines.append(f"Records go to: {plan.folder}")
    return "\n".join(lines)


def _time(step: Step, seconds: float | None) -> str:
    if step.stage.kind == "classify" and seconds is None:
        return "short"
    if seconds is None:
        return "not known"
    return "none" if not seconds else f"about {seconds_text(seconds)}"


def _specs(step: Step) -> list[BackboneSpec]:
    """Return the backbones of a stage at each of its image sizes."""
    sizes = list_sizes(step.settings.get("image_size"))
    return [
        parse_backbone(spec.text, weights=spec.weights, image_size=size)
        for size in sizes
        for spec in step_weights(step)
    ]


def _extraction(plan: Plan, step: Step, specs: Sequence[BackboneSpec], bars: Bars) -> Extraction:
    """Plan an extraction of the images in memory: no manifest has to be written for it."""
    assert step.data is not None
    pooling = step.settings.get("pooling", "avg")
    run = Extraction(
        index=step.data.index,
        source="",
        taps=tuple(TapSpec.parse(t) for t in ([pooling] if isinstance(pooling, str) else pooling)),
        cache_dir=plan.cache_dir,
        engine=str(step.settings.get("engine", "auto")),
        precision=_precision(step),
        stored=str(step.settings.get("stored", "float32")),
        compression=None,
        bars=bars,
    )
    for spec in specs:
        run.add(spec, create=False)
    return run


def _count_rows(plan: Plan, step: Step) -> dict[str, int]:
    """Count the rows that an extraction wants and those that the cache has; no Keras is needed."""
    with Bars(False) as bars:
        plans = [t.plan for t in _extraction(plan, step, _specs(step), bars).targets]
    todo = sum(len(p.extract) for p in plans)
    derived = sum(len({d for digests in p.derive.values() for d in digests}) for p in plans)
    there = sum(len(p.reuse) for p in plans) + derived
    return {"rows": todo + there, "cached": there}


def _precision(step: Step) -> str:
    asked = str(step.settings.get("precision", "float32"))
    return choose_precision(asked, "openvino")[0] if asked == "auto" else asked


def _try_extraction(plan: Plan, step: Step, speeds: Speeds, progress: bool) -> float:
    """Run a few images through each backbone; remember its speed for the networks."""
    total = 0.0
    for spec in _specs(step):
        with Bars(progress) as bars:
            needs = _extraction(plan, step, [spec], bars).plan_report(0.0).needs
        total += needs["seconds"]
        if needs["seconds"]:
            size = (spec.image.height, spec.image.width)
            speeds[spec.text, size] = needs["rows"] / needs["seconds"]
    return total


def _training_seconds(step: Step, speeds: Speeds) -> float | None:
    """Bound a network's training from above by its backbone's speed; None where it has none."""
    if step.stage.kind not in ("finetune", "baseline"):
        return None
    assert step.data is not None
    settings = {**STAGE_KINDS.get(step.stage.kind).arguments(), **step.settings}
    images = sum(s.split != "test" for s in step.data.index.samples)
    if all(s.split != "test" for s in step.data.index.samples):
        images = round(images * (1 - settings["test_fraction"]))
    classes = len(step.data.index.classes[0])
    rows = sum(images if n is None else min(images, n * classes) for n in settings["shots"])
    specs = _specs(step) if step.stage.kind == "finetune" else _scratch_backbones(settings)
    if len(specs) < len(settings.get("nets", specs)):
        return None
    repeats = settings["draws"] * len(_listed(settings.get("unfreeze", "all")))
    return sum(
        repeats * settings["epochs"] * rows * TRAINING / _speed(spec, speeds) for spec in specs
    )


def _scratch_backbones(settings: Mapping[str, Any]) -> list[BackboneSpec]:
    """Return the backbones among networks to train from scratch: "scratch(mobilenet_v2)"."""
    found = []
    for text in settings["nets"]:
        inside = re.fullmatch(r"\s*scratch\s*\(\s*(\w+)\s*\)\s*", text)
        if inside:
            found.append(
                parse_backbone(inside[1], weights="random", image_size=settings["image_size"])
            )
    return found


def _speed(spec: BackboneSpec, speeds: Speeds) -> float:
    """Return images a second, from a reading or from one taken now, which is kept."""
    size = (spec.image.height, spec.image.width)
    if (spec.text, size) not in speeds:
        engine, _ = choose_engine("auto")
        reading = read_speed(spec, engine, "float32", READING_SECONDS)
        keep_readings([reading])
        speeds[spec.text, size] = reading.images_per_second
    return speeds[spec.text, size]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
