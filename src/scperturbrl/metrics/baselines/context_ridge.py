"""The effect of a perturbation in a new context, by a ridge on control profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.kernel_ridge import KernelRidge

from scperturbrl.metrics.baselines.log_ratios import effect_of, log_ratios

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def context_ridge_effect(
    controls: ArrayLike, effects: ArrayLike, *, control_query: ArrayLike, penalty: float = 1.0
) -> np.ndarray:
    r"""Effect in a new context, linear in the difference of its control profile from those of the other contexts.

    A ridge without a penalty on the intercept predicts log ratios of rates :math:`r_k` from control profiles :math:`c_k`. With
    :math:`X` the profiles less their mean :math:`\bar c`,

    .. math:: \hat r = \bar r + (c - \bar c)^\top X^\top \left(X X^\top + \lambda s I\right)^{-1} (r - \bar r),

    where :math:`s` is the mean eigenvalue of :math:`X X^\top`. The log ratios are applied to the rates of the new context.

    For a context between two groups of contexts, a kernel on distances (:func:`~scperturbrl.metrics.fit_context_line`)
    predicts the mean of both or the effect of the nearest. The ridge can predict any effect between the two.

    Parameters
    ----------
    controls, effects
        ``(K, G)`` mean control profile of each context in which the perturbation was measured, log-normalised, and its effect there.
    control_query
        ``(G,)`` mean control profile of the new context.
    penalty
        :math:`\lambda`, above 0.

    Returns
    -------
    The effect ``(G,)`` as a difference of log-normalised means.

    Raises
    ------
    ValueError
        Shapes do not fit, values are not finite, or the penalty is not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import context_ridge_effect
    >>> controls = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> effects = np.array([[0.5, 0.0], [-0.5, 0.0]])
    >>> context_ridge_effect(controls, effects, control_query=[1.0, 0.0], penalty=1e-6).round(2)
    array([0.5, 0. ])
    """
    own, effect, query = (np.asarray(x, dtype=np.float64) for x in (controls, effects, control_query))
    finite = all(np.isfinite(x).all() for x in (own, effect, query))
    if own.ndim != 2 or not len(own) or own.shape != effect.shape or query.shape != own.shape[1:] or not finite:
        msg = (
            f"Control profiles {own.shape}, effects {effect.shape} and the new profile {query.shape} do not fit; expected "
            "finite (K, G), (K, G) and (G,)."
        )
        raise ValueError(msg)
    if not 0 < penalty < np.inf:
        msg = f"penalty={penalty} is not a penalty of a ridge. Use a number above 0."
        raise ValueError(msg)
    mean, ratio = own.mean(0), log_ratios(own, effect)
    size = np.square(own - mean).sum() / len(own)
    if size == 0:
        return effect_of(ratio.mean(0), query)
    # in its dual form, because the coefficients of all genes for all genes would not fit into memory
    ridge = KernelRidge(alpha=penalty * size, kernel="linear").fit(own - mean, ratio - ratio.mean(0))
    return effect_of(ratio.mean(0) + ridge.predict((query - mean)[None])[0], query)
