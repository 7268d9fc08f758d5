"""Share of signal and of counting noise in each principal component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core.random import numpy_rng
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.counts import counts_of
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.latent.cells import control_units

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells

MOST = 50
# With less signal, the noise of a component would appear twice: in the latent cell and in the counts.
LEAST_SHARE = 0.25
FEWEST = 3
_N_CELLS = 4096


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
