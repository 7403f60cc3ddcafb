"""What a person sees who types a wrong thing: one readable line with the remedy, exit 1."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from featx.cli import app
from featx.cli.options import Duration

REPO = Path(__file__).resolve().parents[2]

Cli = Callable[..., tuple[int, str, str]]


def commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []

    def walk(name: str, command: click.Command) -> None:
        found.append((name, command))
        if isinstance(command, click.Group):
            for sub in command.commands.values():
                walk(f"{name} {sub.name}", sub)

    walk("featx", app)
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda v: v if type(v) is str else "")
def test_every_command_and_option_has_help(name: str, command: click.Command) -> None:
    assert command.help, name
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name}"


def test_help_imports_nothing_heavy() -> None:
    code = textwrap.dedent("""
        import sys
        sys.argv = ["featx", "--help"]
        from featx.cli import main
        try:
            main()
        except SystemExit as stop:
            assert not stop.code
        heavy = {"numpy", "h5py", "sklearn", "keras", "tensorflow", "openvino", "PIL", "scipy"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)


def test_classify_with_a_linear_head_never_imports_keras(extracted: Path, tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import sys
        sys.argv = ["featx", "classify", {str(extracted)!r}, "--head", "linear_svc,logreg,ridge"]
        from featx.cli import main
        try:
            main()
        except SystemExit as stop:
            assert not stop.code
        heavy = {{"keras", "tensorflow", "openvino", "jax", "torch"}}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_three_ways_in_are_one_main() -> None:
    versions = {
        subprocess.run(
            [*command, "--version"], cwd=REPO, capture_output=True, text=True, check=True
        ).stdout
        for command in (
            [sys.executable, "cli.py"],
            [sys.executable, "-m", "featx"],
            [str(script())],
        )
    }
    assert len(versions) == 1


def test_the_process_ends_at_once_when_all_is_done() -> None:
    code = textwrap.dedent("""
        import atexit, sys, threading, time
        import featx.cli
        class Module:
            def __del__(self):
                print("taken apart", file=sys.__stderr__, flush=True)
        module = Module()
        def late():
            time.sleep(0.3)
            print("thread")
        def main():
            atexit.register(print, "atexit")
            threading.Thread(target=late).start()
            sys.exit(3)
        featx.cli.main = main
        featx.cli.start()
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout.split() == ["thread", "atexit"]
    assert not done.stderr


def test_an_error_of_our_own_is_told_in_full() -> None:
    code = "import featx.cli; featx.cli.main = lambda: 1 / 0; featx.cli.start()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def script() -> Path:
    """The installed `featx` command."""
    return Path(sys.executable).parent / "featx"


def bad_input(name: str, folder: Path) -> list[object]:
    """Return the words of a command line that must fail readably."""
    empty, one, few = folder / "empty", folder / "one", folder / "few"
    if name == "empty":
        empty.mkdir()
    if name == "one-class":
        from conftest import make_photos

        make_photos(one, classes=1)
    if name == "flat":
        from conftest import make_photos

        make_photos(few)
        few = few / "class0"
    readonly = folder / "file"
    readonly.write_text("in the way")
    weights = ["--weights", "random", "--engine", "projection"]
    return {
        "no-such-folder": ["extract", folder / "nowhere", *weights],
        "empty": ["extract", empty, *weights],
        "one-class": ["extract", one, *weights],
        "flat": ["extract", few, *weights],
        "not-an-archive": ["extract", readonly, *weights],
        "backbone": ["extract", folder / "photos", "-b", "resnet5", *weights],
        "backbone-param": ["extract", folder / "photos", "-b", "mobilenet(alhpa=0.5)", *weights],
        "backbone-spec": ["extract", folder / "photos", "-b", "mobilenet(", *weights],
        "tap": ["extract", folder / "photos", "-p", "block1:mean", *weights],
        "weights-file": ["extract", folder / "photos", "-w", "nowhere.weights.h5"],
        "image-size": ["extract", folder / "photos", "--image-size", "8", *weights],
        "image-size-text": ["extract", folder / "photos", "--image-size", "big", *weights],
        "engine": ["extract", folder / "photos", "-w", "random", "--engine", "onyx"],
        "cache-dir": ["extract", folder / "photos", "--cache-dir", readonly / "x", *weights],
        "not-extracted": ["classify", folder / "photos"],
        "unknown-data": ["classify", "no-such-data-set"],
    }[name]


@pytest.mark.parametrize(
    ("name", "words"),
    {
        "no-such-folder": "nowhere",
        "empty": "empty",
        "one-class": "one",
        "flat": "class",
        "not-an-archive": "file",
        "backbone": "Did you mean 'resnet50'",
        "backbone-param": "Did you mean 'alpha'",
        "backbone-spec": "mobilenet(",
        "tap": "avg, max, flatten",
        "weights-file": "nowhere.weights.h5",
        "image-size": "32",
        "image-size-text": "192x256",
        "engine": "featx list engines",
        "cache-dir": "--cache-dir",
        "not-extracted": "featx extract",
        "unknown-data": "featx extract no-such-data-set",
    }.items(),
)
def test_a_wrong_input_is_one_line_with_the_remedy(
    cli: Cli, photos: Path, projection: str, tmp_path: Path, name: str, words: str
) -> None:
    status, out, err = cli(*bad_input(name, tmp_path))
    assert status == 1
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("Error: ")
    assert words in lines[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--head", "linear_svcc"], "Did you mean 'linear_svc'"),
        (["--head", "linear_svc(D=1)"], "'D'"),
        (["--head", "linear_svc(C=-1)"], "C"),
        (["--shots", "500"], "500"),
        (["--pooling", "flatten"], "featx extract"),
        (["--backbone", "vgg16"], "featx extract"),
        (["--target", "colour"], "colour"),
    ],
)
def test_a_wrong_request_of_classify_is_one_line_with_the_remedy(
    cli: Cli, extracted: Path, words: list[str], expected: str
) -> None:
    status, out, err = cli("classify", extracted, "--quiet", *words)
    assert status == 1
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert expected in err


@pytest.mark.parametrize("words", [["--shots", "0"], ["--shots", "few"], ["--draws", "0"], ["--x"]])
def test_wrong_usage_exits_with_2(cli: Cli, words: list[str]) -> None:
    status, _, err = cli("classify", *words)
    assert status == 2
    assert "Usage" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--deadline", "8h"], "--dry-run"),
        (["--images", "1000"], "--dry-run"),
        (["--dry-run", "--images", "0"], "--images"),
        *((["--dry-run", "--deadline", t], "8h, 90min, 2d") for t in ("soon", "8", "-1h", "0s")),
    ],
)
def test_wrong_usage_of_a_plan(cli: Cli, words: list[str], said: str) -> None:
    status, _, err = cli("extract", *words)
    assert status == 2
    assert said in err


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800), ("90min", 5400), ("2d", 172800), ("1.5 s", 1.5)]
)
def test_a_deadline_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


def test_an_unwritable_cache_directory_is_told_before_the_work(
    cli: Cli, photos: Path, projection: str, tmp_path: Path
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere; the case with a file in the way runs above")
    (tmp_path / "locked").mkdir(mode=0o500)
    status, _, err = cli(
        "extract", photos, "-w", "random", "--engine", projection, "--cache-dir", "locked"
    )
    assert status == 1
    assert "--cache-dir" in err


def test_classify_prints_a_table_and_keeps_a_record_a_run(
    cli: Cli, extracted: Path, tmp_path: Path
) -> None:
    status, out, _ = cli(
        "classify", extracted, "-e", "centroid,knn(k=1)", "-s", "2,all", "--draws", "2", "-q"
    )
    assert status == 0
    for word in ("mobilenet", "avg", "centroid", "knn(k=1)", "accuracy", "macro F1", "width"):
        assert word in out
    records = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("*.json")]
    assert {r["head"]["name"] for r in records} == {"centroid", "knn"}


def test_classify_json_is_one_document_of_the_stated_fields(cli: Cli, extracted: Path) -> None:
    status, out, _ = cli("classify", extracted, "-e", "centroid", "--json")
    assert status == 0
    document = json.loads(out)
    assert set(document) == {"rows", "findings", "break_even"}
    assert set(document["rows"][0]) >= {
        "kind", "backbone", "tap", "head", "params", "shots", "draw", "n_train", "n_test",
        "feature_dim", "accuracy", "accuracy_ci", "top5", "top10", "macro_f1", "macro_precision",
        "macro_recall", "extract_seconds", "select_seconds", "fit_seconds", "predict_seconds",
    }  # fmt: skip
    assert document["rows"][0]["kind"] == "head"


SLOW_RUN = """
import sys
sys.path.insert(0, {tests!r})
import fakes
fakes.register()
fakes.ProjectionEngine.seconds_per_batch = 0.5
from featx.cli import main
main()
"""


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [(signal.SIGINT, 130, "Stopped"), (signal.SIGTERM, 143, "Terminated")],
)
def test_a_run_that_is_stopped_keeps_what_was_done_and_the_next_goes_on(
    cli: Cli, photos: Path, projection: str, tmp_path: Path, sent: int, status: int, words: str
) -> None:
    code = SLOW_RUN.format(tests=str(REPO / "tests"))
    command = ["extract", str(photos), "-w", "random", "--engine", "projection"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    seen = ""
    while "extract" not in seen:  # the progress bar: a batch is through
        seen += process.stderr.read(1)
    time.sleep(0.1)
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert words in err
    assert "Traceback" not in err
    _, out, _ = cli(*command, "--json", "--quiet")
    report = json.loads(out)
    assert report["reused"] >= 8
    assert report["reused"] + report["extracted"] == 24
