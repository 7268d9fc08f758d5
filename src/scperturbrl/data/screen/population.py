"""The effect that would shift control cells to another population."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.row_blocks import row_matrix
from scperturbrl.data.cells.scale import check_expression

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.screen.known import Known

LEAST_SHARED = 0.5


def wanted_effects(adata: AnnData, known: Known, towards: str | AnnData) -> np.ndarray:
    """Mean of a population minus the mean control profile of each context ``(K, G)``.

    Parameters
    ----------
    adata, known
        Annotated data and its training conditions.
    towards
        Query of ``obs``, which selects training cells; or cells of another AnnData, whose genes are matched by name. A gene that the
        other data lacks is wanted unchanged.

    Raises
    ------
    ValueError
        If there are no such cells, or the other data has fewer than half of the genes or another scale.
    """
    if isinstance(towards, AnnData):
        mean, shared = _other_mean(known.cells, towards)
    else:
        mean, shared = _own_mean(adata, known, towards), np.ones(adata.n_vars, dtype=bool)
    return np.where(shared, mean - known.ground.controls, 0.0)


def population_cells(adata: AnnData, known: Known, towards: str) -> np.ndarray:
    """Rows of the training cells that the query `towards` selects.

    Raises
    ------
    ValueError
        If the query is invalid or selects no training cells.
    """
    try:
        names = adata.obs.query(towards).index
    except Exception as error:
        msg = f"`towards` is {towards!r}, which is not a valid query of `obs` ({error}). An example is \"cell_type == 'B'\"."
        raise ValueError(msg) from error
    rows = np.flatnonzero(adata.obs_names.isin(names) & known.cells.is_training())
    if not len(rows):
        msg = f"`towards` is {towards!r}, which selects {len(names)} cells, none of them a training cell. Widen the query."
        raise ValueError(msg)
    return rows


def _own_mean(adata: AnnData, known: Known, towards: str) -> np.ndarray:
    rows = population_cells(adata, known, towards)
    total: Any = sum(dense(block).sum(0, dtype=np.float64) for _, block in known.cells.pieces(rows))
    return np.asarray(total / len(rows))


def _other_mean(cells: Cells, other: AnnData) -> tuple[np.ndarray, np.ndarray]:
    place = other.var_names.get_indexer(cells.genes)
    shared = place >= 0
    if shared.mean() < LEAST_SHARED or not other.n_obs:
        msg = (
            f"The cells in `towards` have {int(shared.sum())} of the {len(shared)} genes of `adata`; at least half are needed. "
            "Use the same gene names in both."
        )
        raise ValueError(msg)
    values = row_matrix(other, other.X, longest=cells.chunk)
    check_expression(values, where="`towards.X`", cells=cells.at_genes(shared), genes=place[shared])
    mean = np.asarray(other.X.mean(0), dtype=float).ravel()
    return np.where(shared, mean[np.maximum(place, 0)], 0.0), shared
