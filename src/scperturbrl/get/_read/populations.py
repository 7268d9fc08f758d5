"""Observed and generated populations of conditions, for the tables that compare the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scperturbrl._core import keys
from scperturbrl._core.provenance import warn_old_layers
from scperturbrl._core.validate import near_matches
from scperturbrl.data.cells.cells import Cells
from scperturbrl.data.cells.other_depth import OtherCells
from scperturbrl.data.cells.row_blocks import row_matrix
from scperturbrl.data.cells.scale import check_like_controls
from scperturbrl.data.cells.setup import Setup
from scperturbrl.data.evaluation.compared_depth import at_one_depth
from scperturbrl.get._read.slots import missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

MIN_CELLS = 3


@dataclass(frozen=True)
class Populations:
    """The cells of some conditions, observed and generated.

    Attributes
    ----------
    cells
        Expression and conditions, all conditions of a control group at one depth: a difference in depth looks like an effect.
    conditions
        Names of the C conditions.
    layers
        Generated cells by the key of their generator, at the same depth.
    """

    cells: Cells
    conditions: list[str]
    layers: dict[str, Any]

    @classmethod
    def of(
        cls, adata: AnnData, model_keys: str | Sequence[str] | None, conditions: str | Sequence[str] | None
    ) -> Populations:
        """Read the cells of `conditions` from `adata`; by default, perturbed conditions with at least three cells."""
        cells = Cells.of(adata, Setup.of(adata))
        layers = {key: adata.layers[key] for key in _layer_keys(adata, model_keys)}
        warn_old_layers(adata, layers)
        for key, matrix in layers.items():
            check_like_controls(matrix, where=f"`layers[{key!r}]`", cells=cells)
        wanted, labels = choose_conditions(cells, conditions), cells.table.index.to_numpy()[cells.codes]
        made = {
            key: OtherCells.read(
                row_matrix(adata, matrix, longest=cells.chunk),
                cells.names,
                labels,
                conditions=set(wanted),
                chunk=cells.chunk,
            )
            for key, matrix in layers.items()
        }
        groups = cells.table.loc[wanted, "group"].astype(str).to_dict()
        level, matrices = at_one_depth(cells, made, groups)
        return cls(level, wanted, matrices)

    def rows(self, condition: str) -> np.ndarray:
        """Rows of the cells of `condition`."""
        return np.flatnonzero(self.cells.codes == self.cells.table.index.get_loc(condition))

    def controls(self, condition: str) -> np.ndarray:
        """Rows of the control cells with the covariates of `condition`."""
        row = self.cells.control_row(int(self.cells.table.index.get_loc(condition)))
        return np.flatnonzero(self.cells.codes == row)

    def control_mean(self, condition: str) -> np.ndarray:
        """Mean expression ``(G,)`` of these control cells."""
        return np.asarray(self.cells.expression[self.controls(condition)].mean(0), dtype=np.float64).ravel()

    def effects(self, condition: str) -> Iterator[tuple[str, np.ndarray]]:
        """Yield key and mean effect ``(G,)``, of the observed cells and then of every generator."""
        rows, control = self.rows(condition), self.control_mean(condition)
        for key, matrix in {keys.OBSERVED: self.cells.expression, **self.layers}.items():
            yield key, np.asarray(matrix[rows].mean(0), dtype=np.float64).ravel() - control

    def is_target(self, condition: str) -> np.ndarray:
        """``(G,)`` whether the gene is itself perturbed in `condition`."""
        return np.isin(self.cells.genes, self.cells.table.loc[condition, "parts"])

    def split(self, condition: str) -> str:
        """Split label of `condition`."""
        return str(self.cells.split[self.rows(condition)[0]])


def choose_conditions(cells: Cells, wanted: str | Sequence[str] | None, *, min_cells: int = MIN_CELLS) -> list[str]:
    """Names of conditions; a perturbation label stands for all conditions of that perturbation.

    Raises
    ------
    ValueError
        If a name is neither, or if no condition has enough cells.
    """
    table = cells.table[~cells.table["is_control"]]
    if wanted is None:
        found = [str(name) for name in table.index[table["n_cells"] >= min_cells]]
        if not found:
            msg = f"No perturbed condition has {min_cells} cells."
            raise ValueError(msg)
        return found
    chosen: list[str] = []
    for name in [wanted] if isinstance(wanted, str) else [str(each) for each in wanted]:
        rows = [name] if name in table.index else list(table.index[table["perturbation"] == name])
        if not rows:
            options = [*table.index, *table["perturbation"].unique()]
            msg = f"There is no perturbed condition or perturbation {name!r}.{near_matches(name, options)}"
            raise ValueError(msg)
        chosen += rows
    return list(dict.fromkeys(chosen))


def _layer_keys(adata: AnnData, wanted: str | Sequence[str] | None) -> list[str]:
    """Layers of generated cells: the requested ones, or those of all generators of `adata`.

    Raises
    ------
    KeyError
        If one does not exist, or there are none.
    """
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else [str(name) for name in wanted]
    else:
        # this import loads torch
        from scperturbrl.data.generator.stored import generator_keys

        names = [key for key in generator_keys(adata) if key in adata.layers] or [keys.GENERATOR]
    for name in names:
        if name not in adata.layers:
            layers = {str(key): None for key in adata.layers if key is not None}
            raise KeyError(missing("layers", name, f"tl.generate(adata, key={name!r})", layers))
    return names
