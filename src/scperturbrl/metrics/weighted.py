"""Errors in which genes are weighted by their response."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics._arrays import difference, paired

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def response_weights(statistic: ArrayLike) -> np.ndarray:
    """Weight every gene by the strength of evidence for its response.

    Parameters
    ----------
    statistic
        ``(G,)`` test statistic of observed against control cells; its sign does not matter, NaN counts as 0.

    Returns
    -------
    ``(G,)`` non-negative weights that sum to 1: the absolute statistic, scaled to [0, 1] and squared. NaN where all
    genes have the same statistic.

    Notes
    -----
    The weights of Mejia et al. 2025 ("Diversity by design"), who show that a prediction of the mean response is best
    without them.

    Examples
    --------
    >>> from scperturbrl.metrics import response_weights
    >>> response_weights([0.0, -2.0, 4.0]).tolist()
    [0.0, 0.2, 0.8]
    """
    given = np.abs(np.asarray(statistic, dtype=np.float64))
    size: np.ndarray = np.nan_to_num(given, nan=0.0, posinf=1e30)
    span = size.max() - size.min() if len(size) else 0.0
    if not span > 0:
        return np.full(len(size), np.nan)
    weight = np.square((size - size.min()) / span)
    return weight / weight.sum()


def weighted_mse(predicted_mean: ArrayLike, observed_mean: ArrayLike, *, weights: ArrayLike) -> float:
    """Weighted mean over genes of the squared difference of two mean profiles.

    Parameters
    ----------
    predicted_mean, observed_mean
        ``(G,)`` mean log-normalised expression.
    weights
        ``(G,)`` non-negative weights, usually :func:`response_weights`; only their proportions count.

    Returns
    -------
    Error in squared log-normalised units. 0 is best; NaN without a positive weight.

    Raises
    ------
    ValueError
        The arrays differ in shape.

    Examples
    --------
    >>> from scperturbrl.metrics import weighted_mse
    >>> weighted_mse([0.0, 0.0], [1.0, 3.0], weights=[3.0, 1.0])
    3.0
    """
    predicted, observed = paired(predicted_mean, observed_mean)
    weight = _proportions(weights, observed)
    return float(weight @ np.square(predicted - observed))


def weighted_r2_delta(
    predicted_mean: ArrayLike, observed_mean: ArrayLike, *, reference_mean: ArrayLike, weights: ArrayLike
) -> float:
    """Share of the weighted variance over genes of the observed change that the predicted change explains.

    Parameters
    ----------
    predicted_mean, observed_mean
        ``(G,)`` mean log-normalised expression.
    reference_mean
        ``(G,)`` profile relative to which both changes are computed: the mean of the perturbed centroids, as in the
        source, so that predicting the shared response scores 0.
    weights
        ``(G,)`` non-negative weights, usually :func:`response_weights`.

    Returns
    -------
    At most 1, which is best; predicting the reference gives about 0, wrong changes give less. NaN where the observed
    change has no weighted variance.

    Raises
    ------
    ValueError
        The arrays differ in shape.

    Notes
    -----
    Mejia et al. 2025. Unlike a correlation it depends on the size of the change.

    Examples
    --------
    >>> from scperturbrl.metrics import weighted_r2_delta
    >>> weighted_r2_delta([1.0, 3.0], [0.0, 4.0], reference_mean=[0.0, 0.0], weights=[1.0, 1.0])
    0.75
    """
    predicted, observed = difference(predicted_mean, reference_mean), difference(observed_mean, reference_mean)
    weight = _proportions(weights, observed)
    total = float(weight @ np.square(observed - weight @ observed))
    # Written so that NaN fails the comparison.
    if not total > 0:
        return float("nan")
    return 1 - float(weight @ np.square(observed - predicted)) / total


def _proportions(weights: ArrayLike, like: np.ndarray) -> np.ndarray:
    weight = paired(weights, like)[0]
    if (weight < 0).any():
        msg = f"`weights` holds {weight.min():g}; weights must not be negative."
        raise ValueError(msg)
    total = weight.sum()
    return weight / total if total > 0 else np.full_like(weight, np.nan)
