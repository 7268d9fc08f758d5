"""Cells in the flow's space, and the control cells with which they are paired, by optimal transport or at random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from scperturbrl._core.random import torch_rng

if TYPE_CHECKING:
    from scperturbrl.flow.path import Source

# cells in one optimal assignment, whose cost grows with the cube of their number
CHUNK = 256


@dataclass(frozen=True)
class LatentCells:
    """Cells in the flow's space with their conditions and the control cells they may be paired with.

    Attributes
    ----------
    latent
        ``(n, d)`` target cells (without count noise, see :mod:`scperturbrl.flow.observation.denoise`).
    codes
        ``(n,)`` condition of each, an index into the condition batch.
    control
        ``(m, d)`` control cells.
    control_start, control_count
        ``(n,)`` the run of `control` that each cell may be paired with (same covariates and batch).
    weight
        ``(n,)`` probability of being drawn, up to a factor.
    partner
        ``(n,)`` the control cell that each cell is paired with; None for a random one in every step.
    """

    latent: Tensor
    codes: Tensor
    control: Tensor
    control_start: Tensor
    control_count: Tensor
    weight: Tensor
    partner: Tensor | None = None

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw `n` cells: latent cells, control cells and condition codes."""
        index = torch.multinomial(self.weight, n, replacement=True, generator=rng)
        return self.pair(index, rng)

    def pair(self, index: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pair the cells at `index` with control cells."""
        if self.partner is None:
            share = torch.rand(len(index), generator=rng, device=index.device)
            partner = self.control_start[index] + (share * self.control_count[index]).long()
        else:
            partner = self.partner[index]
        return self.latent[index], self.control[partner], self.codes[index]

    def to(self, device: torch.device | str) -> LatentCells:
        """The same on `device`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return replace(self, **{name: value.to(device) for name, value in values.items() if value is not None})

    def fits_on(self, device: torch.device) -> bool:
        """Whether they take less than a quarter of the free memory of a CUDA `device`; else only drawn cells are moved."""
        if device.type != "cuda":
            return False
        held = sum(value.nbytes for value in vars(self).values() if value is not None)
        return held < torch.cuda.mem_get_info(device)[0] / 4

    def transported(self, rng: torch.Generator) -> LatentCells:
        """The same cells, paired by optimal transport within each condition and run of control cells."""
        partner = torch.empty_like(self.codes)
        runs, own = torch.stack([self.codes, self.control_start, self.control_count], 1).unique(
            dim=0, return_inverse=True
        )
        for number, (_, start, count) in enumerate(runs.tolist()):
            rows = torch.nonzero(own == number).flatten()
            control = self.control[start : start + count]
            partner[rows] = start + transport_partners(self.latent[rows], control, rng)
        return replace(self, partner=partner)


class Pairing:
    """Pairs of perturbed and control cells for each training step.

    If the flow starts from noise, control cells are random. If it starts from control cells, partners are found by
    optimal transport, and updated after a number of steps.

    Parameters
    ----------
    cells
        The cells.
    source
        Where the flow starts.
    seed
        Seed; partners have their own random numbers, so that a resumed run finds the same.
    every
        Number of steps between updates of partners.
    device
        Device of the pairs.
    """

    def __init__(
        self, cells: LatentCells, source: Source, seed: int, every: int, device: torch.device | str = "cpu"
    ) -> None:
        self.cells, self.source, self.seed, self.every, self.device = cells, source, seed, every, device
        self.number, self.paired = -1, cells.to(device)

    def at(self, step: int) -> LatentCells:
        """Cells with their partners at `step`, counted from 1."""
        number = (step - 1) // self.every
        if not self.source.is_gaussian and number != self.number:
            self.number = number
            self.paired = self.cells.transported(torch_rng(self.seed, "transport pairs", number)).to(self.device)
        return self.paired


def transport_partners(cells: Tensor, control: Tensor, rng: torch.Generator) -> Tensor:
    """Index ``(n,)`` of a control cell for each cell, with a small sum of squared distances.

    Cells are taken in random chunks of up to 256; each gets as many random control cells (with repetition only if there
    are fewer), and the assignment within the chunk is optimal.

    Parameters
    ----------
    cells, control
        ``(n, d)`` perturbed and ``(m, d)`` control cells.
    rng
        Random generator.

    Notes
    -----
    Minibatch optimal transport after :cite:t:`tong2024`, within one condition.
    """
    partner = torch.empty(len(cells), dtype=torch.long)
    for rows in torch.randperm(len(cells), generator=rng).split(CHUNK):
        drawn = _drawn(len(control), len(rows), rng)
        cost = torch.cdist(cells[rows], control[drawn]).square()
        mine, theirs = linear_sum_assignment(cost.numpy())
        partner[rows[torch.as_tensor(mine)]] = drawn[torch.as_tensor(theirs)]
    return partner


def _drawn(m: int, n: int, rng: torch.Generator) -> Tensor:
    """Draw `n` of `m` numbers with as few repeats as possible."""
    rounds = [torch.randperm(m, generator=rng) for _ in range(-(-n // m))]
    return torch.cat(rounds)[:n]
