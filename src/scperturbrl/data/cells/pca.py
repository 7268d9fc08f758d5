"""Principal components of many cells, read in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh

from scperturbrl.data.cells.cells import dense

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells


class Components(NamedTuple):
    """Mean ``(G,)``, loadings ``(G, d)`` and variance along them ``(d,)``."""

    mean: np.ndarray
    loadings: np.ndarray
    variance: np.ndarray

    def select(self, index: np.ndarray) -> Components:
        """The components at `index`."""
        return Components(self.mean, self.loadings[:, index], self.variance[index])


def principal_components(
    cells: Cells, rows: np.ndarray, n_components: int, *, device: torch.device | str = "cpu"
) -> Components:
    """First principal components of the cells at `rows`, from the covariance, which is summed over blocks on `device`.

    The covariance takes ``8 G ** 2`` bytes.
    """
    n, n_genes = len(rows), len(cells.genes)
    mean = sum(np.ones(block.shape[0]) @ block for _, block in cells.pieces(rows)) / n
    covariance = torch.zeros(n_genes, n_genes, dtype=torch.float64, device=device)
    for _, block in cells.pieces(rows):
        centred = dense(block)
        # each of these matrices is as large as many sparse cells
        del block
        centred -= mean.astype(np.float32)
        moved = torch.as_tensor(centred).to(device)
        covariance += moved.T @ moved
        del centred, moved
    variance, loadings = largest_eigenvectors(covariance.div_(n - 1), n_components)
    # the sign is arbitrary: the largest loading is made positive
    loadings = loadings * np.sign(loadings[np.abs(loadings).argmax(0), np.arange(n_components)])
    return Components(*(np.asarray(x, dtype=np.float32) for x in (mean, loadings, variance)))


def largest_eigenvectors(matrix: torch.Tensor, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n` largest eigenvalues of a symmetric matrix in descending order, and their vectors as columns."""
    if matrix.device.type == "cpu":
        size = len(matrix)
        # only the requested ones, which torch cannot do
        values, vectors = eigh(matrix.numpy(), subset_by_index=(size - n, size - 1))
    else:
        values, vectors = (found[..., -n:].cpu().numpy() for found in torch.linalg.eigh(matrix))
    return values[::-1], vectors[:, ::-1]
