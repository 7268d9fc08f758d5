"""Whether a cell could come from the experiment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from scperturbrl.verifiers._energy_witness import distances
from scperturbrl.verifiers.base import Verifier
from scperturbrl.verifiers.components import GROUP, PROJECTION, of_group
from scperturbrl.verifiers.prepared import Prepared

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.verifiers.base import Reference
    from scperturbrl.verifiers.prepared import ReferenceCells

N_NEIGHBOURS = 10
DETECTED = 1e-2
"""Expression in log units below which a gene counts as not detected."""

TOLERANCE = 1.0
"""Deviation from the mean of real cells, in standard deviations, that is not penalised."""

N_LANDMARKS = 256
N_TYPICAL = 500
SMALLEST_SD = (0.05, 0.01, 0.0)
"""For log total, share detected and distance. All totals are equal if cells were normalised over the same genes."""


def _n_landmarks(rows: np.ndarray) -> int:
    return min(N_LANDMARKS, len(rows) // 2)


def _landmarks(cells: ReferenceCells) -> np.ndarray:
    projection = cells[PROJECTION]
    landmarks = np.full((cells.n_groups, N_LANDMARKS, projection.shape[1]), np.nan, dtype=np.float32)
    for own, rows in zip(landmarks, (of_group(cells, number) for number in range(cells.n_groups)), strict=True):
        own[: _n_landmarks(rows)] = cells.expression(rows[: _n_landmarks(rows)]) @ projection
    return landmarks


def _typical(cells: ReferenceCells) -> np.ndarray:
    projection, landmarks = (torch.as_tensor(cells[item]) for item in (PROJECTION, LANDMARKS))
    typical = np.empty((cells.n_groups, 3, 2), dtype=np.float32)
    for number in range(cells.n_groups):
        rows = of_group(cells, number)
        n = _n_landmarks(rows)
        others = torch.as_tensor(cells.expression(rows[n : n + N_TYPICAL]))
        values = cell_properties(others[None], projection, landmarks[None, number])[0].numpy()
        typical[number, :, 0] = values.mean(0)
        smallest = np.maximum(SMALLEST_SD, [0, 0, 0.05 * values[:, 2].mean()])
        typical[number, :, 1] = np.maximum(values.std(0, ddof=1), smallest)
    return typical


LANDMARKS = Prepared("landmarks", _landmarks, scope="all")
"""``(Q, L, d)`` real cells of each combination of covariates, perturbed or not, on the components; NaN is padding."""

TYPICAL = Prepared("typical", _typical, scope="all")
"""``(Q, 3, 2)`` mean and standard deviation over real cells of the three numbers that the verifier compares."""


def plausibility(*, n_neighbours: int = N_NEIGHBOURS) -> Verifier:
    """Expression plausibility: are total expression, zeros and position like those of real cells?

    Three numbers of a cell are compared with those of all real cells of the same covariates, perturbed or not: the
    logarithm of its total normalised expression, the share of genes it detects, and its mean distance to the nearest
    real cells on the components of the training cells. With z the deviation in standard deviations (for the distance,
    only if it is larger), the score is ``1 / (1 + mean(max(0, |z| - 1)))``.

    Parameters
    ----------
    n_neighbours
        Number of real cells to which the distance is computed.

    Returns
    -------
    A safeguard in [0, 1]: 1 for a cell within one standard deviation in all three.

    Notes
    -----
    It detects averages, in which every gene is detected; inflated effects, which are far from all real cells; and
    unusual total expression.

    Examples
    --------
    >>> from scperturbrl import verifiers
    >>> verifiers.plausibility().safeguard
    True
    """
    if n_neighbours < 1:
        msg = f"`n_neighbours` is {n_neighbours}; it must be at least 1."
        raise ValueError(msg)
    return Verifier(
        name="plausibility",
        score=partial(_score, n_neighbours=n_neighbours),
        label="Expression plausibility",
        description="Whether total expression, detected genes and distance to real cells are those of a real cell.",
        range=(0.0, 1.0),
        prepares=(PROJECTION, GROUP, LANDMARKS, TYPICAL),
        safeguard=True,
        source="Our own; the three numbers are common in quality control.",
        params={"n_neighbours": n_neighbours},
    )


def _score(cells: Tensor, reference: Reference, *, n_neighbours: int) -> Tensor:
    group = reference.group
    landmarks = reference.landmarks[group].to(cells.dtype)
    found = cell_properties(cells, reference.projection.to(cells.dtype), landmarks, n_neighbours=n_neighbours)
    mean, sd = reference.typical[group].to(cells.dtype).unbind(-1)
    z = (found - mean.unsqueeze(1)) / sd.unsqueeze(1)
    excess = torch.stack([z[..., 0].abs(), z[..., 1].abs(), z[..., 2]], dim=-1) - TOLERANCE
    return 1 / (1 + excess.clamp_min(0).mean(-1))


def cell_properties(
    cells: Tensor, projection: Tensor, landmarks: Tensor, *, n_neighbours: int = N_NEIGHBOURS
) -> Tensor:
    """Log total, share of detected genes and distance to the nearest landmarks of each cell.

    Parameters
    ----------
    cells
        ``(C, n, G)`` log-normalised.
    projection
        ``(G, d)``
    landmarks
        ``(C, L, d)`` real cells, NaN is padding. A landmark that is the cell itself is left out.
    n_neighbours
        Landmarks to average.

    Returns
    -------
    ``(C, n, 3)``
    """
    total = torch.expm1(cells).sum(-1).clamp_min(1e-6).log()
    # A step function has no gradient. This smooth function is equivalent for counts, and has one.
    detected = torch.sigmoid((cells - DETECTED) / (DETECTED / 5)).mean(-1)
    valid = ~landmarks.isnan().any(-1)
    points = cells @ projection
    apart = distances(points, landmarks.masked_fill(~valid.unsqueeze(-1), 0))
    left_out = ~valid.unsqueeze(1) | (apart.detach() < 1e-3 * (1 + points.detach().norm(dim=-1, keepdim=True)))
    nearest = apart.masked_fill(left_out, torch.inf).topk(
        min(n_neighbours, landmarks.shape[1]), dim=-1, largest=False, sorted=False
    )
    known = nearest.values.isfinite()
    distance = nearest.values.masked_fill(~known, 0).sum(-1) / known.sum(-1)
    # a landmark of NaN is never among the nearest
    distance = distance.masked_fill(~points.isfinite().all(-1), torch.nan)
    return torch.stack([total, detected, distance], dim=-1)
