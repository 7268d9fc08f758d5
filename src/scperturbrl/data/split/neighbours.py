"""Similarity of contexts by their control cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core.machine.memory_limit import DEFAULT_LIMIT, bytes_of
from scperturbrl.data.cells.cells import dense, rows_at_once
from scperturbrl.data.cells.row_blocks import row_matrix
from scperturbrl.data.cells.setup import expression

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scperturbrl.data.cells.setup import Setup


def similar_contexts(adata: AnnData, setup: Setup, table: pd.DataFrame, codes: np.ndarray) -> dict[str, list[str]]:
    """The other contexts of each context, nearest first, by the distance between their mean control cells."""
    controls = table[table["is_control"]]
    groups = sorted(controls["group"])
    if len(groups) < 2:
        return {}
    chunk = rows_at_once(adata.n_vars, bytes_of(DEFAULT_LIMIT))
    matrix = row_matrix(adata, expression(adata, setup.layer), longest=chunk)
    row_of = dict(zip(controls["group"], table.index.get_indexer(controls.index), strict=True))
    means = np.stack([_mean(matrix, np.flatnonzero(codes == row_of[group]), chunk) for group in groups])
    found = {}
    for i, group in enumerate(groups):
        distance = np.square(means - means[i]).sum(1)
        order = np.argsort(distance, kind="stable")
        found[group] = [groups[j] for j in order if j != i]
    return found


def _mean(matrix: object, rows: np.ndarray, chunk: int) -> np.ndarray:
    total = 0.0
    for start in range(0, len(rows), chunk):
        total = total + dense(matrix[rows[start : start + chunk]]).sum(0, dtype=np.float64)  # type: ignore[index]
    return np.asarray(total) / len(rows)
