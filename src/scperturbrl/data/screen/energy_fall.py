"""How much closer cells are to a wanted population than control cells are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from scperturbrl._core.random import numpy_rng
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.screen.known import training_rows
from scperturbrl.data.screen.population import population_cells
from scperturbrl.metrics.cells.distribution import energy_distance

if TYPE_CHECKING:
    from scperturbrl.data.screen.known import Known

MOST_CELLS = 200


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
