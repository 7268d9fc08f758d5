"""Cells that are copies of others with another name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scperturbrl._core import keys, log
from scperturbrl._core.machine.memory_limit import DEFAULT_LIMIT, bytes_of
from scperturbrl.data.cells.cell_keys import content_keys
from scperturbrl.data.cells.cells import rows_at_once
from scperturbrl.data.cells.row_blocks import RowBlocks, row_matrix
from scperturbrl.data.cells.setup import expression

if TYPE_CHECKING:
    from anndata import AnnData

FEWEST_GENES = 30
"""Smallest number of expressed genes, because cells with few counts may be equal by chance."""


def warn_copies(adata: AnnData, layer: str | None, split: np.ndarray) -> None:
    """Warn if cells have exactly the same expression as others, in particular in other parts of the split.

    Parameters
    ----------
    adata
        Annotated data.
    layer
        Layer with the expression.
    split
        ``(n_cells,)`` split label.
    """
    rows, group = copies(adata, layer)
    if not len(rows):
        return
    again = pd.Series(group).duplicated().to_numpy()
    training = np.isin(group, group[split[rows] == keys.TRAIN])
    across = int((training & (split[rows] != keys.TRAIN)).sum())
    second = int(np.flatnonzero(again)[0])
    first = int(np.flatnonzero(group == group[second])[0])
    named = f"{adata.obs_names[rows[first]]!r} and {adata.obs_names[rows[second]]!r}"
    where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    dense = f"{where}.toarray()" if sparse.issparse(expression(adata, layer)) else where
    held_out = f", and {across} held-out cells have a copy in training" if across else ""
    log.warn(
        f"{int(again.sum())} of {adata.n_obs} cells have exactly the same expression as a cell with another name, such "
        f"as {named}. They "
        f"count twice{held_out}. Keep one of each before the split: "
        f"`adata = adata[~pd.Series([row.tobytes() for row in {dense}]).duplicated().to_numpy()].copy()`."
    )


def copies(adata: AnnData, layer: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``(m,)`` of cells with the same expression as another cell, and their group ``(m,)`` of equal cells."""
    chunk = rows_at_once(adata.n_vars, bytes_of(DEFAULT_LIMIT))
    matrix = row_matrix(adata, expression(adata, layer), longest=chunk)
    parts = [_sums(block) for block in _blocks(matrix, chunk)]
    total, expressed = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    rows = np.flatnonzero(expressed >= FEWEST_GENES)
    # only cells with equal sums have to be compared, and these are few
    rows = rows[pd.Series(total[rows]).duplicated(keep=False).to_numpy()]
    found = [content_keys(matrix[rows[at : at + chunk]], adata.var_names) for at in range(0, len(rows), chunk)]
    group = np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)
    kept = pd.Series(group).duplicated(keep=False).to_numpy()
    return rows[kept], group[kept]


def _blocks(matrix: Any, chunk: int) -> Any:
    if isinstance(matrix, RowBlocks):
        return matrix.blocks()
    return [matrix] if sparse.issparse(matrix) else (matrix[at : at + chunk] for at in range(0, len(matrix), chunk))


def _sums(block: Any) -> tuple[np.ndarray, np.ndarray]:
    """Sum, and number of values that are not 0, of every row."""
    if sparse.issparse(block):
        return np.asarray(block.sum(1, dtype=np.float64)).ravel(), np.diff(block.indptr)
    return block.sum(1, dtype=np.float64), np.count_nonzero(block, axis=1)
