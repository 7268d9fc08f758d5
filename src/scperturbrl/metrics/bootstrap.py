"""Uncertainty of the difference between two models."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl._core.random import numpy_rng
from scperturbrl.metrics._arrays import paired

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike

_NAN = float("nan")


class PairedDifference(NamedTuple):
    """Outcome of :func:`paired_bootstrap`.

    Attributes
    ----------
    difference
        Mean of `first` minus `second` over units.
    low, high
        Percentile interval of that mean.
    p_value
        Two-sided: twice the smaller share of resamples on one side of 0, never below ``2 / (n_resamples + 1)``.
    n_units
        Units that were resampled. NaN pairs are left out.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n_units: int


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    n_resamples: int = 5000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Bootstrap the mean difference of two models measured on the same conditions.

    Parameters
    ----------
    first, second
        ``(n,)`` values of the two models, pair by pair. A pair with NaN is left out.
    groups
        Unit of every pair. Pairs of one unit (the same condition under several seeds, all conditions of a data set) are
        averaged first, since they are not independent. Every pair is its own unit by default.
    n_resamples
        Resamples of the units, with replacement.
    confidence
        Coverage of the interval.
    seed
        Seed of the resamples.

    Returns
    -------
    Difference, interval, p-value and number of units. Below two units interval and p-value are NaN.

    Raises
    ------
    ValueError
        Lengths differ, or `confidence` is not between 0 and 1.

    Notes
    -----
    Percentile bootstrap (Efron 1979). Interval and p-value are only approximate with fewer than about ten conditions.

    Examples
    --------
    >>> from scperturbrl.metrics import paired_bootstrap
    >>> result = paired_bootstrap([0.5, 0.7, 0.6, 0.9], [0.4, 0.5, 0.5, 0.6])
    >>> round(result.difference, 3), result.low > 0
    (0.175, True)
    """
    if not 0 < confidence < 1:
        msg = f"`confidence` is {confidence!r}; it must lie between 0 and 1."
        raise ValueError(msg)
    units = _units(*paired(first, second), groups)
    n = len(units)
    if n == 0:
        return PairedDifference(_NAN, _NAN, _NAN, _NAN, 0)
    difference = float(units.mean())
    if n == 1:
        return PairedDifference(difference, _NAN, _NAN, _NAN, 1)
    means = units[numpy_rng(seed, "bootstrap").integers(n, size=(n_resamples, n))].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    beyond = min((means <= 0).sum(), (means >= 0).sum())
    p_value = min(1.0, 2 * (float(beyond) + 1) / (n_resamples + 1))
    return PairedDifference(difference, float(low), float(high), p_value, n)


def _units(first: np.ndarray, second: np.ndarray, groups: Sequence[Hashable] | None) -> np.ndarray:
    """Difference of every unit, in order of first appearance."""
    if groups is not None and len(groups) != len(first):
        msg = f"`groups` has {len(groups)} entries for {len(first)} pairs."
        raise ValueError(msg)
    gap: np.ndarray = first - second
    labels = range(len(gap)) if groups is None else groups
    members: dict[Hashable, list[float]] = {}
    for label, value in zip(labels, gap.tolist(), strict=True):
        if not np.isnan(value):
            members.setdefault(label, []).append(value)
    return np.array([np.mean(values) for values in members.values()])


def ratio_interval(
    numerator: np.ndarray,
    denominator: np.ndarray,
    *,
    n_resamples: int = 5000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Ratio of the means of two quantities of the same units, with its percentile interval over resampled units.

    Parameters
    ----------
    numerator, denominator
        ``(n,)`` finite values, unit by unit.
    n_resamples, confidence, seed
        As in :func:`paired_bootstrap`.

    Returns
    -------
    Ratio, lower and upper end. The ratio is NaN if the mean of the denominator is not above 0; the interval also below two units, and
    where it is not above 0 in a twentieth of the resamples or more, because the ratio then has no meaningful interval.
    """
    n = len(denominator)
    if not n or not denominator.mean() > 0:
        return _NAN, _NAN, _NAN
    ratio = float(numerator.mean() / denominator.mean())
    drawn = numpy_rng(seed, "bootstrap of a ratio").integers(n, size=(n_resamples, n))
    above, below = numerator[drawn].mean(1), denominator[drawn].mean(1)
    usable = below > 0
    if n == 1 or usable.mean() <= 0.95:
        return ratio, _NAN, _NAN
    tail = (1 - confidence) / 2
    low, high = np.quantile(above[usable] / below[usable], [tail, 1 - tail])
    return ratio, float(low), float(high)
