"""Groups of generated cells, one group a condition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.generator import Generator


@dataclass(frozen=True)
class ControlPool:
    """Control cells to start from, with the run that belongs to each condition.

    Attributes
    ----------
    latent
        ``(m, d)`` coordinates.
    unit
        ``(m,)`` normalised value of one count.
    start, count
        ``(C,)`` the run of each condition.
    """

    latent: Tensor
    unit: Tensor
    start: Tensor
    count: Tensor

    def draw(self, index: Tensor, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Coordinates ``(C' * n, d)`` and units ``(C' * n,)`` of n random control cells for each condition in `index`."""
        share = torch.rand(len(index), n, generator=rng, device=index.device)
        rows = (self.start[index, None] + (share * self.count[index, None]).long()).reshape(-1)
        return self.latent[rows], self.unit[rows]

    def to(self, device: torch.device | str) -> ControlPool:
        """The same on `device`."""
        return ControlPool(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Rollout:
    """Generated cells of C conditions, n each.

    Attributes
    ----------
    index
        ``(C,)`` the conditions.
    control, latent
        ``(C * n, d)`` what went in and what came out.
    cells
        ``(draws, C, n, G)`` log-normalised cells: the same latent cells with fresh counts.
    path
        ``(K + 1, C * n, d)`` states on the way, if a sampler other than that of the generator drew the cells.
    """

    index: Tensor
    control: Tensor
    latent: Tensor
    cells: Tensor
    path: Tensor | None = None

    @property
    def rows(self) -> Tensor:
        """``(C * n,)`` condition of each cell."""
        return self.index.repeat_interleave(len(self.latent) // len(self.index))


def roll_out(
    generator: Generator,
    pool: ControlPool,
    conditions: ConditionBatch,
    index: Tensor,
    *,
    group_size: int,
    draws: int,
    rng: torch.Generator,
    grad_steps: int = 0,
    sampler: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Rollout:
    """Generate a group of cells for each condition with the sampler that evaluation uses.

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
        How often counts are drawn for each latent cell. The reward of a latent cell is the average over them, which
        takes out noise that no update of the latent could change.
    rng
        Random generator on the device of the model.
    grad_steps
        Sampler steps that keep a gradient; the cells then carry one too.
    sampler
        Function from control cells ``(n, d)`` and their conditions ``(n,)`` to a path ``(K + 1, n, d)``; by default the
        sampler of the generator draws the cells.
    """
    control, unit = pool.draw(index, group_size, rng)
    rows = index.repeat_interleave(group_size)
    path = sampler(control, rows) if sampler is not None else None
    latent = (
        generator.sample_latent(control, conditions, rows, rng, grad_steps=grad_steps) if path is None else path[-1]
    )
    log_rate = generator.log_rate(latent, conditions, rows)
    # a stream of random numbers for each condition, because drawing counts takes as many of them as it happens to need
    seeds = torch.randint(2**62, (len(index),), generator=rng, device=index.device).tolist()
    drawn = []
    for seed, own_rate, own_unit in zip(seeds, log_rate.split(group_size), unit.split(group_size), strict=True):
        own = torch.Generator(device=index.device).manual_seed(seed)
        sample = partial(generator.observation.sample, own_rate, own_unit, own, differentiable=grad_steps > 0)
        drawn.append(torch.stack([sample()[0] for _ in range(draws)]))
    cells = torch.stack(drawn, dim=1)
    return Rollout(index, control, latent, cells, path)
