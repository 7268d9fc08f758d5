"""Principal components of the training cells, in which populations are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.cells.pca import largest_eigenvectors, principal_components

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells

# With more genes, their covariance matrix is too expensive, so fewer cells are used.
_MANY_GENES = 4000
_MOST_CELLS, _MOST_CELLS_OF_MANY_GENES = 10_000, 2000


class TrainingComponents(NamedTuple):
    """Mean ``(G,)`` of the cells and orthonormal loadings ``(G, d)``."""

    centre: np.ndarray
    loadings: np.ndarray

    def project(self, matrix: Any) -> np.ndarray:
        """Coordinates ``(n, d)`` of cells ``(n, G)``, sparse or dense."""
        return np.asarray(matrix @ self.loadings - self.centre @ self.loadings, dtype=np.float32)


def training_components(cells: Cells, *, n_components: int, seed: int = 0) -> TrainingComponents:
    """Find the first principal components of the training cells.

    Uses at most 10,000 cells (2000 if there are more than 4000 genes), read in dense blocks, because the product of a
    sparse matrix with itself would be much slower.

    Raises
    ------
    ValueError
        If there are no training cells. Components of other cells would use held-out data.
    """
    rows = np.flatnonzero(cells.is_training())
    if not len(rows):
        msg = (
            "There are no training cells for computing components. Check `obs['split']`, or call "
            "`scperturbrl.pp.split(adata)` "
            "on the whole data."
        )
        raise ValueError(msg)
    many = len(cells.genes) > _MANY_GENES
    cap = _MOST_CELLS_OF_MANY_GENES if many else _MOST_CELLS
    if len(rows) > cap:
        rows = np.sort(shuffled(cells, rows, seed, "cells for training components")[:cap])
    n = min(n_components, len(cells.genes), len(rows))
    if not many:
        found = principal_components(cells, rows, n)
        return TrainingComponents(found.mean, found.loadings)
    block = cells.block(rows)
    centre = block.mean(0, dtype=np.float64).astype(np.float32)
    centred = block - centre
    _, vectors = largest_eigenvectors(torch.as_tensor(centred @ centred.T).double(), n)
    axes = centred.T @ vectors.astype(np.float32)
    return TrainingComponents(centre, axes / np.maximum(np.linalg.norm(axes, axis=0), np.finfo(np.float32).tiny))


def picture_components(cells: Cells) -> TrainingComponents:
    """The 50 components of the coordinates in ``obsm``; fewer if there are fewer genes or cells."""
    return training_components(cells, n_components=min(50, len(cells.genes) - 1))
