"""Detect predictions that consist of measured cells."""

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
    """Warn if cells of a prediction are identical to measured cells of their condition.

    Cells with few detected genes are ignored, because two of them may be equal by chance.
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
                f"{same} of {len(deep)} checked cells of the prediction {name!r} are identical to measured cells of "
                "the same conditions. Pass the cells that the model predicted, not the measured ones."
            )
