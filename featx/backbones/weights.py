"""Which weights a backbone gets: found, downloaded or drawn, and their digest.

Nothing heavy is imported unless a file has to be downloaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
import sys
from pathlib import Path

from featx.backbones.catalog import BACKBONES
from featx.backbones.notop import EFFICIENTNET_MD5, NotopFile
from featx.backbones.parse import bound_params
from featx.errors import WeightsError
from featx.records import BackboneSpec, WeightsRecord
from featx.registry import near_misses

SUFFIXES = (".h5", ".hdf5", ".keras")
"""What the name of a weights file ends in (".weights.h5" among them)."""

RANDOM_SEED = 0
"""Seed of `weights="random"`."""

TEMPORARY = Path("/tmp/.keras")
"""Where Keras puts its files when its own folder cannot be written."""

DOWNLOAD_TIMEOUT_SECONDS = 15.0
"""Silence on the line after which a download is given up."""

_REMEDY = (
    "Give a file with WEIGHTS=PATH (--weights PATH), or take untrained ones with --weights random."
)

log = logging.getLogger("featx")


def resolve_weights(spec: BackboneSpec) -> WeightsRecord:
    """Find the weights that `spec.weights` asks for.

    Parameters
    ----------
    spec : BackboneSpec
        Its `weights` is "imagenet" (Keras's file, downloaded by Keras where it is not in Keras's
        cache), "random", "auto" (imagenet, else random with a warning) or a path.

    Returns
    -------
    WeightsRecord
        With the SHA-256 of the file, or "random-0".

    Raises
    ------
    WeightsError
        There is no such file, no ImageNet weights for these parameters, or no network.
    """
    if spec.weights == "random":
        return WeightsRecord("random", f"random-{RANDOM_SEED}")
    if spec.weights == "imagenet":
        path = _imagenet_path(spec)
        return WeightsRecord("imagenet", _file_digest(path, "sha256"), str(path))
    if spec.weights == "auto":
        try:
            path = _imagenet_path(spec)
        except WeightsError as error:
            log.warning(
                "NO IMAGENET WEIGHTS for %s: RANDOM, UNTRAINED WEIGHTS ARE USED. Features will "
                "be poor. (%s)",
                spec.text,
                error,
            )
            return WeightsRecord("random", f"random-{RANDOM_SEED}")
        return WeightsRecord("imagenet", _file_digest(path, "sha256"), str(path))
    return _file_record(spec)


def imagenet_file(spec: BackboneSpec) -> NotopFile:
    """Return the ImageNet file that belongs to `spec`.

    Raises
    ------
    WeightsError
        Keras has none for these parameters.
    """
    row = BACKBONES.get(spec.name)
    found = row.find_notop(bound_params(spec), spec.image.height, spec.image.width)
    if found is None:
        known = sorted({values for values, _ in row.notop})
        listed = "; ".join(
            ", ".join(f"{k}={v}" for k, v in zip(row.params, values, strict=True))
            for values in known
        )
        raise WeightsError(
            f"There are no ImageNet weights for {spec.text}. There are for: {listed}. {_REMEDY}"
        )
    return found


def keras_model_folders() -> list[Path]:
    """Return the folders where Keras may have put weights, in the order in which it looks."""
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    return [home / "models", TEMPORARY / "models"]


def _imagenet_path(spec: BackboneSpec) -> Path:
    file = imagenet_file(spec)
    for folder in keras_model_folders():
        if (folder / file.name).is_file():
            return folder / file.name
    return _download(file, spec)


def _download(file: NotopFile, spec: BackboneSpec) -> Path:
    """Let Keras download `file` into its cache."""
    from featx.quiet import import_keras

    keras = import_keras(describes=True)
    log.info("Downloading %s", file.url)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints its progress
            found = keras.utils.get_file(
                file.name, file.url, cache_subdir="models", file_hash=file.checksum or None
            )
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(
            f"Cannot download the ImageNet weights of {spec.text} ({reason}). {_REMEDY}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return Path(found)


def _file_record(spec: BackboneSpec) -> WeightsRecord:
    path = Path(spec.weights).expanduser()
    if path.is_dir():
        raise WeightsError(f"The weights {spec.weights!r} are a folder. Name the file in it.")
    if not path.is_file():
        raise WeightsError(_missing(spec.weights, path))
    if not path.name.endswith(SUFFIXES):
        raise WeightsError(
            f"Cannot tell what {spec.weights!r} is from its name: weights files end in "
            ".weights.h5, .h5 or .keras."
        )
    path = path.resolve()
    kind = "imagenet" if _is_imagenet(path, spec) else "file"
    return WeightsRecord(kind, _file_digest(path, "sha256"), str(path))


def _is_imagenet(path: Path, spec: BackboneSpec) -> bool:
    """Tell whether `path` is Keras's own ImageNet file of an EfficientNet, by its bytes.

    Keras changes the preprocessing of EfficientNet with these weights, so that the same file must
    mean the same wherever it lies.
    """
    known = EFFICIENTNET_MD5.get(spec.name, ())
    return bool(known) and _file_digest(path, "md5") in known


def _file_digest(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise WeightsError(f"Cannot read the weights file {path}: {error.strerror}.") from error


def _missing(text: str, path: Path) -> str:
    words = near_misses(text, ("imagenet", "random", "auto"))
    if words and "/" not in text and "." not in text:
        return f"No weights file {text!r}. Did you mean {words[0]!r}?"
    beside = []
    if path.parent.is_dir():
        beside = near_misses(path.name, (p.name for p in path.parent.iterdir() if p.is_file()))
    hint = f" Did you mean {str(path.parent / beside[0])!r}?" if beside else ""
    return f"No weights file {text!r}.{hint} Or use: imagenet, random, auto."
