from __future__ import annotations

from pathlib import Path

import pytest

from featx.backbones import parse_backbone, resolve_weights
from featx.engines import ENGINES, choose_engine
from featx.engines.device import cpu_batch_size, has_gpu, keras_backend
from featx.errors import EngineError, UnknownNameError
from featx.records import TapSpec


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """A machine described by what is installed, whether it has a GPU, and Keras's backend."""

    def describe(*installed: str, gpu: bool = False, backend: str = "tensorflow") -> None:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setenv("KERAS_BACKEND", backend)
        monkeypatch.setattr("featx.engines.choose.has_gpu", lambda: gpu)
        for module in ("openvino", "tensorflow", "jax"):
            monkeypatch.setattr(
                f"featx.engines.{module}.is_installed", lambda name: name in installed
            )

    return describe


def test_openvino_on_a_cpu(machine) -> None:  # type: ignore[no-untyped-def]
    machine("openvino", "tensorflow")
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
    machine("openvino", "tensorflow", backend="jax")
    with pytest.raises(EngineError, match="pip install jax"):
        choose_engine()


def test_an_engine_asked_for_by_name(machine) -> None:  # type: ignore[no-untyped-def]
    machine("tensorflow")
    assert choose_engine("tensorflow") == ("tensorflow", "asked for")
    with pytest.raises(EngineError, match="pip install openvino"):
        choose_engine("openvino")
    with pytest.raises(EngineError, match="pip install jax"):
        choose_engine("jax")
    machine("tensorflow", "jax")
    with pytest.raises(EngineError, match="KERAS_BACKEND=jax"):
        choose_engine("jax")


def test_unknown_engine() -> None:
    with pytest.raises(UnknownNameError, match="'openvino'"):
        choose_engine("openvion")


def test_keras_backend_is_the_environments_else_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert keras_backend() == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    assert keras_backend() == "torch"
    (tmp_path / "keras.json").write_text("not json")
    assert keras_backend() == "tensorflow"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert keras_backend() == "jax"


def test_a_hidden_gpu_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        has_gpu.cache_clear()
        assert not has_gpu()
    has_gpu.cache_clear()


@pytest.mark.parametrize("name", ["openvino", "tensorflow"])
def test_engines_refuse_another_keras_backend_and_precision(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ENGINES.get(name)
    if engine.missing():
        pytest.skip(f"not installed: {engine.missing()}")
    spec = parse_backbone("mobilenet", weights="random")
    arguments = (spec, resolve_weights(spec), [TapSpec("", "avg")])
    with pytest.raises(EngineError, match=r"float8.*float32"):
        engine.load(*arguments, "float8")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(EngineError, match="KERAS_BACKEND"):
        engine.load(*arguments, "float32")


def test_batch_size_depends_on_the_image_size_only() -> None:
    assert cpu_batch_size(224, 224) == cpu_batch_size(224, 224)
    sizes = [cpu_batch_size(s, s) for s in (32, 128, 224, 299, 600, 4096)]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) == 1
    assert all(size & (size - 1) == 0 for size in sizes)
