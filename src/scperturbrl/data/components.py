"""Principal components of the training cells, in which populations are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

from scperturbrl._core.random import numpy_rng

if TYPE_CHECKING:
    from scperturbrl.data.cells import Cells

_ROWS = 1024
# Beyond this many genes their covariance costs more than that of a sample of cells.
_MANY_GENES = 4000
_MOST_CELLS, _MOST_CELLS_OF_MANY_GENES = 10_000, 2000


def training_components(cells: Cells, *, n_components: int, seed: int = 0) -> np.ndarray:
    """Loadings ``(G, d)`` of the first principal components of the training cells.

    Of at most 10,000 of them (2000 where there are more than 4000 genes), read in dense blocks: the product of a sparse
    matrix with itself would be slower by far.
    """
    rows = np.flatnonzero(cells.is_training())
    many = len(cells.genes) > _MANY_GENES
    cap = _MOST_CELLS_OF_MANY_GENES if many else _MOST_CELLS
    if len(rows) > cap:
        rows = np.sort(numpy_rng(seed).choice(rows, cap, replace=False))
    n = min(n_components, len(cells.genes), len(rows))
    if many:
        centre = mean_of(cells, rows).astype(np.float32)
        centred = cells.block(rows) - centre
        _, vectors = _largest(centred @ centred.T, n)
        axes = centred.T @ vectors.astype(np.float32)
        return axes / np.maximum(np.linalg.norm(axes, axis=0), np.finfo(np.float32).tiny)
    return _largest(scatter_of(cells, rows, mean_of(cells, rows)), n)[1].astype(np.float32)


def mean_of(cells: Cells, rows: np.ndarray) -> np.ndarray:
    """Mean ``(G,)`` of the cells at `rows`, read in dense blocks."""
    return sum(cells.block(index).sum(0, dtype=np.float64) for index in _blocks(rows)) / np.float64(len(rows))


def scatter_of(cells: Cells, rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Scatter matrix ``(G, G)`` of the cells at `rows` around `mean`."""
    scatter, centre = np.zeros((len(mean), len(mean))), mean.astype(np.float32)
    for index in _blocks(rows):
        centred = cells.block(index) - centre
        scatter += centred.T @ centred
    return scatter


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]


def _largest(matrix: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    size = len(matrix)
    values, vectors = eigh(np.asarray(matrix, dtype=np.float64), subset_by_index=(size - n, size - 1))
    return values[::-1], vectors[:, ::-1]
