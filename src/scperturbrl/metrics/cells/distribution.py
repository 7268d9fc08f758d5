"""Distances between two populations of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from scperturbrl.metrics._arrays import populations

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

# Cells on each side of a block of distances: half a megabyte in float64, which fits into the cache.
_TILE = 256
# Number of cells for the median distance: their pairs take 4 MB.
_MEDIAN_CELLS = 1000
_NEWTON_GENES = 200
# Largest squared bandwidth of the kernel, in units of the median; the others are repeated halves of it.
_WIDEST, _N_WIDTHS = 4.0, 4


def mean_pairwise_distance(x: ArrayLike, y: ArrayLike | None = None) -> float:
    """Mean Euclidean distance of the cells of `x` to those of `y`, or to each other.

    Parameters
    ----------
    x
        ``(n, G)`` cells.
    y
        ``(m, G)`` cells. By default the other cells of `x`, no cell being paired with itself.

    Returns
    -------
    Distance in the units of the cells; NaN without a pair.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Examples
    --------
    >>> from scperturbrl.metrics import mean_pairwise_distance
    >>> mean_pairwise_distance([[0.0], [2.0]]), mean_pairwise_distance([[0.0], [2.0]], [[5.0]])
    (2.0, 4.0)
    """
    first, second = populations(x, x if y is None else y)
    if y is None:
        return _mean_within(first, np.sqrt, self_value=0.0)
    return _mean_between(first, second, np.sqrt)


def energy_distance(x: ArrayLike, y: ArrayLike, *, within_y: float | None = None) -> float:
    """Energy distance of two populations, estimated without bias.

    ``2 E|x - y| - E|x - x'| - E|y - y'|`` with Euclidean distances, over pairs of different cells.

    Parameters
    ----------
    x, y
        ``(n, G)`` and ``(m, G)`` cells: expression or, better, coordinates in a PCA that no reward has used.
    within_y
        ``mean_pairwise_distance(y)``, if it is known. It dominates the cost if many populations are compared with the
        same large one, such as all conditions with the control cells.

    Returns
    -------
    Distance in the units of the cells. 0 is best. For equal populations the unbiased estimate scatters around 0 and may
    be negative. NaN if a population has fewer than two cells.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Notes
    -----
    Szekely and Rizzo 2013. The ``"edistance"`` of pertpy includes the zero distance of each cell to itself, so it is
    larger by ``E|x - x'| / n + E|y - y'| / m``. It hardly depends on the correlations between genes.

    Examples
    --------
    >>> from scperturbrl.metrics import energy_distance
    >>> energy_distance([[0.0], [1.0]], [[10.0], [11.0]])
    18.0
    """
    first, second = populations(x, y)
    if within_y is None:
        within_y = mean_pairwise_distance(second)
    return 2 * mean_pairwise_distance(first, second) - mean_pairwise_distance(first) - within_y


def mmd_rbf(x: ArrayLike, y: ArrayLike) -> float:
    """Squared maximum mean discrepancy under a mixture of Gaussian kernels, estimated without bias.

    The kernel is the mean of ``exp(-d^2 / (2 s^2))`` over ``s^2`` = 0.5, 1, 2 and 4 times the median squared distance
    within `y`.

    Parameters
    ----------
    x, y
        ``(n, G)`` predicted and ``(m, G)`` observed cells. The order matters: the observed cells set the bandwidth, so
        that a prediction cannot choose its own.

    Returns
    -------
    Discrepancy in about [0, 2]. 0 is best; the unbiased estimate may be negative. NaN if a population has fewer than
    two cells or the median distance is zero.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Notes
    -----
    Gretton et al. 2012, equation 3; the mixture is that of scDFM (ICLR 2026). Beyond 1000 cells the median is that
    of 1000 of them, evenly spaced.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import mmd_rbf
    >>> observed, near, far = np.random.default_rng(0).normal([[[0.0]], [[0.2]], [[3.0]]], 1.0, (3, 100, 5))
    >>> mmd_rbf(near, observed) < mmd_rbf(far, observed)
    True
    """
    first, second = populations(x, y)
    if min(len(first), len(second)) < 2:
        return float("nan")
    chosen = np.linspace(0, len(second) - 1, min(len(second), _MEDIAN_CELLS)).astype(int)
    median = float(np.median(pdist(second[chosen], "sqeuclidean")))
    if not median > 0:
        return float("nan")

    def kernel(squared: np.ndarray) -> np.ndarray:
        one = np.exp(squared * (-0.5 / (_WIDEST * median)))
        total = one.copy()
        for _ in range(_N_WIDTHS - 1):
            # Halving the squared bandwidth squares the kernel, which is much faster than another exponential.
            np.square(one, out=one)
            total += one
        return total / _N_WIDTHS

    within = sum(_mean_within(cells, kernel, self_value=1.0) for cells in (first, second))
    return within - 2 * _mean_between(first, second, kernel)


def classifier_auroc(x: ArrayLike, y: ArrayLike, *, seed: int = 0, folds: int = 5) -> float:
    """How well a linear classifier separates the two populations on held-out cells.

    Parameters
    ----------
    x, y
        ``(n, G)`` and ``(m, G)`` cells.
    seed
        Seed of the assignment of cells to folds.
    folds
        Number of folds of the cross-validation; fewer if a population has fewer cells.

    Returns
    -------
    Mean over folds of the area under the ROC curve: 0.5 is ideal, 1 is perfect separation. NaN where a population has
    fewer than two cells.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Notes
    -----
    A classifier two-sample test (Lopez-Paz and Oquab 2017) with logistic regression on standardised genes. The area is
    computed within folds, because pooling the scores of different classifiers would bias it below 0.5.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import classifier_auroc
    >>> real, generated = np.random.default_rng(0).normal([[[0.0]], [[5.0]]], 1.0, (2, 40, 3))
    >>> classifier_auroc(generated, real)
    1.0
    """
    first, second = populations(x, y)
    splits = min(folds, len(first), len(second))
    if splits < 2:
        return float("nan")
    labels, cells = np.repeat([0, 1], [len(first), len(second)]), np.concatenate([first, second])
    scheme = StratifiedKFold(splits, shuffle=True, random_state=seed)
    return float(np.mean([_fold_auroc(cells, labels, *fold) for fold in scheme.split(labels, labels)]))


def _fold_auroc(cells: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    centre, spread = cells[train].mean(axis=0), cells[train].std(axis=0)
    standard = (cells - centre) / np.where(spread > 0, spread, 1)
    # Newton steps need a matrix of genes by genes.
    solver = "newton-cholesky" if cells.shape[1] <= _NEWTON_GENES else "lbfgs"
    model = LogisticRegression(max_iter=2000, solver=solver).fit(standard[train], labels[train])
    ranks, positive = rankdata(standard[test] @ model.coef_[0]), labels[test] == 1
    n = int(positive.sum())
    return float((ranks[positive].mean() - (n + 1) / 2) / (len(test) - n))


def _mean_between(x: np.ndarray, y: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray]) -> float:
    """Mean of `kernel` of the squared distances between the cells of `x` and those of `y`."""
    if min(len(x), len(y)) == 0:
        return float("nan")
    left, right = _factors(x, y)
    total = sum(_tile_sum(left[i], right[j], kernel) for i in _tiles(len(x)) for j in _tiles(len(y)))
    return total / (len(x) * len(y))


def _mean_within(x: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray], *, self_value: float) -> float:
    """The same over pairs of different cells of `x`; `self_value` is the kernel of a cell with itself."""
    n = len(x)
    if n < 2:
        return float("nan")
    left, right = _factors(x, x)
    tiles, total = _tiles(n), 0.0
    for i, rows in enumerate(tiles):
        total += _tile_sum(left[rows], right[rows], kernel, same=True)
        total += 2 * sum(_tile_sum(left[rows], right[others], kernel) for others in tiles[i + 1 :])
    return (total - n * self_value) / (n * (n - 1))


def _tiles(n: int) -> list[slice]:
    return [slice(start, start + _TILE) for start in range(0, n, _TILE)]


def _factors(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose dot products are the squared distances: ``|x|^2 + |y|^2 - 2 x.y``, all of it by matrix products."""
    # centred on one of them, because small numbers lose less precision
    centre = y.mean(axis=0, dtype=np.float64)
    x, y = x - centre, y - centre
    left = np.column_stack([-2 * x, np.square(x).sum(axis=1), np.ones(len(x))])
    right = np.column_stack([y, np.ones(len(y)), np.square(y).sum(axis=1)])
    return left, right


def _tile_sum(
    left: np.ndarray, right: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray], *, same: bool = False
) -> float:
    squared = left @ right.T
    np.maximum(squared, 0, out=squared)
    if same:
        np.fill_diagonal(squared, 0)
    return float(kernel(squared).sum())
