"""Where the linear heads compute: in NumPy, or on an accelerator through PyTorch.

The environment variable FEATX_HEADS_DEVICE says which: ``numpy``, also where it is unset, or
``torch:`` and the name of a PyTorch device, such as ``torch:cuda``. Spaces and designs `place` what
is large there; the solver computes with the arrays that it is given, in what is common to NumPy and
PyTorch, and through the functions below where they differ. What has an entry a problem is brought
back to NumPy (`host`), as are the matrices to be factorised. PyTorch is imported when it is asked
for, and not before.

JAX is not among the choices: its arrays cannot be written to, as the solver does.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit as scipy_expit

from featx.errors import HeadError

Array = Any
"""An ndarray, or a tensor on the device."""

VARIABLE = "FEATX_HEADS_DEVICE"


def place(A: Array) -> Array:
    """Return `A` on the device that is asked for: itself, or a copy.

    Raises
    ------
    HeadError
        The device is not one, PyTorch is not installed, or the device does not work in float64.
    """
    name = os.environ.get(VARIABLE) or "numpy"
    if name == "numpy" or not isinstance(A, np.ndarray):
        return A
    return _tensor(A, _device(name))


def beside(A: NDArray[Any], like: Array) -> Array:
    """Return the ndarray `A` where `like` is."""
    return A if isinstance(like, np.ndarray) else _tensor(A, like.device)


def host(A: Array) -> NDArray[Any]:
    """Return `A` as an ndarray."""
    return A if isinstance(A, np.ndarray) else A.cpu().numpy()


def namespace(A: Array) -> Any:
    """Return the module whose functions take `A`: numpy or torch."""
    return np if isinstance(A, np.ndarray) else _torch()


def precision(A: Array) -> type[np.floating]:
    """Return np.float32 or np.float64, as the entries of `A` are."""
    return np.float32 if A.itemsize == 4 else np.float64


def cast(A: Array, dtype: Any, order: Any = "K") -> Array:
    """Return `A` in np.float32 or np.float64: itself, or a copy; `order` is of an ndarray."""
    if isinstance(A, np.ndarray):
        return A.astype(dtype, order=order, copy=False)
    return A.to(getattr(_torch(), np.dtype(dtype).name))


def copied(A: Array) -> Array:
    """Return a copy of `A`."""
    return A.copy() if isinstance(A, np.ndarray) else A.clone()


def positive_part(A: Array) -> Array:
    """Return ``max(A, 0)``; overwrites `A`."""
    return np.maximum(A, 0.0, out=A) if isinstance(A, np.ndarray) else A.clamp_(min=0.0)


def expit(A: Array) -> Array:
    """Return ``1 / (1 + exp(-A))``."""
    return scipy_expit(A) if isinstance(A, np.ndarray) else A.sigmoid()


def dots(A: Array, B: Array, subscripts: str) -> Array:
    """Return ``einsum(subscripts, A, B)``, also of tensors that differ in precision."""
    if isinstance(A, np.ndarray):
        return np.einsum(subscripts, A, B)
    if A.dtype != B.dtype:
        A, B = A.double(), B.double()
    return _torch().einsum(subscripts, A, B)


def _tensor(A: NDArray[Any], device: Any) -> Array:
    return _torch().tensor(np.ascontiguousarray(A), device=device)


def _torch() -> Any:
    import torch

    return torch


@cache
def _device(name: str) -> Any:
    kind, _, device = name.partition(":")
    if kind != "torch" or not device:
        raise HeadError(
            f"{VARIABLE}={name!r} is no device for the linear heads: write 'numpy', or 'torch:' "
            "and a device of PyTorch, such as 'torch:cuda'."
        )
    try:
        torch = _torch()
    except ImportError as error:
        raise HeadError(
            f"{VARIABLE}={name!r} needs PyTorch, which cannot be imported ({error}): install it "
            "with 'pip install torch', or unset the variable."
        ) from error
    try:
        found = torch.device(device)
        torch.ones(1, dtype=torch.float64, device=found).cpu()
    except Exception as error:  # RuntimeError, AssertionError or TypeError, as the device will
        reason = str(error).splitlines()[0]
        raise HeadError(
            f"{VARIABLE}={name!r} is no device that PyTorch computes on in float64 here "
            f"({reason}): name another, or unset the variable."
        ) from error
    return found
