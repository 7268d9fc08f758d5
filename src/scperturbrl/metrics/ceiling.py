"""Replicate ceilings, and scores of models between a baseline and the ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl._core.random import numpy_rng
from scperturbrl.metrics._arrays import gene_variance, mean_profile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def split_half(cells: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split cells at random into two halves, used as prediction and observation.

    Parameters
    ----------
    cells
        ``(n, G)`` real cells of one condition.
    seed
        Seed of the assignment.

    Returns
    -------
    Two disjoint arrays of n // 2 and n - n // 2 cells that together hold every cell.

    Notes
    -----
    Each half has half of the cells, so the ceiling is slightly lower than that of a replicate of n cells.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import split_half
    >>> first, second = split_half(np.arange(5.0)[:, None])
    >>> len(first), len(second), float(first.sum() + second.sum())
    (2, 3, 10.0)
    """
    order = numpy_rng(seed, "halves of a condition").permutation(len(cells))
    half = len(cells) // 2
    return cells[order[:half]], cells[order[half:]]


def interpolated_duplicate(cells: np.ndarray, *, mean_response: ArrayLike) -> tuple[np.ndarray, float]:
    """Shrink replicate cells towards the mean response by their sampling noise.

    Parameters
    ----------
    cells
        ``(n, G)`` replicate cells, usually one half from :func:`split_half`.
    mean_response
        ``(G,)`` mean profile that the mean-response baseline predicts.

    Returns
    -------
    The cells, each shifted by the same profile so that their mean is ``w * replicate + (1 - w) * mean_response``, and w
    in [0, 1]: the positive-part James-Stein weight ``1 - noise / distance ** 2``, where ``noise`` is the summed
    sampling variance of the replicate's mean and ``distance`` its Euclidean distance to the mean response.

    Raises
    ------
    ValueError
        Shapes do not fit.

    Notes
    -----
    After Miller et al. 2025. With few cells a raw replicate is so noisy that models with smooth predictions seem to
    beat the experiment. Shrinkage corrects for this. It improves the means, but not the cells.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import interpolated_duplicate
    >>> cells, weight = interpolated_duplicate(np.array([[1.0, 4.0], [3.0, 4.0]]), mean_response=[0.0, 4.0])
    >>> cells.mean(axis=0).tolist(), weight
    ([1.5, 4.0], 0.75)
    """
    array, towards = np.asarray(cells), np.asarray(mean_response, dtype=np.float64)
    if array.ndim != 2 or towards.shape != array.shape[1:]:
        msg = f"Cells {array.shape} and mean response {towards.shape} do not fit; expected (n, G) and (G,)."
        raise ValueError(msg)
    gap = towards - mean_profile(array)
    noise, distance = float(gene_variance(array).sum() / max(len(array), 1)), float(gap @ gap)
    weight = max(0.0, 1 - noise / distance) if distance > 0 else 1.0
    return array + ((1 - weight) * gap).astype(array.dtype), weight


def scaled_score(value: ArrayLike, *, baseline: ArrayLike, ceiling: ArrayLike) -> np.ndarray | float:
    """Scale a metric between a baseline and a ceiling.

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
    clipped, because clipping hides how bad a model is. NaN if baseline and ceiling are equal. A float for scalar
    arguments.

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
