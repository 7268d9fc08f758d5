"""The level of every gene in a context of another data set, set by its control cells."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl._core.random import numpy_rng, torch_rng
from scperturbrl.data.generator.contexts import is_new_context
from scperturbrl.data.latent.cells import Controls, control_units, encode_rows
from scperturbrl.flow.observation.nb import NegativeBinomialObservation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.data.transfer.genes import GeneMatch

N_CELLS = 512
_ROUNDS, _LARGEST_STEP = 4, 0.5


@contextmanager
def level_of(
    stored: StoredGenerator, cells: Cells, measured: Cells, match: GeneMatch, group: str, *, seed: int
) -> Iterator[None]:
    """Move the intercepts of the observation layer until control cells of a group, as the generator makes them, have the mean of the real ones.

    The space of the generator holds how training cells differ from each other. What makes the level of a gene another one in this data set
    (donors, chemistry, another aligner) is mostly outside of it, and would count as an effect. Genes that were not measured keep their intercept, and so do all once
    the context is left.

    Parameters
    ----------
    stored
        Generator, changed inside of the context only.
    cells, measured
        Control cells over the genes of the generator, and over their own.
    match
        Which genes are there.
    group
        Covariates of the control cells.
    seed
        Seed.
    """
    observation = stored.generator.observation
    if not isinstance(observation, NegativeBinomialObservation):
        yield
        return
    before = observation.intercept.clone()
    observation.intercept += _offset(stored, cells, measured, match, group, seed)
    try:
        yield
    finally:
        observation.intercept.copy_(before)


@torch.no_grad()
def _offset(
    stored: StoredGenerator, cells: Cells, measured: Cells, match: GeneMatch, group: str, seed: int
) -> torch.Tensor:
    """What to add to the intercepts ``(G,)``."""
    generator, observation = stored.generator, stored.generator.observation
    controls = Controls.of(cells)
    start, count = controls.run(group)
    rows = np.sort(
        numpy_rng(seed, "control cells of the level").permutation(controls.rows[start : start + count])[:N_CELLS]
    )
    unit = torch.as_tensor(control_units(measured, rows), dtype=torch.float32)
    real = torch.as_tensor(cells.block(rows))
    latent = encode_rows(cells, rows, generator.space)
    control = cells.table.iloc[cells.codes[rows[:1]]]
    batch = stored.vocabulary.batch(control)
    index = torch.zeros(len(rows), dtype=torch.long)
    if not is_new_context(stored, control).any():
        # here the flow alone sets the mean of a condition, so that its own control cells show how far it is off
        latent = generator.sample_latent(latent, batch, index, torch_rng(seed, "control cells of a context"))
    log_rate = generator.log_rate(latent, batch, index)
    present, offset = torch.as_tensor(match.place >= 0), torch.zeros(real.shape[1])
    for step in range(_ROUNDS):
        rng = torch_rng(seed, "level of a context", step)
        drawn, counts = observation.sample(log_rate + offset, unit, rng)
        gap = real.mean(0) - drawn.mean(0)
        noise = (real.var(0) + drawn.var(0)) / len(rows)
        # a gap no larger than its noise is none
        kept = (1 - noise / gap.square().clamp_min(1e-12)).clamp_min(0)
        # how much the mean moves with the log rate, by the Stein-Chen identity
        one_more = torch.log1p(unit[:, None] * (counts + 1)) - torch.log1p(unit[:, None] * counts)
        slope = (one_more * torch.exp(log_rate + offset) / unit[:, None]).mean(0)
        step_size = (gap * kept / slope.clamp_min(1e-3)).clamp(-_LARGEST_STEP, _LARGEST_STEP)
        offset += torch.where(present, step_size, torch.zeros(()))
    return offset
