"""Whether gene-gene correlations of predicted cells agree with those of real cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl.metrics._arrays import gene_variance, populations

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_CONSTANT = 1e-10


class CovarianceAgreement(NamedTuple):
    """Outcome of :func:`covariance_agreement`.

    Attributes
    ----------
    correlation
        Correlation between the gene-gene correlations of predicted and observed cells, over all pairs of genes.
    eigenvalue_ratio
        Largest eigenvalue of the predicted correlation matrix divided by that of the observed one; below 1 predicted
        genes are too independent of each other, above 1 too correlated.
    """

    correlation: float
    eigenvalue_ratio: float


def covariance_agreement(
    predicted: ArrayLike,
    observed: ArrayLike,
    *,
    genes: ArrayLike | None = None,
    min_genes: int = 5,
    min_cells: int = 10,
    min_expressed: float = 0.05,
) -> CovarianceAgreement:
    """Compare the gene-gene correlations of two populations.

    Parameters
    ----------
    predicted, observed
        ``(n, G)`` and ``(m, G)`` cells, log-normalised expression. Sampling noise and depth affect correlations, so
        match the number and depth of cells first: see :func:`scperturbrl.metrics.match_cells`.
    genes
        Indices or boolean mask of the genes to compare, usually those that respond. All by default.
    min_genes, min_cells
        Smallest number of genes that vary in both populations, and of cells in each; NaN below.
    min_expressed
        A gene counts if at least this share of the observed cells expresses it.

    Returns
    -------
    Two numbers, 1 is best for both; NaN where there are too few genes or cells, or where all correlations are the same.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Notes
    -----
    The pair ``cell_cov`` of cell-eval2. Covariances are standardised to correlations, because a few variable genes would
    dominate otherwise. :func:`scperturbrl.metrics.variance_ratio` measures the spread.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import covariance_agreement
    >>> shared, own = np.random.default_rng(0).normal(5.0, 1.0, (2, 80, 6))
    >>> cells = own + shared[:, :1] * np.arange(6)
    >>> [round(value, 3) for value in covariance_agreement(cells, cells)]
    [1.0, 1.0]
    >>> covariance_agreement(own, cells).eigenvalue_ratio < 0.5
    True
    """
    sides = populations(predicted, observed)
    missing = CovarianceAgreement(float("nan"), float("nan"))
    chosen = np.zeros(sides[0].shape[1], dtype=bool)
    chosen[slice(None) if genes is None else np.asarray(genes)] = True
    if min(map(len, sides)) < max(min_cells, 2):
        return missing
    varies = [gene_variance(side) > _CONSTANT for side in sides]
    chosen &= varies[0] & varies[1] & ((sides[1] > 0).mean(axis=0) >= min_expressed)
    if chosen.sum() < max(min_genes, 2):
        return missing
    first, second = (_correlations(side[:, chosen]) for side in sides)
    above = np.triu_indices(len(first), k=1)
    flat = np.stack([first[above], second[above]])
    agreement = float(np.corrcoef(flat)[0, 1]) if (flat.std(axis=1) > _CONSTANT).all() else float("nan")
    largest = [float(np.linalg.eigvalsh(matrix)[-1]) for matrix in (first, second)]
    return CovarianceAgreement(agreement, largest[0] / largest[1])


def _correlations(cells: np.ndarray) -> np.ndarray:
    return np.asarray(np.corrcoef(cells.astype(np.float64), rowvar=False))
