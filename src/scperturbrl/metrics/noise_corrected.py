"""Squared errors corrected for the sampling noise of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl.metrics._arrays import gene_variance, mean_profile, populations

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class NoisyMean(NamedTuple):
    """A mean profile ``(G,)`` and its squared standard error per gene ``(G,)``."""

    mean: np.ndarray
    variance: np.ndarray


def noisy_mean(cells: ArrayLike, *, mean: ArrayLike | None = None, n: int | None = None) -> NoisyMean:
    """Mean of cells with its sampling variance.

    Parameters
    ----------
    cells
        ``(m, G)`` cells, log-normalised expression.
    mean
        ``(G,)`` mean of all cells, if `cells` is a sample of them.
    n
        Number of cells of `mean`.

    Returns
    -------
    Mean and squared standard error; the latter is NaN with fewer than two cells.

    Raises
    ------
    ValueError
        If `cells` is not ``(m, G)`` or `mean` has other genes.

    Examples
    --------
    >>> from scperturbrl.metrics import noisy_mean
    >>> found = noisy_mean([[0.0], [2.0]])
    >>> found.mean.tolist(), found.variance.tolist()
    ([1.0], [1.0])
    """
    array = np.asarray(cells)
    populations(array, array if mean is None else np.asarray(mean)[None])
    profile = mean_profile(array) if mean is None else np.asarray(mean, dtype=np.float64)
    return NoisyMean(profile, gene_variance(array) / max(len(array) if n is None else n, 1))


def normalised_mse(
    predicted: NoisyMean, observed: NoisyMean, *, control: NoisyMean, exclude: ArrayLike | None = None
) -> float:
    """Squared error of the mean as a share of the squared effect, both corrected for sampling noise.

    Parameters
    ----------
    predicted, observed, control
        Mean profiles with their sampling variances, from :func:`noisy_mean`.
    exclude
        Indices of genes left out, usually those that the condition targets.

    Returns
    -------
    ``(|p - o|^2 - var p - var o) / (|o - c|^2 - var o - var c)``: 0 is a prediction whose mean
    differs from the observed one by chance only (it may also be below 0 by chance), 1 is a prediction of the control.
    The variance subtracted for the prediction is at most that of the observation, so that few or variable predicted
    cells do not reduce the error. NaN if
    the effect is not larger than its noise.

    Raises
    ------
    ValueError
        The profiles differ in their number of genes.

    Notes
    -----
    The metric ``expr_mse_unbiased_capped_norm`` of the Virtual Cell Challenge 2026 in cell-eval2, for one condition:
    the challenge divides sums over conditions, and also bounds the total variance subtracted for predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import NoisyMean, normalised_mse
    >>> observed, control = NoisyMean(np.array([3.0]), np.array([0.5])), NoisyMean(np.array([0.0]), np.array([0.5]))
    >>> normalised_mse(NoisyMean(np.array([1.0]), np.array([0.5])), observed, control=control)
    0.375
    """
    keep = np.ones(len(observed.mean), dtype=bool)
    if exclude is not None:
        keep[np.asarray(exclude, dtype=np.intp)] = False
    if not len(predicted.mean) == len(control.mean) == len(keep):
        msg = f"The profiles have {len(predicted.mean)}, {len(keep)} and {len(control.mean)} genes; expected the same."
        raise ValueError(msg)
    noise = [float(side.variance[keep].sum()) for side in (predicted, observed, control)]
    error = float(np.square(predicted.mean - observed.mean)[keep].sum()) - min(noise[0], noise[1]) - noise[1]
    effect = float(np.square(observed.mean - control.mean)[keep].sum()) - noise[1] - noise[2]
    return error / effect if effect > 0 else float("nan")
