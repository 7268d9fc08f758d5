"""Data for post-training: conditions, control pool and real cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.generator.controls import control_pool
from scperturbrl.data.generator.linear import held_means, recentred
from scperturbrl.data.latent.cells import encode_rows
from scperturbrl.flow.rollout.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator

N_REAL = 256


def build_task(stored: StoredGenerator, cells: Cells, conditions: Sequence[str], label: str, *, seed: int) -> Task:
    """Build the task of `conditions` from the cells of split `label` (control cells are always training cells)."""
    rows = cells.rows(conditions)
    space = stored.generator.space
    real = torch.full((len(rows), N_REAL, space.dim), torch.nan)
    for i, row in enumerate(rows):
        found = np.flatnonzero((cells.codes == row) & (cells.split == label))
        chosen = shuffled(cells, found, seed, "real cells of a condition")[:N_REAL]
        real[i, : len(chosen)] = encode_rows(cells, chosen, space)
    pool = control_pool(stored, cells, cells.table.iloc[rows])
    table = cells.table.iloc[rows]
    return Task(recentred(stored, cells, table, seed=seed), pool, real, held_means(stored, cells, table, seed=seed))
