"""The penalised additive model, usually the strongest baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl.metrics.baselines.design_blocks import design_blocks
from scperturbrl.metrics.baselines.designs import checked_designs, checked_positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

ALPHAS: tuple[float, ...] = tuple(np.logspace(-3, 3, 25).tolist())
"""Penalties from which :func:`ridge_effect` chooses, for conditions with an average weight of 1."""

# relative rounding error of the error for small penalties
_TIE = 1e-10


class RidgeEffect(NamedTuple):
    """Prediction of :func:`ridge_effect`.

    Attributes
    ----------
    effect
        ``(Q, G)`` predicted effects.
    alpha
        Chosen penalty.
    left_out
        ``(C, G)`` effect of each training condition as predicted from the others.
    """

    effect: np.ndarray
    alpha: float
    left_out: np.ndarray


def ridge_effect(
    design_train: ArrayLike,
    effects_train: ArrayLike,
    *,
    design_query: ArrayLike,
    weights: ArrayLike | None = None,
    alphas: Sequence[float] = ALPHAS,
) -> RidgeEffect:
    """Predict with a penalised additive model fitted to all training conditions.

    Parameters
    ----------
    design_train
        ``(C, P)`` design of the training conditions.
    effects_train
        ``(C, G)`` their effects.
    design_query
        ``(Q, P)`` design of the conditions to predict.
    weights
        ``(C,)`` positive weights of the training conditions, such as their numbers of cells; scaled to mean 1.
    alphas
        Positive penalties to choose from.

    Returns
    -------
    Effects ``(Q, G)``, the penalty with the smallest weighted squared error of training conditions left out one at a
    time, and the predictions for these. If several penalties have the same error, the smallest is chosen, because
    conditions without common parts do not determine it. There is no intercept, so the effect is 0 without a
    perturbation, and for a perturbation without training conditions.

    Raises
    ------
    ValueError
        Shapes do not fit, or a value is not finite or not positive where it must be.

    Notes
    -----
    Doses are used as given, so scale them to about 1, so that penalties have the same strength for every perturbation.
    Closed form throughout: with hat matrix H the error of a left-out condition is its residual divided by 1 - H_ii.
    Conditions that are not connected by common parts are solved separately, with the same result at much less cost.

    Examples
    --------
    >>> from scperturbrl.metrics import ridge_effect
    >>> design, effects = [[1, 0], [0, 1], [1, 1]], [[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]]
    >>> ridge_effect(design, effects, design_query=[[1, 1]], alphas=[1e-9]).effect.round(3).tolist()
    [[1.0, 2.0]]
    """
    design, effects, query = checked_designs(design_train, effects_train, design_query)
    penalties = checked_positive(alphas, name="alphas")
    root = np.sqrt(_weights(weights, len(design)))[:, None]
    blocks = design_blocks(root * design, root * effects)
    errors = np.array([sum(block.squared_error(a) for block in blocks) for a in penalties])
    alpha = float(penalties[np.flatnonzero(errors <= errors.min() * (1 + _TIE))].min())
    coefficients, left_out = np.zeros((design.shape[1], effects.shape[1])), np.empty_like(effects)
    for block in blocks:
        coefficients[block.columns] = block.coefficients(alpha)
        left_out[block.rows] = effects[block.rows] - block.left_out_error(alpha) / root[block.rows]
    return RidgeEffect(_applied(query, coefficients), alpha, left_out)


def _applied(query: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """``query @ coefficients``; if no row has several parts, rows are looked up."""
    some = query != 0
    if some.sum(1).max(initial=0) > 1:
        return query @ coefficients
    part = some.argmax(1)
    # adding 0.0 removes the sign of negative zeros
    return query[np.arange(len(query)), part][:, None] * coefficients[part] + 0.0


def _weights(weights: ArrayLike | None, n_conditions: int) -> np.ndarray:
    if weights is None:
        return np.ones(n_conditions)
    checked = checked_positive(weights, name="weights")
    if len(checked) != n_conditions:
        msg = f"`weights` has {len(checked)} values for {n_conditions} training conditions."
        raise ValueError(msg)
    return checked / checked.mean()
