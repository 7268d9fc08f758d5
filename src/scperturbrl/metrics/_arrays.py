"""Array checks and helpers shared by several metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Means of the same float32 cells, summed in another order, differ by about this much relative to their size.
ROUNDING = 1e-6
_ROWS = 1024


def paired(predicted: ArrayLike, observed: ArrayLike, *, ndim: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 arrays of one shape with `ndim` axes, or raise ``ValueError``."""
    first, second = np.asarray(predicted, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if first.shape != second.shape or first.ndim != ndim:
        msg = f"Expected two arrays of the same shape with {ndim} axes, got {first.shape} and {second.shape}."
        raise ValueError(msg)
    return first, second


def populations(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return two populations of cells, ``(n, G)`` and ``(m, G)``, or raise ``ValueError``.

    The floating type is kept, because a copy of a large population in float64 doubles its memory.
    """
    first, second = np.asarray(x), np.asarray(y)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        msg = f"Expected dense (n, G) and (m, G) arrays of cells, got shapes {first.shape} and {second.shape}."
        raise ValueError(msg)
    return first, second


def difference(mean: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """Subtract `reference` from `mean`, and set rounding errors to zero.

    Otherwise a prediction equal to the reference would have a random direction instead of none.
    """
    first, second = paired(mean, reference)
    delta = first - second
    return np.where(np.abs(delta) <= ROUNDING * np.maximum(np.abs(first), np.abs(second)), 0.0, delta)


def mean_profile(cells: np.ndarray) -> np.ndarray:
    """Mean of cells ``(n, G)`` per gene; NaN without cells."""
    if len(cells) == 0:
        return np.full(cells.shape[1], np.nan)
    return cells.mean(axis=0, dtype=np.float64)


def gene_variance(cells: np.ndarray) -> np.ndarray:
    """Unbiased variance of cells ``(n, G)`` per gene; NaN with fewer than two cells."""
    if len(cells) < 2:
        return np.full(cells.shape[1], np.nan)
    mean, total = mean_profile(cells), np.zeros(cells.shape[1])
    # In blocks of rows: numpy would hold a float64 copy of all cells.
    for start in range(0, len(cells), _ROWS):
        total += np.square(cells[start : start + _ROWS] - mean).sum(axis=0)
    return total / (len(cells) - 1)
