"""Predictions that are the measured cells themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scperturbrl._core import log
from scperturbrl.data.cells.draw import content_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.other_depth import OtherCells

_LOOKED_AT, _FEWEST_GENES, _MANY = 512, 30, 0.1


def warn_measured(others: Mapping[str, OtherCells], cells: Cells, conditions: Sequence[str]) -> None:
    """Warn if cells of a prediction are measured cells of their condition, value for value.

    Cells of few genes are not looked at, because two of them may well be equal.
    """
    rows = np.flatnonzero(np.isin(cells.codes, cells.rows(conditions)))[:_LOOKED_AT]
    if not others or not len(rows):
        return
    real = set(content_keys(cells.expression[rows], cells.genes).tolist())
    names = set(cells.table.index[cells.codes[rows]])
    for name, other in others.items():
        block = sparse.csr_matrix(other.matrix[np.flatnonzero(np.isin(other.labels, list(names)))[: 4 * _LOOKED_AT]])
        block = block[np.flatnonzero(np.diff(block.indptr) >= _FEWEST_GENES)]
        same = sum(key in real for key in content_keys(block, cells.genes).tolist())
        if same > _MANY * block.shape[0]:
            log.warn(
                f"{same} of {block.shape[0]} cells of the prediction {name!r} that were looked at are measured cells of the same conditions, value for "
                "value. Who has seen the answer predicts nothing: hand over the cells that the model made."
            )
