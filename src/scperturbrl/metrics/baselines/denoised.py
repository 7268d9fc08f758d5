"""Measured effects of all conditions with their sampling noise taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.extmath import randomized_svd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_ROUNDS = 20
_TINY = 1e-12
# relative to the condition: genes without variance would get an infinite weight
_LEAST_NOISE = 1e-3
# directions that are looked for where there are more conditions and genes than an exact decomposition takes in seconds
_MOST, _MOST_EXACT = 100, 500


def denoised_effects(effects: ArrayLike, variances: ArrayLike) -> np.ndarray:
    r"""Remove sampling noise from measured effects by shrinkage, using all conditions and genes together.

    Effects of a screen lie close to a few common directions. The part along these directions is shrunk by its singular
    values. The remainder is shrunk value by value, by empirical Bayes with the prior variance :math:`\tau_c \gamma_g`
    of condition c and gene g.

    Parameters
    ----------
    effects
        ``(C, G)`` measured effects: differences of means to the control cells.
    variances
        ``(C, G)`` their sampling variances.

    Returns
    -------
    ``(C, G)`` denoised effects; without any noise they are returned as they are.

    Raises
    ------
    ValueError
        The shapes differ, a value is not finite, or a variance is negative.

    Notes
    -----
    Singular values are shrunk for squared error (Gavish & Donoho 2017), after effects are divided by the noise of their
    condition and gene, so that the noise is even (Leeb & Romanov 2021). The noise is taken as a product of a condition's and
    a gene's, because the variance of one gene in a few cells is itself noise. With more than 500 conditions and genes at most 100
    directions are kept.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import denoised_effects
    >>> rng = np.random.default_rng(0)
    >>> true = np.outer(rng.normal(size=20), rng.normal(size=200))
    >>> measured = true + rng.normal(size=true.shape)
    >>> found = denoised_effects(measured, np.ones_like(true))
    >>> bool(np.square(found - true).mean() < 0.2 * np.square(measured - true).mean())
    True
    """
    measured, noise = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if measured.ndim != 2 or noise.shape != measured.shape:
        msg = f"Effects {measured.shape} and variances {noise.shape} do not fit; expected both (C, G)."
        raise ValueError(msg)
    if not (np.isfinite(measured).all() and np.isfinite(noise).all() and (noise >= 0).all()):
        msg = "Effects and variances must be finite, and variances at least 0."
        raise ValueError(msg)
    if not noise.any():
        return measured
    even = noise.mean(1, keepdims=True) * noise.mean(0, keepdims=True) / noise.mean()
    common = _common(measured, even)
    return common + _shrunk(measured - common, even)


def _common(effects: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The part of `effects` along few directions, by optimal shrinkage of singular values."""
    scale = np.sqrt(np.maximum(noise, _LEAST_NOISE * noise.mean(1, keepdims=True) + _TINY))
    u, values, v = _directions(effects / scale)
    ratio = min(effects.shape) / max(effects.shape)
    size = values / np.sqrt(max(effects.shape))
    inside = (size**2 - ratio - 1) ** 2 - 4 * ratio
    kept = np.where(size > 1 + np.sqrt(ratio), np.sqrt(np.maximum(inside, 0)) / np.maximum(size, _TINY), 0)
    return np.asarray((u * kept * np.sqrt(max(effects.shape))) @ v * scale)


def _directions(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular vectors and values, of the largest ones where all would take long."""
    if min(scaled.shape) <= _MOST_EXACT:
        return np.linalg.svd(scaled, full_matrices=False)
    return randomized_svd(scaled, n_components=_MOST, random_state=0)


def _shrunk(effects: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Posterior means under normal priors whose variance is a product of a condition's and a gene's."""
    # Without the positive part the prior is unbiased for noise alone, but few large values are shrunk too much.
    signal = np.maximum(effects**2 - noise, 0)
    gene = signal.mean(0) + _TINY
    for _ in range(_ROUNDS):
        condition = np.maximum(signal.sum(1) / gene.sum(), _TINY)
        gene = np.maximum(signal.sum(0) / condition.sum(), _TINY)
    prior = condition[:, None] * gene
    return np.asarray(effects * prior / (prior + noise + _TINY))
