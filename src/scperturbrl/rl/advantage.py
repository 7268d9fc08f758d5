"""Advantage of a generated cell over the other cells of its condition."""

from __future__ import annotations

import torch
from torch import Tensor

from scperturbrl._core.distributed import add_up


def condition_advantage(rewarded: Tensor, weight: Tensor, *, floor: float = 0.05, clip: float = 5.0) -> Tensor:
    """How much better each cell is than the others of its condition.

    Each verifier's scores are centred and scaled within the condition, then averaged, so that no verifier dominates
    by its scale. The scale has a floor, so that negligible differences are not magnified: if all cells of a condition
    score the same, their advantage is zero.

    Parameters
    ----------
    rewarded
        ``(C, n, V)`` scores of n cells of each of C conditions.
    weight
        ``(C, V)`` weight of each verifier; 0 leaves it out, NaN scores included.
    floor
        Smallest standard deviation to divide by, relative to the verifier's mean spread over the C conditions (of all processes).
    clip
        Largest absolute advantage.

    Returns
    -------
    ``(C, n)`` advantages that sum to zero in each condition (before clipping).

    Examples
    --------
    >>> condition_advantage(torch.tensor([[[0.0], [1.0]]]), torch.ones(1, 1)).tolist()
    [[-0.7071067690849304, 0.7071067690849304]]
    """
    valid = (weight > 0)[:, None, :] & torch.isfinite(rewarded)
    scores = rewarded.masked_fill(~valid, 0)
    count = valid.sum(1, keepdim=True).clamp_min(1)
    centred = (scores - scores.sum(1, keepdim=True) / count).masked_fill(~valid, 0)
    scaled = centred / condition_scale(rewarded, weight, floor=floor)
    total = weight.sum(1)[:, None].clamp_min(1e-12)
    return ((scaled * weight[:, None, :]).sum(2) / total).clamp(-clip, clip)


def condition_scale(rewarded: Tensor, weight: Tensor, *, floor: float = 0.05) -> Tensor:
    """Standard deviation ``(C, 1, V)`` of each verifier within each condition, with the floor of :func:`condition_advantage`."""
    valid = (weight > 0)[:, None, :] & torch.isfinite(rewarded)
    scores = rewarded.masked_fill(~valid, 0)
    count = valid.sum(1, keepdim=True).clamp_min(1)
    centred = (scores - scores.sum(1, keepdim=True) / count).masked_fill(~valid, 0)
    spread = (centred.square().sum(1, keepdim=True) / (count - 1).clamp_min(1)).sqrt()
    known = valid.any(1, keepdim=True)
    total, n_known = (spread * known).sum(0, keepdim=True), known.sum(0, keepdim=True).to(spread.dtype)
    add_up(total, n_known)
    typical = total / n_known.clamp_min(1)
    return torch.maximum(spread, floor * typical).clamp_min(1e-6)
