"""Predictions that are the measured cells themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scperturbrl._core import log
from scperturbrl.data.cells.cell_keys import content_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.other_depth import OtherCells

_LOOKED_AT, _FEWEST_GENES, _MANY = 512, 30, 0.5


def warn_measured(others: Mapping[str, OtherCells], cells: Cells, conditions: Sequence[str]) -> None:
    """Warn if cells of a prediction are measured cells of their condition, value for value.

    Cells of few genes are not looked at, because two of them may well be equal.
    """
    rows = np.flatnonzero(np.isin(cells.codes, cells.rows(conditions)))[:_LOOKED_AT]
    if not others or not len(rows):
        return
    labels = cells.table.index[cells.codes[rows]]
    real = set(zip(labels, content_keys(cells.expression[rows], cells.genes).tolist(), strict=True))
    for name, other in others.items():
        places = np.flatnonzero(np.isin(other.labels, list(set(labels))))[: 4 * _LOOKED_AT]
        block = sparse.csr_matrix(other.matrix[places])
        deep = np.flatnonzero(np.diff(block.indptr) >= _FEWEST_GENES)
        found = zip(other.labels[places[deep]], content_keys(block[deep], cells.genes).tolist(), strict=True)
        same = sum(each in real for each in found)
        if same > _MANY * len(deep):
            log.warn(
                f"{same} of {len(deep)} cells of the prediction {name!r} that were looked at are measured cells of the same conditions, value for "
                "value. Who has seen the answer predicts nothing: hand over the cells that the model made."
            )
