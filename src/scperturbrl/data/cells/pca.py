"""Principal components of many cells, read in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import eigh

from scperturbrl.data.cells.cells import dense

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells


# Genes beyond which eigenvectors of their covariance take long.
_LARGE = 1000
# Cells made dense together; of more the dense ones would take more memory than the covariance.
_AT_ONCE = 1024


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

    The covariance takes ``8 G ** 2`` bytes, half of that beyond 1,000 genes on the CPU.
    """
    n, n_genes = len(rows), len(cells.genes)
    mean = np.asarray(sum(_total(block) for _, block in cells.pieces(rows, most=_AT_ONCE)) / n)
    # where eigenvectors take long, in the precision that they are wanted in
    single = n_genes > _LARGE and torch.device(device).type == "cpu"
    covariance = torch.zeros(n_genes, n_genes, dtype=torch.float32 if single else torch.float64, device=device)
    for _, block in cells.pieces(rows, most=_AT_ONCE):
        centred = dense(block)
        # each of these matrices is as large as many sparse cells
        del block
        centred -= mean.astype(np.float32)
        covariance += _square(centred, device)
        del centred
    variance, loadings = largest_eigenvectors(covariance.div_(n - 1), n_components)
    # the sign is arbitrary: the largest loading is made positive
    loadings = loadings * np.sign(loadings[np.abs(loadings).argmax(0), np.arange(n_components)])
    return Components(*(np.asarray(x, dtype=np.float32) for x in (mean, loadings, variance)))


def _total(block: Any) -> np.ndarray:
    """Sum of the cells ``(G,)`` in double precision."""
    if not isinstance(block, sparse.csr_matrix):
        return np.ones(block.shape[0]) @ block
    # without a sparse copy in double precision
    return np.bincount(block.indices, block.data, minlength=block.shape[1])


def _square(centred: np.ndarray, device: torch.device | str) -> torch.Tensor:
    """``centred.T @ centred``."""
    if torch.device(device).type == "cpu":
        # NumPy sees that it is symmetric and computes one half
        return torch.as_tensor(centred.T @ centred)
    moved = torch.as_tensor(centred).to(device)
    return moved.T @ moved


def largest_eigenvectors(matrix: torch.Tensor, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n` largest eigenvalues of a symmetric matrix in descending order, and their vectors as columns.

    On the CPU the matrix is overwritten.
    """
    if matrix.device.type == "cpu":
        size = len(matrix)
        # only the requested ones, which torch cannot do; LAPACK takes the transposed matrix without a copy
        values, vectors = eigh(matrix.numpy().T, subset_by_index=(size - n, size - 1), overwrite_a=True)
    else:
        values, vectors = (found[..., -n:].cpu().numpy() for found in torch.linalg.eigh(matrix))
    return values[::-1], vectors[:, ::-1]
