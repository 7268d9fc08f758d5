"""Denoised means of trained conditions: those that the flow learns, and to which its cells are shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core import keys
from scperturbrl.data.reference.moments import measured_effects

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.flow.space.base import Space

_KEY = "denoising effects"


def denoising_shifts(cells: Cells, space: Space) -> torch.Tensor:
    """Shift ``(C, d)`` from the mean of the training cells of each condition of the table to its denoised mean.

    It is 0 for control cells and for conditions that are not trained on. See :func:`scperturbrl.metrics.denoised_effects`.
    """
    names = cells.conditions(keys.TRAIN, min_cells=2)
    found = torch.zeros(len(cells.table), space.dim)
    if not names:
        return found
    if _KEY not in cells.once:
        measured = measured_effects(cells, cells.is_training(), names)
        cells.once[_KEY] = (measured.denoised() - measured.effect).astype(np.float32)
    found[cells.rows(names)] = space.project(torch.as_tensor(cells.once[_KEY]))
    return found
