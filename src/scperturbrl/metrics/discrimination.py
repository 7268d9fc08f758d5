"""Whether a prediction is nearer to its own condition than to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.spatial.distance import cdist

from scperturbrl.metrics._arrays import paired

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_SCIPY = {"l1": "cityblock", "l2": "euclidean"}


def discrimination_score(
    predicted: ArrayLike,
    observed: ArrayLike,
    *,
    metric: Literal["cosine", "l1", "l2"] = "cosine",
    exclude: ArrayLike | None = None,
    truth: ArrayLike | None = None,
) -> np.ndarray:
    """Share of the other conditions whose observed effect is farther from the prediction than the true one.

    Parameters
    ----------
    predicted, observed
        ``(C, G)`` effects of the same C conditions in the same order, log-normalised. Conditions of different
        covariates (cell types) belong in different calls, else telling cell types apart is rewarded.
    metric
        Distance. ``"cosine"`` cannot be won by inflating the effects, ``"l1"`` and ``"l2"`` can. ``"l2"`` without
        `exclude` is the centroid accuracy of Systema (Nature Biotechnology 2025).
    exclude
        ``(C, G)`` boolean mask: genes left out when the prediction of that row is compared, usually the genes that the
        condition targets. Knowing which gene was knocked down is no prediction.
    truth
        Where only some conditions are predicted: the row of `observed` that each row of `predicted` is about. `exclude`
        then has the rows of `predicted`.

    Returns
    -------
    One value a prediction in [0, 1]: 1 best, 0.5 chance. Ties count half, so a prediction of no effect has 0.5 under
    ``"cosine"``. The mean over conditions of a prediction that ignores the condition is exactly 0.5 (without
    `exclude`). NaN for a prediction with NaN, and for a single condition.

    Raises
    ------
    ValueError
        Shapes differ or `metric` is unknown.

    Notes
    -----
    The perturbation discrimination score of the Virtual Cell Challenge and of cell-eval, divided by the number of
    *other* conditions so that the worst score is 0 for any C.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import discrimination_score
    >>> observed = np.eye(3)
    >>> discrimination_score(observed * 0.1, observed).tolist()
    [1.0, 1.0, 1.0]
    >>> discrimination_score(np.zeros((3, 3)), observed).tolist()
    [0.5, 0.5, 0.5]
    """
    second = np.asarray(observed, dtype=np.float64)
    rows = np.arange(len(second)) if truth is None else np.asarray(truth, dtype=np.intp)
    first, _ = paired(predicted, second[rows], ndim=2)
    if metric != "cosine" and metric not in _SCIPY:
        msg = f"`metric` is {metric!r}; choose 'cosine', 'l1' or 'l2'."
        raise ValueError(msg)
    keep = np.ones(first.shape, dtype=bool) if exclude is None else ~np.asarray(exclude, dtype=bool)
    if keep.shape != first.shape:
        msg = f"`exclude` has shape {keep.shape}; expected that of the effects, {first.shape}."
        raise ValueError(msg)
    return np.array(
        [_share_farther(first[i], second, keep[i], row=row, metric=metric) for i, row in enumerate(rows.tolist())]
    )


def _share_farther(predicted: np.ndarray, observed: np.ndarray, keep: np.ndarray, *, row: int, metric: str) -> float:
    others = len(observed) - 1
    distance = _distances(predicted[keep], observed[:, keep], metric)
    if others == 0 or np.isnan(distance).any():
        return float("nan")
    # Equal rows can differ by rounding, depending on how the processor groups the sum.
    margin = 1e-12 * distance.max()
    farther = (distance > distance[row] + margin).sum()
    tied = (np.abs(distance - distance[row]) <= margin).sum() - 1
    return float((farther + 0.5 * tied) / others)


def _distances(vector: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    if metric != "cosine":
        return cdist(vector[None], rows, _SCIPY[metric])[0]
    # A vector of zeros has no direction: at right angles to all, where scipy answers NaN.
    return 1 - _unit(rows) @ _unit(vector)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm != 0)
