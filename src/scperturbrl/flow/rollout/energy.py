"""The differentiable energy distance to real training cells."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean Euclidean distance ``(C,)`` between points ``(C, n, d)`` and ``(C, m, d)``; rows of NaN in `y` are padding."""
    valid = torch.isfinite(y).all(-1)
    y = torch.where(valid[..., None], y, 0.0)
    squared = x.square().sum(-1)[:, :, None] + y.square().sum(-1)[:, None, :] - 2 * x @ y.mT
    # the square root has no gradient at 0, and rounding can give negative values
    distance = squared.clamp_min(1e-6).sqrt() * valid[:, None, :]
    return distance.sum((1, 2)) / (x.shape[1] * valid.sum(1))


def own_distance(x: Tensor) -> Tensor:
    """Mean distance ``(C,)`` between different points of ``(C, n, d)``."""
    n = x.shape[1]
    squared = x.square().sum(-1)
    squared = squared[:, :, None] + squared[:, None, :] - 2 * x @ x.mT
    off = ~torch.eye(n, dtype=torch.bool, device=x.device)
    return (squared.clamp_min(1e-6).sqrt() * off).sum((1, 2)) / (n * (n - 1))


def energy_distance(x: Tensor, y: Tensor, own_y: Tensor | None = None) -> Tensor:
    """Unbiased energy distance ``(C,)`` between populations; may be negative.

    ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` without pairs of a point with itself.

    Parameters
    ----------
    x
        ``(C, n, d)`` generated cells.
    y
        ``(C, m, d)`` real cells; rows of NaN are padding.
    own_y
        ``(C,)`` mean distance within `y` if it is known; 0 is used otherwise, which does not change the gradient.
    """
    value = 2 * mean_distance(x, y) - own_distance(x)
    return value if own_y is None else value - own_y


def padded_own_distance(y: Tensor) -> Tensor:
    """Mean distance ``(C,)`` between different real cells of ``(C, m, d)``, rows of NaN being padding."""
    return torch.stack([own_distance(block[torch.isfinite(block).all(-1)][None])[0] for block in y])
