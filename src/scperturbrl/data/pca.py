"""Principal components of many cells, which are read in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import eigh

from scperturbrl.data.cells import dense

if TYPE_CHECKING:
    from scperturbrl.data.cells import Cells


class Components(NamedTuple):
    """Mean ``(G,)``, loadings ``(G, d)`` and variance along them ``(d,)``."""

    mean: np.ndarray
    loadings: np.ndarray
    variance: np.ndarray


def principal_components(cells: Cells, rows: np.ndarray, n_components: int) -> Components:
    """First principal components of the cells at `rows`, from their covariance summed up block by block.

    The covariance takes ``8 G ** 2`` bytes.
    """
    n, n_genes = len(rows), len(cells.genes)
    mean = sum(dense(block).sum(0, dtype=np.float64) for _, block in cells.pieces(rows)) / n
    covariance = np.zeros((n_genes, n_genes))
    for _, block in cells.pieces(rows):
        centred = dense(block) - mean.astype(np.float32)
        covariance += centred.T @ centred
    covariance /= n - 1
    variance, vectors = eigh(covariance, subset_by_index=(n_genes - n_components, n_genes - 1), overwrite_a=True)
    loadings = vectors[:, ::-1]
    # the sign is arbitrary: the largest loading is made positive
    loadings = loadings * np.sign(loadings[np.abs(loadings).argmax(0), np.arange(n_components)])
    return Components(*(np.asarray(x, dtype=np.float32) for x in (mean, loadings, variance[::-1])))
