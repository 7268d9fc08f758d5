"""Rank of a cell's score among those of real training cells: a conformal p-value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.verifiers.calibration import Calibration, calibrate, combine

if TYPE_CHECKING:
    from scperturbrl.data.reference.cross_fit import CrossFit


class Percentile:
    """Ranks cells among the real training cells of their condition.

    Every fold of real cells was scored against a reference computed without it. A new cell is scored against all of
    these references, and ranked in each fold by the score against the reference of that fold. So a new real cell is
    exchangeable with the cells of each fold, and its rank is uniform (cross-conformal prediction).

    Parameters
    ----------
    fitted
        References of the folds.
    calibration, weights
        Calibration and weights of the verifiers. Scores are combined before clipping, so that there are no ties at 1.
    """

    def __init__(self, fitted: CrossFit, calibration: Calibration, weights: torch.Tensor) -> None:
        self.fitted, self.calibration, self.weights = fitted, calibration, weights
        self._sorted: dict[int, list[np.ndarray]] = {}

    def of_block(self, block: np.ndarray, condition: int) -> np.ndarray:
        """Percentile ``(n,)`` of other cells ``(n, G)``: ``(1 + number of real cells not above it) / (1 + all)``."""
        folds = self._real(condition)
        below = np.ones(len(block))
        unknown = np.zeros(len(block), dtype=bool)
        for fold, real in enumerate(folds):
            score = self._combined(self.fitted.score_fold(block, fold, condition), condition)
            below += np.searchsorted(real, score, side="right")
            unknown |= np.isnan(score)
        found = below / (1 + sum(map(len, folds)))
        return np.where(unknown | (sum(map(len, folds)) == 0), np.nan, found)

    def of_real(self, index: np.ndarray, condition: int) -> np.ndarray:
        """Percentile ``(n,)`` of real training cells at `index`, each among the real cells of its fold."""
        score = self._combined(self.fitted.score_cells(index, condition), condition)
        found = np.full(len(index), np.nan)
        for fold, real in enumerate(self._real(condition)):
            own = (self.fitted.folds[index] == fold) & ~np.isnan(score)
            if own.any():
                found[own] = np.searchsorted(real, score[own], side="right") / len(real)
        return found

    def _real(self, condition: int) -> list[np.ndarray]:
        """Sorted scores of the real cells of each fold."""
        if condition not in self._sorted:
            row = self.fitted.rows[condition]
            index = np.flatnonzero((self.fitted.cells.codes == row) & self.fitted.use)
            score = self._combined(self.fitted.score_cells(index, condition), condition)
            fold = self.fitted.folds[index]
            known = ~np.isnan(score)
            self._sorted[condition] = [np.sort(score[known & (fold == f)]) for f in range(len(self.fitted.references))]
        return self._sorted[condition]

    def _combined(self, raw: torch.Tensor, condition: int) -> np.ndarray:
        own = self.calibration.select(torch.tensor([condition]))
        return combine(calibrate(raw[None], own, saturate=False), own, self.weights)[0].numpy().astype(float)
