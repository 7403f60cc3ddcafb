"""The summary: who won, who came second, whether that is shown, and the price."""

from __future__ import annotations

from featx.compare.explained import explain
from featx.compare.table import runner_up
from featx.report.blocks import Block, Figures, Findings, Section, Text
from featx.report.figures import KIND_NAMES
from featx.report.numbers import count_of, write_bytes, write_percent, write_seconds
from featx.report.subject import Group, Subject, total_seconds


def show_summary(subject: Subject) -> Section:
    """Say it in words, with the few numbers that matter, and what to know first."""
    winner = subject.winner
    low, high = winner["accuracy_ci"]
    best = ", is best" if len(subject.comparison.groups) > 1 else ""
    blocks: list[Block] = [
        Text(
            f"{winner['name']}{best}: {write_percent(winner['accuracy'])} of the "
            f"{count_of(subject.n_test, 'test image')} right.",
            lead=True,
        ),
        Figures(
            (
                (
                    "Accuracy",
                    write_percent(winner["accuracy"]),
                    f"95%: {write_percent(low)} to {write_percent(high)}",
                ),
                ("Macro F1", f"{winner['macro_f1']:.3f}", "mean over classes"),
                ("Total time", write_seconds(total_seconds(winner)), "photos to predictions"),
                ("One more head", write_seconds(_again(winner)), "on the same features"),
            )
        ),
    ]
    texts = [runner_up(subject.comparison), _cheapest(subject), _price(subject), _networks(subject)]
    blocks += [Text(text) for text in texts if text]
    if subject.findings:
        blocks.append(Findings(tuple((f, explain(f.code)) for f in subject.findings)))
    else:
        blocks.append(Text("No check found anything to warn of."))
    return Section("summary", "Summary", tuple(blocks))


def _again(group: Group) -> float:
    return float(group["select_seconds"] + group["fit_seconds"])


def _price(subject: Subject) -> str:
    """Say what the winner cost."""
    group, record = subject.winner, subject.winning_run
    images = f" of {count_of(subject.view.rows, 'image')}" if subject.view else ""
    parts = []
    if group["extract_seconds"]:
        parts.append(f"{write_seconds(group['extract_seconds'])} to extract features{images}, once")
    parts.append(f"{write_seconds(_again(group))} to choose and fit")
    parts.append(
        f"{write_seconds(group['predict_seconds'])} to predict "
        f"{count_of(subject.n_test, 'test image')}"
    )
    text = f"The price: {', '.join(parts[:-1])}, and {parts[-1]}."
    trained, memory = record.cost.get("parameters_trained"), record.cost.get("peak_memory_bytes")
    if trained:
        text += f" {count_of(trained, 'parameter')} trained."
    if memory:
        text += f" The process took {write_bytes(memory)} of memory at most."
    return text


def _cheapest(subject: Subject) -> str:
    """Name what costs least among what is not shown to be worse than the winner."""
    groups = subject.comparison.groups
    place = groups.index(subject.winner)
    level = [
        groups[t["other"]]
        for t in subject.comparison.tests
        if t["best"] == place and not t["shown"]
    ]
    if not level:
        return ""
    best = min(level, key=total_seconds)
    if total_seconds(best) >= 0.9 * total_seconds(subject.winner):
        return ""
    return (
        f"Of what is not shown to be worse, {best['name']} takes least: "
        f"{write_seconds(total_seconds(best))} in all, at accuracy {best['accuracy']:.3f}."
    )


def _networks(subject: Subject) -> str:
    """Say how trained networks and the ImageNet head did, each kind's best."""
    texts = []
    for kind, words in KIND_NAMES.items():
        groups = [g for g in subject.comparison.groups if g["kind"] == kind]
        if kind == subject.winner["kind"] or not groups:
            continue
        best = max(groups, key=lambda g: (g["shots"] is None, g["accuracy"]))
        texts.append(
            f"{words}: {best['name']}, accuracy {best['accuracy']:.3f} in "
            f"{write_seconds(total_seconds(best))}."
        )
    return " ".join(texts)
