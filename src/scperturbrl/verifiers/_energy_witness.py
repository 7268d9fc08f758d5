"""Contribution of each generated cell to the energy distance between generated and real cells of a condition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.verifiers.base import Verifier
from scperturbrl.verifiers.components import PROJECTION, other_rows
from scperturbrl.verifiers.prepared import Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference
    from scperturbrl.verifiers.prepared import ReferenceCells

# The gradient of the square root is infinite at 0, the distance of a cell to its copy.
FLOOR = 1e-8

MAX_PAIRS, BLOCK = 2**22, 4096
"""Number of pairs of cells whose distances are in memory at a time, and maximum number of cells on one side."""


def _bank_points(cells: ReferenceCells) -> np.ndarray:
    projection = cells[PROJECTION]
    bank = np.full((len(cells.conditions), cells.bank_size, projection.shape[1]), np.nan, dtype=np.float32)
    for i, is_pseudo in enumerate(cells.is_pseudo):
        if is_pseudo:
            points = cells.stand_ins(i) @ projection
        else:
            drawn = cells.shuffled(other_rows(cells, cells.rows(i)), "bank on components")[: cells.bank_size]
            points = cells.expression(drawn) @ projection
        bank[i, : len(points)] = points
    return bank


BANK_POINTS = Prepared("bank_points", _bank_points)
"""``(C, M, d)`` real perturbed cells on the components; NaN is padding."""


def energy_witness() -> Verifier:
    """Energy witness: is the cell close to real cells, and far from the other generated cells?

    The mean distance to the other cells of its condition minus the mean distance to real cells of the condition, ``sum_j
    |x_i - x_j| / (n - 1) - mean_k |x_i - y_k|``, on the components of the training cells. Averaged over the cells, its
    gradient is minus half of that of the energy distance, so following it moves them towards the real population.
    The other cells and the real cells are fixed in the gradient.

    Returns
    -------
    An unbounded verifier that scores a cell *beside the others of its condition*: 0 on average for real cells, below 0
    for control cells and for copies of the mean. Its mean is not a measure of quality, because it grows with spread;
    calibration clips it at that of real cells. NaN for a single cell and for a condition without real cells.

    Notes
    -----
    With `n` in place of `n - 1` the cell would count as its own neighbour, and few cells would score too low.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.energy_witness().reads
    ('projection', 'bank_points')
    """
    return Verifier(
        name="energy_witness",
        score=_score,
        label="Energy witness",
        description="Mean distance to the other generated cells minus that to real cells of the condition.",
        range=(-float("inf"), float("inf")),
        prepares=(PROJECTION, BANK_POINTS),
        source="Witness function of the energy distance (Szekely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018), "
        "leave-one-out.",
    )


def _score(cells: Tensor, reference: Reference) -> Tensor:
    points = cells @ reference.projection.to(cells.dtype)
    bank = reference.bank_points.to(cells.dtype)
    valid = ~bank.isnan().any(-1)
    n_real = valid.sum(-1, keepdim=True)
    bank = bank.masked_fill(~valid.unsqueeze(-1), 0)
    # A cell with non-finite values must not affect the scores of the others.
    finite = points.detach().isfinite().all(-1)
    others = points.detach().masked_fill(~finite.unsqueeze(-1), 0)
    step = max(1, MAX_PAIRS // max(len(others) * min(others.shape[1], BLOCK), 1))
    score = [
        _mean_to_others(part, others, finite, step * i) - _mean_to_real(part, bank, valid)
        for i, part in enumerate(points.split(step, dim=1))
    ]
    n_others = finite.sum(-1, keepdim=True) - finite.to(torch.int64)
    return torch.cat(score, dim=1).masked_fill((n_real == 0) | (n_others == 0), torch.nan)


def _mean_to_real(points: Tensor, bank: Tensor, valid: Tensor) -> Tensor:
    to_real = distances(points, bank) * valid.unsqueeze(1)
    return to_real.sum(-1) / valid.sum(-1, keepdim=True).clamp_min(1)


def _mean_to_others(points: Tensor, others: Tensor, finite: Tensor, start: int) -> Tensor:
    """Mean distance of the cells that are `others` from `start` on to all of these but themselves."""
    own = torch.arange(start, start + points.shape[1], device=points.device).unsqueeze(1)
    total, count = torch.zeros_like(points[..., 0]), torch.zeros_like(points[..., 0])
    for first in range(0, others.shape[1], BLOCK):
        block = others[:, first : first + BLOCK]
        other = torch.arange(first, first + block.shape[1], device=points.device)
        counted = finite[:, None, first : first + BLOCK] & (own != other)
        total = total + distances(points, block).masked_fill(~counted, 0).sum(-1)
        count = count + counted.sum(-1)
    return total / count.clamp_min(1)


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances ``(..., n, m)`` between points ``(..., n, d)`` and ``(..., m, d)``, with finite gradients."""
    # Centre both sides on the second one, because the expanded square loses less precision with small numbers.
    centre = y.mean(-2, keepdim=True)
    x, y = x - centre, y - centre
    squares = x.square().sum(-1, keepdim=True) + y.square().sum(-1).unsqueeze(-2) - 2 * x @ y.mT
    return squares.clamp_min(FLOOR).sqrt()
