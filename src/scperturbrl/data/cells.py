"""The cells of an AnnData as the layers below read them: a matrix, condition codes, split labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scperturbrl._core import keys
from scperturbrl._core.validate import check_in_memory
from scperturbrl.data.conditions import condition_table
from scperturbrl.data.registry import Setup, expression
from scperturbrl.data.split import split_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class Cells:
    """Expression with the condition, split label and batch of every cell.

    Attributes
    ----------
    expression
        ``(n_cells, n_genes)`` log-normalised, sparse or dense; the AnnData's own matrix, not a copy.
    codes
        ``(n_cells,)`` row of `table` of each cell.
    table
        One row a condition; see :func:`scperturbrl.data.conditions.condition_table`.
    split
        ``(n_cells,)`` split label.
    batch
        ``(n_cells,)`` batch label, or None.
    genes, names
        Names of genes and cells.
    """

    expression: Any
    codes: np.ndarray
    table: pd.DataFrame
    split: np.ndarray
    batch: np.ndarray | None
    genes: pd.Index
    names: pd.Index

    @classmethod
    def of(cls, adata: AnnData, setup: Setup | None = None) -> Cells:
        """Read `adata`, which must be set up and split."""
        setup = setup or Setup.of(adata)
        check_in_memory(adata)
        table, codes = condition_table(adata, setup)
        matrix = expression(adata, setup.layer)
        return cls(
            expression=matrix.tocsr() if sparse.issparse(matrix) else np.asarray(matrix),
            codes=codes,
            table=table,
            split=split_labels(adata),
            batch=adata.obs[setup.batch_key].astype(str).to_numpy() if setup.batch_key else None,
            genes=adata.var_names,
            names=adata.obs_names,
        )

    def conditions(self, label: str, *, min_cells: int = 1) -> list[str]:
        """Names of the perturbed conditions with at least `min_cells` cells of split `label`."""
        count = np.bincount(self.codes[self.split == label], minlength=len(self.table))
        chosen = (count >= min_cells) & ~self.table["is_control"].to_numpy()
        return list(self.table.index[chosen])

    def rows(self, conditions: Sequence[str]) -> list[int]:
        """Rows of the condition table of `conditions`."""
        return [int(self.table.index.get_loc(name)) for name in conditions]

    def control_row(self, row: int) -> int:
        """Row of the control condition with the covariates of the condition in `row`.

        Raises
        ------
        ValueError
            If there is none.
        """
        group = self.table["group"].iloc[row]
        if group not in self._control_rows:
            msg = f"Condition {self.table.index[row]!r} has no control cells with the same covariates ({group})."
            raise ValueError(msg)
        return self._control_rows[group]

    @cached_property
    def _control_rows(self) -> dict[str, int]:
        """Group to the first of its control conditions."""
        found = np.flatnonzero(self.table["is_control"].to_numpy())[::-1]
        return dict(zip(self.table["group"].to_numpy()[found].tolist(), found.tolist(), strict=True))

    def is_training(self) -> np.ndarray:
        """``(n_cells,)`` whether the cell may be learnt from."""
        return self.split == keys.TRAIN

    def block(self, index: np.ndarray, matrix: Any = None) -> np.ndarray:
        """Dense float32 rows at `index` of the expression, or of another matrix over the same cells."""
        rows = (self.expression if matrix is None else matrix)[index]
        return np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float32)
