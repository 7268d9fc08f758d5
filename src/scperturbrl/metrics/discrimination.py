"""Whether a prediction is nearer to its own condition than to the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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
        ``(C, G)`` effects of the same C conditions in the same order, log-normalised. Use a separate call for each
        combination of covariates; otherwise the score rewards separating cell types.
    metric
        Distance. Inflated effects cannot raise the score with ``"cosine"``, but can with ``"l1"`` and ``"l2"``.
        ``"l2"`` without `exclude` is the centroid accuracy of Systema (Nature Biotechnology 2025).
    exclude
        ``(C, G)`` boolean mask: genes left out when the prediction of that row is compared, usually the genes that the
        condition targets. The change of a knocked-down gene itself is known beforehand.
    truth
        If only some conditions are predicted: the row of `observed` for each row of `predicted`. `exclude`
        then has the rows of `predicted`.

    Returns
    -------
    One value in [0, 1] for each prediction: 1 is best, 0.5 is chance. Ties count half, so a prediction of no effect has
    0.5 under ``"cosine"``. The mean over conditions of a prediction that ignores the condition is exactly 0.5 (without
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
    found, rivals = [], None
    for vector, kept, row in zip(first, keep, rows.tolist(), strict=True):
        if rivals is None or not np.array_equal(kept, rivals.keep):
            rivals = Rivals.of(second, kept)
        found.append(rivals.share_farther(vector, row=row, metric=metric))
    return np.array(found)


@dataclass(frozen=True)
class Rivals:
    """Observed effects that predictions are compared with, one after another.

    Attributes
    ----------
    effects
        ``(C, G)`` observed effects, 0 where `keep` is False.
    keep
        ``(G,)`` genes that are compared.
    """

    effects: np.ndarray
    keep: np.ndarray

    @classmethod
    def of(cls, effects: np.ndarray, keep: np.ndarray) -> Rivals:
        """Leave out genes of `effects` ``(C, G)`` by setting them to 0, which is cheaper than copying columns."""
        return cls(effects if keep.all() else np.where(keep, effects, 0), keep)

    def share_farther(self, predicted: np.ndarray, *, row: int, metric: str) -> float:
        """Share of the other effects that are farther from `predicted` ``(G,)`` than the one in `row`; ties count half."""
        others = len(self.effects) - 1
        distance = self._distances(np.where(self.keep, predicted, 0), metric)
        if others == 0 or np.isnan(distance).any():
            return float("nan")
        # Equal rows can differ by rounding, depending on the order of summation.
        margin = 1e-12 * distance.max()
        farther = (distance > distance[row] + margin).sum()
        tied = (np.abs(distance - distance[row]) <= margin).sum() - 1
        return float((farther + 0.5 * tied) / others)

    def _distances(self, vector: np.ndarray, metric: str) -> np.ndarray:
        if metric != "cosine":
            return cdist(vector[None], self.effects, _SCIPY[metric])[0]
        # A vector of zeros has no direction, so its cosine is set to 0, whereas scipy returns NaN.
        norm, length = np.linalg.norm(vector), self._norms
        cosine = self.effects @ (vector / norm if norm else vector)
        return 1 - np.divide(cosine, length, out=np.zeros_like(cosine), where=length != 0)

    @cached_property
    def _norms(self) -> np.ndarray:
        return np.linalg.norm(self.effects, axis=1)
