"""Write docs/commands.md from the commands and docs/api.md from docstrings: `make docs`.

tests/docs holds the two pages to what this writes.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

DOCS = Path(__file__).resolve().parent

PUBLIC = {
    "Extract": ["featx.extract:extract", "featx.extraction.report:ExtractReport"],
    "Features": ["featx.store:load_features", "featx.records:FeatureSet"],
    "In a scikit-learn pipeline": ["featx.extractor:FeatureExtractor"],
    "Compare heads": ["featx.classify:classify", "featx.heads:make_head"],
    "Networks": ["featx.baseline:baseline", "featx.finetune:finetune", "featx.zeroshot:zeroshot"],
    "Runs": [
        "featx.runs:load_runs",
        "featx.compare:compare",
        "featx.compare:ShownComparison",
        "featx.records:Comparison",
        "featx.records:RunRecord",
    ],
    "Report": ["featx.report:write_report"],
    "Deploy": ["featx.deploy:export", "featx.deploy:load_model", "featx.deploy:DeployedModel"],
}
"""What the reference shows, by chapter: "module:name"."""

_HEADER = "<!-- Written by docs/generate.py (make docs): edit the docstrings. -->\n"
_SECTIONS = (
    "Parameters", "Attributes", "Returns", "Yields", "Raises", "See Also", "Notes", "Examples",
)  # fmt: skip


def write_commands() -> str:
    """Return the page of all commands, from what their --help says."""
    from featx.cli import app

    lines = [_HEADER, "# Commands", "", str(app.help), ""]
    lines += ["Exit status: 0 done; 1 an error, with the remedy; 2 wrong usage; 130 Ctrl-C.", ""]
    found = list(list_commands(app, ["featx"]))
    lines += [f"- [`{' '.join(path)}`](#{'-'.join(path)}): {_first(c)}" for path, c in found]
    for path, command in found:
        lines += ["", *_command(path, command)]
    return "\n".join(lines).rstrip() + "\n"


def list_commands(group: click.Group, path: list[str]) -> Iterator[tuple[list[str], click.Command]]:
    """Give every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from list_commands(command, [*path, name])
        else:
            yield [*path, name], command


def _first(command: click.Command) -> str:
    return _escaped(_paragraphs(command)[0].partition(". ")[0].rstrip(".") + ".")


def _paragraphs(command: click.Command) -> list[str]:
    text = inspect.cleandoc(command.help or "").split("\f")[0]
    return [" ".join(p.split()) for p in text.split("\n\n")]


def _command(path: list[str], command: click.Command) -> list[str]:
    context = click.Context(command, info_name=" ".join(path))
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## {' '.join(path)}", "", "```text", f"{' '.join(path)} {usage}", "```", ""]
    for paragraph in _paragraphs(command):
        lines += [*textwrap.wrap(_escaped(paragraph), 100, break_on_hyphens=False), ""]
    found = [parameter.get_help_record(context) for parameter in command.params]
    rows = [
        (name.replace("|", r"\|"), _escaped(text)) for name, text in filter(None, found) if text
    ]
    lines += ["| option | |", "| --- | --- |"] if rows else []
    return [*lines, *(f"| `{name}` | {text} |" for name, text in rows)]


def _escaped(text: str) -> str:
    return re.sub(r"([|<>*])", r"\\\1", " ".join(text.split()))


def write_api() -> str:
    """Return the page of what is public in Python, from its docstrings."""
    lines = [_HEADER, "# Python", ""]
    lines += [
        "What is in `featx` itself is shown as `featx.extract`, other names with their module.",
        "Start with [get started](get-started.md).",
        "",
    ]
    for chapter, names in PUBLIC.items():
        there = [name for name in names if is_there(name)]
        lines += [f"## {chapter}", ""] if there else []
        for name in there:
            lines += _entry(name)
    lines += ["## Errors", "", "```text"]
    tree = inspect.cleandoc(importlib.import_module("featx.errors").__doc__ or "")
    lines += [textwrap.dedent(tree.partition("::\n\n")[2]), "```"]
    return "\n".join(lines).rstrip() + "\n"


def is_there(name: str) -> bool:
    """Tell whether "module:name" can be imported."""
    module, _, attribute = name.partition(":")
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        return False


def _entry(name: str) -> Iterator[str]:
    import featx

    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    shown = f"featx.{attribute}" if attribute in featx.__all__ else f"{module}.{attribute}"
    yield f"### {shown}"
    yield ""
    made_by_featx = hasattr(found, "__dataclass_fields__")
    if not made_by_featx:
        yield from ["```text", _signature(shown, found), "```", ""]
    yield from _docstring(found)
    if inspect.isclass(found):
        for method, value in vars(found).items():
            if value.__doc__ and not method.startswith("_") and inspect.isfunction(value):
                yield f"#### {attribute}.{method}"
                yield ""
                yield from ["```text", _signature(f"{attribute}.{method}", value), "```", ""]
                yield from _docstring(value)


def _signature(name: str, found: Any) -> str:
    parameters = list(inspect.signature(found).parameters.values())
    parts = []
    for p in parameters:
        if p.name == "self":
            continue
        if p.kind is p.KEYWORD_ONLY and "*" not in parts and p.kind is not p.VAR_POSITIONAL:
            parts.append("*")
        parts.append(p.name if p.default is p.empty else f"{p.name}={p.default!r}")
    text = f"{name}({', '.join(parts)})"
    return "\n".join(textwrap.wrap(text, 96, subsequent_indent="    ", break_on_hyphens=False))


def _docstring(found: Any) -> Iterator[str]:
    """Give a NumPy docstring as Markdown."""
    lines = inspect.cleandoc(found.__doc__ or "").splitlines()
    section = ""
    body: list[str] = []
    for i, line in enumerate([*lines, "", ""]):
        following = lines[i + 1] if i + 1 < len(lines) else ""
        starts = line in _SECTIONS and set(following) == {"-"}
        if starts or i == len(lines):
            yield from _section(section, body)
            section, body = line, []
        elif not (set(line) == {"-"} and lines[i - 1] in _SECTIONS):
            body.append(line)


def _section(name: str, body: list[str]) -> Iterator[str]:
    while body and not body[-1]:
        body = body[:-1]
    if not body:
        return
    if not name:
        yield from [*map(_text, body), ""]
        return
    yield from [f"**{name}**", ""]
    if name == "Examples":
        yield from ["```pycon", *(line.partition("  # doctest:")[0] for line in body), "```", ""]
        return
    if name == "Notes":
        yield from [*map(_text, body), ""]
        return
    entry = ""
    for line in body:
        if line and not line.startswith(" "):
            if entry:
                yield entry
            what, colon, kind = line.partition(" : ")
            entry = f"- `{what}`" + (f" ({_text(kind)})" if colon else "")
            separator = ": "
        elif line.strip():
            entry += separator + _text(line.strip())
            separator = " "
    yield entry
    yield ""


def _text(line: str) -> str:
    """Return a line of a docstring as Markdown: double backticks are single ones there."""
    parts = re.split(r"(`[^`]*`)", line.replace("``", "`"))
    return "".join(p if p.startswith("`") else re.sub(r"([<>*])", r"\\\1", p) for p in parts)


PAGES = {"commands.md": write_commands, "api.md": write_api}
"""File to what returns its text."""

if __name__ == "__main__":
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), encoding="utf-8")
