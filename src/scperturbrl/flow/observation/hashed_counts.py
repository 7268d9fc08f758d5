"""Negative binomial counts from hashed random numbers, on the CPU."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

# Above this mean, counting up from zero costs more than a gamma and a Poisson number.
_LARGE = 40.0
# Below it a Poisson number is found by counting up; the rejection method is made for larger means.
_SMALL_RATE = 10.0


def draw_counts(mean: Tensor, theta: Tensor, keys: np.ndarray) -> Tensor:
    r"""Draw counts of cells.

    A count belongs to its cell and gene: it follows from the key of the cell and the number of the gene, so it depends neither on other cells
    nor on the number of threads. Below a mean of 40 it is the smallest k at which the distribution function reaches a uniform number, by
    the recurrence :math:`p_{k+1} = p_k \frac{k + \theta}{k + 1} \frac{m}{m + \theta}`; above, a Poisson number (PTRS of
    Hörmann 1993, doi:10.1016/0167-6687(93)90997-4) whose mean is multiplied by a gamma one (Marsaglia and Tsang 2000,
    doi:10.1145/358407.358414).

    Parameters
    ----------
    mean
        ``(n, G)`` expected counts.
    theta
        ``(G,)`` inverse dispersion; the variance is :math:`m + m^2 / \theta`.
    keys
        ``(n,)`` unsigned 64-bit number of each cell.

    Returns
    -------
    ``(n, G)`` counts, float32. The gradient of an expected value needs the gamma number given the count, whose mean is
    :math:`(k + \theta) / (m + \theta)`.

    Examples
    --------
    >>> keys = np.array([7, 8, 9], dtype=np.uint64)
    >>> counts = draw_counts(torch.full((3, 2), 0.5), torch.tensor([1.0, 2.0]), keys)
    >>> bool((counts[1:] == draw_counts(torch.full((2, 2), 0.5), torch.tensor([1.0, 2.0]), keys[1:])).all())
    True
    """
    zero = torch.exp(-theta * torch.log1p(mean / theta))
    counts = torch.empty_like(mean, dtype=torch.float32, memory_format=torch.contiguous_format)
    arrays = (own.detach().contiguous().numpy() for own in (mean.float(), theta.double(), zero.float()))
    _fill(*arrays, np.asarray(keys, dtype=np.uint64), counts.numpy())  # type: ignore[call-arg]
    return counts


@numba.njit(nogil=True, cache=True)
def _fill(mean, theta, zero, keys, counts):  # type: ignore[no-untyped-def]
    for i in range(mean.shape[0]):
        key = _mixed(keys[i])
        for j in range(mean.shape[1]):
            if mean[i, j] > _LARGE:
                counts[i, j] = _large(np.float64(mean[i, j]), theta[j], key, j)
            else:
                ratio = mean[i, j] / (mean[i, j] + theta[j])
                counts[i, j] = _count_up(_uniform(key, j, 0), np.float64(zero[i, j]), ratio, theta[j])


@numba.njit(nogil=True, cache=True)
def _count_up(uniform, p, ratio, theta):  # type: ignore[no-untyped-def]
    k, total = 0, p
    while uniform > total:
        before = total
        p *= (theta + k) / (k + 1) * ratio
        total += p
        k += 1
        # beyond the mode, and nothing is left to add
        if total == before and p * (theta + k) / (k + 1) * ratio <= p:
            break
    return k


@numba.njit(nogil=True, cache=True)
def _large(mean, theta, key, gene):  # type: ignore[no-untyped-def]
    shape = theta if theta >= 1 else theta + 1
    d = shape - 1 / 3
    c = 1 / math.sqrt(9 * d)
    number = 0
    while True:
        # Box and Muller
        radius = math.sqrt(-2 * math.log(_uniform(key, gene, number)))
        x = radius * math.cos(2 * math.pi * _uniform(key, gene, number + 1))
        v = (1 + c * x) ** 3
        number += 3
        if v > 0 and math.log(_uniform(key, gene, number - 1)) < 0.5 * x * x + d - d * v + d * math.log(v):
            break
    gamma = d * v
    if theta < 1:
        gamma *= _uniform(key, gene, number) ** (1 / theta)
        number += 1
    return _poisson(mean * gamma / theta, key, gene, number)


@numba.njit(nogil=True, cache=True)
def _poisson(rate, key, gene, number):  # type: ignore[no-untyped-def]
    if rate < _SMALL_RATE:
        uniform, k, p = _uniform(key, gene, number), 0, math.exp(-rate)
        total = p
        while uniform > total and p > 1e-300:
            k += 1
            p *= rate / k
            total += p
        return k
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = _uniform(key, gene, number) - 0.5
        v = _uniform(key, gene, number + 1)
        number += 2
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + rate + 0.43)
        if us >= 0.07 and v <= v_r:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        accepted = math.log(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b)
        if accepted <= k * math.log(rate) - rate - math.lgamma(k + 1):
            return k


@numba.njit(nogil=True, cache=True)
def _uniform(key, gene, number):  # type: ignore[no-untyped-def]
    """Number in (0, 1), one of many for a cell and gene (SplitMix64)."""
    place = (np.uint64(gene) << np.uint64(24)) + np.uint64(number) + np.uint64(1)
    bits = _mixed(key + place * np.uint64(0x9E3779B97F4A7C15))
    return (np.float64(bits >> np.uint64(12)) + 0.5) * 2.0**-52


@numba.njit(nogil=True, cache=True)
def _mixed(z):  # type: ignore[no-untyped-def]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
