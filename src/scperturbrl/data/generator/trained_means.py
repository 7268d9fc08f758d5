"""Set the means of generated cells of trained conditions to those of their training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core import keys
from scperturbrl._core.machine.threads import in_threads
from scperturbrl._core.random import torch_rng
from scperturbrl.data.generator.controls import control_pool
from scperturbrl.data.generator.linear import recentred
from scperturbrl.data.generator.stored import positions
from scperturbrl.data.latent.cells import encode_rows
from scperturbrl.data.reference.moments import denoising_shifts

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator

# Numbers of generated cells: least and most per condition, in all conditions together if the least allows it, and at a time.
N_LEAST, N_MOST, N_ALL, N_AT_ONCE = 256, 2048, 65_536, 4096
# shares of these in the two rounds: the second one also corrects the noise of the first
ROUNDS = (0.25, 0.75)
# Limits of the share of a common shift of latent cells that arrives in the mean of the generated ones. It is .3 to .6 on shallow panels.
# With very few counts it is .1 to .4, and dividing by less than .6 moves other genes too far.
ARRIVED = (0.6, 1.0)


@torch.no_grad()
def set_trained_means(stored: StoredGenerator, cells: Cells, *, seed: int) -> None:
    """Find the shift of each trained condition from the mean of its generated cells to that of its training cells.

    Generated and real cells are compared in the coordinates of the space. The real mean is denoised first
    (:func:`scperturbrl.metrics.denoised_effects`). In two rounds, the difference is added to the shift. What conditions have in common is
    added whole, and in the second round divided by the share that arrived of the first. The rest is shrunk by the noise of the generated
    mean (James and Stein).

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
    if not names:
        return
    wanted, rows = _wanted_means(stored, cells, names), [position[name] for name in names]
    before, arrived = torch.zeros(wanted.shape[1]), torch.tensor(1.0)
    for round_ in range(len(ROUNDS)):
        made, noise = _made_means(stored, cells, names, seed=seed, round_=round_)
        gap = wanted - made
        common = gap.mean(0)
        if round_:
            arrived = ((before - common) @ before / before.square().sum().clamp_min(1e-12)).clamp(*ARRIVED)
        linear.trained_shift[rows] += common / arrived + _shrunk(gap - common, noise)
        before = common


def _shrunk(deviation: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Deviations ``(C, d)`` less their noise ``(C,)``, summed over coordinates (James and Stein)."""
    return deviation * (1 - noise / deviation.square().sum(1).clamp_min(1e-12)).clamp_min(0)[:, None]


def _wanted_means(stored: StoredGenerator, cells: Cells, names: list[str]) -> torch.Tensor:
    """Denoised mean ``(C, d)`` of the training cells of each condition."""
    space, denoising, rows = stored.generator.space, denoising_shifts(cells, stored.generator.space), cells.rows(names)
    own = [np.flatnonzero((cells.codes == row) & cells.is_training()) for row in rows]
    return torch.stack(
        [encode_rows(cells, o, space).mean(0) + denoising[row] for o, row in zip(own, rows, strict=True)]
    )


def _made_means(
    stored: StoredGenerator, cells: Cells, names: list[str], *, seed: int, round_: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean ``(C, d)`` of the generated cells of each condition, and the variance ``(C,)`` of its noise, summed over coordinates.

    Most of the noise comes from the choice of control cells, and the mean of all control cells is known. So the mean
    change of a cell is estimated instead (a control variate).
    """
    generator, n_cells = stored.generator, int(ROUNDS[round_] * np.clip(N_ALL // len(names), N_LEAST, N_MOST))
    pool = control_pool(stored, cells, cells.table.loc[names])

    def made(index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rng = torch_rng(seed, "means of trained conditions", round_, int(index[0]))
        table = cells.table.loc[[names[i] for i in index]]
        conditions = recentred(stored, cells, table, seed=seed)
        control, unit = pool.draw(index, n_cells, rng)
        rows = torch.arange(len(index)).repeat_interleave(n_cells)
        latent = generator.sample_latent(control.latent, conditions, rows, rng)
        drawn, _ = generator.sample_cells(latent, control, unit, conditions, rows, rng)
        change = (generator.space.encode(drawn) - control.latent).view(len(index), n_cells, -1)
        runs = zip(pool.start[index], pool.count[index], strict=True)
        start = [pool.latent[i : i + count].mean(0) for i, count in runs]
        return torch.stack(start) + change.mean(1), change.var(1).sum(1) / n_cells

    found = in_threads(made, torch.arange(len(names)).split(N_AT_ONCE // n_cells))
    means, noise = zip(*found, strict=True)
    return torch.cat(means), torch.cat(noise)
