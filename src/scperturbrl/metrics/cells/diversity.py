"""Whether the predicted cells differ from each other as much as real ones do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics._arrays import gene_variance, mean_profile, populations
from scperturbrl.metrics.cells.distribution import mean_pairwise_distance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def variance_ratio(
    predicted: ArrayLike, observed: ArrayLike, *, genes: ArrayLike | None = None, min_expressed: float = 0.05
) -> float:
    """Median over genes of the predicted variance divided by the observed one.

    Parameters
    ----------
    predicted, observed
        ``(n, G)`` and ``(m, G)`` cells, log-normalised expression.
    genes
        Indices or boolean mask of the genes to compare. All by default.
    min_expressed
        A gene counts if at least this share of the observed cells expresses it and its observed variance is not zero:
        the variance of a gene seen in two cells is noise.

    Returns
    -------
    Ratio, 1 is best; below 1 the predicted cells have collapsed towards their mean. NaN without such a gene or if a
    population has fewer than two cells.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import variance_ratio
    >>> observed = np.random.default_rng(0).gamma(2.0, size=(50, 4))
    >>> round(variance_ratio(observed / 2, observed), 3)
    0.25
    """
    first, second = populations(predicted, observed)
    if min(len(first), len(second)) < 2:
        return float("nan")
    variance = gene_variance(second)
    counts = (variance > 0) & ((second > 0).mean(axis=0) >= min_expressed)
    if genes is not None:
        counts &= np.isin(np.arange(len(counts)), np.arange(len(counts))[np.asarray(genes)])
    if not counts.any():
        return float("nan")
    return float(np.median(gene_variance(first[:, counts]) / variance[counts]))


def zero_fraction(cells: ArrayLike) -> np.ndarray:
    """Share of the cells that do not express each gene.

    Parameters
    ----------
    cells
        ``(n, G)`` cells, log-normalised expression; a value below zero counts as no expression.

    Returns
    -------
    ``(G,)`` in [0, 1]; NaN without cells.

    Examples
    --------
    >>> from scperturbrl.metrics import zero_fraction
    >>> zero_fraction([[0.0, 1.0], [0.0, 0.0]]).tolist()
    [1.0, 0.5]
    """
    return mean_profile(np.asarray(cells) <= 0)


def zero_fraction_error(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Mean over genes of the absolute difference in the share of cells that do not express the gene.

    Parameters
    ----------
    predicted, observed
        ``(n, G)`` and ``(m, G)`` cells, log-normalised expression.

    Returns
    -------
    Error in [0, 1], 0 is best; NaN without cells. Two samples of the same population of n cells differ by about
    ``sqrt(p (1 - p) / n)`` per gene.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Notes
    -----
    It detects dense, averaged cells, which metrics of means and correlations do not.

    Examples
    --------
    >>> from scperturbrl.metrics import zero_fraction_error
    >>> zero_fraction_error([[0.5, 0.5], [0.5, 0.5]], [[0.0, 1.0], [1.0, 0.0]])
    0.5
    """
    first, second = populations(predicted, observed)
    return float(np.abs(zero_fraction(first) - zero_fraction(second)).mean())


def spread_ratio(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Mean distance between predicted cells divided by that between observed cells.

    Parameters
    ----------
    predicted, observed
        ``(n, G)`` and ``(m, G)`` cells: expression or coordinates in a reduced space.

    Returns
    -------
    Ratio, 1 is best, 0 a full collapse; NaN where a population has fewer than two cells or the observed cells are all
    the same.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Examples
    --------
    >>> from scperturbrl.metrics import spread_ratio
    >>> spread_ratio([[0.0], [1.0]], [[0.0], [4.0]])
    0.25
    """
    first, second = populations(predicted, observed)
    observed_spread = mean_pairwise_distance(second)
    return mean_pairwise_distance(first) / observed_spread if observed_spread > 0 else float("nan")
