"""What real replicate cells reach, and where a model stands between a baseline and that ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def split_half(cells: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split cells at random into two halves that play prediction and observation.

    Parameters
    ----------
    cells
        ``(n, G)`` real cells of one condition.
    seed
        Of the assignment.

    Returns
    -------
    Two disjoint arrays of n // 2 and n - n // 2 cells that together hold every cell.

    Notes
    -----
    Each half has half of the cells, so the ceiling is a little lower than what a replicate of n cells would reach.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import split_half
    >>> first, second = split_half(np.arange(5.0)[:, None])
    >>> len(first), len(second), float(first.sum() + second.sum())
    (2, 3, 10.0)
    """
    order = np.random.default_rng(seed).permutation(len(cells))
    half = len(cells) // 2
    return cells[order[:half]], cells[order[half:]]


def scaled_score(value: ArrayLike, *, baseline: ArrayLike, ceiling: ArrayLike) -> np.ndarray | float:
    """Place a metric between a baseline and a ceiling.

    Parameters
    ----------
    value
        Metric of the model, one or many.
    baseline
        The same metric of the baseline, usually the mean response; broadcast against `value`.
    ceiling
        The same metric of the replicate.

    Returns
    -------
    ``(value - baseline) / (ceiling - baseline)``: 0 = baseline, 1 = replicate, for metrics of either direction. Not
    clipped, because a clipped score hides how bad a model is and invites gaming. NaN where both anchors are equal.
    A float for scalar arguments.

    Notes
    -----
    For a metric with an ideal in the middle of its range (`higher_is_better` is None) pass
    :meth:`scperturbrl.metrics.Metric.error` of the three numbers.

    Examples
    --------
    >>> from scperturbrl.metrics import scaled_score
    >>> scaled_score(0.5, baseline=0.25, ceiling=0.75)
    0.5
    >>> scaled_score([3.0, 1.0], baseline=2.0, ceiling=1.0).tolist()
    [-1.0, 1.0]
    """
    value, baseline, ceiling = (np.asarray(part, dtype=np.float64) for part in (value, baseline, ceiling))
    span = ceiling - baseline
    scaled = (value - baseline) / np.where(span == 0, np.nan, span)
    return float(scaled) if scaled.ndim == 0 else scaled
