"""Set the means of generated cells of trained conditions to those of their training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core import keys
from scperturbrl._core.random import torch_rng
from scperturbrl.data.generator.controls import control_pool
from scperturbrl.data.generator.linear import recentred
from scperturbrl.data.generator.trained_shift import positions
from scperturbrl.data.latent.cells import encode_rows
from scperturbrl.data.reference.moments import denoising_shifts

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator

# Numbers of generated cells: least and most per condition, in all conditions together if the least allows it, and at a time.
N_LEAST, N_MOST, N_ALL, N_AT_ONCE = 256, 2048, 65_536, 4096


@torch.no_grad()
def set_trained_means(stored: StoredGenerator, cells: Cells, *, seed: int) -> None:
    """Find the shift of each trained condition from the mean of its generated cells to that of its training cells.

    Generated and real cells are compared in the coordinates of the space. The real mean is denoised first
    (:func:`scperturbrl.metrics.denoised_effects`). The difference is shrunk by the noise of the generated mean (James and Stein).

    Parameters
    ----------
    stored
        Generator, changed in place.
    cells
        Training cells.
    seed
        Seed.
    """
    names = cells.conditions(keys.TRAIN, min_cells=10)
    linear, position = stored.generator.linear, positions(stored)
    linear.trained_shift.zero_()
    names = [name for name in names if name in position]
    denoising = denoising_shifts(cells, stored.generator.space)
    n_cells = int(np.clip(N_ALL // max(len(names), 1), N_LEAST, N_MOST))
    at_once = N_AT_ONCE // n_cells
    for first in range(0, len(names), at_once):
        some = names[first : first + at_once]
        made, made_noise = _made_means(stored, cells, some, n_cells, seed=seed, number=first)
        for i, name in enumerate(some):
            row = cells.rows([name])[0]
            own = np.flatnonzero((cells.codes == row) & cells.is_training())
            real = encode_rows(cells, own, stored.generator.space)
            gap = real.mean(0) + denoising[row] - made[i]
            linear.trained_shift[position[name]] = gap * (1 - made_noise[i] / gap.square().sum()).clamp_min(0)


def _made_means(
    stored: StoredGenerator, cells: Cells, names: list[str], n_cells: int, *, seed: int, number: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean ``(C, d)`` of `n_cells` generated cells of each condition, and the variance ``(C,)`` of its noise, summed over coordinates.

    Most of the noise comes from the choice of control cells, and the mean of all control cells is known. So the mean
    change of a cell is estimated instead (a control variate).
    """
    generator, rng = stored.generator, torch_rng(seed, "means of trained conditions", number)
    table = cells.table.loc[names]
    pool, conditions = control_pool(stored, cells, table), recentred(stored, cells, table, seed=seed)
    index = torch.arange(len(names))
    control, unit = pool.draw(index, n_cells, rng)
    rows = index.repeat_interleave(n_cells)
    latent = generator.sample_latent(control.latent, conditions, rows, rng)
    drawn, _ = generator.sample_cells(latent, control, unit, conditions, rows, rng)
    change = (generator.space.encode(drawn) - control.latent).view(len(names), n_cells, -1)
    before = [pool.latent[start : start + count].mean(0) for start, count in zip(pool.start, pool.count, strict=True)]
    return torch.stack(before) + change.mean(1), change.var(1).sum(1) / n_cells
