"""Principal components of the reference cells, in which several verifiers measure distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.verifiers.prepared import Prepared

if TYPE_CHECKING:
    from scperturbrl.verifiers.prepared import ReferenceCells

N_COMPONENTS = 30
N_FOR_COMPONENTS = 4000


def for_components(cells: ReferenceCells) -> np.ndarray:
    """``(n_cells,)`` booleans: up to half of the cells of every condition, used only for the components.

    Components also fit the noise of their cells. So these cells are further apart on the components than new cells, and
    distances to them would be too large.
    """
    chosen = np.zeros(cells.n_cells, dtype=bool)
    populations = cells.populations()
    share = min(0.5, N_FOR_COMPONENTS / max(sum(map(len, populations)), 1))
    for found in populations:
        chosen[cells.shuffled(found, "cells for components")[: round(share * len(found))]] = True
    return chosen


def other_rows(cells: ReferenceCells, rows: np.ndarray) -> np.ndarray:
    """Those of `rows` that were not used for the components."""
    return rows[~cells.once(for_components)[rows]]


def of_group(cells: ReferenceCells, group: int) -> np.ndarray:
    """Rows of a combination of covariates that were not used for the components, in random order."""
    return cells.shuffled(other_rows(cells, cells.group_rows(group)), "cells of a context")


def _projection(cells: ReferenceCells) -> np.ndarray:
    """Loadings ``(G, d)`` of about 4,000 of the cells, or of half of them."""
    from sklearn.decomposition import PCA

    # in a fixed order, because rounding in the decomposition depends on the order of rows
    found = np.flatnonzero(cells.once(for_components))
    block = cells.expression(cells.shuffled(found, "order of cells for components"))
    n = min(N_COMPONENTS, *block.shape)
    return PCA(n, svd_solver="randomized", random_state=0).fit(block).components_.T.astype(np.float32)


PROJECTION = Prepared("projection", _projection, scope="all")
"""``(G, d)`` orthonormal components in which distances are measured."""

GROUP = Prepared("group", lambda cells: cells.group, scope="condition")
"""``(C,)`` index of the combination of covariates (of Q) of the condition."""
