"""What the user should know about a set of runs, each under a stable code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from featx.records import Finding, RunRecord

FEW_TEST_ROWS = 200
"""Below it the 95% interval of an accuracy of 0.9 is wider than 8 points."""

FEW_CLASS_ROWS = 10
"""Test rows a class, below which the class's own figures mean little."""

UNBALANCED = 5
"""Largest over smallest class among the training rows."""

COLLAPSED = 0.01
"""Spread of the features around their mean, over their length."""


def find_all(records: Sequence[RunRecord]) -> tuple[Finding, ...]:
    """Return what `CHECKS` find, in their order."""
    found = []
    for code, check in CHECKS.items():
        text = check(records)
        if text:
            found.append(Finding(code, text))
    return tuple(found)


def train_test_duplicates(records: Sequence[RunRecord]) -> str:
    """Say that the very same image is trained and tested on."""
    count = max(r.split.get("train_test_duplicates", 0) for r in records)
    if not count:
        return ""
    return (
        f"{count} of {records[0].split['n_test']} test images are also training images, byte for "
        "byte: every accuracy here is too high. Take them out of one side."
    )


def at_grid_edge(records: Sequence[RunRecord]) -> str:
    """Say that a better value may lie beyond those tried."""
    named = [
        f"{_name(r)} ({r.selection['parameter']}={r.selection['chosen']:g})"
        for r in records
        if r.selection.get("at_edge")
    ]
    if not named:
        return ""
    return (
        f"The best value was the last one tried for {_listed(named)}: a better one may lie "
        "beyond. Give the parameter yourself to try it."
    )


def not_converged(records: Sequence[RunRecord]) -> str:
    """Say that a solver stopped before its optimality measure was met."""
    named = [
        _name(r)
        for r in records
        if r.cost.get("converged") is False
        or any(text.startswith("ConvergenceWarning") for text in r.cost.get("warnings", ()))
    ]
    if not named:
        return ""
    return (
        f"The solver stopped before it had converged in {_listed(named)}: its figures are those "
        "of an unfinished fit. A smaller C converges sooner."
    )


def too_few_test_rows(records: Sequence[RunRecord]) -> str:
    """Say that the test rows are too few to tell much."""
    record = records[0]
    n_test = record.split["n_test"]
    support = record.metrics["per_class"]["support"]
    few = [
        f"{name} ({n})"
        for name, n in zip(record.classes, support, strict=True)
        if n < FEW_CLASS_ROWS
    ]
    if n_test >= FEW_TEST_ROWS and not few:
        return ""
    text = f"There are {n_test} test images"
    if few:
        text += f", and fewer than {FEW_CLASS_ROWS} of {_listed(few)}"
    return text + ": read the intervals, not the figures."


def unbalanced_classes(records: Sequence[RunRecord]) -> str:
    """Say that accuracy is mostly that of the large classes."""
    pairs = [r.cost["rows_a_class"] for r in records if "rows_a_class" in r.cost]
    worst = max(pairs, key=lambda pair: pair[1] / pair[0], default=(1, 1))
    if worst[1] < UNBALANCED * worst[0]:
        return ""
    return (
        f"The largest class has {worst[1]} training images, the smallest {worst[0]}: look at macro "
        "F1 beside accuracy, and try class_weight='balanced'."
    )


def collapsed_embedding(records: Sequence[RunRecord]) -> str:
    """Say that all images have nearly the same features."""
    named = [
        f"{_source(r)} (spread {r.cost['spread']:.2g} of its length)"
        for r in records
        if r.cost.get("spread") is not None and r.cost["spread"] < COLLAPSED
    ]
    if not named:
        return ""
    return (
        f"All images have nearly the same features in {_listed(named)}: the weights or the input "
        "do not suit the backbone."
    )


def preprocessing_mismatch(records: Sequence[RunRecord]) -> str:
    """Say that features were made with another preprocessing than the backbone's own.

    Keys name the preprocessing that ran. featx itself always takes the catalog's, so this finds
    entries made by a version whose catalog was wrong, and entries written by other tools.
    """
    from featx.backbones.catalog import BACKBONES

    named = [
        f"{_source(r)} (made with {preprocess!r}, {backbone} wants "
        f"{BACKBONES.get(backbone).preprocess!r})"
        for r in records
        for backbone, preprocess in _prepared(r)
        if backbone in BACKBONES and preprocess != BACKBONES.get(backbone).preprocess
    ]
    if not named:
        return ""
    return f"{_listed(named)}: the accuracy is not what the backbone can do. Extract again."


def preprocessing_unknown(records: Sequence[RunRecord]) -> str:
    """Say that features came from elsewhere, where nothing is known of their making.

    Averages are left out, whose members are rows of their own, and random weights, which no
    preprocessing suits.
    """
    from featx.backbones.catalog import BACKBONES

    named = [
        _source(r)
        for r in records
        if r.kind == "head" and "members" not in r.params and not random_weights([r])
        if not _prepared(r) or any(backbone not in BACKBONES for backbone, _ in _prepared(r))
    ]
    if not named:
        return ""
    return (
        f"Whether the images were prepared as the backbone wants them cannot be told of "
        f"{_listed(named)}: the features were made elsewhere."
    )


def random_weights(records: Sequence[RunRecord]) -> str:
    """Say that a backbone was never trained."""
    named = [
        _source(r) for r in records if any(weights.startswith("random") for weights in _weights(r))
    ]
    if not named:
        return ""
    return (
        f"{_listed(named)} had random weights, not trained ones: its accuracy says nothing about "
        "the backbone."
    )


def fewer_than_shots(records: Sequence[RunRecord]) -> str:
    """Say that the split left a class fewer training images than the shots asked for."""
    short = [r for r in records if r.shots and r.split["n_train"] < r.shots * _drawn_classes(r)]
    if not short:
        return ""
    worst = max(short, key=lambda r: r.shots or 0)
    return (
        f"At {_listed([str(r.shots) for r in short])} shots some class has fewer training images "
        f"after the split ({worst.split['n_train']} in all instead of "
        f"{(worst.shots or 0) * _drawn_classes(worst)}); all it has were used. "
        "A smaller --test-fraction leaves more."
    )


def other_classes(records: Sequence[RunRecord]) -> str:
    """Say which classes are on one side only, where another data set is tested on."""
    split = records[0].split
    if not split.get("test_on"):
        return ""
    about = split["test_on_classes"]
    parts = []
    if about["only_in_test"]:
        parts.append(
            f"{about['rows_left_out']} images of {split['test_on']} were left out, whose classes "
            f"{records[0].dataset} does not have: {_listed(about['only_in_test'])}."
        )
    if about["only_in_training"]:
        parts.append(
            f"{split['test_on']} has no images of {_listed(about['only_in_training'])}: to predict "
            "these counts as wrong."
        )
    return " ".join(parts)


def overlap_with_imagenet(records: Sequence[RunRecord]) -> str:
    """Say which classes a classifier trained on ImageNet can name, and how well it does there."""
    texts = []
    for record in records:
        overlap = record.cost.get("overlap")
        if not overlap:
            continue
        text = f"{record.backbone}: {overlap['text']}. "
        if overlap["accuracy"] is None:
            text += "None of them is among the test images"
        else:
            low, high = overlap["accuracy_ci"]
            text += (
                f"Among the {overlap['n_test']} test images of these, told apart from each other "
                f"alone, accuracy is {overlap['accuracy']:.3f} ({low:.3f} to {high:.3f})"
            )
        if overlap["n_test_others"]:
            text += (
                f"; with the {overlap['n_test_others']} of other classes counted as wrong, "
                f"{record.metrics['accuracy']:.3f}"
            )
        taken = [
            f"{name} for {overlap['taken_for'][name][0][0]}"
            for name in overlap["others"]
            if overlap["taken_for"][name]
        ]
        if taken:
            text += f". Of the others some training images are mostly taken: {_listed(taken)}"
        texts.append(f"{text}.")
    return " ".join(texts)


def _drawn_classes(record: RunRecord) -> int:
    """How many classes the shots were drawn of: those of another column, or the record's own."""
    return int(record.split.get("drawn_by", {}).get("classes", len(record.classes)))


CHECKS: dict[str, Callable[[Sequence[RunRecord]], str]] = {
    "preprocessing-mismatch": preprocessing_mismatch,
    "preprocessing-unknown": preprocessing_unknown,
    "random-weights": random_weights,
    "collapsed-embedding": collapsed_embedding,
    "train-test-duplicates": train_test_duplicates,
    "other-classes": other_classes,
    "imagenet-overlap": overlap_with_imagenet,
    "fewer-than-shots": fewer_than_shots,
    "too-few-test-rows": too_few_test_rows,
    "unbalanced-classes": unbalanced_classes,
    "not-converged": not_converged,
    "c-at-grid-edge": at_grid_edge,
}
"""Code to the function that returns the finding's text, empty where there is nothing to say."""


def _weights(record: RunRecord) -> list[str]:
    """Digests of the weights that the features were made with."""
    parts = [part["key"]["weights"] for part in record.parts if part["key"]]
    return [record.key.weights, *parts] if record.key else parts


def _prepared(record: RunRecord) -> list[tuple[str, str]]:
    """Return backbone and preprocessing of each cache entry that the features come from."""
    keys = [part["key"] for part in record.parts if part.get("key")]
    found = [(key["backbone"], key["preprocess"]) for key in keys]
    return [(record.key.backbone, record.key.preprocess), *found] if record.key else found


def _source(record: RunRecord) -> str:
    return " ".join(w for w in (record.backbone, record.tap) if w) or record.dataset


def _name(record: RunRecord) -> str:
    shots = "" if record.shots is None else f" at {record.shots} shots"
    return f"{_source(record)} {record.head.text}{shots}"


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Write distinct names, the first few of them."""
    distinct = list(dict.fromkeys(names))
    rest = len(distinct) - most
    return ", ".join(distinct[:most]) + (f" and {rest} more" if rest > 0 else "")
