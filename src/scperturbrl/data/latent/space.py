"""Fitting the space in which the flow runs to the training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.counts import counts_of
from scperturbrl.data.cells.pca import Components, principal_components
from scperturbrl.data.latent.cells import control_units, minibatch_pool
from scperturbrl.data.latent.scvi_space import CountedCells, fit_scvi_space
from scperturbrl.data.latent.signal import MOST, signal_share, with_signal
from scperturbrl.flow.space.base import GeneSpace, PCASpace

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.flow.space.base import Space

# Up to this many genes, the covariance costs a fifth of iterations over all cells.
MOST_IN_COVARIANCE = 4000


def fit_space(
    kind: str,
    n_latent: int | None,
    cells: Cells,
    rows: np.ndarray,
    *,
    seed: int,
    device: torch.device | str,
    progress: bool | None = None,
) -> Space:
    """Fit a space of this `kind` with at most `n_latent` components to the cells at `rows`.

    None: for ``"pca"``, those of the first 50 with signal; for the others, 50.
    """
    device = torch.device(device)
    n = min(MOST if n_latent is None else n_latent, len(cells.genes) - 1, len(rows) - 1)
    found = _components(cells, rows, n, seed, device)
    if n_latent is None and kind == "pca":
        found = found.select(with_signal(signal_share(cells, rows, found.loadings, seed=seed)))
    if kind == "scvi":
        return fit_scvi_space(_counted(cells, rows, seed), found, n, seed=seed, device=device, progress=progress)
    mean, loadings = torch.as_tensor(found.mean), torch.as_tensor(found.loadings)
    if kind == "pca":
        return PCASpace(mean, loadings, float(np.sqrt(found.variance.mean())))
    square = sum(float(np.square(dense(block) - found.mean).sum()) for _, block in cells.pieces(rows))
    return GeneSpace(mean, loadings, float(np.sqrt(square / (len(rows) * len(found.mean)))))


def _components(cells: Cells, rows: np.ndarray, n: int, seed: int, device: torch.device) -> Components:
    if cells.streamed or device.type != "cpu" or len(cells.genes) <= MOST_IN_COVARIANCE:
        return principal_components(cells, rows, n, device=device)
    from sklearn.decomposition import PCA

    pca = PCA(n_components=n, svd_solver="arpack", random_state=seed).fit(cells.expression[rows])
    return Components(pca.mean_, pca.components_.T.copy(), pca.explained_variance_)


def _counted(cells: Cells, rows: np.ndarray, seed: int) -> CountedCells:
    """Counts of the training cells, at most 32,768 of them."""
    some = rows[minibatch_pool(cells, len(rows), seed=seed)]
    unit = control_units(cells, some)
    return CountedCells(sparse.csr_matrix(counts_of(cells.expression[some], unit)), unit)
