"""The data sets of a recipe: found, cut to what the study took, and written as manifests.

A data set that is taken as it is keeps its own name and cache. One that is cut, or gets label
columns, or is made of two, becomes a CSV manifest of absolute paths in the run's folder; its rows
in the cache are named by content, so a larger cut of the same photos computes only what is new.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx.datasets import index_dataset
from featx.errors import DatasetError, RecipeError
from featx.recipe.cut import add_columns, choose_images
from featx.recipe.model import PARTS, DataSpec, Recipe
from featx.records import DatasetIndex, Sample, Samples
from featx.registry import near_misses

FEWEST = 2
"""Images of a class below which nothing can be both trained and tested on."""


@dataclass(frozen=True)
class ReadyData:
    """One data set of a recipe, ready for its stages.

    Attributes
    ----------
    name : str
        What stages call it.
    source : str
        What the user or the recipe named: a path, or a name such as "cifar100".
    index : DatasetIndex
        Its images.
    manifest : str
        Text of the CSV file that stages are given instead of `source`; "" for none.
    lacks : mapping of str to str
        Label columns that cannot be made of this data, with the reason.
    """

    name: str
    source: str
    index: DatasetIndex
    manifest: str = ""
    lacks: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over every image's digest, labels, split and group, in hex."""
        lines = sorted(f"{s.digest}\t{s.labels}\t{s.split}\t{s.group}" for s in self.index.samples)
        text = "\n".join([str(self.index.targets), *lines])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def smallest_class(self) -> int:
        """Images of the smallest class of the first label column."""
        return min(Counter(s.labels[0] for s in self.index.samples).values())

    def counts(self) -> dict[str, dict[str, int]]:
        """Return images of each class of the first column, a split at a time ("" is undivided)."""
        found: dict[str, Counter[str]] = {}
        for sample in self.index.samples:
            found.setdefault(sample.split, Counter())[sample.labels[0]] += 1
        order = [split for split in ("", *PARTS) if split in found]
        return {split: dict(sorted(found[split].items())) for split in order}

    def place(self, folder: Path) -> str:
        """Return what stages are given as data: the source, or where the manifest is or will be."""
        return str(folder / f"{self.index.name}.csv") if self.manifest else self.source

    def write(self, folder: Path) -> None:
        """Write the manifest, if there is one and it is not there already."""
        path = folder / f"{self.index.name}.csv"
        data = self.manifest.encode("utf-8", "surrogateescape")
        if self.manifest and not (path.is_file() and path.read_bytes() == data):
            path.write_bytes(data)


def ready_data(
    recipe: Recipe,
    given: Mapping[str, str],
    needed: Sequence[str],
    *,
    limit_per_class: int | None,
    work_dir: Path,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, ReadyData], dict[str, str]]:
    """Find and cut the data sets that a recipe needs.

    Parameters
    ----------
    recipe : Recipe
    given : mapping of str to str
        Path or name that the user gave a data set of the recipe.
    needed : sequence of str
        Names of the data sets that stages use.
    limit_per_class : int, optional
        At most so many images of each class, of all splits together.
    work_dir : Path
        As `featx.datasets.index_dataset`.

    Returns
    -------
    ready : dict of str to ReadyData
    absent : dict of str to str
        Optional data sets that are not there, with the reason.

    Raises
    ------
    RecipeError
        A data set is not at hand; says how to get it. A name in `given` that the recipe lacks.
    DatasetError
        A data set that is there and cannot be used.
    """
    _check_given(recipe, given)
    if limit_per_class is not None and limit_per_class < FEWEST:
        raise RecipeError(
            f"--limit-per-class {limit_per_class}: {FEWEST} images of a class or more are needed, "
            "to train and to test on."
        )
    ready: dict[str, ReadyData] = {}
    absent: dict[str, str] = {}
    bases = dict.fromkeys(
        base for name in needed for base in _bases(recipe.data[name]) if base in recipe.data
    )
    for name in bases:
        spec = recipe.data[name]
        source = given.get(name, spec.source)
        reason = _why_absent(spec, source, name in given)
        if reason and spec.optional and name not in given:
            absent[name] = reason
            continue
        if reason:
            raise RecipeError(_how_to_get(recipe, spec, reason))
        try:
            index = index_dataset(source, work_dir=work_dir, progress=progress)
        except DatasetError as error:
            if name in given:
                raise
            if spec.optional:
                absent[name] = str(error)
                continue
            raise RecipeError(_how_to_get(recipe, spec, str(error))) from error
        ready[name] = _cut(recipe, spec, source, index, limit_per_class)
    for name in dict.fromkeys(needed):
        spec = recipe.data[name]
        if not spec.train_on:
            continue
        missing = [base for base in _bases(spec) if base in absent]
        if missing:
            absent[name] = absent[missing[0]]
        else:
            made = _join(recipe, spec, ready[spec.train_on], ready[spec.test_on])
            if isinstance(made, str):
                absent[name] = made
            else:
                ready[name] = made
    return ready, absent


def _bases(spec: DataSpec) -> tuple[str, ...]:
    return (spec.train_on, spec.test_on) if spec.train_on else (spec.name,)


def _check_given(recipe: Recipe, given: Mapping[str, str]) -> None:
    own = [name for name, spec in recipe.data.items() if not spec.train_on]
    for name in given:
        if name not in own:
            near = near_misses(name, own)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise RecipeError(
                f"--data {name}=...: recipe {recipe.name} has no data set {name!r}.{hint} It has: "
                f"{', '.join(own)}."
            )


def _why_absent(spec: DataSpec, source: str, was_given: bool) -> str:
    if source:
        return ""
    return "the path given is empty" if was_given else "none is given"


def _how_to_get(recipe: Recipe, spec: DataSpec, reason: str) -> str:
    which = "" if spec.name == next(iter(recipe.data)) else f"{spec.name}="
    get = f" {spec.get}" if spec.get else ""
    return (
        f"Recipe {recipe.name} lacks its data set {spec.name!r} ({reason.rstrip('.')}).{get} Then "
        f"give its place with --data {which}PATH. Any folder of labelled photos may stand in."
    )


# --- cutting and joining -----------------------------------------------------------------------


def _cut(
    recipe: Recipe, spec: DataSpec, source: str, index: DatasetIndex, limit: int | None
) -> ReadyData:
    """Add label columns, and take the images that the study and the user ask for."""
    made, lacks = add_columns(spec, index)
    samples = choose_images(made, spec.subset, limit, recipe.seed)
    if made is index and len(samples) == len(index.samples) and not spec.subset:
        return ReadyData(spec.name, source, index, lacks=lacks)
    full = [replace(s, relpath=os.path.join(index.root, s.relpath)) for s in samples]
    name = f"{index.name[:40]}-{recipe.name}"
    cut = _below_root(replace(made, name=name, samples=Samples.of(full)))
    return ReadyData(spec.name, source, cut, _manifest(cut), lacks)


def _join(recipe: Recipe, spec: DataSpec, train: ReadyData, test: ReadyData) -> ReadyData | str:
    """Make a data set of one's training images and another's test images; or say why not."""
    learnt = [s for s in train.index.samples if s.split != "test"]
    known = {s.labels[0] for s in learnt}
    divided = any(s.split == "test" for s in test.index.samples)
    tested = [
        s
        for s in test.index.samples
        if s.labels[0] in known and s.split == ("test" if divided else s.split)
    ]
    if len({s.labels[0] for s in tested}) < 2:
        return (
            f"the data sets {train.name!r} and {test.name!r} have fewer than two classes in common"
        )
    samples = [
        replace(
            s, relpath=os.path.join(ready.index.root, s.relpath), labels=s.labels[:1], split=split
        )
        for ready, rows, test_side in ((train, learnt, False), (test, tested, True))
        for s in rows
        for split in ["test" if test_side else s.split or "train"]
    ]
    seen: dict[str, Sample] = {}
    for (
        sample
    ) in samples:  # a photo that is in both is tested on, so that it is not learnt by heart
        seen[sample.relpath] = sample
    index = _below_root(
        DatasetIndex(
            name=f"{train.index.name[:40]}-to-{test.index.name[:40]}",
            root="/",
            classes=(tuple(sorted({s.labels[0] for s in seen.values()})),),
            samples=Samples.of(seen.values()),
            targets=train.index.targets[:1],
        )
    )
    return ReadyData(spec.name, f"{train.source}, tested on {test.source}", index, _manifest(index))


def _below_root(index: DatasetIndex) -> DatasetIndex:
    """Move the root down to where all absolute paths lie below it, as reading a manifest does."""
    root = os.path.commonpath([os.path.dirname(s.relpath) for s in index.samples])
    samples = [replace(s, relpath=os.path.relpath(s.relpath, root)) for s in index.samples]
    ordered = sorted(samples, key=lambda s: s.relpath)
    return replace(index, root=root, samples=Samples.of(ordered))


def _manifest(index: DatasetIndex) -> str:
    """Return an index as the text of a CSV manifest of absolute paths."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *index.targets, "split", "group"])
    for s in index.samples:
        path = os.path.join(index.root, s.relpath)
        writer.writerow([path, *s.labels, s.split, s.group])
    return text.getvalue()
