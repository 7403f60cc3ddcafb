"""The files that a model is exported to: one module a format, nothing heavy imported before use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from featx.deploy.formats.keras import KerasFormat
from featx.deploy.formats.onnx import OnnxFormat
from featx.deploy.formats.openvino import OpenVinoFormat
from featx.deploy.formats.saved_model import SavedModelFormat
from featx.deploy.spec import ModelSpec
from featx.engines import Runner
from featx.errors import DeployError
from featx.registry import Registry

__all__ = ["FORMATS", "ModelFormat", "find_format", "format_of_file"]


class ModelFormat(Protocol):
    """A format to export to and to predict with."""

    name: str
    summary: str
    suffix: str  # of the file; "" is a folder
    converts: bool  # from TensorFlow's graph, so that exporting needs Keras on TensorFlow

    def missing(self, *, to_export: bool) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""

    def save(self, network: Any, path: Path, spec: ModelSpec) -> None:
        """Write a Keras network to `path`, with `spec` inside."""

    def load(self, path: Path) -> tuple[ModelSpec, Runner]:
        """Read a model back, ready to run.

        Raises
        ------
        DeployError
            It is damaged, or was not exported by featx.
        """


FORMATS = Registry[ModelFormat]("model format", hint="Use keras, saved_model, onnx or openvino.")
"""Every format by its name."""

FORMATS.register("keras", KerasFormat())
FORMATS.register("saved_model", SavedModelFormat())
FORMATS.register("onnx", OnnxFormat())
FORMATS.register("openvino", OpenVinoFormat())


def find_format(out: str | os.PathLike[str], name: str | None = None) -> ModelFormat:
    """Return the format to export to: the one named, else by the file's name.

    Raises
    ------
    DeployError
        The name of the file does not tell, or is not one of the format named.
    UnknownNameError
        No such format.
    """
    path = Path(out)
    told = [f for f in map(FORMATS.get, FORMATS.names()) if f.suffix and path.suffix == f.suffix]
    if name is None:
        if told:
            return told[0]
        if not path.suffix:
            return FORMATS.get("saved_model")
        raise DeployError(
            f"Cannot tell the format from {os.fspath(out)!r}: a name ends in .keras, .onnx or .xml "
            "(OpenVINO), or has no suffix (a SavedModel folder). Or say --format."
        )
    wanted = FORMATS.get(name)
    if wanted.suffix and path.suffix != wanted.suffix:
        raise DeployError(
            f"The name of a model in {name} format ends in {wanted.suffix}; received "
            f"{os.fspath(out)!r}."
        )
    if not wanted.suffix and told:
        raise DeployError(f"{os.fspath(out)!r} is not the name of a folder for a SavedModel.")
    return wanted


def format_of_file(path: Path) -> ModelFormat:
    """Return the format of a model file that is there.

    Raises
    ------
    DeployError
        There is none, or it is of no format that featx exports.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return FORMATS.get("saved_model")
        raise DeployError(f"{path} is a folder without a saved_model.pb: name a model file in it.")
    if not path.exists():
        raise DeployError(f"No model {str(path)!r}. Make one with: featx export RUN --out {path}")
    for name in FORMATS.names():
        if FORMATS.get(name).suffix == path.suffix:
            return FORMATS.get(name)
    hint = f" Name {path.with_suffix('.xml')}." if path.suffix == ".bin" else ""
    raise DeployError(
        f"{path} is not a model: its name ends in none of .keras, .onnx and .xml.{hint}"
    )
