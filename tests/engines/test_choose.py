from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fakes
import pytest

from featx.backbones import parse_backbone, resolve_weights
from featx.backend import is_backend_chosen, keras_backend, require_backend
from featx.engines import ENGINES, choose_engine, choose_precision
from featx.engines.device import (
    cpu_batch_size,
    cpu_features,
    has_driver,
    has_gpu,
    has_native_bfloat16,
)
from featx.errors import EngineError, SpecError, UnknownNameError
from featx.records import TapSpec


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """A machine described by what is installed, whether it has a GPU, and Keras's backend."""

    def describe(
        *installed: str,
        gpu: bool = False,
        driver: bool = False,
        backend: str = "",
        imported: str = "",
        file: str = "",
    ) -> None:
        monkeypatch.delitem(sys.modules, "keras", raising=False)
        if imported:
            config = SimpleNamespace(backend=lambda: imported)
            monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(config=config))
        # Set first, so that the end of the test takes away what featx sets.
        monkeypatch.setenv("KERAS_BACKEND", backend)
        if not backend:
            monkeypatch.delenv("KERAS_BACKEND")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        (tmp_path / "keras.json").write_text(f'{{"backend": "{file}"}}' if file else "not json")
        monkeypatch.setattr("featx.engines.choose.has_gpu", lambda: gpu)
        monkeypatch.setattr("featx.engines.choose.has_driver", lambda: gpu or driver)
        for module in ("backend", *(f"engines.{m}" for m in ("openvino", "tensorflow", "jax"))):
            monkeypatch.setattr(f"featx.{module}.is_installed", lambda name: name in installed)

    return describe


def test_openvino_on_a_cpu(machine) -> None:  # type: ignore[no-untyped-def]
    machine("openvino", "tensorflow")
    assert choose_engine() == ("openvino", "the fastest on a CPU")
    assert "KERAS_BACKEND" not in os.environ  # Keras is left to whoever needs it


def test_openvino_needs_no_tensorflow(machine) -> None:  # type: ignore[no-untyped-def]
    for file in ("", "tensorflow", "openvino"):
        machine("openvino", file=file)
        assert choose_engine() == ("openvino", "the fastest on a CPU")


def test_tensorflow_where_openvino_is_not_installed_says_so(machine) -> None:  # type: ignore[no-untyped-def]
    machine("tensorflow")
    name, reason = choose_engine()
    assert name == "tensorflow"
    assert "pip install openvino" in reason


def test_tensorflow_on_a_gpu(machine) -> None:  # type: ignore[no-untyped-def]
    machine("openvino", "tensorflow", gpu=True)
    assert choose_engine() == ("tensorflow", "a GPU was found")


def test_jax_where_keras_is_set_to_it(machine) -> None:  # type: ignore[no-untyped-def]
    machine("openvino", "tensorflow", "jax", backend="jax")
    assert choose_engine()[0] == "jax"
    machine("openvino", "tensorflow", "jax", file="jax")
    assert choose_engine()[0] == "jax"
    machine("openvino", "jax", imported="jax")
    assert choose_engine()[0] == "jax"
    machine("openvino", "tensorflow", backend="jax")
    with pytest.raises(EngineError, match="pip install jax"):
        choose_engine()


def test_jax_without_tensorflow_only_where_there_may_be_a_gpu(machine) -> None:  # type: ignore[no-untyped-def]
    for file in ("tensorflow", ""):  # Keras writes "tensorflow" by itself
        machine("openvino", "jax", file=file)
        assert choose_engine() == ("openvino", "the fastest on a CPU")
        assert keras_backend() == "jax"  # for whatever is trained
        machine("openvino", "jax", file=file, driver=True)
        assert choose_engine() == ("jax", "a GPU was found, and no TensorFlow")
        assert os.environ["KERAS_BACKEND"] == "jax"


def test_jax_alone_says_what_would_be_faster(machine) -> None:  # type: ignore[no-untyped-def]
    machine("jax")
    name, reason = choose_engine()
    assert name == "jax"
    assert "pip install openvino" in reason
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_no_engine_at_all_says_what_to_install(machine) -> None:  # type: ignore[no-untyped-def]
    fakes.register()  # an engine that "auto" does not know
    machine("torch")
    with pytest.raises(
        EngineError, match=r"pip install openvino .*pip install tensorflow.*pip install jax"
    ):
        choose_engine()


def test_networks_need_a_backend_that_trains(machine) -> None:  # type: ignore[no-untyped-def]
    machine("torch")
    for describes in (False, True):
        with pytest.raises(EngineError, match=r"no backend here.*pip install tensorflow"):
            require_backend(describes=describes)
    machine("openvino")
    with pytest.raises(EngineError, match=r"openvino here\. Run: pip install tensorflow$"):
        require_backend()
    assert "KERAS_BACKEND" not in os.environ
    for options in ({"backend": "openvino"}, {"imported": "openvino"}):
        machine("openvino", "tensorflow", **options)
        with pytest.raises(EngineError, match=r"openvino here\. Start afresh without KERAS_BACK"):
            require_backend()
    machine("openvino")
    require_backend(describes=True)
    assert os.environ["KERAS_BACKEND"] == "openvino"
    machine("openvino", "jax")
    require_backend()
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_who_chose_the_backend(machine) -> None:  # type: ignore[no-untyped-def]
    chosen = [{"backend": "tensorflow"}, {"file": "jax"}, {"imported": "tensorflow"}]
    for options in chosen:
        machine("tensorflow", "jax", **options)
        assert is_backend_chosen(), options
    for file in ("", "tensorflow"):
        machine("tensorflow", "jax", file=file)
        assert not is_backend_chosen(), file
        os.environ["KERAS_BACKEND"] = ""  # names none
        assert not is_backend_chosen(), file


def test_an_engine_asked_for_by_name(machine) -> None:  # type: ignore[no-untyped-def]
    machine("tensorflow")
    assert choose_engine("tensorflow") == ("tensorflow", "asked for")
    with pytest.raises(EngineError, match="pip install openvino"):
        choose_engine("openvino")
    with pytest.raises(EngineError, match="pip install jax"):
        choose_engine("jax")


def test_an_engine_asked_for_sets_keras_to_its_backend(machine) -> None:  # type: ignore[no-untyped-def]
    machine("openvino", "tensorflow", "jax")
    assert choose_engine("jax")[0] == "jax"
    assert keras_backend() == "jax"
    machine("openvino", "tensorflow", "jax", file="jax")
    assert choose_engine("tensorflow")[0] == "tensorflow"
    assert keras_backend() == "tensorflow"


def test_openvino_goes_with_every_backend(machine) -> None:  # type: ignore[no-untyped-def]
    for options in ({"backend": "jax"}, {"file": "jax"}, {"imported": "torch"}, {}):
        machine("openvino", "tensorflow", "jax", **options)
        before = keras_backend()
        assert choose_engine("openvino") == ("openvino", "asked for")
        assert keras_backend() == before


def test_an_engine_whose_backend_cannot_be_had_any_more(machine) -> None:  # type: ignore[no-untyped-def]
    machine("tensorflow", "jax", imported="tensorflow")
    with pytest.raises(EngineError, match=r"is imported with 'tensorflow'.*KERAS_BACKEND=jax"):
        choose_engine("jax")
    machine("openvino", "tensorflow", "jax", backend="jax")
    with pytest.raises(EngineError, match="without KERAS_BACKEND"):
        choose_engine("tensorflow")


def test_unknown_engine() -> None:
    with pytest.raises(UnknownNameError, match="'openvino'"):
        choose_engine("openvion")


def test_keras_backend_is_the_environments_else_the_files(machine) -> None:  # type: ignore[no-untyped-def]
    machine("tensorflow", "torch", "jax")
    assert keras_backend() == "tensorflow"
    machine("tensorflow", "torch", "jax", file="torch")
    assert keras_backend() == "torch"
    machine("tensorflow", "jax", file="torch")
    assert keras_backend() == "tensorflow"
    machine("tensorflow", "torch", "jax", file="torch", backend="jax")
    assert keras_backend() == "jax"
    machine("tensorflow", "jax", backend="jax", imported="tensorflow")
    assert keras_backend() == "tensorflow"
    machine("openvino", "jax")
    assert keras_backend() == "jax"
    machine("openvino", file="tensorflow")
    assert keras_backend() == "openvino"


NO_BACKEND = """
import sys
for name in ("tensorflow", "jax", "torch"):
    sys.modules[name] = None
import featx.backend
featx.backend.is_installed = lambda name: name in {installed}
from featx.errors import EngineError
from featx.quiet import import_keras
try:
    import_keras()
except EngineError as error:
    sys.exit(str(error))
"""


def test_keras_is_not_even_imported_where_it_has_no_backend(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", NO_BACKEND.format(installed=set())],
        env={**environment, "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Keras has no backend here")


def test_a_hidden_gpu_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/proc/driver/nvidia/version")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert has_driver()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        has_gpu.cache_clear()
        assert not has_gpu()
        assert not has_driver()
    has_gpu.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert has_driver()
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert not has_driver()


@pytest.mark.parametrize("name", ["openvino", "tensorflow"])
def test_engines_refuse_another_precision(name: str) -> None:
    engine, arguments = _engine(name)
    with pytest.raises(EngineError, match=r"float8.*float32"):
        engine.load(*arguments, "float8")


def test_tensorflow_refuses_another_keras_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, arguments = _engine("tensorflow")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(EngineError, match="KERAS_BACKEND"):
        engine.load(*arguments, "float32")


def _engine(name: str):  # type: ignore[no-untyped-def]
    engine = ENGINES.get(name)
    if engine.missing():
        pytest.skip(f"not installed: {engine.missing()}")
    spec = parse_backbone("mobilenet", weights="random")
    return engine, (spec, resolve_weights(spec), [TapSpec("", "avg")])


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A processor with the flags given, as /proc/cpuinfo tells them."""

    def describe(line: str) -> None:
        cpu_features.cache_clear()
        real = Path.read_text
        monkeypatch.setattr(
            Path,
            "read_text",
            lambda path, *a: line if str(path) == "/proc/cpuinfo" else real(path, *a),
        )
        monkeypatch.setattr("featx.engines.device.has_gpu", lambda: False)

    yield describe
    cpu_features.cache_clear()


@pytest.mark.parametrize(
    ("line", "native"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("flags\t\t: avx2 avx512f amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", False),
        ("Features\t: asimd bf16\n", True),
        ("Features\t: asimd\n", False),
        ("", False),
    ],
)
def test_auto_takes_bfloat16_only_where_it_is_native(flags, line: str, native: bool) -> None:  # type: ignore[no-untyped-def]
    flags(line)
    assert has_native_bfloat16("tensorflow") is native
    chosen, reason = choose_precision("auto", "tensorflow")
    assert chosen == ("bfloat16" if native else "float32")
    assert ("no native bfloat16" in reason) is not native
    assert choose_precision("auto", "jax")[0] == "float32"  # gains nothing on a CPU


def test_auto_takes_float32_where_the_engine_has_nothing_else(flags, projection: str) -> None:  # type: ignore[no-untyped-def]
    flags("flags : amx_bf16")
    chosen, reason = choose_precision("auto", projection)
    assert chosen == "float32"
    assert "projection" in reason


def test_a_precision_asked_for_is_taken_and_a_wrong_one_told(flags) -> None:  # type: ignore[no-untyped-def]
    flags("")
    assert choose_precision("bfloat16", "openvino") == ("bfloat16", "asked for")
    with pytest.raises(SpecError, match="float16"):
        choose_precision("float8", "openvino")


def test_batch_size_depends_on_the_image_size_only() -> None:
    assert cpu_batch_size(224, 224) == cpu_batch_size(224, 224)
    sizes = [cpu_batch_size(s, s) for s in (32, 128, 224, 299, 600, 4096)]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) == 1
    assert all(size & (size - 1) == 0 for size in sizes)
