"""Rows of trained conditions, and shifts of their generated cells to the mean of their training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import pandas as pd

    from scperturbrl.data.generator.stored import StoredGenerator


def trained_shifts(stored: StoredGenerator, table: pd.DataFrame) -> torch.Tensor:
    """The shift ``(C, d)`` of each condition of `table`; 0 for conditions without training cells."""
    position = positions(stored)
    found = torch.zeros(len(table), stored.generator.space.dim)
    for row, name in enumerate(table.index):
        if name in position:
            found[row] = stored.generator.linear.trained_shift[position[name]]
    return found


def positions(stored: StoredGenerator) -> dict[str, int]:
    """Row of each perturbed training condition among the shifts and effects of trained conditions."""
    perturbed = stored.conditions["n_parts"] > 0
    return {name: i for i, name in enumerate(n for n in stored.training_conditions() if perturbed[n])}
