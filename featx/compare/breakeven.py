"""When frozen features have paid for themselves: what they cost once, and what each head costs.

Pure arithmetic on the groups of a comparison. A group's cost has two parts: *once*, extracting
the images (0 for a network trained from scratch), and *each*, choosing and fitting (for a network
the whole training). Against a network three things are counted, N times each, N = 1, 2, 3, …:

- **heads**: another head, or the same one fitted anew, on images that are extracted already:
  once + N·each;
- **classes**: a class of the mean size so far is added, its images are extracted, and the head is
  fitted anew: once + N·(once / classes + each);
- **retrains**: all images are new each time: N·(once + each).

The network is trained anew each time. Training it gets no dearer with a class more in this
arithmetic, which favours the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from featx.compare.groups import Group, best_group

NETWORKS = {"finetune": "fine-tuning", "baseline": "a network from scratch"}
"""Kinds that frozen features are held against, in words."""

REPEATED = {
    "heads": ("head", "heads"),
    "classes": ("added class", "added classes"),
    "retrains": ("training on new images", "trainings on new images"),
}
"""What may be repeated: one and several of it in words."""


def break_even(groups: Sequence[Group]) -> dict[str, Any]:
    """Return what each group costs, and after how many repetitions frozen features cost less.

    At each number of shots the most accurate head on frozen features is held against every
    network trained there; networks trained at a number of shots that no head was fitted at are
    left out.

    Parameters
    ----------
    groups : sequence of dict
        `featx.compare.groups.group_runs`; all seconds are means over draws.

    Returns
    -------
    dict
        "costs": a dict a group with "name", "kind", "shots", "accuracy", "once_seconds",
        "each_seconds", "points_a_minute" and "points_a_minute_next": accuracy in points (per cent)
        for each minute of the first one and of each further one, None where no time was taken.
        "pairs": a dict a frozen group and network with "shots", "frozen", "network" (names),
        "kind", "difference" (accuracy, frozen minus network), and for each of `REPEATED` a dict
        with "after", the N from which on frozen features cost less (None: never), and "until",
        the last N of which that is true (None: for ever).
        "not_applicable": a text for each of heads, fine-tuning and scratch that has no row.
    """
    frozen = [g for g in groups if g["kind"] == "head"]
    present = {g["kind"] for g in groups}
    absent = [] if frozen else ["heads on frozen features: no row of this comparison"]
    absent += [f"{w}: no row of this comparison" for k, w in NETWORKS.items() if k not in present]
    pairs = []
    for network in (g for g in groups if g["kind"] in NETWORKS):
        level = [g for g in frozen if g["shots"] == network["shots"]]
        if level:
            pairs.append(_pair(best_group(level), network))
    return {
        "costs": [_costs(g) for g in groups if g["kind"] == "head" or g["kind"] in NETWORKS],
        "pairs": pairs,
        "not_applicable": absent,
    }


def count_until_cheaper(
    once: float, each: float, other_once: float, other_each: float
) -> tuple[int | None, int | None]:
    """Return for which N `once + N·each` is below `other_once + N·other_each`.

    Parameters
    ----------
    once, each, other_once, other_each : float
        In one unit, none below 0.

    Returns
    -------
    after : int or None
        The first N from 1 of which it is true; None for none.
    until : int or None
        The last such N; None where it stays true.

    Examples
    --------
    >>> count_until_cheaper(18.0, 1.0, 0.0, 81.0)
    (1, None)
    >>> count_until_cheaper(100.0, 1.0, 0.0, 11.0)
    (11, None)
    >>> count_until_cheaper(0.0, 3.0, 10.0, 1.0)
    (1, 4)
    >>> count_until_cheaper(10.0, 2.0, 0.0, 1.0)
    (None, None)
    """
    lead, gain = once - other_once, other_each - each
    if gain > 0:
        return max(1, math.floor(lead / gain) + 1), None
    if lead + each >= other_each:  # dearer the first time, and no gain to make up for it
        return None, None
    return 1, None if gain == 0 else math.ceil(lead / gain) - 1


def format_break_even(found: Mapping[str, Any]) -> str:
    """Return `break_even(...)` as a few lines for the terminal.

    Empty where no network stands beside frozen features: there is nothing to break even with.
    """
    lines: list[str] = []
    seen: set[str] = set()
    costs = {c["name"]: c for c in found["costs"]}
    for pair in found["pairs"]:
        mine, other = costs[pair["frozen"]], costs[pair["network"]]
        if pair["frozen"] not in seen:
            seen.add(pair["frozen"])
            lines.append(
                f"Break-even of {pair['frozen']}: {_seconds(mine['once_seconds'])} to extract "
                f"once, {_seconds(mine['each_seconds'])} a head; {_rate(mine)}."
            )
        network = NETWORKS[pair["kind"]]
        once = other["once_seconds"]
        told = f"{_seconds(once)} once, then " if once else ""
        lines.append(
            f"  against {network}, {pair['network']} ({told}{_seconds(other['each_seconds'])} each "
            f"time; {_rate(other)}): cheaper {_counts(pair)}; accuracy "
            f"{100 * pair['difference']:+.1f} points."
        )
    if lines and found["not_applicable"]:
        lines.append(f"  not applicable: {'; '.join(found['not_applicable'])}.")
    return "\n".join(lines)


def _costs(group: Group) -> dict[str, Any]:
    once, each = _once(group), _each(group)
    points = 100 * group["accuracy"]
    return {
        "name": group["name"],
        "kind": group["kind"],
        "shots": group["shots"],
        "accuracy": group["accuracy"],
        "once_seconds": once,
        "each_seconds": each,
        "points_a_minute": 60 * points / (once + each) if once + each else None,
        "points_a_minute_next": 60 * points / each if each else None,
    }


def _pair(frozen: Group, network: Group) -> dict[str, Any]:
    once, each = _once(frozen), _each(frozen)
    other_once, other_each = _once(network), _each(network)
    classes = frozen["n_classes"]
    counts = {
        "heads": count_until_cheaper(once, each, other_once, other_each),
        "classes": count_until_cheaper(
            once, each + once / classes, other_once, other_each + other_once / classes
        ),
        "retrains": count_until_cheaper(0.0, once + each, 0.0, other_once + other_each),
    }
    return {
        "shots": network["shots"],
        "frozen": frozen["name"],
        "network": network["name"],
        "kind": network["kind"],
        "difference": frozen["accuracy"] - network["accuracy"],
        **{what: {"after": n, "until": last} for what, (n, last) in counts.items()},
    }


def _once(group: Group) -> float:
    return float(group["extract_seconds"])


def _each(group: Group) -> float:
    return float(group["select_seconds"] + group["fit_seconds"])


def _counts(pair: Mapping[str, Any]) -> str:
    """Say for how many repetitions frozen features cost less."""
    texts = []
    for what, (one, several) in REPEATED.items():
        after, until = pair[what]["after"], pair[what]["until"]
        if after is None:
            texts.append(f"for no number of {several}")
        elif until is not None:
            texts.append(f"for up to {until} {one if until == 1 else several}")
        else:
            texts.append(f"from the first {one}" if after == 1 else f"from {after} {several} on")
    return ", ".join(texts)


def _rate(cost: Mapping[str, Any]) -> str:
    first, following = cost["points_a_minute"], cost["points_a_minute_next"]
    if first is None or following is None:
        return "no time taken"
    text = f"{_number(first)} points of accuracy a minute"
    return text if _number(first) == _number(following) else f"{text}, {_number(following)} then"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _seconds(value: float) -> str:
    if value < 100:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"
