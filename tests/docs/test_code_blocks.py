"""Every code block of the README and of docs/ is run, or parsed by what it is meant for."""

from __future__ import annotations

import configparser
import csv
import io
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from docblocks import LANGUAGES, REASONS, Block, list_blocks, list_commands

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in list_blocks(page)]
TO_RUN = [p for p in PAGES if any(b.language == "python" or b.mark for b in list_blocks(p))]
OTHER_PROGRAMS = {
    *(
        "cat",
        "cd",
        "cp",
        "curl",
        "docker",
        "export",
        "git",
        "h5ls",
        "head",
        "jq",
        "jupyter",
        "kubectl",
    ),
    *("ls", "mkdir", "mv", "unzip"),
}


def ids(block: Block) -> str:
    return block.where


def test_pages_and_blocks_were_found() -> None:
    assert len(PAGES) > 10
    assert len(BLOCKS) > 40
    assert {"python", "bash", "console"} <= {block.language for block in BLOCKS}


@pytest.mark.parametrize("block", BLOCKS, ids=ids)
def test_languages_and_reasons_are_known(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block.where}: name the language, or text"
    if block.mark:
        assert block.mark == "run" or block.reason in REASONS, f"{block.where}: {block.mark}"
    if block.reason:
        assert block.language == "python", f"{block.where} would not be run anyway"


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language in ("toml", "json", "csv")], ids=ids
)
def test_data_can_be_read(block: Block) -> None:
    if block.language == "toml":
        tomllib.loads(block.code)
    elif block.language == "json":
        json.loads(block.code)
    else:
        rows = list(csv.reader(io.StringIO(block.code), strict=True))
        assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml"], ids=ids)
def test_descriptions_of_clusters_are_valid(block: Block) -> None:
    yaml = pytest.importorskip("yaml")  # comes with Ray
    document = yaml.safe_load(block.code)
    if "cluster_name" in document:
        from ray.autoscaler._private.util import prepare_config, validate_config

        validate_config(prepare_config(document))
        assert document["head_node_type"] in document["available_node_types"]
        commands = [c for c in document["setup_commands"] if c.startswith("pip")]
    else:
        assert document["apiVersion"] == "ray.io/v1"
        cluster = document["spec"]["rayClusterSpec"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        mounts = [
            [(m["name"], m["mountPath"]) for m in c["volumeMounts"]]
            for group in groups
            for c in group["template"]["spec"]["containers"]
        ]
        assert mounts == mounts[:1] * len(groups), "not the same folders everywhere"
        commands = [document["spec"]["entrypoint"]]
    assert commands
    for command in commands:
        check_command(shlex.split(command))


# --- commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("bash", "console")], ids=ids)
def test_commands_can_be_given(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # nothing is there: paths that must exist are told by running
    commands = list_commands(block)
    assert commands, f"{block.where} has no command: is it text?"
    for line in commands:
        for words in split_pipeline(line):
            try:
                check_command(words)
            except (click.ClickException, AssertionError, ValueError) as error:
                text = error.format_message() if isinstance(error, click.ClickException) else error
                pytest.fail(f"{block.where}: {line}: {text}")


def split_pipeline(line: str) -> Iterator[list[str]]:
    """Give the words of each command of a line, without assignments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    skip = False
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                yield words
            words = []
        elif set(word) <= set("<>"):
            skip = True
        elif skip:
            skip = False
        else:
            words.append(word)


def check_command(words: list[str]) -> None:
    from featx.cli import app

    program = words[0]
    if program in ("python", "python3") and words[1:3] == ["-m", "featx"]:
        program, words = "featx", words[2:]
    elif program in ("python", "python3") and words[1] == "cli.py":
        program, words = "featx", words[1:]
    if program == "featx":
        parse(app, words[1:])
    elif program == "make":
        check_make(words[1:])
    elif program == "pip":
        check_pip(words[1:])
    elif program == "ray":
        check_ray(words[1:])
    elif program in ("python", "python3"):
        if words[1] == "-m":
            assert words[2] in ("pip", "pytest", "venv"), f"what is {words[2]}?"
        else:
            assert (REPO / words[1]).is_file(), f"there is no {words[1]}"
    else:
        assert program in OTHER_PROGRAMS, f"what is {program}?"


def parse(command: click.Command, words: list[str]) -> None:
    """Let click read the words, as far as it would before it runs the command."""
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(click.Context(command), words[0])
        assert inner is not None, f"there is no command {words[0]}"
        return parse(inner, words[1:])
    try:
        command.make_context(command.name, [*words])
    except click.exceptions.Exit:
        pass  # --help and --version
    except click.BadParameter as error:
        if "does not exist" not in error.message:  # files are not made for this
            raise


def check_make(words: list[str]) -> None:
    text = (REPO / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.M))
    patterns = re.findall(r"^([a-z]+-)%:", text, re.M)
    variables = set(re.findall(r"^([A-Z]+)\s*\?=", text, re.M))
    for word in words:
        name, equals, _ = word.partition("=")
        if equals:
            assert name in variables, f"the Makefile has no variable {name}"
        else:
            known = word in targets or any(word.startswith(p) for p in patterns)
            assert known, f"the Makefile has no target {word}"


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    setup = configparser.ConfigParser()
    setup.read(REPO / "setup.cfg")
    for word in words[1:]:
        found = re.fullmatch(r"(?:featx|\.)\[(.*)\]", word)
        for extra in found[1].split(",") if found else ():
            assert extra in setup["options.extras_require"], f"there is no extra {extra}"


def check_ray(words: list[str]) -> None:
    scripts = pytest.importorskip("ray.scripts.scripts")
    parse(scripts.cli, words)


# --- running -----------------------------------------------------------------------------------


@pytest.fixture
def page_dir(
    prepared: Path, imagenet: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder of its own for a page, with photos and cached features."""
    folder = tmp_path / "page"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", TO_RUN, ids=lambda page: page.name)
def test_pages_run(page: Path, page_dir: Path) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in list_blocks(page):
        if block.language == "python" and not block.reason:
            code = "\n" * (block.line - 1) + block.code  # so that errors name the page's line
            exec(compile(code, str(page), "exec"), names)
        elif block.mark == "run":
            for line in list_commands(block):
                run_command(block, line)


def run_command(block: Block, line: str) -> None:
    from featx.cli import app

    (words,) = split_pipeline(line)
    assert words[0] == "featx", f"{block.where}: only featx is run"
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, f"{block.where}: {line}: {result.output} {result.exception}"
