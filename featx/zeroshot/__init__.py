"""Zero-shot: the pretrained ImageNet classifier on a data set, before anything is trained.

Classes of the data set that overlap ImageNet are found by name and WordNet synset, or are read from
a mapping file. The probability of a class is the sum of those of its ImageNet classes. Images of
classes that do not overlap are tested too, and count as wrong.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.zeroshot.mapping import OverlapSpec, propose_overlap, read_mapping, write_mapping

if TYPE_CHECKING:
    from featx.records import Comparison

__all__ = ["OverlapSpec", "propose_mapping", "propose_overlap", "read_mapping", "zeroshot"]


def zeroshot(
    data: str | os.PathLike[str] = "digits",
    *,
    backbones: Sequence[str] = ("mobilenet",),
    weights: Sequence[str] = (),
    mapping: str | os.PathLike[str] | None = None,
    target: str | None = None,
    test_fraction: float = 0.3,
    seed: int = 0,
    cache_dir: str | os.PathLike[str] = "features",
    runs_dir: str | os.PathLike[str] | None = "runs",
    progress: bool = False,
) -> Comparison:
    """Score pretrained ImageNet classifiers on the test images of `data`, keep the records.

    The test images are those of `featx.classify` with the same seed and test fraction, so that the
    rows can stand in one comparison.

    Parameters
    ----------
    data : str or path
        What `featx.extract` takes.
    backbones : sequence of str
        Spec strings: "mobilenet(alpha=0.25)".
    weights : sequence of str
        "imagenet" (Keras downloads the file with the classifier), or the path of such a file; one
        for all backbones or one for each. Default: "imagenet".
    mapping : path, optional
        Class → ImageNet classes (`featx.zeroshot.mapping.read_mapping`); default: by name.
    target : str, optional
        Label column; default: the first.
    test_fraction, seed
        As `featx.classify.classify`.
    cache_dir : path
        Where images out of archives and arrays are kept between runs; no features are cached.
    runs_dir : path, optional
        Where a record of each run is written; None writes none.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Comparison
        A row a backbone, of kind "zeroshot" and with 0 shots. Its "overlap" has the figures of the
        overlapping classes alone.

    Raises
    ------
    SpecError
        No class overlaps ImageNet, or weights that know no classes.
    WeightsError
        Weights that are not there, or lack the classifier.
    DatasetError
        A data set or mapping that cannot be used.
    """
    from featx.backbones.classifier import build_classifier
    from featx.compare import compare
    from featx.evaluate import list_tested
    from featx.extraction.request import pair_backbones
    from featx.progress import Bars
    from featx.runs import save_run
    from featx.training import load_images
    from featx.zeroshot.scoring import check_overlap, score_classifier

    specs = pair_backbones(backbones, weights, None, default="imagenet")
    dataset, target, classes = _list_classes(data, target, cache_dir)
    overlap = propose_overlap(classes) if mapping is None else read_mapping(mapping, classes)
    check_overlap(overlap, dataset)
    records, tested = [], None
    with Bars(progress) as bars:
        for spec in specs:
            bars(f"load {spec.text}", 0, 0)
            classifier, found = build_classifier(spec)
            images = load_images(
                data,
                image_size=(spec.image.height, spec.image.width),
                target=target,
                cache_dir=cache_dir,
                progress=bars,
            )
            record = score_classifier(
                classifier, spec, found, images, overlap, test_fraction=test_fraction, seed=seed
            )
            records.append(record)
            tested = tested or list_tested(images, record.arrays["test_rows"])
    if runs_dir is not None:
        for record in records:
            save_run(record, runs_dir, test_set=tested)
            tested = None  # written with the first
    return compare(records)


def propose_mapping(
    data: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    cache_dir: str | os.PathLike[str] = "features",
) -> OverlapSpec:
    """Write the mapping that `zeroshot` would use, to be edited and given back to it.

    Parameters
    ----------
    data, target, cache_dir
        As `zeroshot`.
    path : path
        The CSV file to write (`featx.zeroshot.mapping.write_mapping`).

    Returns
    -------
    OverlapSpec

    Raises
    ------
    RunError
        The file is there already, or cannot be written.
    DatasetError, SpecError
        As `zeroshot`.
    """
    _, _, classes = _list_classes(data, target, cache_dir)
    overlap = propose_overlap(classes)
    write_mapping(overlap, path)
    return overlap


def _list_classes(
    data: str | os.PathLike[str], target: str | None, cache_dir: str | os.PathLike[str]
) -> tuple[str, str, tuple[str, ...]]:
    """Return the name of the data set, the label column, and its classes."""
    from featx.datasets import index_dataset
    from featx.store import local_cache, prepare_cache_dir
    from featx.targets import list_targets

    root = local_cache(cache_dir)
    prepare_cache_dir(root)
    index = index_dataset(data, work_dir=root / ".sources")
    (column,) = list_targets([target or ""], index.targets, None)
    return index.name, column, index.classes[index.targets.index(column)]
