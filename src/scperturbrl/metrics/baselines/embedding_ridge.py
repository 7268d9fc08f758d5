"""Effects of perturbations from their features, the baseline for unmeasured perturbations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl.metrics.baselines.designs import checked_designs, checked_positive
from scperturbrl.metrics.baselines.ridge import ALPHAS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


class EmbeddingRidgeEffect(NamedTuple):
    """Prediction of :func:`embedding_ridge_effect`.

    Attributes
    ----------
    effect
        ``(Q, G)`` predicted effects.
    alpha
        Chosen penalty; infinity gives the mean effect for all, which is used for fewer than three perturbations.
    left_out_error
        Mean squared error over genes and left-out training perturbations; NaN for a single perturbation.
    """

    effect: np.ndarray
    alpha: float
    left_out_error: float


def embedding_ridge_effect(
    features_train: ArrayLike,
    effects_train: ArrayLike,
    *,
    features_query: ArrayLike,
    alphas: Sequence[float] = ALPHAS,
) -> EmbeddingRidgeEffect:
    """Predict the effects of perturbations from their features by ridge regression around the mean training effect.

    Parameters
    ----------
    features_train
        ``(C, F)`` features of the training perturbations, such as fingerprints or reduced annotations.
    effects_train
        ``(C, G)`` their effects.
    features_query
        ``(Q, F)`` features of the perturbations to predict.
    alphas
        Positive penalties to choose from, for features centred and scaled to a mean squared norm of 1.

    Returns
    -------
    Effects ``(Q, G)``, and the penalty with the smallest squared error of training perturbations left out one at a
    time. A large penalty gives the mean effect.

    Raises
    ------
    ValueError
        Shapes do not fit, or a value is not finite or not positive where it must be.

    Notes
    -----
    Ridge regression with an unpenalised intercept. Closed form: with hat matrix H, intercept included, the
    error of a perturbation left out is its residual divided by 1 - H_ii. The features must not depend on the effects.
    Loadings from cells with the perturbation itself do, and then predict training perturbations far better than others.

    Examples
    --------
    >>> from scperturbrl.metrics import embedding_ridge_effect
    >>> features, effects = [[0.0], [1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0], [4.0]]
    >>> embedding_ridge_effect(features, effects, features_query=[[4.0]]).effect.round(2).tolist()
    [[5.0]]
    """
    train, effects, query = checked_designs(features_train, effects_train, features_query)
    penalties = checked_positive(alphas, name="alphas")
    centre, mean, n = train.mean(0), effects.mean(0), len(train)
    scale = np.sqrt(np.square(train - centre).sum(1).mean())
    target = effects - mean
    if n < 3 or scale == 0:
        error = float(np.square(target * n / (n - 1)).mean()) if n > 1 else float("nan")
        return EmbeddingRidgeEffect(np.tile(mean, (len(query), 1)), float("inf"), error)
    u, s, vt = np.linalg.svd((train - centre) / scale, full_matrices=False)
    projected = u.T @ target
    errors = [_left_out_error(u, s**2 / (s**2 + alpha), projected, target) for alpha in penalties]
    best = int(np.argmin(errors))
    alpha = float(penalties[best])
    slope = vt.T @ ((s / (s**2 + alpha))[:, None] * projected)
    return EmbeddingRidgeEffect(mean + (query - centre) / scale @ slope, alpha, errors[best])


def _left_out_error(u: np.ndarray, shrinkage: np.ndarray, projected: np.ndarray, target: np.ndarray) -> float:
    residual = target - u @ (shrinkage[:, None] * projected)
    freedom = np.maximum(1 - 1 / len(u) - (u**2) @ shrinkage, 1e-14)
    return float(np.square(residual / freedom[:, None]).mean())
