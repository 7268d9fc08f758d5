"""The cells to score: rows of the annotated data, or of another AnnData."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core.validate import check_obs_column, check_unique_names
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.other_depth import OtherCells
from scperturbrl.data.cells.row_blocks import RowBlocks, row_matrix
from scperturbrl.data.cells.scale import check_expression
from scperturbrl.data.cells.setup import Setup, expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.depth import Depths

N_NAMED = 10


@dataclass(frozen=True)
class ScoredCells:
    """Cells with the condition of each, genes in the order of the reference.

    Attributes
    ----------
    matrix
        ``(n, G)`` log-normalised, sparse or dense.
    names
        ``(n,)`` names of the cells.
    conditions
        ``(n,)`` name of the condition of each.
    table
        Condition table of these cells.
    is_control
        ``(n,)``
    observed
        Whether row i is the measured cell i of the annotated data, which must not be scored against itself.
    chunk
        Number of cells that may be processed together.
    """

    matrix: Any
    names: pd.Index
    conditions: np.ndarray
    table: pd.DataFrame
    is_control: np.ndarray
    observed: bool
    chunk: int = 4096

    @classmethod
    def own(cls, adata: AnnData, cells: Cells, measured: Cells, layer: str | None) -> ScoredCells:
        """Rows of a layer, or `cells` if `layer` is None; `measured` controls define the scale."""
        values = cells.expression
        if layer is not None and layer != Setup.of(adata).layer:
            values = row_matrix(adata, expression(adata, layer), longest=cells.chunk)
        check_expression(values, where=f"`layers[{layer!r}]`" if layer else "the expression", cells=measured)
        control = cells.table["is_control"].to_numpy()[cells.codes]
        names = cells.table.index.to_numpy()[cells.codes]
        return cls(values, cells.names, names, cells.table, control, layer is None, cells.chunk)

    @classmethod
    def of_other(cls, other: AnnData, reference: AnnData, cells: Cells, layer: str | None) -> ScoredCells:
        """Rows of another AnnData, with genes matched by name to `reference`; its `cells` define the scale.

        Raises
        ------
        KeyError
            If a declared column is absent.
        ValueError
            If genes are missing, or the values are not log-normalised.
        """
        setup, chunk = Setup.of(reference), cells.chunk
        check_unique_names(other)
        dose = [setup.dose_key] if setup.dose_key else []
        for column, role in [
            (setup.perturbation_key, "perturbation"),
            *((key, "covariate") for key in setup.covariate_keys),
            *((key, "dose") for key in dose),
        ]:
            check_obs_column(other, column, role=role)
        values = row_matrix(other, expression(other, layer), longest=chunk)
        genes = _match_genes(other, reference)
        check_expression(values, where=f"`layers[{layer!r}]`" if layer else "`X`", cells=cells, genes=genes)
        table, codes = condition_table(other, setup)
        matrix = values.take(genes) if isinstance(values, RowBlocks) else values[:, genes]
        control = table["is_control"].to_numpy()[codes]
        names = table.index.to_numpy()[codes]
        return cls(matrix, other.obs_names, names, table, control, observed=False, chunk=chunk)

    def at_depths(self, depths: Depths) -> tuple[ScoredCells, np.ndarray, bool]:
        """Thin cells of conditions that are deeper than the reference.

        Also return the names of the thinned conditions, and whether counts could be recovered. Measured cells already
        have these depths.
        """
        if self.observed or not depths.readable:
            return self, depths.thinned(), True
        perturbed = self.table[~self.table["is_control"].to_numpy(dtype=bool)]
        wanted = {str(name): depths.target_of(str(name), str(row)) for name, row in perturbed["group"].items()}
        others = OtherCells.read(self.matrix, self.names, self.conditions, conditions=set(wanted), chunk=self.chunk)
        matrix, thinned = others.at_most(wanted)
        return replace(self, matrix=matrix), thinned, not wanted or len(others.depth) > 0

    def block(self, index: np.ndarray) -> np.ndarray:
        """Dense float32 rows at `index`."""
        return dense(self.matrix[index])

    def windows(self, memory: int) -> Iterator[np.ndarray]:
        """Rows of all cells in parts that are in memory while they are used: one part, or windows of a file."""
        n, matrix = len(self.conditions), self.matrix
        if not isinstance(matrix, RowBlocks):
            yield np.arange(n)
            return
        size = max(self.chunk, memory // (4 * matrix.row_bytes()))
        for first in range(0, n, size):
            matrix.hold(first, min(first + size, n))
            yield np.arange(first, min(first + size, n))
        matrix.hold(0, 0)


def _match_genes(other: AnnData, reference: AnnData) -> np.ndarray:
    place = other.var_names.get_indexer(reference.var_names)
    missing = reference.var_names[place < 0]
    if len(missing):
        named = ", ".join(map(repr, missing[:N_NAMED])) + (", ..." if len(missing) > N_NAMED else "")
        msg = (
            f"{len(missing)} of the {reference.n_vars} genes of the reference are missing from the cells to be scored: {named}."
            " Add them (zeros are expression too, so do not fill them in blindly), or set up and summarise the reference on"
            " the common genes only."
        )
        raise ValueError(msg)
    return place
