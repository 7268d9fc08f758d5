"""Another population to move towards: the effect that would shift control cells there, and how much closer cells are to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from scperturbrl._core.random import numpy_rng
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.row_blocks import row_matrix
from scperturbrl.data.cells.scale import check_expression
from scperturbrl.data.screen.known import training_rows
from scperturbrl.metrics.cells.distribution import energy_distance

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.screen.known import Known

LEAST_SHARED = 0.5
MOST_CELLS = 200


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


@dataclass(frozen=True)
class EnergyFall:
    """Decrease of the energy distance to a population, relative to control cells.

    Attributes
    ----------
    population
        ``(m, G)`` sample of its cells, at the genes that it has.
    genes
        ``(n_genes,)`` these genes.
    controls
        Energy distance of the control cells of each context to the population.
    """

    population: np.ndarray
    genes: np.ndarray
    controls: list[float]

    @classmethod
    def of(cls, adata: AnnData, known: Known, towards: str | AnnData, *, seed: int) -> EnergyFall:
        """Up to 200 cells of the population and of the control cells of each context."""
        rng = numpy_rng(seed, "cells of a population to go to")
        some = lambda rows: np.sort(rng.permutation(rows)[:MOST_CELLS])
        if isinstance(towards, AnnData):
            place = towards.var_names.get_indexer(adata.var_names)
            genes = place >= 0
            cells = dense(towards.X[some(np.arange(towards.n_obs))])[:, place[genes]]
        else:
            genes = np.ones(adata.n_vars, dtype=bool)
            cells = known.cells.block(some(population_cells(adata, known, towards)))
        table, found = known.cells.table, []
        for group in known.ground.groups:
            names = table.index[table["is_control"] & (table["group"] == group)].tolist()
            rows = some(np.concatenate(training_rows(known.cells, names)))
            found.append(energy_distance(known.cells.block(rows)[:, genes], cells))
        return cls(cells, genes, found)

    def __call__(self, cells: np.ndarray, group: int) -> float:
        """1 for cells like those of the population, 0 for cells as far away as control cells, below 0 for cells farther away."""
        every = np.arange(len(cells))[:: max(1, len(cells) // MOST_CELLS)][:MOST_CELLS]
        # the estimate is unbiased, so it can be below 0
        distance = max(energy_distance(cells[every][:, self.genes], self.population), 0.0)
        return 1 - distance / max(self.controls[group], 1e-12)
