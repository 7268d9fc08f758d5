"""The training conditions, as the arrays that the linear model is fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core import keys
from scperturbrl.data.cells.depth import equal_depth
from scperturbrl.data.reference.moments import condition_moments
from scperturbrl.screen.conditions import Conditions, Ground, Measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from scperturbrl.data.cells.cells import Cells


@dataclass(frozen=True)
class Known:
    """Training conditions as arrays.

    Attributes
    ----------
    cells
        All conditions of a context at one depth.
    ground
        Perturbations and contexts with training control cells.
    measured
        Training conditions.
    full_dose
        Dose at which the amount is 1; 0 without doses.
    """

    cells: Cells
    ground: Ground
    measured: Measured
    full_dose: float

    @classmethod
    def of(cls, cells: Cells, *, wanted: Sequence[str] = (), embeddings: pd.DataFrame | None = None) -> Known:
        """Read the training cells of `cells`.

        Parameters
        ----------
        cells
            Expression and conditions.
        wanted
            Perturbations that will be predicted, in addition to the trained ones.
        embeddings
            Features of perturbations; without them, the features of a gene are its responses.
        """
        use = cells.is_training()
        level = equal_depth(cells, use)
        count, mean, variance = condition_moments(level, use)
        table = cells.table
        is_control = table["is_control"].to_numpy(dtype=bool)
        controls = {str(group): row for row, group in enumerate(table["group"]) if is_control[row] and count[row] > 1}
        rows = np.flatnonzero(~is_control & (count > 1) & table["group"].isin(controls).to_numpy())
        trained = sorted({part for parts in table["parts"].iloc[rows] for part in parts})
        names = (*trained, *sorted(set(wanted) - set(trained)))
        ground = Ground(
            names=names,
            groups=tuple(controls),
            controls=mean[list(controls.values())].reshape(len(controls), len(cells.genes)),
            control_noise=np.array([variance[row].mean() / count[row] for row in controls.values()]),
            genes=cells.genes.get_indexer(list(names)),
            features=None if embeddings is None else embeddings.reindex(list(names)).to_numpy(float),
        )
        full = max(float(table["dose"].iloc[rows].max()), 0.0) if len(rows) else 0.0
        own = [controls[group] for group in table["group"].iloc[rows]]
        noise = variance[rows] / count[rows][:, None] + variance[own] / count[own][:, None]
        conditions = encode(table.iloc[rows], ground, full)
        effects = mean[rows] - mean[own]
        names_of = table.index.to_numpy(dtype=object)[rows]
        return cls(level, ground, Measured.of(ground, conditions, names_of, effects, noise), full)

    def encode(self, table: pd.DataFrame) -> Conditions:
        """Conditions of a condition table as arrays."""
        return encode(table, self.ground, self.full_dose)


def design_of(cells: Cells, table: pd.DataFrame) -> tuple[Conditions, Conditions]:
    """The conditions of `table` and the training conditions as arrays, without reading expression."""
    names = cells.conditions(keys.TRAIN, min_cells=2)
    trained = cells.table.loc[names]
    every = sorted({part for own in (table["parts"], trained["parts"]) for parts in own for part in parts})
    groups = tuple(dict.fromkeys(cells.table.loc[cells.table["is_control"], "group"]))
    ground = Ground(tuple(every), groups, np.zeros((len(groups), 0)), np.zeros(len(groups)), np.full(len(every), -1))
    full = float(trained["dose"].max()) if len(trained) else 0.0
    return encode(table, ground, full), encode(trained, ground, full)


def encode(table: pd.DataFrame, ground: Ground, full_dose: float) -> Conditions:
    """Conditions of `table`, whose perturbations and contexts `ground` has; ``log1p(dose) / log1p(full_dose)`` is their amount.

    Raises
    ------
    ValueError
        If a context has fewer than 2 training control cells.
    """
    position = {name: place for place, name in enumerate(ground.names)}
    context = {name: place for place, name in enumerate(ground.groups)}
    lost = sorted(set(table["group"]) - set(context))
    if lost:
        msg = f"The context {lost[0]!r} has fewer than 2 training control cells, so no predictions are possible there. Narrow `covariates`, or split again."
        raise ValueError(msg)
    codes = np.full((len(table), max(1, int(table["parts"].str.len().max())) if len(table) else 1), -1)
    for row, parts in enumerate(table["parts"]):
        codes[row, : len(parts)] = sorted(position[part] for part in parts)
    dose = table["dose"].to_numpy(dtype=float)
    amount = np.where(dose > 0, np.log1p(dose) / np.log1p(max(full_dose, 1e-6)), 1.0)
    return Conditions(codes, amount, np.array([context[name] for name in table["group"]], dtype=int))


def training_rows(cells: Cells, names: Sequence[str]) -> list[np.ndarray]:
    """Rows of the training cells of each condition."""
    code = {row: np.flatnonzero((cells.codes == row) & (cells.split == keys.TRAIN)) for row in cells.rows(names)}
    return [code[row] for row in cells.rows(names)]
