"""The effect of a combination beyond the sum of its parts, which no additive model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics._arrays import paired
from scperturbrl.metrics._correlation import pearson

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def interaction_residual(effect: ArrayLike, parts: ArrayLike, *, fitted: bool = False) -> np.ndarray:
    """Effect of a combination minus the effect explained by its parts.

    Parameters
    ----------
    effect
        ``(G,)`` effect of the combination.
    parts
        ``(P, G)`` effects of its parts alone.
    fitted
        Subtract the least-squares fit of the effect on the parts instead of their plain sum, as in the
        genetic-interaction map of Norman et al. 2019: the residual is orthogonal to the effects of the parts.

    Returns
    -------
    ``(G,)`` residual; rounding errors are set to 0.

    Raises
    ------
    ValueError
        Shapes do not fit.

    Examples
    --------
    >>> from scperturbrl.metrics import interaction_residual
    >>> interaction_residual([3.0, 1.0, 0.5], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).tolist()
    [2.0, 0.0, 0.5]
    >>> interaction_residual([3.0, 1.0, 0.5], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], fitted=True).tolist()
    [0.0, 0.0, 0.5]
    """
    combined, alone = np.asarray(effect, dtype=np.float64), np.asarray(parts, dtype=np.float64)
    if alone.ndim != 2 or combined.shape != alone.shape[1:]:
        msg = f"Effect {combined.shape} and parts {alone.shape} do not fit; expected (G,) and (P, G)."
        raise ValueError(msg)
    if fitted:
        coefficients, *_ = np.linalg.lstsq(alone.T, combined, rcond=None)
        explained = coefficients @ alone
    else:
        explained = alone.sum(axis=0)
    residual = combined - explained
    scale = np.abs(combined).max(initial=0.0) + np.abs(alone).max(initial=0.0)
    return np.where(np.abs(residual) <= 1e-6 * scale, 0.0, residual)


def interaction_correlation(
    predicted_effect: ArrayLike, observed_effect: ArrayLike, *, parts: ArrayLike, fitted: bool = False
) -> float:
    """Correlation of the predicted and the observed interaction residual of a combination.

    Parameters
    ----------
    predicted_effect, observed_effect
        ``(G,)`` effect of the combination, log-normalised.
    parts
        ``(P, G)`` observed effects of its parts alone.
    fitted
        See :func:`interaction_residual`.

    Returns
    -------
    Correlation in [-1, 1], 1 is best; NaN if either residual is constant, as for an additive prediction.

    Raises
    ------
    ValueError
        Shapes do not fit.

    Notes
    -----
    With the plain sum both residuals contain the same parts, so that noise of the parts and a prediction of *no* effect
    (residual: minus the parts) correlate with any buffered combination. Compare with the control baseline, or use
    `fitted`, which removes the parts from both sides.

    Examples
    --------
    >>> from scperturbrl.metrics import interaction_correlation
    >>> parts = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    >>> round(interaction_correlation([1.0, 1.0, 2.0, 0.0], [1.0, 1.0, 3.0, 0.0], parts=parts), 6)
    1.0
    >>> interaction_correlation([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 3.0, 0.0], parts=parts)
    nan
    """
    predicted, observed = paired(predicted_effect, observed_effect)
    return pearson(
        interaction_residual(predicted, parts, fitted=fitted), interaction_residual(observed, parts, fitted=fitted)
    )
