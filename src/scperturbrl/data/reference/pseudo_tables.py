"""Statistics of pseudo-references of conditions without training cells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats

from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.reference.moments import condition_moments
from scperturbrl.data.reference.statistics import (
    N_BANK_GENES,
    ReferenceTable,
    control_scale,
    target_mask,
)
from scperturbrl.verifiers._pathway_activity import standardise_network, ulm_correlation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.reference.baselines import TrainingEffects

METHODS = {"additive": "additive", "ridge": "additive_ridge"}
"""Public name, and name of the baseline that predicts the effect."""


@dataclass
class PseudoTables:
    """Builds reference tables whose effects are predicted from the training effects.

    Attributes
    ----------
    cells
        Expression and conditions; only training cells are used.
    effects
        Effects of the training conditions.
    network
        ``(G, P)`` pathway weights.
    method
        ``"additive"`` (sum of the effects of the parts) or ``"ridge"`` (the same, shrunk).
    """

    cells: Cells
    effects: TrainingEffects
    network: np.ndarray
    method: str

    def covered(self, condition: str) -> bool:
        """Whether every part of `condition` is in training, and control cells with its covariates exist."""
        return self._has_controls(condition) and all(self._occurs[part] for part in self._parts(condition))

    def covered_by_others(self, condition: str) -> bool:
        """:meth:`covered` for a training condition, as if it had not been measured."""
        return self._has_controls(condition) and all(self._occurs[part] > 1 for part in self._parts(condition))

    def _parts(self, condition: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.cells.table.loc[condition, "parts"]))

    @cached_property
    def _occurs(self) -> Counter[str]:
        """Number of training conditions with each part."""
        return Counter(part for name in self.effects.conditions for part in self._parts(name))

    def _has_controls(self, condition: str) -> bool:
        try:
            control = self.cells.control_row(int(self.cells.table.index.get_loc(condition)))
        except ValueError:
            return False
        return bool(self._moments[0][control] > 1)

    def without(self, condition: str) -> TrainingEffects:
        """The training effects as if `condition` had not been measured."""
        kept = np.array([name != condition for name in self.effects.conditions])
        names = [name for name in self.effects.conditions if name != condition]
        return replace(
            self.effects, conditions=names, effects=self.effects.effects[kept], groups=self.effects.groups[kept]
        )

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return condition_moments(self.cells, self.cells.is_training())

    @cached_property
    def _typical_size(self) -> float:
        """Cells of a typical training condition."""
        count = self._moments[0][self.cells.rows(self.effects.conditions)]
        return float(np.median(count))

    def table(self, conditions: Sequence[str], predictions: np.ndarray) -> ReferenceTable:
        """Reference table of `conditions` with the effects ``(C, G)`` predicted for them.

        The sampling noise of an effect is the sum over its parts of the control cells' variance, divided by the number
        of cells of a typical training condition.
        """
        cells, rows = self.cells, self.cells.rows(conditions)
        controls = [cells.control_row(row) for row in rows]
        n, mean, variance = self._moments
        n_parts = cells.table["parts"].iloc[rows].str.len().to_numpy()[:, None]
        noise = variance[controls] * (n_parts / self._typical_size + 1 / n[controls][:, None])
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.nan_to_num(predictions / np.sqrt(noise), posinf=0, neginf=0)
            shrunk = np.where(predictions != 0, predictions * np.maximum(0, 1 - noise / predictions**2), 0)
        weights = standardise_network(torch.tensor(self.network))
        along = predictions @ weights.numpy()
        return ReferenceTable(
            conditions=list(conditions),
            control_mean=mean[controls].astype(np.float32),
            mean_effect=predictions.astype(np.float32),
            effect=shrunk.astype(np.float32),
            statistic=statistic.astype(np.float32),
            padj=stats.false_discovery_control(2 * stats.norm.sf(np.abs(statistic)), axis=1).astype(np.float32),
            n_cells=np.zeros(len(rows), dtype=int),
            targets=target_mask(cells, rows),
            pathway_response=ulm_correlation(torch.as_tensor(shrunk, dtype=torch.float32), weights).numpy(),
            pathway_statistic=(along / np.sqrt(noise @ np.square(weights.numpy()) + 1e-12)).astype(np.float32),
            pathway_scale=control_scale(cells, cells.is_training(), weights, controls, mean[controls]),
        )

    def predict(self, conditions: Sequence[str], effects: Sequence[TrainingEffects] | None = None) -> np.ndarray:
        """Predicted effects ``(C, G)``, each from the corresponding training effects in `effects`."""
        known = effects or [self.effects] * len(conditions)
        baseline = METHODS[self.method]
        return np.stack([own.predict(self.cells, name, baseline) for own, name in zip(known, conditions, strict=True)])

    def stand_ins(self, table: ReferenceTable, row: int, *, size: int, seed: int) -> np.ndarray:
        """Cells ``(n, G)`` that replace real ones: training control cells shifted by the predicted effect."""
        return np.maximum(self.controls(table, row, half=0, size=size, seed=seed) + table.mean_effect[row], 0)

    def controls(self, table: ReferenceTable, row: int, *, half: int, size: int, seed: int) -> np.ndarray:
        """Up to `size` control cells of one of two halves, so that no cell is compared with its shifted copy."""
        control = self.cells.control_row(int(self.cells.table.index.get_loc(table.conditions[row])))
        found = np.flatnonzero((self.cells.codes == control) & self.cells.is_training())
        drawn = shuffled(self.cells, found, seed, "halves of control cells")[half::2][:size]
        return self.cells.block(drawn)


def bank_of(stand_ins: Sequence[np.ndarray], ranked: np.ndarray, size: int) -> np.ndarray:
    """Bank ``(C, size, K)`` of stand-ins at the first ranked genes, padded with NaN."""
    genes = ranked[:, : min(N_BANK_GENES, ranked.shape[1])]
    bank = np.full((len(stand_ins), size, genes.shape[1]), np.nan, dtype=np.float32)
    for i, block in enumerate(stand_ins):
        bank[i, : len(block)] = block[:, genes[i]]
    return bank
