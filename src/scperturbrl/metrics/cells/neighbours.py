"""Whether predicted cells are among real cells, and real cells among predicted cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from scperturbrl.metrics._arrays import populations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

# Number of entries in a block of distances: 2 MB in float64.
_BLOCK = 2**18


class NeighbourScores(NamedTuple):
    """Outcome of :func:`neighbour_scores`, each in [0, 1] with 1 best.

    Attributes
    ----------
    precision
        Share of the predicted cells within the reach of a real cell: are they realistic?
    recall
        Share of the real cells within the reach of a predicted cell: is the whole population covered?
    coverage
        Share of the real cells that have a predicted cell within their own reach; unlike recall, it is not affected by
        predicted outliers, which have a long reach.
    """

    precision: float
    recall: float
    coverage: float


def neighbour_scores(predicted: ArrayLike, observed: ArrayLike, *, k: int = 5) -> NeighbourScores:
    """Precision, recall and coverage of predicted cells, by nearest neighbours.

    The reach of a cell is the Euclidean distance to its `k`-th nearest other cell of the same population.

    Parameters
    ----------
    predicted, observed
        ``(n, G)`` and ``(m, G)`` cells: expression or, better, coordinates in a PCA.
    k
        Rank of the neighbour that defines the reach.

    Returns
    -------
    Precision, recall and coverage; NaN where a population has `k` cells or fewer. Two samples of the same population
    have about ``1 - 0.5 ** k`` coverage. Populations should have similar sizes, because the reach is shorter with more
    cells.

    Raises
    ------
    ValueError
        The populations differ in their number of genes, or `k` is below 1.

    Notes
    -----
    Precision and recall of Kynkaanniemi et al. 2019, coverage of Naeem et al. 2020. Distances are computed in blocks
    and never stored all at once.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import neighbour_scores
    >>> real = np.random.default_rng(0).normal(size=(60, 3))
    >>> collapsed = real[:30] * 0.05
    >>> scores = neighbour_scores(collapsed, real)
    >>> scores.precision, scores.recall < 0.1
    (1.0, True)
    """
    first, second = populations(predicted, observed)
    if k < 1:
        msg = f"`k` is {k}; at least one neighbour is needed."
        raise ValueError(msg)
    if min(len(first), len(second)) <= k:
        return NeighbourScores(float("nan"), float("nan"), float("nan"))
    reach_first, reach_second = _reach(first, k), _reach(second, k)
    realistic = np.zeros(len(first), dtype=bool)
    recalled, covered = np.zeros(len(second), dtype=bool), np.zeros(len(second), dtype=bool)
    for rows, distance in _blocks(first, second):
        near = distance <= reach_second
        realistic[rows] = near.any(axis=1)
        covered |= near.any(axis=0)
        recalled |= (distance <= reach_first[rows, None]).any(axis=0)
    return NeighbourScores(float(realistic.mean()), float(recalled.mean()), float(covered.mean()))


def _blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    size = max(1, _BLOCK // len(y))
    for start in range(0, len(x), size):
        yield slice(start, start + size), cdist(x[start : start + size], y)


def _reach(cells: np.ndarray, k: int) -> np.ndarray:
    reach = np.empty(len(cells))
    for rows, distance in _blocks(cells, cells):
        # The cell itself is the nearest, at distance 0, so the k-th other one has index k.
        reach[rows] = np.partition(distance, k, axis=1)[:, k]
    return reach
