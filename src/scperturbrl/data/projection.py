"""Cells on the principal components of the observed data, for pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, svds

from scperturbrl._core.random import numpy_rng
from scperturbrl.data.components import mean_of, scatter_of

if TYPE_CHECKING:
    from scperturbrl.data.cells import Cells

# Beyond this many genes their covariance costs more than some hundred products with the cells.
_MANY_GENES = 4000


def project(cells: Cells, matrix: Any, *, n_components: int = 50) -> np.ndarray:
    """Coordinates of `matrix` on the principal components of all observed cells (for pictures only)."""
    n_cells, n_genes = cells.expression.shape
    n = min(n_components, n_cells - 1, n_genes - 1)
    rows = np.arange(n_cells)
    mean = mean_of(cells, rows)
    if n_genes > _MANY_GENES:
        axes = _by_products(cells.expression, mean, n)
    else:
        # the product of a sparse matrix with itself would be slower by far than one of dense blocks
        axes = eigh(scatter_of(cells, rows, mean), subset_by_index=(n_genes - n, n_genes - 1))[1][:, ::-1]
    # the sign is arbitrary: the largest loading is made positive
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(n)])
    return np.asarray(matrix @ axes.astype(matrix.dtype) - mean @ axes, dtype=np.float32)


def _by_products(expression: Any, mean: np.ndarray, n: int) -> np.ndarray:
    """First right singular vectors ``(G, n)`` of the centred cells, which are never made dense."""
    centred = LinearOperator(
        expression.shape,
        matvec=lambda x: expression @ x.ravel() - mean @ x.ravel(),
        rmatvec=lambda y: expression.T @ y.ravel() - mean * y.sum(),
        dtype=np.float64,
    )
    return svds(centred, k=n, v0=numpy_rng(0).normal(size=min(expression.shape)))[2][::-1].T
