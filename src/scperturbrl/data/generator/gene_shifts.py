"""Shifts of the log rates of genes in new contexts, so that their means follow the transferred effects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.data.generator.controls import control_pool
from scperturbrl.metrics.baselines.log_ratios import log_ratios

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.means import Means
    from scperturbrl.data.generator.stored import StoredGenerator

# Effects outside the components are noisier than the residuals of the observation layer, which are averages over contexts. Halfway between
# the two is closer than either, if effects in left-out contexts can be predicted well.
_SHARE = 0.5
_ROUNDS, _N_CELLS = 2, 512
# a mean of log-normalised values is not the log of the mean rate, so large corrections are taken in steps
_LARGEST = 2.0


@torch.no_grad()
def gene_shifts(
    stored: StoredGenerator,
    cells: Cells,
    table: pd.DataFrame,
    means: Means,
    *,
    seed: int,
    device: torch.device | str,
) -> Tensor:
    """Shift ``(C, G)`` of the log rates that moves the means of genes towards the transferred effects.

    Control cells are moved by the latent effect alone. What their means of genes then lack to the transferred effect is added to the log
    rates, in two rounds. Half of this is used, times the share of the effects in left-out contexts that was predicted.

    Parameters
    ----------
    stored, cells, table
        Generator, cells, and the C conditions, all in new contexts.
    means
        Their means, with the transferred effects.
    seed, device
        Seed, and device of the generator.
    """
    generator = stored.generator.to(device)
    pool = control_pool(stored, cells, table).to(device)
    batch = stored.vocabulary.batch(table)
    batch = replace(batch, shift=means.linear - means.control, translated=torch.ones(len(table), dtype=torch.bool)).to(
        device
    )
    found, wanted = torch.zeros_like(means.transferred), means.transferred.to(device)
    for row in range(len(table)):
        index = torch.tensor([row], device=device)
        # the same random numbers for every condition, so that it does not matter which others are asked for
        rng = torch_rng(seed, "means of genes in new contexts", device=device)
        control, _ = pool.draw(index, _N_CELLS, rng)
        target = torch.log1p(control.counts * control.unit[:, None]).mean(0) + wanted[row]
        shift = torch.zeros_like(target)
        for _ in range(_ROUNDS):
            own = replace(batch.select(index), gene_shift=shift[None])
            made, _ = generator.sample_cells(
                control.latent, control, control.unit, own, torch.zeros(_N_CELLS, dtype=torch.long, device=device), rng
            )
            short = log_ratios(made.mean(0).cpu().numpy(), (target - made.mean(0)).cpu().numpy())
            shift = shift + torch.as_tensor(short, device=device).clamp(-_LARGEST, _LARGEST)
        found[row] = _SHARE * float(generator.linear.context_explained) * shift.cpu()
    stored.generator.cpu()
    return found
