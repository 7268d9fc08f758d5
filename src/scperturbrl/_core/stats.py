"""Ranks, correlations and AUROC over the last dimension, for any number of leading dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from scperturbrl._core.ranks import rank_rows


def average_ranks(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Ranks along the last dimension; equal values share the mean of their ranks.

    Parameters
    ----------
    x
        ``(..., k)`` values.
    mask
        Boolean, broadcastable to `x`: the entries to rank. The others get rank 0.

    Returns
    -------
    ``(..., k)`` ranks from 1 to k, without gradient. A row with a NaN among its valid entries is all NaN.

    Examples
    --------
    >>> average_ranks(torch.tensor([2.0, 0.0, 0.0, 5.0]))
    tensor([3.0000, 1.5000, 1.5000, 4.0000])
    """
    x = x.detach() if x.is_floating_point() else x.to(torch.get_default_dtype())
    if x.numel() == 0:
        return torch.empty_like(x)
    # NaN sorts last and equals nothing, so masked entries do not affect the ranks of valid ones.
    values = x if mask is None else x.masked_fill(~mask, torch.nan)
    # the maximum is NaN if any value is, and is faster to compute
    largest = (x if mask is None else x.masked_fill(~mask, -torch.inf)).amax(-1, keepdim=True)
    ranks = _numpy_ranks(values) if _in_numpy(values) else _torch_ranks(values)
    ranks = ranks.masked_fill_(largest.isnan(), torch.nan)
    return ranks if mask is None else ranks.masked_fill_(~mask, 0)


# On one thread numpy sorts five times as fast as torch, and sorting dominates the cost.
def _in_numpy(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in {torch.float32, torch.float64}


def _numpy_ranks(values: Tensor) -> Tensor:
    return rank_rows(values.reshape(-1, values.shape[-1])).view_as(values)


def _torch_ranks(values: Tensor) -> Tensor:
    order = values.argsort(dim=-1)
    ordered = values.gather(-1, order)
    return torch.empty_like(values).scatter_(-1, order, _ranks_of_sorted(ordered))


def _ranks_of_sorted(values: Tensor) -> Tensor:
    position = torch.arange(1, values.shape[-1] + 1, dtype=values.dtype, device=values.device)
    ranks = position.expand_as(values).clone()
    tied = values[..., 1:] == values[..., :-1]
    rows = tied.any(-1)
    ranks[rows] = _share_ranks(ranks[rows], tied[rows])
    return ranks


def _share_ranks(position: Tensor, tied: Tensor) -> Tensor:
    follows = torch.nn.functional.pad(tied, (1, 0))
    precedes = torch.nn.functional.pad(tied, (0, 1))
    lowest = position.masked_fill(follows, 0).cummax(-1).values
    highest = position.masked_fill(precedes, torch.inf).flip(-1).cummin(-1).values.flip(-1)
    return (lowest + highest) / 2


def soft_ranks(x: Tensor, temperature: float = 0.1, *, mask: Tensor | None = None) -> Tensor:
    r"""Differentiable ranks, :math:`r_g = 1/2 + \sum_h \sigma((x_g - x_h) / \tau)`.

    They approach :func:`average_ranks` as the temperature falls. Memory grows with k squared for each row.

    Parameters
    ----------
    x
        ``(..., k)`` values.
    temperature
        :math:`\tau` as a share of the row's standard deviation.
    mask
        Boolean, broadcastable to `x`: the entries to rank. The others get rank 0.

    Returns
    -------
    ``(..., k)`` ranks.

    Examples
    --------
    >>> soft_ranks(torch.tensor([2.0, 0.0, 0.0, 5.0]), 0.01)
    tensor([3.0000, 1.5000, 1.5000, 4.0000])
    """
    valid = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.expand_as(x)
    x = x.masked_fill(~valid, 0)
    # The unit-norm deviation is (x - mean) / (sd * sqrt(k)), and constant rows are already zero in it.
    counted = valid.to(x.dtype)
    z = standardise(x, valid) * counted.sum(-1, keepdim=True).sqrt() / temperature
    pairs = torch.sigmoid(z.unsqueeze(-1) - z.unsqueeze(-2))
    ranks = 0.5 + (pairs @ counted.unsqueeze(-1)).squeeze(-1)
    return ranks.masked_fill(~valid, 0)


def standardise(x: Tensor, mask: Tensor | None = None, *, eps: float = 1e-6) -> Tensor:
    """Centre the last dimension and scale it to unit Euclidean norm.

    Parameters
    ----------
    x
        ``(..., k)`` values.
    mask
        Boolean, broadcastable to `x`: the entries to use. The others become 0.
    eps
        A row is constant if the norm of its deviations is at most `eps` times that of its mean.

    Returns
    -------
    ``(..., k)``, such that the dot product of two rows is their correlation. A constant row is 0, with no gradient.

    Examples
    --------
    >>> standardise(torch.tensor([[1.0, 3.0], [7.0, 7.0]]))
    tensor([[-0.7071,  0.7071],
            [ 0.0000,  0.0000]])
    """
    if mask is None:
        count = torch.tensor(float(x.shape[-1]), dtype=x.dtype, device=x.device)
        mean = x.mean(-1, keepdim=True)
        deviation = x - mean
    else:
        count = mask.sum(-1, keepdim=True).to(x.dtype)
        mean = x.masked_fill(~mask, 0).sum(-1, keepdim=True) / count.clamp_min(1)
        deviation = (x - mean).masked_fill(~mask, 0)
    norm = torch.linalg.vector_norm(deviation, dim=-1, keepdim=True)
    # Relative: a constant row keeps rounding errors as large as its mean allows, which must not be scaled up.
    constant = norm <= eps * mean.abs() * count.sqrt()
    return (deviation / norm.masked_fill(constant, 1)).masked_fill(constant, 0)


def pearson(a: Tensor, b: Tensor, mask: Tensor | None = None, *, eps: float = 1e-6) -> Tensor:
    """Pearson correlation along the last dimension.

    Parameters
    ----------
    a, b
        ``(..., k)`` values; leading dimensions broadcast.
    mask
        Boolean, broadcastable to both: the entries to use.
    eps
        Threshold for constant rows, see :func:`standardise`.

    Returns
    -------
    ``(...)`` correlations in [-1, 1]; 0 with zero gradient if a row is constant.

    Examples
    --------
    >>> pearson(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[2.0, 4.0, 9.0], [5.0, 5.0, 5.0]]))
    tensor([0.9707, 0.0000])
    """
    product = standardise(a, mask, eps=eps) * standardise(b, mask, eps=eps)
    return product.sum(-1).clamp(-1, 1)


def spearman(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Spearman correlation along the last dimension, ties averaged.

    Parameters
    ----------
    a, b
        ``(..., k)`` values; leading dimensions broadcast.
    mask
        Boolean, broadcastable to both: the entries to use.

    Returns
    -------
    ``(...)`` correlations in [-1, 1], without gradient; 0 where a row is constant.

    Examples
    --------
    >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 300.0, 20.0]))
    tensor(0.5000)
    """
    return pearson(average_ranks(a, mask), average_ranks(b, mask), mask)


def auroc(positive: Tensor, negative: Tensor) -> Tensor:
    """Probability that a positive exceeds a negative, ties counting one half (Mann-Whitney U / (n m)).

    Parameters
    ----------
    positive
        ``(..., n)`` scores; NaN is padding.
    negative
        ``(..., m)`` scores with the same leading dimensions; NaN is padding.

    Returns
    -------
    ``(...)`` areas in [0, 1], without gradient; NaN if positives or negatives have no score.

    Examples
    --------
    >>> auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0, torch.nan]))
    tensor(0.8750)
    """
    scores = torch.cat([positive, negative], dim=-1)
    valid = ~scores.isnan()
    ranks = average_ranks(scores, valid)
    n_positive = valid[..., : positive.shape[-1]].sum(-1)
    n_negative = valid[..., positive.shape[-1] :].sum(-1)
    # The mean rank, not the rank sum: sums of a few thousand ranks are no longer exact in single precision.
    mean_rank = (ranks[..., : positive.shape[-1]] / n_positive.unsqueeze(-1)).sum(-1)
    area = (mean_rank - (n_positive + 1) / 2) / n_negative
    return area.masked_fill(n_negative == 0, torch.nan).clamp(0, 1)
