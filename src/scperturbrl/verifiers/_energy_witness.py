"""Where the generated cells of a condition lack real cells, and where they crowd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scperturbrl.verifiers.base import Verifier, field_of

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference

# The slope of a root is infinite at 0, where a cell meets its own copy.
FLOOR = 1e-8


def energy_witness() -> Verifier:
    """Energy witness: is the cell where real cells are and the other generated cells are not?

    The mean distance to the other cells of its group minus the mean distance to real cells of the condition,
    ``sum_j |x_i - x_j| / (n - 1) - mean_k |x_i - y_k|``, on the components of the training cells. Averaged over a group its
    gradient is minus half of that of the energy distance, so climbing it moves the group towards the real population.
    The other cells and the real ones are held fixed when gradients are taken.

    Returns
    -------
    A verifier without bounds that scores a cell *within its group*: 0 on average for a group of real cells, below 0 for
    control cells and for copies of the mean. Its mean over a group is no measure of quality, because it grows with spread;
    calibration cuts it off at that of real cells. NaN for a group of one and for a condition without real cells.

    Notes
    -----
    With `n` in place of `n - 1` the cell would count as its own neighbour, and small groups would score too low.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.energy_witness().needs
    ('projection', 'bank_points')
    """
    return Verifier(
        name="energy_witness",
        score=_score,
        label="Energy witness",
        description="Mean distance to the other generated cells minus that to real cells of the condition.",
        range=(-float("inf"), float("inf")),
        needs=("projection", "bank_points"),
        source="Witness function of the energy distance (Szekely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018), "
        "leave-one-out.",
    )


def _score(cells: Tensor, reference: Reference) -> Tensor:
    points = cells @ field_of(reference, "projection").to(cells.dtype)
    bank = field_of(reference, "bank_points").to(cells.dtype)
    valid = ~bank.isnan().any(-1)
    n = points.shape[1]
    to_real = distances(points, bank.masked_fill(~valid.unsqueeze(-1), 0)) * valid.unsqueeze(1)
    n_real = valid.sum(-1, keepdim=True)
    attraction = to_real.sum(-1) / n_real.clamp_min(1)
    itself = torch.eye(n, dtype=torch.bool, device=cells.device)
    # A cell that is not finite must not spoil the scores of the others.
    others = points.detach()
    finite = others.isfinite().all(-1)
    counted = finite.unsqueeze(1) & ~itself
    to_others = distances(points, others.masked_fill(~finite.unsqueeze(-1), 0)).masked_fill(~counted, 0)
    n_others = counted.sum(-1)
    score = to_others.sum(-1) / n_others.clamp_min(1) - attraction
    return score.masked_fill((n_real == 0) | (n_others == 0), torch.nan)


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances ``(..., n, m)`` between points ``(..., n, d)`` and ``(..., m, d)``, with finite slopes."""
    # Small numbers lose less in the expanded square, so both sides are moved to where the second one is.
    centre = y.mean(-2, keepdim=True)
    x, y = x - centre, y - centre
    squares = x.square().sum(-1, keepdim=True) + y.square().sum(-1).unsqueeze(-2) - 2 * x @ y.mT
    return squares.clamp_min(FLOOR).sqrt()
