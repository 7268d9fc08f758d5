"""The additive ridge for screens in which effects of combinations are smaller than the sum of their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl.metrics.baselines.designs import checked_designs, checked_positive
from scperturbrl.metrics.baselines.ridge import RidgeEffect, ridge_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

TRUSTS: tuple[float, ...] = (0.1, 0.3, 1.0)
"""Weights of combinations that :func:`combination_ridge_effect` chooses from; a condition of one perturbation counts 1."""
# additive combinations that the additivity is shrunk by, alternations of the two fits, and smallest additivity
_EVIDENCE, _ROUNDS, _LEAST = 2.0, 4, 0.1
_ROUNDING = 1e-16


class CombinationRidgeEffect(NamedTuple):
    """Prediction of :func:`combination_ridge_effect`.

    Attributes
    ----------
    effect
        ``(Q, G)`` predicted effects.
    additivity
        Effect of a combination as a share of the sum of its parts, at most 1.
    trust
        Weight of a combination in the fit.
    alpha
        Chosen penalty.
    """

    effect: np.ndarray
    additivity: float
    trust: float
    alpha: float


def combination_ridge_effect(
    design_train: ArrayLike,
    effects_train: ArrayLike,
    *,
    design_query: ArrayLike,
    trusts: Sequence[float] = TRUSTS,
    otherwise: float = 1.0,
) -> CombinationRidgeEffect:
    r"""Predict with a penalised model in which the effect of a combination is a share of the sum of its parts.

    .. math:: y_i = a \sum_j x_{ij} \beta_j + \varepsilon_i, \qquad a = 1 \text{ for conditions of one perturbation}.

    Perturbations often buffer or mask each other, so the additivity :math:`a` of combinations is often below 1. It
    differs between pairs, so a combination says less about its parts than single perturbations do. Without combinations
    in training, the coefficients are those of :func:`ridge_effect`.

    Parameters
    ----------
    design_train
        ``(C, P)`` design of the training conditions; combinations are those with several parts.
    effects_train
        ``(C, G)`` their effects.
    design_query
        ``(Q, P)`` design of the conditions to predict.
    trusts
        Candidate weights of combinations, positive; the other conditions have a weight of 1.
    otherwise
        The additivity to use if no training condition is a combination, such as that of another context.

    Returns
    -------
    Effects ``(Q, G)``, and the chosen values. For each trust, the additivity is the least-squares estimate
    over training combinations predicted from the other conditions, shrunk as if two more combinations were additive.
    Additivity and coefficients are fitted alternately. The chosen trust has the smallest squared error of training
    combinations left out one at a time.

    Raises
    ------
    ValueError
        Shapes do not fit, or a value is not finite or not positive where it must be.

    Examples
    --------
    >>> from scperturbrl.metrics import combination_ridge_effect
    >>> design, effects = [[1, 0], [0, 1], [1, 1]], [[8.0, 0.0], [0.0, 8.0], [4.0, 4.0]]
    >>> found = combination_ridge_effect(design, effects, design_query=[[1, 1]])
    >>> 0.5 < found.additivity < 1
    True
    """
    design, effects, query = checked_designs(design_train, effects_train, design_query)
    several = _is_combination(design)
    choices = checked_positive(trusts, name="trusts") if several.any() else np.ones(1)
    fits = [_alternate(design, effects, query, float(trust), otherwise) for trust in choices]
    errors = [np.square(fit.left_out[several] - effects[several]).sum() for fit, _ in fits]
    best = int(np.argmin(errors))
    fit, additivity = fits[best]
    return CombinationRidgeEffect(fit.effect, additivity, float(choices[best]), fit.alpha)


def _is_combination(design: np.ndarray) -> np.ndarray:
    return (design != 0).sum(1) > 1


def _alternate(
    design: np.ndarray, effects: np.ndarray, query: np.ndarray, trust: float, otherwise: float
) -> tuple[RidgeEffect, float]:
    several = _is_combination(design)
    if not several.any():
        return _ridge(design, effects, query, trust, otherwise), otherwise
    additivity = 1.0
    for _ in range(_ROUNDS):
        left_out = _ridge(design, effects, query, trust, additivity).left_out
        additivity = _least_squares(left_out[several] / additivity, effects[several])
    return _ridge(design, effects, query, trust, additivity), additivity


def _ridge(design: np.ndarray, effects: np.ndarray, query: np.ndarray, trust: float, additivity: float) -> RidgeEffect:
    several = _is_combination(design)
    scaled, wanted = (np.where(_is_combination(x), additivity, 1.0)[:, None] * x for x in (design, query))
    return ridge_effect(scaled, effects, design_query=wanted, weights=np.where(several, trust, 1.0))


def _least_squares(sums: np.ndarray, measured: np.ndarray) -> float:
    """Least-squares factor from `sums` ``(C, G)`` to `measured`, shrunk towards 1."""
    size = float(np.square(sums).sum())
    # combinations that share no part with other conditions have a predicted effect of 0, up to rounding
    if size <= _ROUNDING * float(np.square(measured).sum()):
        return 1.0
    more = _EVIDENCE * size / len(sums)
    return float(np.clip((float((sums * measured).sum()) + more) / (size + more), _LEAST, 1.0))
