"""Build the reward from verifiers and the reference in an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core import keys, log
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.reference.stored import cross_fit, read_calibration, read_reference
from scperturbrl.rl.reward import Reward
from scperturbrl.verifiers.calibration import calibrate as on_one_scale
from scperturbrl.verifiers.registry import resolve_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.verifiers.base import Verifier

# chosen from 1, 3, 8 and 30 on two simulated data sets, by the RMSE at equal energy distance
WEIGHTS = {"rmse_topk": 8.0}

N_SCORED = 256
"""Most validation cells of a condition that are scored for the reward of real cells."""


def build_reward(
    adata: AnnData,
    cells: Cells,
    verifiers: Sequence[Verifier],
    weights: Mapping[str, float] | None,
    *,
    calibrate: bool,
) -> Reward:
    """Return the reward of the conditions that have a reference. `cells` are at the depth of the reference."""
    if weights is None and calibrate:
        weights = {name: value for name, value in WEIGHTS.items() if name in {verifier.name for verifier in verifiers}}
    table, reference = read_reference(adata, cells, verifiers)
    calibration = read_calibration(adata, cells, table.conditions, verifiers)
    return _checked(
        Reward(verifiers, reference, calibration, resolve_weights(verifiers, weights), calibrated=calibrate)
    )


def validation_reward(
    adata: AnnData, cells: Cells, reward: Reward, names: Sequence[str]
) -> tuple[Reward, torch.Tensor]:
    """`reward` with references from the measured cells of the validation conditions `names`, and the mean calibrated scores ``(C, V)`` of these cells.

    Generated and measured cells are scored against references from two thirds of the measured ones, which never include the scored cell.
    """
    use = cells.is_training() | (cells.split == keys.VALIDATION)
    params = adata.uns[keys.SETUP]["reference"]["params"]
    fitted = cross_fit(adata, cells, use, names, reward.verifiers, params)
    found = Reward(reward.verifiers, fitted.references[0], fitted.calibration(), reward.weights)
    real = torch.full((len(names), len(reward.verifiers)), torch.nan)
    for number, row in enumerate(cells.rows(names)):
        own = np.flatnonzero((cells.codes == row) & use)
        raw = fitted.score_cells(shuffled(cells, own, 0, "validation cells to score")[:N_SCORED], number)
        real[number] = on_one_scale(raw[None], found.calibration.select(torch.tensor([number])))[0].nanmean(0)
    return found, real


def _checked(reward: Reward) -> Reward:
    """Refuse a reward if no verifier can discriminate, and report in which conditions verifiers are skipped."""
    if not reward.informative().any():
        msg = (
            "No verifier can discriminate real from control cells in any training condition (AUROC below .55 "
            "everywhere), so there "
            "is nothing to reward. Check the perturbation labels, or use conditions with stronger effects."
        )
        raise ValueError(msg)
    names = reward.reference.conditions
    left_out = [name for name, ok in zip(names, reward.informative().tolist(), strict=True) if not ok]
    if left_out:
        log.note(f"no verifier can score {len(left_out)} conditions, which are left out: {left_out[:10]}")
    count = (reward.calibration.weight == 0).sum(0).tolist()
    for verifier, n in zip(reward.verifiers, count, strict=True):
        if n:
            log.note(
                f"{verifier.name} cannot discriminate real from control cells in {n} of {len(names)} conditions and is skipped there"
            )
    return reward
