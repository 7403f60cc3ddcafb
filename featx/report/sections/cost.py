"""What everything cost: time by stage, memory, parameters, and when features pay off."""

from __future__ import annotations

import math
from typing import Any

from featx.compare.breakeven import NETWORKS, REPEATED, break_even, format_break_even
from featx.report.blocks import Block, Chart, Column, Section, Table, Text
from featx.report.figures import axis, colour, figure, log_ticks, plain, shorten
from featx.report.numbers import write_seconds
from featx.report.subject import Group, Subject, total_seconds

STAGES = (
    ("extract", "extract", "@c0"),
    ("select", "choose", "@c4"),
    ("fit", "fit", "@c2"),
    ("predict", "predict", "@c5"),
)
MAX_BARS = 15
MAX_REPEATS = 50


def show_cost(subject: Subject) -> Section:
    """Show time by stage, break-even with networks, and what each model is made of."""
    blocks: list[Block] = [_stages(subject), *_break_even(subject), _sizes(subject)]
    return Section("cost", "Cost", tuple(blocks))


def _ranked(subject: Subject) -> list[Group]:
    groups = subject.comparison.groups
    most = max(math.inf if g["shots"] is None else g["shots"] for g in groups)
    return [groups[i] for i in subject.level(None if most == math.inf else int(most))]


def _label(group: Group) -> str:
    words = (group["backbone"], group["tap"], group["head"])
    return " ".join(w for w in words if w) or group["kind"]


def _stages(subject: Subject) -> Chart:
    groups = _ranked(subject)[:MAX_BARS]
    keys = list(range(len(groups)))
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": words,
            "y": keys,
            "x": [g[f"{stage}_seconds"] for g in groups],
            "customdata": [
                [plain(_label(g)), write_seconds(g[f"{stage}_seconds"])] for g in groups
            ],
            "hovertemplate": f"%{{customdata[0]}}<br>{words}: %{{customdata[1]}}<extra></extra>",
            "marker": {"color": tint},
        }
        for stage, words, tint in STAGES
    ]
    slowest = max(groups, key=total_seconds)
    return Chart(
        "stages",
        "Time by stage",
        f"Seconds by stage of the {len(groups)} best models; {_label(slowest)} takes longest, "
        f"{write_seconds(total_seconds(slowest))}.",
        figure(
            traces,
            axis("seconds", rangemode="tozero"),
            {
                "tickvals": keys,
                "ticktext": [shorten(plain(_label(g)), 30) for g in groups],
                "autorange": "reversed",
                "showgrid": False,
                "ticks": "",
            },
            barmode="stack",
            bargap=0.35,
        ),
        note="Means over draws, with the most training images. Features are extracted once for "
        "all heads on them.",
        height=max(200, 130 + 28 * len(groups)),
    )


def _break_even(subject: Subject) -> list[Block]:
    found = break_even(subject.comparison.groups)
    if not found["pairs"]:
        return [
            Text(
                "Break-even with training a network: not applicable, "
                f"{'; '.join(found['not_applicable'])}. featx baseline and featx finetune add them."
            )
        ]
    costs = {c["name"]: c for c in found["costs"]}
    names = list(dict.fromkeys(n for p in found["pairs"] for n in (p["frozen"], p["network"])))
    repeats = list(range(1, MAX_REPEATS + 1))
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "name": plain(name),
            "mode": "lines",
            "x": repeats,
            "y": [
                max(costs[name]["once_seconds"] + n * costs[name]["each_seconds"], 1e-3)
                for n in repeats
            ],
            "hovertemplate": f"{plain(name)}<br>%{{x}} heads: %{{y:,.1f}} s<extra></extra>",
            "line": {
                "color": colour(i),
                "width": 2,
                "dash": "solid" if costs[name]["kind"] == "head" else "dash",
            },
        }
        for i, name in enumerate(names)
    ]
    values = [y for trace in traces for y in trace["y"]]
    spent = (min(values), max(values))
    rows = tuple(
        (
            pair["frozen"],
            pair["network"],
            NETWORKS[pair["kind"]],
            pair["difference"],
            *(_range(pair[what]) for what in REPEATED),
        )
        for pair in found["pairs"]
    )
    table = Table(
        "break-even",
        "Break-even",
        (
            Column("Frozen features"),
            Column("Network"),
            Column("Trained"),
            Column("Accuracy", "difference", "frozen features minus network"),
            *(Column(several.capitalize()) for _, several in REPEATED.values()),
        ),
        rows,
        note="How often frozen features must be used to cost less than the network trained anew "
        "each time.",
    )
    return [
        Chart(
            "break-even",
            "Break-even",
            format_break_even(found).replace("\n", " "),
            figure(
                traces,
                axis("heads trained on the same images", rangemode="tozero"),
                axis("time in all", type="log", **log_ticks(*spent)),
            ),
            note="Solid: features extracted once, a head fitted each time. Dashed: a network "
            "trained each time.",
            height=380,
        ),
        table,
    ]


def _range(found: Any) -> str:
    if found["after"] is None:
        return "never"
    if found["until"] is not None:
        return f"up to {found['until']}"
    return f"from {found['after']} on"


def _sizes(subject: Subject) -> Table:
    rows = []
    for group in _ranked(subject):
        cost = subject.first_run(group).cost
        rows.append(
            (
                _label(group),
                group["feature_dim"],
                cost.get("parameters_trained"),
                cost.get("parameters_frozen"),
                cost.get("layers"),
                cost.get("epochs"),
                cost.get("epoch_seconds"),
                cost.get("peak_memory_bytes"),
            )
        )
    columns = (
        Column("Model"),
        Column("Width", "count", "features an image"),
        Column("Trained", "count", "parameters trained"),
        Column("Frozen", "count", "parameters left as they are"),
        Column("Layers", "count"),
        Column("Epochs", "count"),
        Column("An epoch", "seconds"),
        Column("Peak memory", "bytes", "of the whole process until then"),
    )
    kept = [0] + [i for i in range(1, len(columns)) if any(row[i] is not None for row in rows)]
    return Table(
        "sizes",
        "Size and memory",
        tuple(columns[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in rows),
        folded=len(rows) > 30,
    )
