"""Ranks of many rows on the CPU, by numpy's vectorised sort: several times as fast as torch's on one thread."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

_BLOCK = 2**15
"""Number of values ranked at a time, so that a block fits into the cache."""

_HIGH, _LOW = (1, 0) if sys.byteorder == "little" else (0, 1)
_INFINITY = int(np.float32(np.inf).view(np.int32))


def rank_rows(values: Tensor) -> Tensor:
    """Ranks ``(n, k)`` from 1 of floats ``(n, k)``; equal values share the mean of their ranks, a NaN equals nothing.

    Every NaN must be the positive one, which sorts last.

    Examples
    --------
    >>> rank_rows(torch.tensor([[2.0, 0.0, 0.0, 5.0]]))
    tensor([[3.0000, 1.5000, 1.5000, 4.0000]])
    """
    ranks = torch.empty_like(values)
    rows = max(1, _BLOCK // values.shape[1])
    sort = _sort_single if values.dtype == torch.float32 else _sort
    for own, block in zip(ranks.split(rows), values.split(rows), strict=True):
        order, tied = sort(block.numpy())
        # numpy's scatter is several times slower
        own.scatter_(1, torch.from_numpy(order), torch.from_numpy(_ranks_of_sorted(tied, block.numpy().dtype)))
    return ranks


def _sort_single(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order of each row, and which of its sorted values equal the one before.

    The bits of floats, read as integers, have the order of the floats after inverting those of negative numbers. With
    the column index in the low bits, a single sort gives values and order.
    """
    pair = np.empty((*values.shape, 2), dtype=np.int32)
    # adding zero turns -0.0 into 0.0
    bits = (values + np.float32(0)).view(np.int32)
    bits ^= (bits >> 31) & np.int32(2**31 - 1)
    pair[..., _HIGH] = bits
    pair[..., _LOW] = np.arange(values.shape[1], dtype=np.int32)
    pair.view(np.int64)[..., 0].sort(axis=1)
    ordered = pair[..., _HIGH]
    tied = np.zeros(values.shape, dtype=bool)
    np.equal(ordered[:, 1:], ordered[:, :-1], out=tied[:, 1:])
    if (ordered[:, -1] > _INFINITY).any():
        tied &= ordered <= _INFINITY
    return pair[..., _LOW].astype(np.int64), tied


def _sort(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    tied = np.zeros(values.shape, dtype=bool)
    np.equal(ordered[:, 1:], ordered[:, :-1], out=tied[:, 1:])
    return order, tied


def _ranks_of_sorted(tied: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Ranks of sorted rows, from which of their values equal the one before."""
    n, k = tied.shape
    ranks = np.tile(np.arange(1, k + 1, dtype=dtype), (n, 1))
    later = np.flatnonzero(tied)
    run = np.flatnonzero(np.diff(later, prepend=-2) != 1)
    first = later[run] - 1
    others = np.diff(run, append=len(later))
    flat = ranks.reshape(-1)
    mean = (flat[first] + others / 2).astype(dtype)
    flat[first] = mean
    flat[later] = np.repeat(mean, others)
    return ranks
