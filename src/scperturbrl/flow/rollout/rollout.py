"""Generated cells of several conditions, equally many of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scperturbrl.flow.observation.carry import ControlCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.control_cells import ControlCells
    from scperturbrl.flow.generator import Generator
    from scperturbrl.flow.rollout.control_pool import ControlPool

    Sampler = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Rollout:
    """Generated cells of C conditions, n each.

    Attributes
    ----------
    index
        ``(C,)`` the conditions.
    control, unit
        Input: C * n control cells, and the normalised value of one count in each cell to generate ``(C * n,)``.
    latent
        ``(C * n, d)`` output of the sampler.
    cells
        ``(draws, C, n, G)`` log-normalised cells: for each draw, new counts of the same latent cells.
    approach
        ``(C * n, d)`` states before the sampler's last step; None if a sampler other than that of the generator drew the cells.
    path
        ``(K + 1, C * n, d)`` intermediate states, if another sampler drew the cells.
    """

    index: Tensor
    control: ControlCells
    unit: Tensor
    latent: Tensor
    cells: Tensor
    approach: Tensor | None = None
    path: Tensor | None = None

    @property
    def group_size(self) -> int:
        """Cells of each condition n."""
        return len(self.latent) // len(self.index)

    @property
    def rows(self) -> Tensor:
        """``(C * n,)`` condition of each cell."""
        return self.index.repeat_interleave(self.group_size)

    def first(self, n_conditions: int) -> Rollout:
        """The first conditions of a rollout with the sampler of the generator."""
        n_cells = n_conditions * self.group_size
        approach = None if self.approach is None else self.approach[:n_cells]
        control = self.control.each(lambda part: part[:n_cells])
        parts = (self.unit[:n_cells], self.latent[:n_cells], self.cells[:, :n_conditions])
        return Rollout(self.index[:n_conditions], control, *parts, approach)


@torch.no_grad()
def roll_out(
    generator: Generator,
    pool: ControlPool,
    conditions: ConditionBatch,
    index: Tensor,
    *,
    group_size: int,
    draws: int,
    rng: torch.Generator,
    sampler: Sampler | None = None,
) -> Rollout:
    """Generate `group_size` cells for each condition with the sampler that evaluation uses.

    Parameters
    ----------
    generator
        Model that generates.
    pool
        Control cells.
    conditions
        All conditions.
    index
        ``(C,)`` which of them.
    group_size
        Cells per condition n.
    draws
        Number of draws of counts for each latent cell. The reward of a latent cell is the average over them, which
        reduces noise that does not depend on the latent cell.
    rng
        Random generator on the device of the model.
    sampler
        Function from control cells ``(n, d)`` and their conditions ``(n,)`` to a path ``(K + 1, n, d)``; by default the
        sampler of the generator draws the cells.
    """
    control, unit = pool.draw(index, group_size, rng)
    own, rows = _of_cells(conditions, index, group_size)
    approach = path = None
    if sampler is None:
        approach = generator.approach(control.latent, own, rows, rng)
        latent = generator.last_step(approach, control.latent, own, rows)
    else:
        path = sampler(control.latent, index[rows])
        latent = path[-1]
    cells = _with_counts(generator, latent, control, unit, own, rows, rng, draws=draws)
    return Rollout(index, control, unit, latent, cells, approach, path)


def finish(
    generator: Generator, rollout: Rollout, conditions: ConditionBatch, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Repeat the last step of a rollout with the weights of `generator` and new counts.

    Returns
    -------
    Latent cells ``(C * n, d)`` and log-normalised ones ``(C, n, G)``, both with a gradient with respect to the weights.

    Raises
    ------
    ValueError
        If the cells were drawn by a sampler other than that of a generator.
    """
    if rollout.approach is None:
        msg = "This rollout has no last step of the generator's sampler."
        raise ValueError(msg)
    own, rows = _of_cells(conditions, rollout.index, rollout.group_size)
    latent = generator.last_step(rollout.approach, rollout.control.latent, own, rows)
    parts = (rollout.control, rollout.unit, own, rows, rng)
    cells = _with_counts(generator, latent, *parts, draws=1, differentiable=True)
    return latent, cells[0]


def _of_cells(conditions: ConditionBatch, index: Tensor, group_size: int) -> tuple[ConditionBatch, Tensor]:
    """Only the conditions at `index`, which have to be encoded, and the index among them for each cell."""
    place = torch.arange(len(index), device=index.device)
    return conditions.select(index), place.repeat_interleave(group_size)


def _with_counts(
    generator: Generator,
    latent: Tensor,
    control: ControlCells,
    unit: Tensor,
    conditions: ConditionBatch,
    rows: Tensor,
    rng: torch.Generator,
    *,
    draws: int,
    differentiable: bool = False,
) -> Tensor:
    """Cells ``(draws, C, n, G)`` of the latent cells of all `conditions`."""
    group_size = len(latent) // len(conditions)
    log_rate, measured = generator.cell_log_rate(latent, control, conditions, rows), generator.measured(control)
    # one random stream for each condition, because the number of random numbers in a draw of counts varies
    seeds = torch.randint(2**62, (len(conditions),), generator=rng, device=rows.device).tolist()
    drawn = []
    for number, seed in enumerate(seeds):
        these = slice(number * group_size, (number + 1) * group_size)
        own = torch.Generator(device=rows.device).manual_seed(seed)
        counts = None if measured is None else ControlCounts(measured.counts[these], measured.log_mean[these])
        sample = partial(generator.observation.sample, log_rate[these], unit[these], own, control=counts)
        drawn.append(torch.stack([sample(differentiable=differentiable)[0] for _ in range(draws)]))
    return torch.stack(drawn, dim=1)
