"""Advantages relative to the group."""

from __future__ import annotations

import torch
from torch import Tensor

from scperturbrl._core.distributed import add_up


def group_advantage(rewarded: Tensor, weight: Tensor, *, floor: float = 0.05, clip: float = 5.0) -> Tensor:
    """How much better each cell is than the others of its condition.

    Each verifier's scores are centred and scaled within the group, then averaged, so that no verifier dominates by its
    scale. The scale has a floor, so that negligible differences are not magnified: a group whose scores are all equal has
    advantage zero.

    Parameters
    ----------
    rewarded
        ``(C, n, V)`` scores of n cells of each of C conditions.
    weight
        ``(C, V)`` weight of each verifier; 0 leaves it out, NaN scores included.
    floor
        Smallest standard deviation to divide by, relative to the verifier's mean spread over the C groups (of all processes).
    clip
        Largest absolute advantage.

    Returns
    -------
    ``(C, n)`` advantages that sum to zero in each group (before clipping).

    Examples
    --------
    >>> group_advantage(torch.tensor([[[0.0], [1.0]]]), torch.ones(1, 1)).tolist()
    [[-0.7071067690849304, 0.7071067690849304]]
    """
    valid = (weight > 0)[:, None, :] & torch.isfinite(rewarded)
    scores = rewarded.masked_fill(~valid, 0)
    count = valid.sum(1, keepdim=True).clamp_min(1)
    centred = (scores - scores.sum(1, keepdim=True) / count).masked_fill(~valid, 0)
    scaled = centred / group_scale(rewarded, weight, floor=floor)
    total = weight.sum(1)[:, None].clamp_min(1e-12)
    return ((scaled * weight[:, None, :]).sum(2) / total).clamp(-clip, clip)


def group_scale(rewarded: Tensor, weight: Tensor, *, floor: float = 0.05) -> Tensor:
    """Standard deviation ``(C, 1, V)`` of each verifier within each group, with the floor of :func:`group_advantage`."""
    valid = (weight > 0)[:, None, :] & torch.isfinite(rewarded)
    scores = rewarded.masked_fill(~valid, 0)
    count = valid.sum(1, keepdim=True).clamp_min(1)
    centred = (scores - scores.sum(1, keepdim=True) / count).masked_fill(~valid, 0)
    spread = (centred.square().sum(1, keepdim=True) / (count - 1).clamp_min(1)).sqrt()
    known = valid.any(1, keepdim=True)
    total, groups = (spread * known).sum(0, keepdim=True), known.sum(0, keepdim=True).to(spread.dtype)
    add_up(total, groups)
    typical = total / groups.clamp_min(1)
    return torch.maximum(spread, floor * typical).clamp_min(1e-6)
