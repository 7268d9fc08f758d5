"""A common interface to measured, generated and predicted cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core import keys, log
from scperturbrl._core.provenance import warn_old_layers
from scperturbrl.data.cells.cells import Cells, dense
from scperturbrl.data.cells.conditions import condition_table
from scperturbrl.data.cells.other_depth import OtherCells
from scperturbrl.data.cells.row_blocks import row_matrix
from scperturbrl.data.cells.scale import check_expression, check_like_controls
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.evaluation.compared_depth import at_one_depth
from scperturbrl.get._read.slots import missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class Source:
    """Cells of conditions, measured or from one model.

    Attributes
    ----------
    name
        ``"observed"``, the key of a layer, or the generator of predicted cells.
    matrix
        ``(n, G)`` log-normalised, all conditions of a control group at one depth.
    table, codes
        Table of conditions, and its row for each cell.
    generated
        Whether the cells were generated from control cells.
    """

    name: str
    matrix: Any
    table: pd.DataFrame
    codes: np.ndarray
    generated: bool

    def cells(self, condition: str) -> np.ndarray:
        """Dense cells ``(m, G)`` of a condition."""
        return dense(self.matrix[np.flatnonzero(self.codes == self.table.index.get_loc(condition))])


def control_cells(cells: Cells, group: str) -> np.ndarray:
    """Dense measured control cells ``(m, G)`` of a group of covariates."""
    found = np.flatnonzero((cells.table["is_control"] & (cells.table["group"] == group)).to_numpy(dtype=bool))
    return cells.block(np.flatnonzero(np.isin(cells.codes, found)))


def read_sources(
    adata: AnnData, cells: Cells, layers: str | Sequence[str] | None, predictions: AnnData | None
) -> tuple[Cells, list[Source]]:
    """The measured cells at one depth in each control group; and as sources these, those of `layers` and those of `predictions`.

    Raises
    ------
    KeyError
        If a layer does not exist.
    ValueError
        If cells have another scale than the control cells, or predictions have other genes.
    """
    found = []
    for name in [layers] if isinstance(layers, str) else layers or ():
        if name not in adata.layers:
            slots = {str(key): None for key in adata.layers if key is not None}
            raise KeyError(missing("layers", name, f"tl.generate(adata, key={name!r})", slots))
        warn_old_layers(adata, [name])
        check_like_controls(adata.layers[name], where=f"`layers[{name!r}]`", cells=cells)
        matrix = row_matrix(adata, adata.layers[name], longest=cells.chunk)
        found.append((Source(name, matrix, cells.table, cells.codes, generated=True), cells.names))
    if predictions is not None:
        new = _predicted(predictions, cells, Setup.of(adata))
        taken = new.name in {keys.OBSERVED, *(source.name for source, _ in found)}
        found.append((replace(new, name=f"{new.name}_predicted") if taken else new, predictions.obs_names))
    return _at_one_depth(cells, found)


def _at_one_depth(cells: Cells, made: Sequence[tuple[Source, pd.Index]]) -> tuple[Cells, list[Source]]:
    """Thin cells, because a difference in depth looks like an effect; `made` are sources with the names of their cells."""
    others: dict[str, OtherCells] = {}
    groups: dict[str, str] = {}
    for source, names in made:
        perturbed = source.table[~source.table["is_control"].astype(bool)]
        groups |= perturbed["group"].astype(str).to_dict()
        labels = source.table.index.to_numpy()[source.codes]
        others[source.name] = OtherCells.read(
            source.matrix, names, labels, conditions=set(perturbed.index), chunk=cells.chunk
        )
    level, matrices = at_one_depth(cells, others, groups)
    measured = Source(keys.OBSERVED, level.expression, level.table, level.codes, generated=False)
    return level, [measured, *(replace(source, matrix=matrices[source.name]) for source, _ in made)]


def warn_without_rows(sources: Sequence[Source], found: set[str], needs: str) -> None:
    """Warn about models that are not among the `found` ones, because they lack cells; `needs` says which."""
    for source in sources:
        if source.generated and source.name not in found:
            log.warn(f"{source.name!r} has no rows in the table, because it does not have {needs}.")


def _predicted(new: AnnData, cells: Cells, setup: Setup) -> Source:
    if list(new.var_names) != list(cells.genes):
        msg = f"`predictions` has {new.n_vars} genes, `adata` {len(cells.genes)}; expected the same in the same order."
        raise ValueError(msg)
    check_expression(new.X, where="`predictions.X`", cells=cells)
    table, codes = condition_table(new, setup, where="`predictions`")
    name = str(new.uns.get("prediction", {}).get("params", {}).get("key", "prediction"))
    return Source(name, row_matrix(new, new.X, longest=cells.chunk), table, codes, generated=True)
