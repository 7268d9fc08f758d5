"""Whether gene modules of real cells are correlated in the same way in predicted cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scperturbrl.metrics._arrays import gene_variance, populations

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_GENES, _COMPONENTS = 1000, 20


def gene_modules(cells: ArrayLike, *, n_modules: int = 12, min_expressed: float = 0.05, seed: int = 0) -> np.ndarray:
    """Group genes that rise and fall together over cells.

    Parameters
    ----------
    cells
        ``(n, G)`` cells, log-normalised expression: training cells, since the modules are used to evaluate held-out
        cells.
    n_modules
        Number of groups; fewer if fewer genes qualify.
    min_expressed
        A gene qualifies if at least this share of the cells expresses it and it varies.
    seed
        Seed of the clustering.

    Returns
    -------
    ``(G, M)`` weights of the genes in each module, such that ``cells @ weights`` is the mean standardised expression of
    its genes up to a constant; 0 for genes outside.

    Notes
    -----
    K-means on the loadings of the standardised genes on up to 20 principal components, each loading scaled by the
    standard deviation of its component, so that the distance between genes follows their correlation. At most the 1000
    most variable genes are grouped; a few hundred to a few thousand cells are enough.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import gene_modules
    >>> programs = np.random.default_rng(0).gamma(2.0, size=(80, 2))
    >>> cells = programs[:, [0, 0, 1, 1]] + 0.01
    >>> weights = gene_modules(cells, n_modules=2)
    >>> (weights[0] > 0).tolist() == (weights[1] > 0).tolist() != (weights[2] > 0).tolist()
    True
    """
    from sklearn.cluster import KMeans

    array = np.asarray(cells)
    deviation = np.sqrt(gene_variance(array))
    fit = (deviation > 0) & ((array > 0).mean(axis=0) >= min_expressed)
    chosen = np.sort(np.argsort(-np.where(fit, deviation, -1), kind="stable")[: min(_GENES, int(fit.sum()))])
    weights = np.zeros((array.shape[1], min(n_modules, len(chosen))))
    if not len(chosen):
        return weights
    standard = (array[:, chosen] - array[:, chosen].mean(axis=0)) / deviation[chosen]
    *_, scales, vectors = np.linalg.svd(standard.astype(np.float64), full_matrices=False)
    loadings = (scales[:, None] * vectors)[:_COMPONENTS].T / np.sqrt(len(array) - 1)
    labels = KMeans(weights.shape[1], n_init=4, random_state=seed).fit_predict(loadings)
    weights[chosen, labels] = 1 / deviation[chosen]
    return weights / np.maximum((weights > 0).sum(axis=0), 1)


def module_correlation_error(predicted: ArrayLike, observed: ArrayLike, *, modules: ArrayLike) -> float:
    """Mean absolute difference of the correlations between gene modules.

    Parameters
    ----------
    predicted, observed
        ``(n, G)`` and ``(m, G)`` cells, log-normalised expression.
    modules
        ``(G, M)`` weights of genes in modules, from :func:`gene_modules` or a pathway network.

    Returns
    -------
    Error in [0, 2], 0 is best. Pairs with a module that does not vary in observed cells are left out. A module that
    does not vary in predicted cells has correlation 0 there. NaN without a pair or with fewer than three cells.

    Raises
    ------
    ValueError
        The arrays differ in their number of genes.

    Notes
    -----
    Energy distance and MMD hardly depend on the correlations between genes, which this measures. Single pairs of genes
    are too noisy in a few hundred sparse cells; sums over modules are not.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import module_correlation_error
    >>> together = np.repeat(np.arange(5.0)[:, None], 2, axis=1)
    >>> opposite = np.stack([together[:, 0], together[::-1, 0]], axis=1)
    >>> module_correlation_error(opposite, together, modules=np.eye(2))
    2.0
    """
    first, second = populations(predicted, observed)
    weights = np.asarray(modules, dtype=np.float64)
    if weights.ndim != 2 or len(weights) != second.shape[1]:
        msg = f"`modules` has shape {weights.shape}; expected a row for each of the {second.shape[1]} genes."
        raise ValueError(msg)
    if min(len(first), len(second)) < 3 or weights.shape[1] < 2:
        return float("nan")
    predicted_r, observed_r = _correlations(first @ weights), _correlations(second @ weights)
    pairs = np.triu_indices(weights.shape[1], 1)
    gap = np.abs(np.nan_to_num(predicted_r[pairs]) - observed_r[pairs])
    return float(gap[~np.isnan(gap)].mean()) if (~np.isnan(gap)).any() else float("nan")


def _correlations(activity: np.ndarray) -> np.ndarray:
    centred = activity - activity.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    flat = norm <= 1e-9 * np.linalg.norm(activity, axis=0)
    unit = centred / np.where(flat, np.nan, norm)
    return np.clip(unit.T @ unit, -1, 1)
