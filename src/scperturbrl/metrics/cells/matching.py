"""Match two populations in number of cells and depth, for fair statistical tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scperturbrl._core.random import numpy_rng
from scperturbrl.metrics._arrays import populations

# Absolute and relative error of counts recovered from float32 logarithms.
_OFF, _RELATIVE = 0.02, 1e-5
# Depths that differ by at most this share count as equal.
_ALIKE = 0.05
# Genes that are checked first; they identify most cells without counts.
_GLANCE = 100
# Upper bound of counts.
_LARGEST = 1e9
# Smallest share of real cells with recoverable counts.
_MOST = 0.95


class MatchedCells(NamedTuple):
    """Outcome of :func:`match_cells`: `predicted` and `observed`, each ``(n, G)``, and whether the depth was matched."""

    predicted: np.ndarray
    observed: np.ndarray
    depth_matched: bool


def match_cells(predicted: np.ndarray, observed: np.ndarray, *, seed: int = 0) -> MatchedCells:
    """Draw equally many predicted and observed cells, and match their distributions of depth.

    Parameters
    ----------
    predicted, observed
        ``(n, G)`` and ``(m, G)`` cells, log-normalised expression.
    seed
        Seed of the draws.

    Returns
    -------
    ``min(n, m)`` cells of either side. Counts are recovered from the log-normalised values (the smallest value of a
    cell is one count, or a few); cells are paired by rank of depth, and the deeper of a pair is thinned to the depth of
    the other. A predicted cell without recoverable counts, such as a mean profile or a shifted cell, is sampled
    (Poisson) at the depth of its partner instead. If the *observed* cells have no recoverable counts, depth is not
    matched.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Notes
    -----
    The number of significant genes grows with the number of cells and with their depth, and becomes very large for
    cells without counting noise. Without matching, many smooth predicted cells make every gene significant.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import match_cells
    >>> counts = np.random.default_rng(0).poisson(2.0, size=(2, 30, 50)) + np.eye(1, 50)
    >>> deep, shallow = (
    ...     np.log1p(1e4 * c / c.sum(1, keepdims=True)) for c in (3 * counts[0] + np.eye(1, 50), counts[1])
    ... )
    >>> matched = match_cells(deep, shallow[:20])
    >>> matched.predicted.shape, matched.depth_matched
    ((20, 50), True)
    """
    first, second = populations(predicted, observed)
    rng = numpy_rng(seed, "cells of equal depth")
    n = min(len(first), len(second))
    first, second = (cells if len(cells) == n else cells[rng.permutation(len(cells))[:n]] for cells in (first, second))
    real = _Counted(second)
    if n == 0 or real.whole.mean() < _MOST:
        return MatchedCells(first, second, depth_matched=False)
    # Few real cells have no counts (corrected ones); they get a depth from the others.
    real.depth[~real.whole] = np.median(real.depth[real.whole])
    made = _Counted(first)
    depth = np.empty(n)
    # A cell without counts has no depth and gets one of the remaining depths.
    order = np.argsort(np.where(made.whole, made.depth, np.inf), kind="stable")
    depth[order] = np.sort(real.depth)
    target = np.where(made.whole, np.minimum(made.depth, depth), depth)
    partner = np.empty(n)
    partner[np.argsort(real.depth, kind="stable")] = target[order]
    return MatchedCells(made.at_depth(target, rng), real.at_depth(partner, rng), depth_matched=True)


class _Counted:
    """Cells with the counts recovered from their log-normalised values."""

    def __init__(self, cells: np.ndarray) -> None:
        self.rates = np.expm1(np.maximum(cells, 0))
        self.size = self.rates.sum(axis=1)
        self.counts = np.zeros_like(self.rates)
        self.whole = self.size == 0
        self._read(np.min(np.where(self.rates > 0, self.rates, np.inf), axis=1, initial=np.inf))
        self.depth = self.counts.sum(axis=1)

    def _read(self, smallest: np.ndarray) -> None:
        """Find the cells whose values are whole multiples of the smallest one, or of a half, third or quarter of it."""
        # a value close to zero makes the others overflow, so these are not counts
        with np.errstate(over="ignore", invalid="ignore"):
            self._try_divisors(smallest)

    def _try_divisors(self, smallest: np.ndarray) -> None:
        for divisor in (1, 2, 3, 4):
            scale = np.where(self.size > 0, divisor / smallest, 0).astype(self.rates.dtype)[:, None]
            left = np.flatnonzero(~self.whole & _are_counts(self.rates[:, :_GLANCE] * scale))
            counts = self.rates[left] * scale[left]
            fits = _are_counts(counts)
            self.counts[left[fits]] = np.rint(counts[fits])
            self.whole[left[fits]] = True

    def at_depth(self, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Log-normalised cells at these depths: cells with counts are thinned, the others are sampled."""
        thinned = np.flatnonzero(self.whole & (depth < (1 - _ALIKE) * self.depth))
        sampled = np.flatnonzero(~self.whole)
        if not len(thinned) and not len(sampled):
            return np.log1p(self.rates)
        counts = self.counts.copy()
        if len(thinned):
            rows, genes = np.nonzero(self.counts[thinned])
            share = (depth / np.maximum(self.depth, 1))[thinned][rows]
            counts[thinned[rows], genes] = rng.binomial(self.counts[thinned[rows], genes].astype(np.int64), share)
        if len(sampled):
            share = self.rates[sampled] / self.size[sampled, None]
            counts[sampled] = rng.poisson(share * depth[sampled, None])
        reached = np.maximum(counts.sum(axis=1), 1)
        return np.log1p(counts * (self.size / reached)[:, None])


def _are_counts(values: np.ndarray) -> np.ndarray:
    """Whether all values of a row are whole numbers, up to the precision of float32 logarithms."""
    off = np.abs(values - np.rint(values))
    return (off <= _OFF + _RELATIVE * values).all(axis=1) & (values.max(axis=1, initial=0) < _LARGEST)
