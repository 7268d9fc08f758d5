"""Calibration of verifiers on cells that did not define the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core.random import numpy_rng
from scperturbrl.data.reference import draw_bank, fit_reference
from scperturbrl.verifiers.calibration import Calibration, fit_calibration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells import Cells
    from scperturbrl.verifiers.base import Reference, Verifier

N_FOLDS = 3
N_CONTROLS = 200


def cross_fit_calibration(
    cells: Cells,
    use: np.ndarray,
    *,
    conditions: Sequence[str],
    network: np.ndarray,
    verifiers: Sequence[Verifier],
    bank_size: int,
    seed: int,
) -> Calibration:
    """Fit the calibration of `verifiers` for `conditions`.

    Each third of a condition's cells is scored against a reference made of the other two thirds, so that no cell
    has defined what it is compared with; control cells likewise.
    """
    folds = _folds(cells, seed)
    real, control = [], []
    for fold in range(N_FOLDS):
        inside = use & (folds != fold)
        table = fit_reference(cells, inside, conditions=conditions, network=network)
        bank = draw_bank(cells, inside, conditions=conditions, ranked=table.ranked_genes(), size=bank_size, seed=seed)
        reference = table.to_tensors(bank, network)
        rows = cells.rows(conditions)
        outside = use & (folds == fold)
        real.append(_score_rows(cells, outside, rows, verifiers, reference, limit=N_CONTROLS))
        controls = [cells.control_row(row) for row in rows]
        control.append(_score_rows(cells, outside, controls, verifiers, reference, limit=N_CONTROLS // N_FOLDS))
    return fit_calibration(torch.cat(real, 1), torch.cat(control, 1))


def score_matrix(block: torch.Tensor, verifiers: Sequence[Verifier], reference: Reference) -> torch.Tensor:
    """Raw scores ``(C, n, V)`` of cells ``(C, n, G)``."""
    return torch.stack([verifier(block, reference) for verifier in verifiers], dim=-1)


def _folds(cells: Cells, seed: int) -> np.ndarray:
    """Fold of each cell, balanced within every condition."""
    folds = np.zeros(len(cells.codes), dtype=int)
    for row in range(len(cells.table)):
        found = np.flatnonzero(cells.codes == row)
        folds[numpy_rng(seed, row).permutation(found)] = np.arange(len(found)) % N_FOLDS
    return folds


def _score_rows(
    cells: Cells, use: np.ndarray, rows: Sequence[int], verifiers: Sequence[Verifier], reference: Reference, *, limit: int
) -> torch.Tensor:
    """Scores of up to `limit` cells of each condition, ``(C, limit, V)`` padded with NaN."""
    scores = torch.full((len(rows), limit, len(verifiers)), torch.nan)
    for i, row in enumerate(rows):
        found = np.flatnonzero((cells.codes == row) & use)[:limit]
        if len(found):
            block = torch.as_tensor(cells.block(found))[None]
            scores[i, : len(found)] = score_matrix(block, verifiers, reference.select(torch.tensor([i])))[0]
    return scores
