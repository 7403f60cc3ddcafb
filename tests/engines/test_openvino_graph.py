"""The process that builds OpenVINO's graph: what comes back of it, and what does not reach it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from featx.backbones import build_graph, parse_backbone, resolve_weights
from featx.backend import is_installed
from featx.engines import ENGINES
from featx.engines.openvino_graph import FRAMEWORKS, GraphBuild, OpenVinoGraph, make_graph
from featx.errors import EngineError, EngineMemoryError, FeatxError, UnknownNameError, WeightsError
from featx.quiet import import_keras
from featx.records import BackboneSpec, TapSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed("openvino"), reason="openvino is not installed"),
]

SPEC = parse_backbone("mobilenet(alpha=0.25)", weights="random", image_size=(32, 64))
TAPS = [TapSpec.parse(tap) for tap in ("conv_pw_1_relu:avg", "flatten", "avg")]

Hook = Callable[..., None]


@pytest.fixture(scope="module")
def graph() -> OpenVinoGraph:
    return make_graph(SPEC, resolve_weights(SPEC), TAPS)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hook:
    """Put a module before all others, in this process and in those that it starts."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(module: str, code: str) -> None:
        (folder / f"{module}.py").write_text(code)

    return write


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_shapes_are_in_the_order_of_the_taps(graph: OpenVinoGraph) -> None:
    shapes = {"conv_pw_1_relu:avg": (16,), "flatten": (1, 2, 256), "avg": (256,)}
    assert list(graph.shapes.items()) == list(shapes.items())


def test_a_graph_compiles_for_batches_of_any_size(
    graph: OpenVinoGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 32, 64, 3), np.uint8)
    found = {}
    for size in (1, 3, 64):
        monkeypatch.setattr("featx.engines.openvino.cpu_batch_size", lambda *_, size=size: size)
        runner = ENGINES.get("openvino").compile(SPEC, graph, "float32")
        assert runner.batch_size == size
        found[size] = runner.run(pixels)
    for tap, values in found[1].items():
        assert values.shape == (7, np.prod(graph.shapes[tap]))
        for size in (3, 64):
            np.testing.assert_allclose(found[size][tap], values, rtol=1e-4, atol=1e-6)


def assert_same(found: OpenVinoGraph, graph: OpenVinoGraph) -> None:
    """Compare what two graphs give; the names and the order of their nodes may vary."""
    assert found.shapes == graph.shapes
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 64, 3), np.uint8)
    engine = ENGINES.get("openvino")
    rows, wanted = (engine.compile(SPEC, g, "float32").run(pixels) for g in (found, graph))
    for tap, values in wanted.items():
        np.testing.assert_array_equal(rows[tap], values)


def errors_of(spec: BackboneSpec, taps: list[TapSpec]) -> tuple[FeatxError, FeatxError]:
    """Return what building the graph raises here, and in the other process."""
    weights = resolve_weights(spec)
    with pytest.raises(FeatxError) as here:
        build_graph(spec, weights, taps)
    with pytest.raises(FeatxError) as there:
        make_graph(spec, weights, taps)
    return here.value, there.value


def test_weights_that_do_not_fit_are_the_same_error(tmp_path: Path, temporary: Path) -> None:
    keras = import_keras()
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(path)
    here, there = errors_of(parse_backbone("mobilenet", weights=str(path), image_size=32), TAPS)
    assert type(here) is type(there) is WeightsError
    assert "does not fit mobilenet" in str(there)
    assert str(there) == str(here)
    assert list(temporary.iterdir()) == []


def test_an_unknown_layer_is_the_same_error() -> None:
    here, there = errors_of(SPEC, [TapSpec("conv_pw_5_rel", "avg")])
    assert isinstance(here, UnknownNameError)
    assert isinstance(there, UnknownNameError)
    assert (there.kind, there.name, there.hint) == (here.kind, here.name, here.hint)
    assert list(there.near) == list(here.near)
    assert "conv_pw_5_relu" in there.near
    assert str(there) == str(here)


def test_the_working_directory_and_the_backend_chosen_here_do_not_reach_it(
    graph: OpenVinoGraph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("json", "keras", "numpy", "openvino", "featx", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as at a prompt
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text(
        '{"backend": "jax", "image_data_format": "channels_first", "floatx": "float16"}'
    )
    assert_same(make_graph(SPEC, resolve_weights(SPEC), TAPS), graph)


def test_what_python_prints_at_its_start_and_end_is_no_answer(
    graph: OpenVinoGraph, hook: Hook
) -> None:
    hook("sitecustomize", "import atexit\nprint('hello')\natexit.register(print, 'goodbye')")
    assert_same(make_graph(SPEC, resolve_weights(SPEC), TAPS), graph)


def test_frameworks_are_not_imported_where_they_are_installed(hook: Hook, tmp_path: Path) -> None:
    for name in FRAMEWORKS:
        hook(name, f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})")
    make_graph(SPEC, resolve_weights(SPEC), TAPS)
    assert not (tmp_path / "imported").exists()


def test_no_temporary_files_are_left(temporary: Path, hook: Hook) -> None:
    make_graph(SPEC, resolve_weights(SPEC), TAPS)
    assert list(temporary.iterdir()) == []
    # Killed at its end, when it has written all of them.
    hook("sitecustomize", "import os\nos._exit = lambda status: os.kill(os.getpid(), 9)")
    with pytest.raises(EngineMemoryError, match=r"mobilenet\(alpha=0.25\) was killed"):
        make_graph(SPEC, resolve_weights(SPEC), TAPS)
    assert list(temporary.iterdir()) == []


def test_a_graph_that_is_not_waited_for_is_given_up(temporary: Path) -> None:
    with GraphBuild(SPEC, resolve_weights(SPEC), TAPS) as build:
        started = psutil.Process(build.pid)
        assert started.is_running()
    assert not started.is_running()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("raise ImportError('libtbb.so.12: cannot open')", EngineError, "ImportError: libtbb"),
        ("import os; os._exit(3)", EngineError, "exit status 3"),
        ("import os; os.abort()", EngineError, "exit status -6"),
        ("raise MemoryError", EngineMemoryError, "MemoryError"),
        ("raise RuntimeError('std::bad_alloc')", EngineMemoryError, "bad_alloc"),
    ],
)
def test_a_failure_of_its_own_is_told(
    hook: Hook, code: str, kind: type[EngineError], text: str
) -> None:
    hook("openvino", code)
    with pytest.raises(EngineError, match=text) as caught:
        make_graph(SPEC, resolve_weights(SPEC), TAPS)
    assert type(caught.value) is kind


LOAD = """
import sys
from featx.backbones import parse_backbone, resolve_weights
from featx.engines import ENGINES, choose_engine
from featx.records import TapSpec

name, _ = choose_engine()
spec = parse_backbone("mobilenet(alpha=0.25)", weights="random", image_size=32)
ENGINES.get(name).load(spec, resolve_weights(spec), [TapSpec.parse("avg")], "float32")
print(name, *sorted({"keras", "tensorflow", "jax", "torch"} & set(sys.modules)))
"""


def test_this_process_needs_no_keras() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={**environment, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "openvino\n", done.stderr[-3000:]


SPARING = """
import sys
from featx.engines.openvino_graph import NEVER, _Sparing

sys.meta_path.insert(0, _Sparing())
import keras
assert "scipy.signal" in sys.modules
loaded = {"scipy.signal.windows", "scipy.stats", *NEVER} & set(sys.modules)
import scipy
print(sorted(loaded), scipy.signal.get_window("hann", 4).round(3).tolist())
"""


def test_what_backbones_never_use_is_imported_when_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPARING],
        env=os.environ | {"KERAS_BACKEND": "openvino"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[] [0.0, 0.5, 1.0, 0.5]\n", done.stderr[-3000:]


HIDE = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *etc: None if name in {hidden} else find(name, *etc)
"""


def test_all_but_networks_works_where_openvino_is_all_there_is(tmp_path: Path) -> None:
    hooks, work = tmp_path / "hooks", tmp_path / "work"
    hooks.mkdir()
    work.mkdir()
    (hooks / "sitecustomize.py").write_text(HIDE.format(hidden=FRAMEWORKS))
    path = os.pathsep.join(filter(None, [str(hooks), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "KERAS_HOME": str(tmp_path / "keras")}
    for name in ("KERAS_BACKEND", "FEATX_CACHE", "FEATX_RUNS"):
        environment.pop(name, None)

    def featx(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "featx", *words],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    options = ("--backbone", "mobilenet(alpha=0.25)", "--weights", "random", "--image-size", "32")
    done = featx("extract", "digits", *options, "--engine", "auto")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "(openvino, float32)" in done.stdout
    done = featx("classify", "digits", *options, "--head", "linear_svc", "--shots", "10")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "linear_svc" in done.stdout
    for words in (
        ("classify", "digits", *options, "--head", "mlp", "--shots", "10"),
        ("baseline", "digits", "--net", "simple_cnn", "--shots", "10"),
        ("extract", "digits", *options, "--engine", "tensorflow"),
    ):
        done = featx(*words)
        assert done.returncode == 1, done.stdout
        assert "pip install tensorflow" in done.stderr
        assert "Traceback" not in done.stderr
