"""Means of generated cells, gene by gene and condition by condition, set by the training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core import keys
from scperturbrl._core.random import torch_rng
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.cells.draw import shuffled
from scperturbrl.data.generator.task import build_task
from scperturbrl.data.generator.trained_shift import positions
from scperturbrl.flow.observation.nb import NegativeBinomialObservation

if TYPE_CHECKING:
    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator

N_CONDITIONS, N_CELLS = 48, 128
_ROUNDS = 4
_LARGEST_STEP = 0.3


@torch.no_grad()
def set_level(stored: StoredGenerator, cells: Cells, *, seed: int) -> None:
    """Move the intercepts of the observation layer until generated cells of trained conditions have the real mean, gene by gene.

    Counts agree with the data in total after the layer was fitted. But deep cells dominate totals, scaling a cell to the common total
    shifts every gene where a few make most of the counts, and the flow is not quite unbiased. What is left of all that in the mean
    log-normalised expression over trained conditions is taken out here; differences between conditions stay as they are.

    Parameters
    ----------
    stored
        Fitted generator, changed in place.
    cells
        Training cells; of up to 48 conditions up to 256 cells are read.
    seed
        Seed.
    """
    generator, observation = stored.generator, stored.generator.observation
    names = cells.conditions(keys.TRAIN, min_cells=10)
    if not names or not isinstance(observation, NegativeBinomialObservation):
        return
    # of an earlier fit; found anew afterwards
    generator.linear.trained_shift.zero_()
    spaced = np.unique(np.linspace(0, len(names) - 1, min(len(names), N_CONDITIONS)).round().astype(int))
    names = [names[i] for i in spaced]
    real, error = _real_means(cells, names, seed)
    task, rng = build_task(stored, cells, names, keys.TRAIN, seed=seed), torch_rng(seed, "level of genes")
    index = torch.arange(len(names))
    control, unit = task.pool.draw(index, N_CELLS, rng)
    rows = index.repeat_interleave(N_CELLS)
    latent = generator.sample_latent(control, task.conditions, rows, rng)
    for _ in range(_ROUNDS):
        log_rate = generator.log_rate(latent, task.conditions, rows)
        drawn, counts = observation.sample(log_rate, unit, rng)
        gap = real - drawn.mean(0)
        # a gap no larger than its noise is no bias
        kept = (1 - (error + drawn.var(0) / len(drawn)) / gap.square().clamp_min(1e-12)).clamp_min(0)
        # how much the mean moves with the log rate, by the Stein-Chen identity
        one_more = torch.log1p(unit[:, None] * (counts + 1)) - torch.log1p(unit[:, None] * counts)
        slope = (one_more * torch.exp(log_rate) / unit[:, None]).mean(0)
        observation.intercept += (gap * kept / slope.clamp_min(1e-3)).clamp(-_LARGEST_STEP, _LARGEST_STEP)


@torch.no_grad()
def set_trained_means(stored: StoredGenerator, cells: Cells, *, seed: int) -> None:
    """Find the shift of each trained condition that brings the mean of its generated cells to that of its training cells.

    Compared are generated and real cells as they are seen, on the coordinates of the space. The gap is shrunk by its noise
    (James and Stein), so that a condition with few cells keeps the mean that the flow learnt from all.

    Parameters
    ----------
    stored
        Generator, changed in place.
    cells
        Training cells; up to 256 of each condition are read.
    seed
        Seed.
    """
    generator, names = stored.generator, cells.conditions(keys.TRAIN, min_cells=10)
    linear, position = generator.linear, positions(stored)
    linear.trained_shift.zero_()
    names = [name for name in names if name in position]
    for first in range(0, len(names), N_CONDITIONS):
        some = names[first : first + N_CONDITIONS]
        task, rng = (
            build_task(stored, cells, some, keys.TRAIN, seed=seed),
            torch_rng(seed, "means of trained conditions", first),
        )
        index = torch.arange(len(some))
        control, unit = task.pool.draw(index, N_CELLS, rng)
        rows = index.repeat_interleave(N_CELLS)
        latent = generator.sample_latent(control, task.conditions, rows, rng)
        drawn, _ = generator.observation.sample(generator.log_rate(latent, task.conditions, rows), unit, rng)
        shown = generator.space.encode(drawn).view(len(some), N_CELLS, -1)
        for i, name in enumerate(some):
            real = task.real[i][task.real[i].isfinite().all(1)]
            gap = real.mean(0) - shown[i].mean(0)
            noise = real.var(0).sum() / len(real) + shown[i].var(0).sum() / N_CELLS
            linear.trained_shift[position[name]] = gap * (1 - noise / gap.square().sum()).clamp_min(0)


def _real_means(cells: Cells, names: list[str], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean ``(G,)`` over conditions of the mean training cell of each, and the squared error of that."""
    means, errors = [], []
    for row in cells.rows(names):
        found = np.flatnonzero((cells.codes == row) & cells.is_training())
        some = shuffled(cells, found, seed, "cells of level")[:256]
        block = dense(cells.expression[some])
        means.append(block.mean(0))
        errors.append(block.var(0) / len(block))
    n = len(names)
    return torch.as_tensor(np.mean(means, 0)), torch.as_tensor(np.sum(errors, 0) / n**2)
