"""Distances between the predicted and the observed mean profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics._arrays import difference, paired
from scperturbrl.metrics._correlation import pearson, spearman

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def l2(predicted_mean: ArrayLike, observed_mean: ArrayLike) -> float:
    """Euclidean distance of two mean profiles.

    Parameters
    ----------
    predicted_mean, observed_mean
        ``(G,)`` mean log-normalised expression.

    Returns
    -------
    Distance in log-normalised units; it grows with the number of genes. 0 is best.

    Raises
    ------
    ValueError
        The profiles differ in shape.

    Notes
    -----
    If effects are small, a prediction of the control mean is hard to beat, so compare with the baselines.

    Examples
    --------
    >>> from scperturbrl.metrics import l2
    >>> l2([0.0, 0.0, 1.0], [3.0, 4.0, 1.0])
    5.0
    """
    predicted, observed = paired(predicted_mean, observed_mean)
    return float(np.linalg.norm(predicted - observed))


def mse(predicted_mean: ArrayLike, observed_mean: ArrayLike) -> float:
    """Mean over genes of the squared difference of two mean profiles.

    Parameters
    ----------
    predicted_mean, observed_mean
        ``(G,)`` mean log-normalised expression.

    Returns
    -------
    Error in squared log-normalised units. 0 is best.

    Raises
    ------
    ValueError
        The profiles differ in shape.

    Examples
    --------
    >>> from scperturbrl.metrics import mse
    >>> mse([0.0, 0.0], [1.0, 3.0])
    5.0
    """
    predicted, observed = paired(predicted_mean, observed_mean)
    return float(np.square(predicted - observed).mean())


def mae(predicted_mean: ArrayLike, observed_mean: ArrayLike) -> float:
    """Mean over genes of the absolute difference of two mean profiles.

    Parameters
    ----------
    predicted_mean, observed_mean
        ``(G,)`` mean log-normalised expression.

    Returns
    -------
    Error in log-normalised units. 0 is best.

    Raises
    ------
    ValueError
        The profiles differ in shape.

    Examples
    --------
    >>> from scperturbrl.metrics import mae
    >>> mae([0.0, 0.0], [1.0, -3.0])
    2.0
    """
    predicted, observed = paired(predicted_mean, observed_mean)
    return float(np.abs(predicted - observed).mean())


def pearson_delta(
    predicted_mean: ArrayLike, observed_mean: ArrayLike, *, reference_mean: ArrayLike, genes: ArrayLike | None = None
) -> float:
    """Correlation of the predicted and the observed change from a reference profile.

    Parameters
    ----------
    predicted_mean, observed_mean
        ``(G,)`` mean log-normalised expression.
    reference_mean
        ``(G,)`` profile relative to which both changes are computed. The mean of the control cells is the common
        choice. The mean of the perturbed centroids (Systema, Nature Biotechnology 2025) removes the response that all
        perturbations share, which a model can predict without any knowledge of the condition.
    genes
        Indices or boolean mask of the genes to correlate. All by default.

    Returns
    -------
    Correlation in [-1, 1], 1 is best; NaN below three genes or where one of the changes has no variance.

    Raises
    ------
    ValueError
        The profiles differ in shape.

    Notes
    -----
    It does not depend on the size of the change: a prediction that is ten times too large has the same score.

    Examples
    --------
    >>> from scperturbrl.metrics import pearson_delta
    >>> control = [1.0, 1.0, 1.0, 1.0]
    >>> round(pearson_delta([1.5, 1.0, 1.0, 0.5], [3.0, 1.0, 1.0, -1.0], reference_mean=control), 3)
    1.0
    >>> pearson_delta(control, [3.0, 1.0, 1.0, -1.0], reference_mean=control)
    nan
    """
    return pearson(*_changes(predicted_mean, observed_mean, reference_mean, genes))


def spearman_delta(
    predicted_mean: ArrayLike, observed_mean: ArrayLike, *, reference_mean: ArrayLike, genes: ArrayLike | None = None
) -> float:
    """Rank correlation of the predicted and the observed change from a reference profile.

    Parameters
    ----------
    predicted_mean, observed_mean
        ``(G,)`` mean log-normalised expression.
    reference_mean
        ``(G,)`` profile relative to which both changes are computed; see :func:`pearson_delta`.
    genes
        Indices or boolean mask of the genes to correlate. All by default.

    Returns
    -------
    Correlation in [-1, 1], 1 is best; NaN below three genes or where one of the changes has no variance.

    Raises
    ------
    ValueError
        The profiles differ in shape.

    Examples
    --------
    >>> from scperturbrl.metrics import spearman_delta
    >>> round(spearman_delta([0.1, 0.2, 9.0], [1.0, 2.0, 3.0], reference_mean=[0.0, 0.0, 0.0]), 3)
    1.0
    """
    return spearman(*_changes(predicted_mean, observed_mean, reference_mean, genes))


def _changes(
    predicted_mean: ArrayLike, observed_mean: ArrayLike, reference_mean: ArrayLike, genes: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    chosen = slice(None) if genes is None else np.asarray(genes)
    return difference(predicted_mean, reference_mean)[chosen], difference(observed_mean, reference_mean)[chosen]
