"""Pairing of perturbed with control cells by optimal transport."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

CHUNK = 256


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
