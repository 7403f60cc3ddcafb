"""The reference pages say what the code says; the examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()
SHOWN = sorted({name for names in GENERATOR.PUBLIC.values() for name in names})


@pytest.mark.parametrize("page", GENERATOR.PAGES)
def test_pages_are_up_to_date(page: str) -> None:
    written = GENERATOR.PAGES[page]()
    assert (DOCS / page).read_text(encoding="utf-8") == written, f"docs/{page} is old: make docs"


def test_what_is_shown_is_there() -> None:
    missing = [name for name in SHOWN if not GENERATOR.is_there(name)]
    assert not missing
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^### ", text, re.M)) == len(SHOWN)


def test_everything_in_the_package_is_shown() -> None:
    import featx

    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for name in set(featx.__all__) - {"__version__", "heads"}:
        assert f"### featx.{name}\n" in text


def test_every_command_is_shown_and_says_what_it_does() -> None:
    from featx.cli import app

    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    found = list(GENERATOR.list_commands(app, ["featx"]))
    assert len(found) > 10
    for path, command in found:
        assert f"\n## {' '.join(path)}\n" in text
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{' '.join(path)} {parameter.opts[0]} says nothing"
                assert parameter.opts[0] in text


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_examples_in_docstrings_run(name: str, imagenet: None) -> None:
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    names = {**vars(importlib.import_module(module)), "featx": importlib.import_module("featx")}
    for example in doctest.DocTestFinder(recurse=True).find(found, attribute, globs=names):
        result = doctest.DocTestRunner().run(example)
        assert result.failed == 0, f"{example.name}: see above"
