"""The space in which the flow runs, fitted to the training cells, and its number of components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

from scperturbrl._core.random import numpy_rng
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.counts import counts_of
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.cells.pca import Components, principal_components
from scperturbrl.data.latent.cells import control_units, minibatch_pool
from scperturbrl.data.latent.scvi_space import CountedCells, fit_scvi_space
from scperturbrl.flow.space.base import GeneSpace, PCASpace

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.flow.space.base import Space

# Up to this many genes, the covariance costs a fifth of iterations over all cells.
MOST_IN_COVARIANCE = 4000
MOST = 50
# With less signal, the noise of a component would appear twice: in the latent cell and in the counts.
LEAST_SHARE = 0.25
FEWEST = 3
_N_CELLS = 4096


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


def signal_share(cells: Cells, rows: np.ndarray, loadings: np.ndarray, *, seed: int) -> np.ndarray:
    r"""Share ``(d,)`` of the variance along each of `loadings` ``(G, d)`` that is not counting noise.

    The counts of a cell are split at random into two halves, whose noise is independent given the rates (count splitting,
    :cite:t:`neufeld2024`; molecular cross-validation, :cite:t:`batson2019`). With the covariance :math:`c` of the halves along a
    component and their variance :math:`v`, the share at half the depth is :math:`r = c / v` and at full depth, where
    the noise is half as large, :math:`2 r / (1 + r)`.

    Parameters
    ----------
    cells
        Expression and conditions.
    rows
        Training cells; at most 4,096 of them are used.
    loadings
        Orthonormal directions.
    seed
        Seed of the choice of cells and of the split.
    """
    rng = numpy_rng(seed, "halves of counts")
    some = shuffled(cells, rows, seed, "cells for halves of counts")[:_N_CELLS]
    unit = control_units(cells, some)
    halves: list[list[np.ndarray]] = [[], []]
    for part, block in cells.pieces(some):
        counts = dense(counts_of(block, unit[part])).astype(np.int64)
        first = rng.binomial(counts, 0.5)
        for found, half in zip(halves, (first, counts - first), strict=True):
            found.append(np.log1p(2 * unit[part, None] * half) @ loadings)
    one, other = (np.concatenate(found) for found in halves)
    one, other = one - one.mean(0), other - other.mean(0)
    variance = ((one**2).mean(0) + (other**2).mean(0)) / 2
    share = ((one * other).mean(0) / np.maximum(variance, 1e-12)).clip(0, 1)
    return 2 * share / (1 + share)


def with_signal(share: np.ndarray) -> np.ndarray:
    """Indices of the components with signal, at least three."""
    enough = np.flatnonzero(share >= LEAST_SHARE)
    return enough if len(enough) >= FEWEST else np.arange(min(FEWEST, len(share)))
