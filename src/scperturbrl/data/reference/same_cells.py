"""Check that a reference still belongs to the cells from which it was computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scperturbrl.data.cells.fingerprint import Fingerprint, cell_numbers
from scperturbrl.data.cells.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells

_REMEDY = "Call `scperturbrl.pp.reference(adata)` again, or use the cells from which it was computed."


def record_cells(adata: AnnData, cells: Cells, use: np.ndarray) -> dict[str, Any]:
    """The record for :func:`check_same_cells`: names, conditions and some of the expression of the cells `use`."""
    rows = use.nonzero()[0]
    layer = Setup.of(adata).layer
    return Fingerprint.of(adata, layer, cells.table.index.to_numpy(), cells.codes, rows).to_uns()


def check_same_cells(adata: AnnData, cells: Cells, made_of: Mapping[str, Any]) -> None:
    """Raise if labels or expression of training cells changed since the reference was computed.

    Subsets of them, other cells that are not training cells, and the order of cells do not matter.

    Raises
    ------
    ValueError
        The message says what changed, in which condition, and which function to call.
    """
    layer, then = Setup.of(adata).layer, Fingerprint.from_uns(made_of)
    numbers, labels = cell_numbers(adata, layer), cells.table.index.to_numpy()
    named = lambda row: f"cell {adata.obs_names[row]!r} of {then.label_of(numbers[row])!r}"
    moved = then.relabelled(numbers, labels, cells.codes)
    if len(moved):
        now = labels[cells.codes[moved[0]]]
        msg = (
            f"The labels of {len(moved)} cells changed since the reference was made: {named(moved[0])} is labelled "
            f"{now!r} now. {_REMEDY}"
        )
        raise ValueError(msg)
    new = then.unknown(numbers, cells.is_training().nonzero()[0])
    if len(new):
        example = f"{adata.obs_names[new[0]]!r} of {labels[cells.codes[new[0]]]!r}"
        msg = f"{len(new)} training cells were added or renamed since the reference was made, such as {example}. {_REMEDY}"
        raise ValueError(msg)
    other, n_compared = then.rewritten(adata, layer, numbers)
    if len(other):
        where = "`X`" if layer is None else f"`layers[{layer!r}]`"
        msg = (
            f"The expression in {where} changed since the reference was made: {len(other)} of the {n_compared} cells that were compared differ, "
            f"such as {named(other[0])}. {_REMEDY}"
        )
        raise ValueError(msg)
