"""Mean latent cells of conditions: of their control cells, by the flow, and by the linear part."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scperturbrl._core.machine.threads import in_threads
from scperturbrl._core.random import torch_rng
from scperturbrl.data.cells.cells import dense
from scperturbrl.data.generator.contexts import context_effects, is_new_context
from scperturbrl.data.generator.doses import dose_effects
from scperturbrl.data.generator.stored import positions
from scperturbrl.data.generator.unseen import unseen_features
from scperturbrl.data.latent.cells import Controls, encode_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from scperturbrl.data.cells.cells import Cells
    from scperturbrl.data.generator.stored import StoredGenerator
    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.generator import Generator

# cells from which the flow's mean of a condition is estimated, and conditions generated at a time
N_CELLS, N_AT_ONCE = 512, 8
PREDICTED = "predicted means"


class Means(NamedTuple):
    """Latent means ``(C, d)`` of control cells, by the flow and by the linear part, and whether the linear one is known ``(C,)``.

    Also the effects in new contexts in expression, ``(C, G)``, NaN where none was transferred; ``(C, 0)`` if no condition is in one.
    """

    control: Tensor
    flow: Tensor
    linear: Tensor
    known: Tensor
    transferred: Tensor

    def select(self, index: Tensor) -> Means:
        """The means of the chosen conditions."""
        return Means(*(part[index] for part in self))

    def mixed(self, weight: Tensor | float) -> Tensor:
        """Weighted mean ``(C, d)`` of the effects of the flow and the linear ones, which have the share `weight`."""
        return self.flow + weight * (self.linear - self.flow) - self.control

    def effect(self, weight: Tensor, magnitude: Tensor) -> Tensor:
        """The :meth:`mixed` effects, `magnitude` times as large; ``(C, d)``."""
        return magnitude * self.mixed(weight)

    def shift(self, weight: Tensor, magnitude: Tensor) -> Tensor:
        """Shift ``(C, d)`` from the flow's means to those with the :meth:`effect`."""
        return weight * (self.linear - self.flow) + (magnitude - 1) * self.mixed(weight)


def predicted_means(
    stored: StoredGenerator,
    cells: Cells,
    table: pd.DataFrame,
    use: np.ndarray,
    *,
    seed: int,
    device: torch.device | str,
) -> Means:
    """Means of the conditions of `table`; at most those marked in `use` are known.

    If ``cells.once[PREDICTED]`` is a dictionary, the means are cached in it. This is valid while the generator does not change.
    """
    key, kept = (id(stored), tuple(table.index), use.tobytes(), seed), cells.once.get(PREDICTED, {})
    if key not in kept:
        kept[key] = _predicted_means(stored, cells, table, use, seed=seed, device=device)
    found: Means = kept[key]
    return found


def _predicted_means(
    stored: StoredGenerator,
    cells: Cells,
    table: pd.DataFrame,
    use: np.ndarray,
    *,
    seed: int,
    device: torch.device | str,
) -> Means:
    batch = stored.vocabulary.batch(table)
    effect, known = linear_effects(stored, table, batch)
    control, own = _control_latents(stored, cells, table["group"].tolist())
    transferred = torch.zeros(len(table), 0)
    if is_new_context(stored, table).any():
        transferred, told = context_effects(stored, table, _control_profiles(cells, table["group"].tolist()))
        linear = stored.generator.linear
        together = torch.where(batch.present.sum(1) > 1, linear.additivity[0], 1.0)
        transferred *= (linear.amount(batch.dose) * together)[:, None]
        effect = torch.where(told[:, None], stored.generator.space.project(transferred), effect)
        transferred[~told] = torch.nan
        known |= told
    known &= torch.as_tensor(use)
    flow = torch.zeros_like(effect)
    wanted = torch.nonzero(known).flatten()
    flow[wanted] = _flow_means(stored.generator.to(device), batch.to(device), wanted, own, seed)
    stored.generator.cpu()
    return Means(control, flow, control + effect, known, transferred)


@torch.no_grad()
def _flow_means(
    generator: Generator, batch: ConditionBatch, wanted: Tensor, controls: Sequence[Tensor], seed: int
) -> Tensor:
    """Mean of 512 latent cells ``(n, d)`` of each of the conditions at `wanted` ``(n,)``, on the CPU."""
    device = generator.device
    # the caches of a processor hold the cells of one condition; its random numbers are the same one by one
    at_once = 1 if device.type == "cpu" else N_AT_ONCE

    def mean(some: Tensor) -> Tensor:
        # the others need no code; always eight, because libraries round products of few rows differently
        own, place = batch, some
        if len(batch) > N_AT_ONCE:
            own, place = batch.select(some.repeat(N_AT_ONCE)[:N_AT_ONCE].to(device)), torch.arange(len(some))
        rng, latent = torch_rng(seed, "latent means", device=device), []
        for few in torch.arange(len(some)).split(at_once):
            start = torch.cat([controls[int(some[i])] for i in few]).to(device)
            index = place[few].repeat_interleave(N_CELLS).to(device)
            latent.append(generator.sample_latent(start, own, index, rng))
        return torch.cat(latent).view(len(some), N_CELLS, -1).mean(1).cpu()

    parts = wanted.split(N_AT_ONCE) if len(wanted) else ()
    # on another device they would run one after the other anyway
    found = in_threads(mean, parts) if device.type == "cpu" else [mean(some) for some in parts]
    return torch.cat([torch.zeros(0, generator.space.dim), *found])


def linear_effects(stored: StoredGenerator, table: pd.DataFrame, batch: ConditionBatch) -> tuple[Tensor, Tensor]:
    """Latent effects ``(C, d)`` of the linear part, and whether they are known ``(C,)``.

    Where the perturbation was measured at other doses in the same control group, they are interpolated.
    """
    features = unseen_features(stored, table, batch.features)
    effect, known = stored.generator.linear(batch, stored.vocabulary.group_codes(table), features)
    doses = dose_effects(stored, table)
    return torch.where(doses.known[:, None], doses.effect, effect), known | doses.known


def _control_profiles(cells: Cells, groups: Sequence[str]) -> Tensor:
    """Mean control profile ``(C, G)`` of each group."""
    controls, found = Controls.of(cells), {}
    for group in dict.fromkeys(groups):
        start, count = controls.run(group)
        rows = controls.rows[start : start + count]
        total = sum(dense(block).sum(0, dtype=np.float64) for _, block in cells.pieces(rows))
        found[group] = torch.as_tensor(total / count, dtype=torch.float32)
    return torch.stack([found[group] for group in groups])


def _control_latents(stored: StoredGenerator, cells: Cells, groups: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Mean latent control cell ``(C, d)`` of each group, and 512 of them that have that mean."""
    controls, found = Controls.of(cells), {}
    for group in dict.fromkeys(groups):
        start, count = controls.run(group)
        latent = encode_group(cells, controls.rows[start : start + count], stored.generator.space)
        chosen = latent[torch.arange(N_CELLS) * count // N_CELLS]
        found[group] = latent.mean(0), chosen + latent.mean(0) - chosen.mean(0)
    mean = [found[group][0] for group in groups]
    empty = torch.zeros(0, stored.generator.space.dim)
    return torch.stack(mean) if mean else empty, [found[group][1] for group in groups]


def trained_shifts(stored: StoredGenerator, table: pd.DataFrame) -> Tensor:
    """Shift ``(C, d)`` of the cells of each condition of `table` to the mean of its training cells; 0 for conditions without any."""
    position = positions(stored)
    found = torch.zeros(len(table), stored.generator.space.dim)
    for row, name in enumerate(table.index):
        if name in position:
            found[row] = stored.generator.linear.trained_shift[position[name]]
    return found
