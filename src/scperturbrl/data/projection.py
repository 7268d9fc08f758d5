"""Cells on the principal components of the observed data, for pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scperturbrl.data.cells import Cells


def project(cells: Cells, matrix: Any, *, n_components: int = 50) -> np.ndarray:
    """Coordinates of `matrix` on the principal components of all observed cells (for pictures only)."""
    from sklearn.decomposition import PCA

    observed = cells.whole("a picture of all cells")
    n = min(n_components, *(size - 1 for size in observed.shape))
    pca = PCA(n_components=n, svd_solver="arpack", random_state=0).fit(observed)
    return np.asarray(pca.transform(matrix), dtype=np.float32)
