"""Scoring real cells without letting a cell judge itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.cells.grouping import rows_of
from scperturbrl.data.reference.extras import Support
from scperturbrl.data.reference.statistics import draw_bank, fit_reference
from scperturbrl.verifiers.calibration import Calibration, fit_calibration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.verifiers.base import Reference, Verifier

N_FOLDS = 3
N_SCORED = 200


class CrossFit:
    """References of some conditions, each made of two thirds of the cells, to score the last third with.

    Parameters
    ----------
    cells
        Expression and conditions.
    use
        ``(n_cells,)`` which cells, perturbed and control, may define references.
    conditions
        Conditions to judge.
    network
        ``(n_genes, P)`` pathway weights.
    verifiers
        V verifiers.
    bank_size, seed
        Real cells kept for comparison, and seed of folds and bank.
    regulons
        ``(n_genes, F)`` weights of transcription factors, and their names; for verifiers that need them.
    """

    def __init__(
        self,
        cells: Cells,
        use: np.ndarray,
        *,
        conditions: Sequence[str],
        network: np.ndarray,
        verifiers: Sequence[Verifier],
        bank_size: int,
        seed: int,
        regulons: tuple[np.ndarray, list[str]] | None = None,
    ) -> None:
        self.cells, self.use, self.conditions, self.verifiers = cells, use, list(conditions), list(verifiers)
        self.rows = cells.rows(conditions)
        self.regulons = regulons or (np.zeros((len(cells.genes), 0), dtype=np.float32), [])
        self.seed, self.folds = seed, _folds(cells, seed)
        self.references = [self._reference(self.folds != fold, network, bank_size, seed) for fold in range(N_FOLDS)]

    def _reference(self, inside: np.ndarray, network: np.ndarray, bank_size: int, seed: int) -> Reference:
        use, names = self.use & inside, self.conditions
        table = fit_reference(self.cells, use, conditions=names, network=network)
        bank = draw_bank(self.cells, use, conditions=names, ranked=table.ranked_genes(), size=bank_size, seed=seed)
        support = Support(self.cells, use, table, *self.regulons, bank_size, seed)
        needs = {name for verifier in self.verifiers for name in verifier.needs}
        return replace(table.to_tensors(bank, network), **support.fields(needs))

    def score_cells(self, index: np.ndarray, condition: int) -> torch.Tensor:
        """Raw scores ``(n, V)`` of real cells at `index`, each against the reference that it is not part of."""
        scores = torch.full((len(index), len(self.verifiers)), torch.nan)
        for fold, reference in enumerate(self.references):
            own = np.flatnonzero(self.folds[index] == fold)
            for part, block in self.cells.pieces(index[own]):
                scores[torch.as_tensor(own[part])] = self._score(torch.as_tensor(dense(block)), reference, condition)
        return scores

    def score_block(self, block: np.ndarray, condition: int) -> torch.Tensor:
        """Raw scores ``(n, V)`` of other cells ``(n, G)``: the mean over all references."""
        values = [self._score(torch.as_tensor(block), reference, condition) for reference in self.references]
        return torch.stack(values).mean(0)

    def score_fold(self, block: np.ndarray, fold: int, condition: int) -> torch.Tensor:
        """Raw scores ``(n, V)`` of other cells ``(n, G)`` against the reference that `fold` is not part of."""
        return self._score(torch.as_tensor(block), self.references[fold], condition)

    def calibration(self) -> Calibration:
        """Calibration from up to 200 real and control cells of each fold."""
        controls = [self.cells.control_row(row) for row in self.rows]
        members = rows_of(self.cells.codes, len(self.cells.table), self.use)
        real = torch.stack([self._sample(members[row], i) for i, row in enumerate(self.rows)])
        control = torch.stack([self._sample(members[row], i) for i, row in enumerate(controls)])
        safeguard = torch.tensor([verifier.safeguard for verifier in self.verifiers])
        return fit_calibration(real, control, safeguard=safeguard)

    def _sample(self, members: np.ndarray, condition: int) -> torch.Tensor:
        found = shuffled(self.cells, members, self.seed, "cells for calibration")[: N_FOLDS * N_SCORED]
        scores = torch.full((N_FOLDS * N_SCORED, len(self.verifiers)), torch.nan)
        scores[: len(found)] = self.score_cells(found, condition)
        return scores

    def _score(self, block: torch.Tensor, reference: Reference, condition: int) -> torch.Tensor:
        return score_matrix(block[None], self.verifiers, reference.select(torch.tensor([condition])))[0]


def score_matrix(block: torch.Tensor, verifiers: Sequence[Verifier], reference: Reference) -> torch.Tensor:
    """Raw scores ``(C, n, V)`` of cells ``(C, n, G)``."""
    return torch.stack([verifier(block, reference) for verifier in verifiers], dim=-1)


def _folds(cells: Cells, seed: int) -> np.ndarray:
    """Fold of each cell, balanced within every condition and side of the split."""
    folds = np.zeros(len(cells.codes), dtype=int)
    for found in rows_of(cells.codes, len(cells.table)):
        folds[shuffled(cells, found, seed, "cross-fit folds")] = np.arange(len(found)) % N_FOLDS
    return folds
