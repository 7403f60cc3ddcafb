"""The import layers of the architecture, enforced by reading every module's imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "featx"

# Low to high. A module imports lower layers and its own package only.
LAYERS = [
    {"errors"},
    {"specstring", "registry", "columns", "samples"},
    {"records", "backend", "quiet", "memory", "owner", "cluster"},
    {"datasets", "backbones", "engines", "store", "split", "heads", "metrics", "runs"},
    {
        "progress",
        "doctor",
        "extract",
        "extraction",
        "extractor",
        "embeddings",
        "sources",
        "selection",
        "fuse",
        "views",
        "targets",
        "across",
        "evaluate",
        "training",
    },
    {"compare", "report", "classify", "sweep", "baseline", "finetune", "zeroshot", "deploy"},
    {"recipe"},
    {"cli"},
]
# Inside a layer, who may still lean on whom (one way only).
SAME_LAYER = {
    "registry": {"errors"},
    "specstring": {"registry"},
    "samples": {"columns"},
    "quiet": {"backend"},
    "cluster": {"quiet"},
    "engines": {"backbones"},
    "extraction": {"progress"},
    "extract": {"extraction", "progress"},
    "extractor": {"extraction"},
    "training": {"evaluate", "progress", "extraction"},
    "classify": {"compare", "sweep"},
    "baseline": {"compare"},
    "finetune": {"compare", "baseline"},
    "zeroshot": {"compare"},
    "sources": {"embeddings", "fuse"},
    "views": {"embeddings", "extraction", "fuse", "sources"},
    "targets": {"sources"},
    "across": {"sources", "targets"},
    "evaluate": {"selection"},
    "report": {"compare"},
    "deploy": {"compare"},
}
# Third-party walls: who alone may import what.
WALLS = {
    "h5py": {"store"},
    "hdf5plugin": {"store"},
    "click": {"cli"},
    "keras": {
        "quiet",
        "backbones",
        "engines",
        "heads/mlp",
        "training",
        "baseline",
        "finetune",
        "zeroshot",
        "deploy",
    },
    "tensorflow": {"engines", "deploy"},
    "openvino": {"engines", "deploy"},
    "jax": {"engines"},
    "onnx": {"deploy"},
    "onnxruntime": {"deploy"},
    "tf2onnx": {"deploy"},
    "torch": {"heads/linear/device"},
    "ray": {"cluster"},
    "fsspec": {"store/remote"},
    "s3fs": set(),
    "gcsfs": set(),
}

MODULES = sorted(p for p in ROOT.rglob("*.py") if p.name not in ("__main__.py",))


def room(path: Path) -> str:
    """The layer name of a module: its package or its own name below featx/."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it out"
            found.append(node.module or "")
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def level(name: str) -> int:
    for i, names in enumerate(LAYERS):
        if name in names:
            return i
    raise AssertionError(f"featx.{name} has no layer: give it one in tests/test_layers.py")


def test_modules_were_found() -> None:
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_lower_layers_only(path: Path) -> None:
    mine = room(path)
    if mine == "__init__":
        mine = "cli"  # the package's front may name anything, lazily
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "featx" or len(parts) < 2 or parts[1] == mine or parts[1].startswith("__"):
            continue
        other = parts[1]
        allowed = level(other) < level(mine) or other in SAME_LAYER.get(mine, set())
        assert allowed, f"featx.{mine} imports featx.{other}, which is not below it"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_third_party_walls(path: Path) -> None:
    inside = str(path.relative_to(ROOT)).removesuffix(".py")
    for name in imports(path):
        top = name.split(".")[0]
        if top in WALLS:
            allowed = any(inside == w or inside.startswith(w + "/") for w in WALLS[top])
            assert allowed, f"featx/{inside}.py imports {top}; only {sorted(WALLS[top])} may"
