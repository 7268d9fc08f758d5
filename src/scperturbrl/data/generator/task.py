"""Data for post-training: conditions, control pool and real cells."""

from __future__ import annotations

from dataclasses import replace
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


def reference_task(
    stored: StoredGenerator, cells: Cells, shown: Cells, conditions: Sequence[str], label: str, *, seed: int
) -> Task:
    """Build the task of `conditions` at the depth of the reference.

    As in training, cells are generated from control cells as measured (`cells`). They get the depth of the control
    cells in `shown`, the cells at the depth of the reference, and are compared with real cells of that depth. In `shown`
    conditions have the depth of their control cells, except those that are shallower still.
    """
    task = build_task(stored, cells, conditions, label, seed=seed)
    if shown is cells:
        return task
    thinned = build_task(stored, shown, conditions, label, seed=seed)
    own, shown_unit = task.pool, thinned.pool.unit
    kept = own.unit / shown_unit
    factor = torch.stack([kept[first : first + n].mean() for first, n in zip(own.start, own.count, strict=True)])
    pool = replace(own, shown_unit=shown_unit, depth=(own.depth / factor).clamp(max=1))
    return replace(task, pool=pool, real=thinned.real)
