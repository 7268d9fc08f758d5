"""Predicted cells from other sources: read them, and warn if they are measured cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from scperturbrl._core import log
from scperturbrl._core.validate import near_matches
from scperturbrl.data.cells.cell_keys import content_keys
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.other_depth import OtherCells
from scperturbrl.data.cells.row_blocks import row_matrix
from scperturbrl.data.cells.scale import check_expression
from scperturbrl.data.cells.setup import expression
from scperturbrl.data.generator.stored import check_genes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.cells.setup import Setup

_LOOKED_AT, _FEWEST_GENES, _MANY = 512, 30, 0.5


def read_prediction(name: str, other: AnnData, cells: Cells, setup: Setup, conditions: Sequence[str]) -> OtherCells:
    """An AnnData of predicted cells.

    Raises
    ------
    KeyError
        If it lacks a declared column, or cells of one of `conditions`.
    ValueError
        If it has other genes, or is not log-normalised.
    """
    check_genes(list(cells.genes), other.var_names, whose="`adata` has", other=f"`predictions[{name!r}]`")
    matrix = row_matrix(other, expression(other, None), longest=cells.chunk)
    check_expression(matrix, where=f"`predictions[{name!r}].X`", cells=cells)
    table, codes = condition_table(other, setup, where=f"`predictions[{name!r}]`")
    for condition in conditions:
        if condition not in table.index:
            msg = f"`predictions[{name!r}]` has no cells of condition {condition!r}.{near_matches(condition, table.index)}"
            raise KeyError(msg)
    labels = table.index.to_numpy()[codes]
    return OtherCells.read(matrix, other.obs_names, labels, conditions=set(conditions), chunk=cells.chunk)


def check_predictions(predictions: Any) -> None:
    """Raise ``TypeError`` unless `predictions` is a mapping of names to AnnData."""
    if not isinstance(predictions, Mapping):
        msg = f"`predictions` is a {type(predictions).__name__}; give a dictionary of names and AnnData, such as `{{'mine': cells}}`."
        raise TypeError(msg)
    for name, other in predictions.items():
        if not isinstance(other, AnnData):
            msg = f"`predictions[{name!r}]` is a {type(other).__name__}; an AnnData with the columns of `obs` that define conditions is needed."
            raise TypeError(msg)


def read_layer(adata: AnnData, layer: str, cells: Cells, conditions: Sequence[str]) -> OtherCells:
    """A layer of predicted cells.

    Raises
    ------
    KeyError
        If there is no such layer.
    ValueError
        If it is not log-normalised.
    """
    matrix = row_matrix(adata, expression(adata, layer), longest=cells.chunk)
    check_expression(matrix, where=f"`layers[{layer!r}]`", cells=cells)
    labels = cells.table.index.to_numpy()[cells.codes]
    return OtherCells.read(matrix, cells.names, labels, conditions=set(conditions), chunk=cells.chunk)


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
