"""Check weights from a file before they are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


_LOGARITHMS, _LARGEST_LOGARITHM = ("log_theta", "log_dispersion"), 30.0


def checked_weights(expected: Mapping[str, Tensor], weights: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return weights as tensors; raise an error for the first that does not match the `expected` ones."""
    unknown = set(weights) - set(expected)
    if unknown:
        msg = f"Unknown weights {sorted(unknown)[:3]}: these are not the weights of this generator."
        raise ValueError(msg)
    state = {}
    for name, own in expected.items():
        if name not in weights:
            msg = f"The weight {name!r} is missing."
            raise ValueError(msg)
        array = np.asarray(weights[name])
        # files return a single number in double precision
        if array.dtype != np.float32 and not (array.ndim == 0 and array.dtype == np.float64):
            msg = f"The weight {name!r} has type {array.dtype}; expected float32."
            raise ValueError(msg)
        value = torch.as_tensor(np.array(array, dtype=np.float32))
        if tuple(value.shape) != tuple(own.shape):
            msg = f"The weight {name!r} has shape {tuple(value.shape)}; expected {tuple(own.shape)}."
            raise ValueError(msg)
        # an unfitted observation layer has an infinite bound
        if torch.isnan(value).any() or (torch.isinf(value).any() and name != "observation.max_log_rate"):
            msg = f"The weight {name!r} holds values that are not finite."
            raise ValueError(msg)
        _check_range(name, value)
        state[name] = value
    return state


def _check_range(name: str, value: Tensor) -> None:
    """Raise ``ValueError`` if a finite number implies infinite rates or counts."""
    # 1e13 counts, or practically none
    if name.endswith(_LOGARITHMS) and value.numel() and float(value.abs().max()) > _LARGEST_LOGARITHM:
        msg = f"The weight {name!r} goes up to {float(value.abs().max()):.3g} in size; a logarithm is at most {_LARGEST_LOGARITHM:g}."
        raise ValueError(msg)
