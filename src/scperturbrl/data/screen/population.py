"""The effect that would bring control cells to another population."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from scperturbrl._core.validate import check_log_normalised
from scperturbrl.data.cells.cells import dense

if TYPE_CHECKING:
    from scperturbrl.data.screen.known import Known

LEAST_SHARED = 0.5


def wanted_effects(adata: AnnData, known: Known, towards: str | AnnData) -> np.ndarray:
    """Mean of a population minus the mean control profile of each context ``(K, G)``.

    Parameters
    ----------
    adata, known
        Annotated data and its training conditions.
    towards
        Query of ``obs``, of which training cells count, or cells of another AnnData, whose genes are matched by name; a gene that
        it lacks is wanted as it is.

    Raises
    ------
    ValueError
        If there are no such cells, or the other data has less than half of the genes.
    """
    if isinstance(towards, AnnData):
        mean, shared = _other_mean(adata, towards)
    else:
        mean, shared = _own_mean(adata, known, towards), np.ones(adata.n_vars, dtype=bool)
    return np.where(shared, mean - known.ground.controls, 0.0)


def population_cells(adata: AnnData, known: Known, towards: str) -> np.ndarray:
    """Rows of the training cells that the query `towards` finds.

    Raises
    ------
    ValueError
        If the query cannot be read, or finds no training cells.
    """
    try:
        names = adata.obs.query(towards).index
    except Exception as error:
        msg = f"`towards` is {towards!r}, which is no query of `obs` ({error}). An example is \"cell_type == 'B'\"."
        raise ValueError(msg) from error
    rows = np.flatnonzero(adata.obs_names.isin(names) & known.cells.is_training())
    if not len(rows):
        msg = (
            f"`towards` is {towards!r}, which finds {len(names)} cells, none of them a training cell. Widen the query."
        )
        raise ValueError(msg)
    return rows


def _own_mean(adata: AnnData, known: Known, towards: str) -> np.ndarray:
    rows = population_cells(adata, known, towards)
    total: Any = sum(dense(block).sum(0, dtype=np.float64) for _, block in known.cells.pieces(rows))
    return np.asarray(total / len(rows))


def _other_mean(adata: AnnData, other: AnnData) -> tuple[np.ndarray, np.ndarray]:
    place = other.var_names.get_indexer(adata.var_names)
    shared = place >= 0
    if shared.mean() < LEAST_SHARED or not other.n_obs:
        msg = (
            f"The cells in `towards` have {int(shared.sum())} of the {adata.n_vars} genes of `adata`; at least half are needed. "
            "Bring both to the same gene names."
        )
        raise ValueError(msg)
    check_log_normalised(other.X, where="`towards.X`")
    mean = np.asarray(other.X.mean(0), dtype=float).ravel()
    return np.where(shared, mean[np.maximum(place, 0)], 0.0), shared
