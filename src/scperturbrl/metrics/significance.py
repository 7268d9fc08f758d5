"""Overlap of significant genes, tested at equal number and depth of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scperturbrl.metrics.cells.matching import MatchedCells, match_cells
from scperturbrl.metrics.differential import WelchTest, welch_t

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class MatchedTests(NamedTuple):
    """Outcome of :func:`matched_tests`: the tests of predicted and observed cells, and the matched cells."""

    predicted: WelchTest
    observed: WelchTest
    cells: MatchedCells


def matched_tests(predicted: np.ndarray, observed: np.ndarray, *, control: np.ndarray, seed: int = 0) -> MatchedTests:
    """Test predicted and observed cells against the same control cells, at equal number and depth of cells.

    Parameters
    ----------
    predicted, observed
        ``(n, G)`` and ``(m, G)`` cells, log-normalised expression; see :func:`match_cells`.
    control
        ``(c, G)`` real control cells.
    seed
        Of the draws.

    Returns
    -------
    Welch tests of both sides, all NaN where a side has fewer than two cells, and the matched cells.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import matched_tests
    >>> rng = np.random.default_rng(0)
    >>> control, observed = rng.normal(5.0, 1.0, (2, 100, 6))
    >>> matched_tests(observed[:60], observed, control=control).observed.padj.shape
    (6,)
    """
    matched = match_cells(predicted, observed, seed=seed)
    return MatchedTests(welch_t(matched.predicted, control), welch_t(matched.observed, control), matched)


def significant_jaccard(
    predicted: np.ndarray,
    observed: np.ndarray,
    *,
    control: np.ndarray,
    alpha: float = 0.05,
    exclude: ArrayLike | None = None,
    seed: int = 0,
) -> float:
    """Jaccard index of the genes that are significant in predicted and in observed cells against the same control cells.

    Parameters
    ----------
    predicted, observed
        ``(n, G)`` and ``(m, G)`` cells, log-normalised expression; brought to equal number and depth by
        :func:`match_cells` before the test.
    control
        ``(c, G)`` real control cells.
    alpha
        Largest adjusted p-value (Welch's t, Benjamini-Hochberg) of a significant gene.
    exclude
        Indices of genes left out, usually those that the condition targets.
    seed
        Of the draws.

    Returns
    -------
    Index in [0, 1], 1 is best; NaN if no gene is significant in either.

    Raises
    ------
    ValueError
        The populations differ in their number of genes.

    Notes
    -----
    With few cells the replicate ceiling is far below 1, so compare with the ceiling and not with 1.

    Examples
    --------
    >>> import numpy as np
    >>> from scperturbrl.metrics import significant_jaccard
    >>> rng = np.random.default_rng(0)
    >>> control, observed = rng.normal(5.0, 1.0, (2, 100, 6))
    >>> observed[:, :2] += 2.0
    >>> significant_jaccard(observed + 0.01, observed, control=control)
    1.0
    """
    return jaccard_of(matched_tests(predicted, observed, control=control, seed=seed), alpha=alpha, exclude=exclude)


def jaccard_of(tests: MatchedTests, *, alpha: float, exclude: ArrayLike | None) -> float:
    """Jaccard index of the significant genes of existing tests."""
    keep = np.ones(len(tests.observed.padj), dtype=bool)
    if exclude is not None:
        keep[np.asarray(exclude, dtype=np.intp)] = False
    first, second = (side.padj[keep] <= alpha for side in (tests.predicted, tests.observed))
    either = int((first | second).sum())
    return float((first & second).sum() / either) if either else float("nan")
